"""`hullspeed migrate`."""

from __future__ import annotations

import typer

from app.cli.options import DataDirOption, run_async


def migrate(data_dir: DataDirOption = None) -> None:
    """Bring the ledger's tables up to date (serve and demo do it by themselves)."""
    from app.cli.store import open_database

    async def work() -> str:
        async with open_database(data_dir) as database:
            return database.describe()

    typer.echo(f"The ledger is up to date: {run_async(work())}")
