"""`hullspeed stats`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from app.cli.options import DataDirOption, JsonFlag, run_async
from app.core import formats

if TYPE_CHECKING:
    from rich.console import Console

    from app.store.queries.overview import Overview, Sums

Group = Literal["model", "router", "outcome", "session"]
SHOWN = 20
"""Rows of a table; `--json` has all."""


def stats(
    since: Annotated[
        str | None,
        typer.Option(
            help="Calls from then on: 90m, 12h, 7d, 2w ago, or an ISO date or time (UTC). Default: the last hour and "
            "the last day.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="Comma-separated: model, router, outcome, session; a table of each.")
    ] = "model,router",
    replays: Annotated[bool, typer.Option("--replays", help="Count the calls of bench runs too.")] = False,
    as_json: JsonFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """What the logged calls came to: errors, spend, shares, and latency of each model and router."""
    import msgspec
    from rich.console import Console

    from app.cli.recording import parse_time
    from app.cli.store import open_database
    from app.store.queries.grouped import grouped_calls
    from app.store.queries.overview import overview
    from app.store.queries.periods import StatsFilter

    now = datetime.now(UTC)
    first = now - timedelta(days=1) if since is None else parse_time(since, now, "--since")
    groups = _groups(by)
    source = None if replays else "live"

    async def work() -> tuple[dict[str, Overview], dict[str, dict[str, Sums]]]:
        starts = {"hour": now - timedelta(hours=1), "day": first} if since is None else {"all": first}
        async with open_database(data_dir) as database:
            found = {
                name: await overview(database, start, now, StatsFilter(source=source)) for name, start in starts.items()
            }
            whole = next(reversed(found.values()))
            tables: dict[str, dict[str, Sums]] = {"model": whole.models, "router": whole.routers}
            for group in groups:
                if group == "outcome" or group == "session":
                    tables[group] = await grouped_calls(database, whole.since, whole.until, group, source=source)
            return found, {group: tables[group] for group in groups}

    found, tables = run_async(work())
    if as_json:
        encoder = msgspec.json.Encoder(decimal_format="number")
        windows = [
            {"since": one.since, "until": one.until, "total": one.total, "outcomes": one.outcomes}
            for one in found.values()
        ]
        typer.echo(encoder.encode({"windows": windows, "by": tables}).decode())
        return
    when = "the last hour and day" if since is None else f"since {next(iter(found.values())).since:%Y-%m-%d %H:%M} UTC"
    _print(Console(highlight=False), when, found, tables)


def _groups(text: str) -> tuple[Group, ...]:
    from app.core.errors import ConfigError

    known: dict[str, Group] = {name: name for name in get_args(Group)}
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--by {name}: there are {', '.join(known)}", param="by")
    return tuple(dict.fromkeys(known[name] for name in wanted))


def _print(console: Console, when: str, found: dict[str, Overview], tables: dict[str, dict[str, Sums]]) -> None:
    from app.cli import looks

    headings = ["calls", "failed", "spent", "p50", "p90", "p99", "overhead p50", "p99"]
    table = looks.table(f"Calls, {when}", [""], headings)
    for name, window in found.items():
        overhead = window.total.overhead
        own = (None, None) if overhead is None else (overhead.p50, overhead.p99)
        table.add_row(name, *_row(window.total), *map(formats.seconds, own))
    console.print(table, "")
    whole = next(reversed(found.values()))
    for group, rows in tables.items():
        title = f"By {group}{', the last day' if len(found) > 1 else ''}"
        table = looks.table(title, [group], ["calls", "share", "failed", "spent", "p50", "p90", "p99"])
        for key, sums in list(rows.items())[:SHOWN]:
            calls, *others = _row(sums)
            table.add_row(key, calls, formats.share(sums.calls, whole.total.calls), *others)
        console.print(table, "")
        if len(rows) > SHOWN:
            console.print(f"and {len(rows) - SHOWN:,} more (--json has them)")
    for line in _remarks(whole):
        console.print(line)


def _row(sums: Sums) -> list[str]:

    latency = sums.latency
    times = (None, None, None) if latency is None else (latency.p50, latency.p90, latency.p99)
    failed = formats.share(sums.failed, sums.calls)
    return [f"{sums.calls:,}", failed, formats.usd(sums.cost_usd), *map(formats.seconds, times)]


def _remarks(whole: Overview) -> list[str]:
    """What the tables leave out."""
    total, outcomes = whole.total, whole.outcomes
    lines = [f"{total.prompt_tokens:,} tokens in, {total.completion_tokens:,} out"]
    refused, left = outcomes.get("rejected", 0), outcomes.get("client_cancelled", 0)
    if refused or left:
        lines.append(f"{refused:,} refused for what was asked, {left:,} given up by the client")
    if total.attempts > total.calls:
        lines.append(f"{total.attempts:,} attempts: some calls needed or asked several models")
    if total.unpriced:
        lines.append(f"{total.unpriced:,} calls at an unknown price are not in what was spent")
    return lines
