"""`hullspeed stats`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DataDirOption, JsonFlag, run_async

if TYPE_CHECKING:
    from rich.console import Console

    from app.store.stats import Figures, Grouping, Stats

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
    from app.store.stats import call_stats

    now = datetime.now(UTC)
    day = now - timedelta(days=1)
    first = day if since is None else parse_time(since, now, "--since")
    groups = _groups(by)

    async def work() -> list[Stats]:
        async with open_database(data_dir) as database:
            shorter = [] if since else [await call_stats(database, now - timedelta(hours=1), now, replays=replays)]
            return [*shorter, await call_stats(database, first, now, groups, replays=replays)]

    found = run_async(work())
    if as_json:
        encoder = msgspec.json.Encoder(decimal_format="number")
        windows = [{"since": one.since, "until": one.until, "total": one.total} for one in found]
        typer.echo(encoder.encode({"windows": windows, "by": found[-1].by}).decode())
        return
    when = "the last hour and day" if since is None else f"since {first:%Y-%m-%d %H:%M} UTC"
    names = ["hour", "day"] if since is None else ["all"]
    _print(Console(highlight=False), when, dict(zip(names, found, strict=True)))


def _groups(text: str) -> tuple[Grouping, ...]:
    from app.core.errors import ConfigError
    from app.store.stats import GROUPINGS

    wanted = [part.strip() for part in text.split(",") if part.strip()]
    known: dict[str, Grouping] = {name: name for name in GROUPINGS}
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--by {name}: there are {', '.join(known)}", param="by")
    return tuple(dict.fromkeys(known[name] for name in wanted))


def _print(console: Console, when: str, found: dict[str, Stats]) -> None:
    from app.cli import looks

    table = looks.table(
        f"Calls, {when}", [""], ["calls", "failed", "spent", "p50", "p95", "p99", "overhead p50", "p99"]
    )
    for name, stats in found.items():
        total = stats.total
        overhead = (None, None, None) if total.overhead is None else total.overhead
        table.add_row(name, *_row(total), looks.seconds(overhead[0]), looks.seconds(overhead[2]))
    console.print(table, "")
    whole = next(reversed(found.values()))
    for group, rows in whole.by.items():
        table = looks.table(
            f"By {group}{', the last day' if len(found) > 1 else ''}",
            [group],
            ["calls", "share", "failed", "spent", "p50", "p95", "p99"],
        )
        for figures in rows[:SHOWN]:
            calls, failed, spent, *times = _row(figures)
            portion = looks.share(figures.calls, whole.total.calls)
            table.add_row(figures.key or "none", calls, portion, failed, spent, *times)
        console.print(table, "")
        if len(rows) > SHOWN:
            console.print(f"and {len(rows) - SHOWN:,} more (--json has them)")
    for line in _remarks(whole.total):
        console.print(line)


def _row(figures: Figures) -> list[str]:
    from app.cli import looks

    latency = (None, None, None) if figures.latency is None else figures.latency
    return [
        f"{figures.calls:,}",
        looks.share(figures.failed, figures.calls),
        looks.usd(figures.cost_usd),
        *map(looks.seconds, latency),
    ]


def _remarks(total: Figures) -> list[str]:
    """What the tables leave out."""
    from app.cli import looks

    lines = [f"{looks.count(total.prompt_tokens)} tokens in, {looks.count(total.completion_tokens)} out"]
    if total.time_to_first_token is not None:
        half, most, _ = total.time_to_first_token
        lines.append(f"first token of streams: p50 {looks.seconds(half)}, p95 {looks.seconds(most)}")
    if total.rejected or total.cancelled:
        lines.append(f"{total.rejected:,} refused for what was asked, {total.cancelled:,} given up by the client")
    if total.unpriced:
        lines.append(f"{total.unpriced:,} calls at an unknown price are not in what was spent")
    return lines
