"""How figures look on a terminal: the same in every command."""

from __future__ import annotations

from collections.abc import Sequence

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
