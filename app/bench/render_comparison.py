"""Two runs side by side in a terminal, or as plain text where the output is none."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.bench import wording
from app.bench.compare import AiqChange, Comparison, SettingChange
from app.bench.figures import Estimate

STYLES = {"better": "green", "cheaper": "green", "worse": "red", "dearer": "red"}


def render_comparison(comparison: Comparison, console: Console) -> None:
    """Print the headline, AIQ of each router, quality and cost of each setting, and the notes."""
    console.print(Text(f"{comparison.suite}: run {comparison.second.run} against run {comparison.first.run}", "bold"))
    facts = f"{comparison.n:,} items · quality {comparison.quality_source} · {comparison.draws:,} bootstrap draws"
    console.print(Text(f"{facts} · seed {comparison.seed}", style="dim"))
    console.print()
    console.print(Text(comparison.headline, style="bold"))
    if comparison.aiq:
        console.print(_aiq_table(comparison))
    console.print(_settings_table(comparison))
    legend = "Δ: second run − first, 95 % interval of a paired bootstrap over items; p: after Holm's correction"
    for line in (legend, *(f"• {note}" for note in comparison.notes)):
        console.print(Padding(Text(line), (0, 0, 0, 1)))


def _aiq_table(comparison: Comparison) -> Table:
    table = _table("router", "AIQ", "Δ AIQ [95 %]", "p", "says")
    for change in comparison.aiq:
        table.add_row(*_aiq_row(change))
    return table


def _aiq_row(change: AiqChange) -> tuple[Text, ...]:
    return (
        Text(change.router),
        Text(f"{change.first:.4f} → {change.second:.4f}"),
        Text(_spread(change.difference), style=STYLES.get(change.said, "")),
        Text(wording.p_value(change.p_holm)[2:]),
        Text(change.said),
    )


def _settings_table(comparison: Comparison) -> Table:
    table = _table("router", "t", "quality", "Δ quality [95 %]", "p", "$/1k", "Δ $/1k [95 %]")
    for change in comparison.settings:
        table.add_row(*_setting_row(change))
    return table


def _setting_row(change: SettingChange) -> tuple[Text, ...]:
    first, second, test = change.first, change.second, change.quality
    cost = change.cost_per_1k
    return (
        Text(change.router),
        Text(f"{change.tradeoff:g}"),
        Text(f"{first.quality:.3f} → {second.quality:.3f}"),
        Text(_spread(test.difference), style=STYLES.get(change.said, "")),
        Text(wording.p_value(test.p if test.p_holm is None else test.p_holm)[2:]),
        Text(f"{wording.money(first.cost_per_1k)} → {wording.money(second.cost_per_1k)}"),
        Text(
            f"{_more(cost.value)} [{_more(cost.low)}, {_more(cost.high)}]",
            style=STYLES.get(change.said_of_cost, ""),
        ),
    )


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in names:
        # What does not fit goes on in the next line: no figure is ever cut.
        table.add_column(name, overflow="fold")
    return table


def _spread(estimate: Estimate) -> str:
    return f"{wording.signed(estimate.value)} [{wording.signed(estimate.low)}, {wording.signed(estimate.high)}]"


def _more(cost_per_1k: float) -> str:
    text = wording.money(abs(cost_per_1k))
    return text if text == "0" else f"{'+' if cost_per_1k > 0 else '−'}{text}"
