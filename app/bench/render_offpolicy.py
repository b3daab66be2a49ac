"""Off-policy estimates in a terminal, or as plain text where the output is none."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.bench import wording
from app.bench.figures import Estimate
from app.bench.logged import Estimates, RouterEstimate

LEGEND = (
    "Intervals: 95 %, bootstrap over calls. ESS: calls of the router's own that would tell as much. SNIPS weights the "
    "logged scores, DR corrects each model's mean by them; --json holds IPS too. Not covered: choices which the log "
    "gave no chance."
)


def render_estimates(found: Estimates, console: Console) -> None:
    """Print what was logged, a row for each router, warnings and what was left out."""
    by = ", ".join(f"{router} {count:,}" for router, count in found.logged_by.items())
    console.print(Text(f"{found.n:,} of {found.calls:,} logged calls, decided by {by}", style="bold"))
    console.print(Text(f"score `{found.score}` · {found.draws:,} bootstrap draws · seed {found.seed}", style="dim"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("router", "n", "ESS", "SNIPS", "DR", "$/1k", "not covered"):
        # What does not fit goes on in the next line: no figure is ever cut.
        table.add_column(name, overflow="fold")
    logged = _spread(found.logged_quality)
    table.add_row("as logged", f"{found.n:,}", f"{found.n:,}", logged, "", _money(found.logged_cost_per_1k), "")
    for router in found.routers:
        table.add_row(*_row(router))
    console.print(table)
    warnings = [warning for router in found.routers for warning in router.warnings]
    for line in (LEGEND, *(f"• {said}" for said in dict.fromkeys((*warnings, *found.notes)))):
        console.print(Padding(Text(line), (0, 0, 0, 1)))


def _row(router: RouterEstimate) -> tuple[Text, ...]:
    quality = router.quality
    uncovered = "" if router.uncovered is None else f"{router.uncovered:.1%}"
    if quality is None:
        cells = [router.router, f"{router.n:,}", "", "nothing can be said", "", "", uncovered]
    else:
        figures = (quality.snips, quality.dr)
        cells = [router.router, f"{router.n:,}", f"{quality.ess:,.0f}", *map(_spread, figures)]
        cells += [_money(router.cost_per_1k), uncovered]
    return tuple(map(Text, cells))


def _spread(found: Estimate | None) -> str:
    return "" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _money(found: Estimate | None) -> str:
    if found is None:
        return "unknown"
    return f"{wording.money(found.value)} [{wording.money(found.low)}, {wording.money(found.high)}]"
