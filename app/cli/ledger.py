"""`hullspeed migrate` and `hullspeed ledger …`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import DataDirOption, JsonFlag, run_async

if TYPE_CHECKING:
    from app.store.verify import Books

app = typer.Typer(
    name="ledger", help="What is kept of every call: is it all there, and what waits.", no_args_is_help=True
)

JournalOption = Annotated[
    Path | None, typer.Option("--journal", help="A journal's folder; default: `journal` in the data folder.")
]
MOST_LINES = 20
COUNTS = ("in_postgres", "dropped", "waiting", "refused", "lost")


def migrate(data_dir: DataDirOption = None) -> None:
    """Bring the ledger's tables up to date (serve and demo do it by themselves)."""
    from app.cli.store import open_database

    async def work() -> str:
        async with open_database(data_dir) as database:
            return database.describe()

    typer.echo(f"The ledger is up to date: {run_async(work())}")


@app.command("verify")
def verify(
    data_dir: DataDirOption = None,
    journal: JournalOption = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds for which a missing row is looked for again.")] = 10.0,
    as_json: JsonFlag = False,
) -> None:
    """Prove that each call recorded stands in Postgres or waits in the journal, once; also while serve runs.

    Exit code 1 where a row is missing, lost or there twice. A row that Postgres refused is kept beside the journal and
    counted, see `hullspeed ledger refused`.
    """
    from app.cli.store import open_database
    from app.store import verify as store

    async def work() -> Books:
        async with open_database(data_dir) as database:
            return await store.verify(database, _folder(journal, data_dir), wait)

    books = run_async(work())
    if as_json:
        _print_json(_as_json(books))
    else:
        typer.echo(_as_text(books))
    raise typer.Exit(0 if books.is_complete else 1)


@app.command("drain")
def drain(data_dir: DataDirOption = None, journal: JournalOption = None, as_json: JsonFlag = False) -> None:
    """Ship to Postgres what dead processes left in the journal; also while serve runs, which ships its own.

    Exit code 1 where something is left.
    """
    from app.cli.store import open_database
    from app.core.errors import StoreUnavailable
    from app.core.metrics import Metrics
    from app.store import delivery
    from app.store import journal as store

    folder = _folder(journal, data_dir)
    shipped: list[int] = []

    async def work() -> None:
        async with open_database(data_dir) as database:
            async for segment in delivery.drain(database, store.Journal(folder, max_bytes=1), Metrics()):
                shipped.append(segment.rows)
                if not as_json:
                    typer.echo(f"{segment.path.name}: {segment.rows:,} rows", err=True)

    problem = None
    try:
        run_async(work())
    except (StoreUnavailable, OSError) as error:
        problem = error.message if isinstance(error, StoreUnavailable) else str(error)
    left = store.left_over(folder)
    rows, size = store.count(*left)
    held = store.count(folder)[0] - rows
    if as_json:
        found = {"shipped": sum(shipped), "left": rows, "left_bytes": size, "held": held, "problem": problem}
        _print_json(found)
    else:
        typer.echo(f"{sum(shipped):,} rows shipped, {rows:,} left; {held:,} are held by processes that run")
        if problem:
            typer.echo(f"hullspeed: {problem}", err=True)
    raise typer.Exit(1 if left else 0)


@app.command("refused")
def refused(
    data_dir: DataDirOption = None,
    journal: JournalOption = None,
    retry: Annotated[bool, typer.Option("--retry", help="Send them to Postgres once more.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the rows that Postgres would not have, or send them once more. Exit code 1 where some are left."""
    from app.cli.store import open_database
    from app.core.metrics import Metrics
    from app.store import delivery
    from app.store import journal as store

    folder = _folder(journal, data_dir)

    async def work() -> tuple[int, int]:
        async with open_database(data_dir) as database:
            return await delivery.retry(database, folder, Metrics())

    if retry:
        sent, again = run_async(work())
        typer.echo(f"{sent:,} rows sent, {again:,} refused again", err=True)
    rows = store.refused(folder)
    if as_json:
        _print_json([{"error": row.error, "row": row.row} for row in rows])
    else:
        for row in rows:
            typer.echo(f"{row.error}\n  {row.row}")
    raise typer.Exit(1 if rows else 0)


def _folder(journal: Path | None, data_dir: Path | None) -> Path:
    from app.core.settings import load_settings

    return journal or load_settings(data_dir=data_dir).data_dir / "journal"


def _print_json(found: object) -> None:
    import json

    typer.echo(json.dumps(found, indent=2))


def _as_json(books: Books) -> dict[str, Any]:
    return {
        "complete": books.is_complete,
        "recorded": books.total("highest"),
        **{name: books.total(name) for name in COUNTS},
        "missing": books.missing,
        "absent": books.absent,
        "double": books.double,
        "unnumbered": books.unnumbered,
        "writers": [
            {
                "writer": book.writer,
                "highest": book.highest,
                **{name: getattr(book, name) for name in COUNTS},
                "missing": [[start, stop - 1] for start, stop in book.missing],
            }
            for book in books.writers
        ],
        "days": [
            {"day": str(day.day), "receipts": day.receipts, "rows": day.rows, "double": day.double}
            for day in books.days
        ],
    }


def _as_text(books: Books) -> str:
    columns = ("highest", *COUNTS)
    names = ("recorded", *(name.replace("_", " ") for name in COUNTS), "missing")
    lines = [f"{'writer':18}" + "".join(f"{name:>13}" for name in names)]
    # Those that say something; of the others only the sum matters.
    telling = [book for book in books.writers if book.highest != book.in_postgres + book.dropped]
    for book in telling[:MOST_LINES]:
        missing = sum(stop - start for start, stop in book.missing)
        counts = [*(getattr(book, name) for name in columns), missing]
        lines.append(f"{book.writer:18}" + "".join(f"{number:13,}" for number in counts))
    rest = len(books.writers) - min(len(telling), MOST_LINES)
    if rest:
        lines.append(f"and {rest} more, whose rows are all in Postgres" if telling else f"{rest} writers")
    totals = [*(books.total(name) for name in columns), books.missing]
    lines.append(f"{'all':18}" + "".join(f"{number:13,}" for number in totals))
    if books.unnumbered:
        lines.append(f"{books.unnumbered:,} rows in the journal bear no number: older versions wrote them.")
    lines += [
        f"{day.day}: {day.receipts:,} calls received, {day.rows:,} rows, {day.double:,} of them double, "
        f"{day.absent:,} are not there"
        for day in books.days
    ]
    good = "Each row recorded is in Postgres or waits in the journal, once."
    lines.append(good if books.is_complete else "The ledger is not complete.")
    return "\n".join(lines)
