"""`hullspeed calls …`: what the ledger has of each call.

Read from the ledger itself and not through a proxy: there the calls of all workers and replicas come together, it
answers after an incident too, and whoever looks costs the proxies nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import DataDirOption, JsonFlag, run_async
from app.core import formats
from app.core.types import Call, CallOutcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from app.store.database import Database
    from app.store.queries.calls import CallFilter, CallRow, LoggedCall

app = typer.Typer(help="Look at logged calls.", no_args_is_help=True)

PAUSE = 1.0
"""Seconds between two looks."""
SLACK = timedelta(seconds=30)
"""Calls that ended at about the same time may come into the ledger in any order, from any process."""


@app.command("tail")
def tail(
    last: Annotated[int, typer.Option("--last", "-n", min=0, max=1000, help="Calls to begin with.")] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with each new call until Ctrl-C.")] = True,
    since: Annotated[
        str | None, typer.Option(help="Begin with the calls since then: 90m, 12h, 7d, 2w ago, or an ISO time (UTC).")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only calls of this run.")] = None,
    model: Annotated[str | None, typer.Option(help="Only calls this model answered.")] = None,
    router: Annotated[str | None, typer.Option(help="Only calls this router decided (none: the client did).")] = None,
    outcome: Annotated[CallOutcome | None, typer.Option(help="Only calls that ended so.")] = None,
    session: Annotated[str | None, typer.Option(help="Only calls of this session.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a call a line.")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Show the newest calls and then each new one, a line each: time, outcome, router → model, why, how long, cost."""
    import msgspec
    from rich.console import Console

    from app.cli.recording import parse_time
    from app.store.queries.calls import CallFilter

    first = None if since is None else parse_time(since, datetime.now(UTC), "--since")
    wanted = CallFilter(run=run, model=model, router=router, outcome=outcome, session=session, since=first)
    console = Console(highlight=False, soft_wrap=False)
    encoder = msgspec.json.Encoder(decimal_format="number")

    def show(row: CallRow) -> None:
        if as_json:
            typer.echo(encoder.encode(row).decode())
        else:
            _print_line(console, row)

    run_async(_tail(wanted, 1000 if since is not None else last, show, follow=follow, data_dir=data_dir))


async def _tail(wanted: CallFilter, last: int, show: Callable[[CallRow], None], *, follow: bool, data_dir: Any) -> None:
    from app.cli.store import open_database
    from app.store.queries.calls import list_calls

    async with open_database(data_dir) as database:
        arriving = following(database, wanted)
        if follow:
            # What is there already is not new, whether it is shown or not.
            await anext(arriving)
        newest = (await list_calls(database, wanted, limit=last)).rows if last else []
        for row in sorted(newest, key=ended_at):
            show(row)
        if not follow:
            return
        # Some of them may have come in after the first look.
        shown = {row.id for row in newest}
        async for rows in arriving:
            for row in rows:
                if row.id not in shown:
                    show(row)


async def following(database: Database, wanted: CallFilter, pause: float = PAUSE) -> AsyncIterator[list[CallRow]]:
    """The calls that have come in since the last look, in the order in which they ended; first what ended just now.

    What has waited in a journal for longer than `SLACK` is not among them. Goes on through an outage of Postgres.
    """
    from app.core.errors import StoreUnavailable
    from app.store.queries.arrivals import arrived_calls

    newest = datetime.now(UTC)
    known: dict[str, datetime] = {}
    away = False
    while True:
        try:
            rows = await arrived_calls(database, wanted, since=newest - SLACK, known=known)
        except StoreUnavailable as error:
            if not away:
                typer.echo(f"hullspeed: {error.message} Waiting for it.", err=True)
            away = True
        else:
            away = False
            known |= {row.id: ended_at(row) for row in rows}
            newest = max([newest, *known.values()])
            known = {key: ended for key, ended in known.items() if ended > newest - SLACK}
            yield rows
        await asyncio.sleep(pause)


def ended_at(row: CallRow) -> datetime:
    """When a call was over."""
    return row.started_at + timedelta(seconds=row.latency)


WIDE = 116
"""Columns from which on the id has room."""


def _print_line(console: Console, row: CallRow) -> None:
    line = call_line(row, console.width if console.is_terminal else None)
    if console.is_terminal:
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    else:
        # Whole, however long: a file or a pipe has no edge.
        typer.echo(line.plain)


def call_line(row: CallRow, width: int | None) -> Text:
    """One call in columns that fit into `width`; None: as wide as they are."""
    from rich.text import Text

    from app.cli import looks

    tokens = "–" if row.prompt_tokens is None else f"{row.prompt_tokens}+{row.completion_tokens or 0}"
    route = f"{row.router or 'none'} → {row.model or '–'}"
    with_id = width is None or width >= WIDE
    room = 24 if width is None else max(width - (88 if with_id else 50), 20)
    place = min(max(room * 2 // 3, 20), 36)
    ended = looks.outcome(row.outcome)
    ended.pad_right(9 - len(ended))
    line = Text(f"{row.started_at.astimezone():%H:%M:%S} ")
    line.append_text(ended)
    if width is not None:
        route = formats.cut(route, place)
    line.append(f" {route:<{place}} {formats.seconds(row.latency):>7} {formats.usd(row.cost_usd):>9} {tokens:>9} ")
    if with_id:
        line.append(f"{row.id} ", "dim")
    if row.outcome == "ok":
        return line.append(row.reason or "")
    return line.append(row.error_message or row.reason or "", "red")


@app.command("show")
def show(
    call_id: Annotated[str | None, typer.Argument(metavar="ID", help="The call's id; without one, the newest.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Also what was asked and answered, where it is stored.")] = False,
    as_json: JsonFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """Show a call: the decision with its candidates, every attempt, tokens, cost and scores."""
    import msgspec
    from rich.console import Console

    from app.cli.store import open_database
    from app.core.errors import NotFound
    from app.store.queries.calls import get_call, list_calls

    async def work() -> LoggedCall:
        async with open_database(data_dir) as database:
            key = call_id
            if key is None:
                newest = (await list_calls(database, limit=1)).rows
                if not newest:
                    raise NotFound("There is no call in the ledger yet.")
                key = newest[0].id
            found = await get_call(database, key)
            if found is None:
                raise NotFound(f"There is no call {key!r} in the ledger.")
            return found

    found = run_async(work())
    if as_json:
        whole = {**msgspec.structs.asdict(found.call), "scores": found.scores}
        typer.echo(msgspec.json.Encoder(decimal_format="number").encode(whole).decode())
    else:
        _print_call(Console(highlight=False), found, text=text)


def _print_call(console: Console, found: LoggedCall, *, text: bool) -> None:
    from rich.text import Text

    from app.cli import looks

    call = found.call
    console.print(looks.facts([*_facts(call), *_decided(call)]), "")
    if call.decision is not None and call.decision.ranking:
        table = looks.table("Candidates", ["model"], ["predicted quality", "predicted cost", "probability"])
        for ranked in call.decision.ranking:
            quality = "–" if ranked.quality is None else f"{ranked.quality:.3f}"
            table.add_row(ranked.model, quality, formats.usd(ranked.cost), f"{ranked.probability:.2f}")
        console.print(table, "")
    if call.attempts:
        table = looks.table("Attempts", ["model", "outcome", "why"], ["began", "took", "first token", "cost"])
        for attempt in call.attempts:
            unsent = "" if attempt.sent else "the request had not gone out"
            why = Text(attempt.error or attempt.finish_reason or unsent)
            times = [formats.seconds(time) for time in (attempt.offset, attempt.latency, attempt.time_to_first_token)]
            table.add_row(
                attempt.model,
                looks.outcome(attempt.outcome),
                why,
                f"+{times[0]}",
                *times[1:],
                formats.usd(attempt.cost_usd),
            )
        console.print(table, "")
    if found.scores:
        table = looks.table("Scores", ["name", "from", "comment"], ["value"])
        for score in found.scores:
            table.add_row(score.name, score.source, Text(score.comment or ""), f"{score.value:g}")
        console.print(table, "")
    if text:
        for name, stored in (("Request", call.request_text), ("Reply", call.reply_text)):
            console.print(Text(name, "bold"))
            console.print(Text(stored if stored is not None else "not stored (ledger.store_text)"), soft_wrap=True)


def _facts(call: Call) -> list[tuple[str, str | Text]]:
    """What happened."""
    from rich.text import Text

    from app.cli import looks

    ended = looks.outcome(call.outcome)
    ended.append(f" (HTTP {call.status})", "")
    rows: list[tuple[str, str | Text]] = [
        ("call", call.id),
        ("started", f"{call.started_at.astimezone():%Y-%m-%d %H:%M:%S.%f %z}"),
        ("asked", f"{call.requested_model} at {call.endpoint}{', streamed' if call.stream else ''}"),
        ("outcome", ended),
        ("answered by", call.model or "–"),
        ("took", f"{formats.seconds(call.latency)}, {formats.seconds(call.overhead)} of it Hullspeed's own"),
        ("cost", formats.usd(call.cost_usd)),
    ]
    if call.time_to_first_token is not None:
        rows.append(("first token", f"after {formats.seconds(call.time_to_first_token)}"))
    if call.usage is not None:
        about = " (estimated)" if call.usage.estimated else ""
        rows.append(("tokens", f"{call.usage.prompt_tokens:,} in, {call.usage.completion_tokens:,} out{about}"))
    tags = (("run", call.run), ("item", call.item), ("session", call.session))
    rows += [(name, value) for name, value in tags if value]
    if call.error_message:
        rows.append(("error", Text(f"{call.error_type}: {call.error_message}", "red")))
    return rows


def _decided(call: Call) -> list[tuple[str, str | Text]]:
    """Why that model."""
    from rich.text import Text

    decision = call.decision
    if decision is None:
        return []
    by = f"router {decision.router} (version {decision.version})" if decision.router != "none" else "the client"
    rows: list[tuple[str, str | Text]] = [
        ("decided by", f"{by}: {decision.reason}"),
        ("tradeoff", f"{decision.tradeoff:g}, decided in {formats.seconds(decision.duration)}"),
    ]
    if decision.problem:
        rows.append(("problem", Text(decision.problem, "yellow")))
    return rows + [(name, str(value)) for name, value in decision.detail.items()]
