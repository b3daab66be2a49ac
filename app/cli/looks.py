"""How figures look on a terminal: the same in every command."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

COLOURS = {
    "ok": "green",
    "rejected": "magenta",
    "error": "bold red",
    "truncated": "bold red",
    "timeout": "bold red",
    "rate_limited": "yellow",
    "client_cancelled": "yellow",
    "abandoned": "dim",
}
"""Of outcomes of calls and attempts."""
_SHORT = {"client_cancelled": "cancelled"}


def outcome(name: str) -> Text:
    """An outcome in its colour."""
    return Text(_SHORT.get(name, name), COLOURS.get(name, ""))


def usd(amount: Decimal | float | None) -> str:
    """Dollars with as many digits as tell something; `–` where unknown."""
    if amount is None:
        return "–"
    value = float(amount)
    if value == 0:
        return "$0"
    digits = 2 if abs(value) >= 1 else 4 if abs(value) >= 0.01 else 6
    return f"${value:,.{digits}f}"


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it; `–` where there is none."""
    if value is None:
        return "–"
    if value < 0.0995:
        return f"{1000 * value:.1f} ms"
    return f"{1000 * value:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


def share(part: float, whole: float) -> str:
    """A percentage; `–` of nothing."""
    if not whole:
        return "–"
    if not part:
        return "0%"
    return f"{part / whole:.1%}" if part / whole < 0.0995 else f"{part / whole:.0%}"


def count(value: int | None) -> str:
    """A whole number; `–` where unknown."""
    return "–" if value is None else f"{value:,}"


def short_count(value: int | None) -> str:
    """Tokens, as windows are spoken of: 128k, 1.0M; `–` where unknown."""
    if value is None:
        return "–"
    if value < 10_000:
        return f"{value}"
    return f"{value / 1000:.0f}k" if value < 1_000_000 else f"{value / 1e6:.1f}M"


def table(title: str, left: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table of text columns, then of figures; narrow enough for 80 columns."""
    made = Table(
        box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False, show_edge=False
    )
    for heading in left:
        made.add_column(heading, overflow="fold")
    for heading in right:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


def facts(rows: Sequence[tuple[str, str | Text]]) -> Table:
    """Names and what stands behind them, without lines."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, value if isinstance(value, Text) else Text(value))
    return made


def cut(text: str, width: int) -> str:
    """`text`, ending in `…` where it is longer than `width`."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
