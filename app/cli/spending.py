"""Before money is spent: the estimate is shown, and somebody must say yes."""

from __future__ import annotations

import sys
from decimal import Decimal

import typer

from app.core.errors import ConfigError


def ask_to_spend(what: str, cost: str, max_cost: Decimal | None, *, yes: bool) -> None:
    """Show what is to be done and what it may cost, and ask; raises `ConfigError` where nobody can be asked."""
    cap = f", stopped at ${max_cost}" if max_cost is not None else ", with no --max-cost"
    typer.echo(f"{what} will cost {cost}{cap}.", err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("a live run spends money: confirm with --yes (and set --max-cost)")
    typer.confirm("Go on?", abort=True, err=True)
