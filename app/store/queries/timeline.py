"""A period's calls step by step, as charts show them: at most a hundred steps, whatever the period."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from app.store.database import Database
from app.store.histograms import LATENCY, OVERHEAD, Histogram, summed
from app.store.queries.periods import EVERYTHING, StatsFilter, among, ceil, first_day, floor, width_of

MOST_STEPS = 100
"""Each is a bar for each model: more are thinner than three pixels on a narrow screen, and a browser's first drawing
grows with them."""
MOST_MODELS = 9
SHARES = (0.5, 0.9, 0.99)

Line = list[float | None]
"""A figure for each step; None in one without calls."""


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one model answered."""

    calls: list[int]
    """By step, as all lists here."""
    cost_usd: list[float]


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """A period in steps."""

    since: datetime
    until: datetime
    step: timedelta
    steps: list[datetime]
    """When each begins."""
    models: dict[str, ModelLine]
    """By the model that answered, the most called first; `MOST_MODELS` at most."""
    others: ModelLine
    """What further models answered."""
    unanswered: ModelLine
    """What no model answered: failed or refused."""
    outcomes: dict[str, list[int]]
    """Outcome → calls, the most frequent first."""
    latency: dict[float, Line]
    """Share of the calls (0.5, 0.9, 0.99) → seconds that it stays within, read from a histogram."""
    overhead: dict[float, Line]


async def timeline(
    database: Database,
    since: datetime | None = None,
    until: datetime | None = None,
    wanted: StatsFilter = EVERYTHING,
    *,
    now: datetime | None = None,
) -> Timeline:
    """The calls started within a period, by step. Times as for `app.store.queries.overview.overview`. Raises
    `StoreUnavailable`."""
    now = now or datetime.now(UTC)
    until = now if until is None else until
    async with database.reading() as reading:
        if since is None:
            since = await first_day(reading) or until
        width = width_of(since, until, now)
        begin = floor(since, width)
        end = max(ceil(until, width), begin + timedelta(seconds=width))
        rows = round((end - begin).total_seconds() / width)
        # A week's hours and many days are more: a step is then several of them.
        step = width * math.ceil(rows / MOST_STEPS)
        steps = math.ceil(rows * width / step)
        some, given = among([(width, begin, end)], wanted)
        given |= {"begin": begin, "step": step, "most": MOST_MODELS}

        models, outcomes, ((text,),) = [
            await reading.rows(query.format(some=some), given) for query in (_MODELS, _OUTCOMES, _TIMES)
        ]
    lines = {row.model: _model_line(row, steps) for row in models}
    nothing = ModelLine(calls=[0] * steps, cost_usd=[0] * steps)
    others, unanswered = lines.pop(None, nothing), lines.pop("", nothing)
    # Some hundreds of quantiles take a millisecond, which calls need not wait for.
    latency, overhead = await asyncio.to_thread(_read_times, text or "[]", steps)
    return Timeline(
        since=begin,
        until=end,
        step=timedelta(seconds=step),
        steps=[begin + timedelta(seconds=step * place) for place in range(steps)],
        models=lines,
        others=others,
        unanswered=unanswered,
        outcomes={row.outcome: _spread(row.places, row.calls, steps) for row in outcomes},
        latency=latency,
        overhead=overhead,
    )


def _model_line(row: Any, steps: int) -> ModelLine:
    return ModelLine(calls=_spread(row.places, row.calls, steps), cost_usd=_spread(row.places, row.cost_usd, steps))


def _spread(places: Sequence[int], values: Sequence[Any], steps: int) -> list[Any]:
    """The values at their places, zeros between them."""
    spread: list[Any] = [0] * steps
    for place, value in zip(places, values, strict=True):
        spread[place] = value
    return spread


def _read_times(text: str, steps: int) -> tuple[dict[float, Line], dict[float, Line]]:
    """Of what `_TIMES` gives: the lines of the latency and of the overhead."""
    times = msgspec.json.decode(text, type=list[tuple[int, list[int], list[int]]])
    places = [place for place, _, _ in times]
    return (
        _lines(LATENCY, places, [counts for _, counts, _ in times], steps),
        _lines(OVERHEAD, places, [counts for _, _, counts in times], steps),
    )


def _lines(
    histogram: Histogram, places: Sequence[int], counts: Sequence[Sequence[int]], steps: int
) -> dict[float, Line]:
    found: dict[float, Line] = {share: [None] * steps for share in SHARES}
    for place, one in zip(places, counts, strict=True):
        for share, value in zip(SHARES, histogram.quantiles(one, SHARES), strict=True):
            found[share][place] = value
    return found


_PLACE = "(extract(epoch FROM began_at - %(begin)s)::integer / %(step)s)"
# `most` models by name, one line for the others (null), and one for what no model answered ("").
_MODELS = f"""
WITH each AS (
  SELECT {_PLACE} AS place, model, sum(calls) AS calls, sum(cost_usd) AS cost_usd
  FROM call_stats WHERE {{some}} GROUP BY 1, 2
), shown AS (
  SELECT model FROM each WHERE model <> '' GROUP BY model ORDER BY sum(calls) DESC, model LIMIT %(most)s
), lines AS (
  SELECT place, CASE WHEN model = '' OR model IN (SELECT model FROM shown) THEN model END AS model,
    sum(calls)::bigint AS calls, sum(cost_usd)::double precision AS cost_usd
  FROM each GROUP BY 1, 2
)
SELECT model, array_agg(place) AS places, array_agg(calls) AS calls, array_agg(cost_usd) AS cost_usd
FROM lines GROUP BY model ORDER BY sum(calls) DESC, model
"""  # noqa: S608 -- only constants of this module are put in
_OUTCOMES = f"""
WITH lines AS (
  SELECT {_PLACE} AS place, outcome, sum(calls)::bigint AS calls FROM call_stats WHERE {{some}} GROUP BY 1, 2
)
SELECT outcome, array_agg(place) AS places, array_agg(calls) AS calls
FROM lines GROUP BY outcome ORDER BY sum(calls) DESC, outcome
"""  # noqa: S608 -- as above
# As one text: to take ten thousand counts out of rows would keep the event loop for milliseconds.
_TIMES = f"""
WITH lines AS (
  SELECT {_PLACE} AS place, {", ".join(f"{summed(h.column, 'bigint')} AS {h.column}" for h in (LATENCY, OVERHEAD))}
  FROM call_stats WHERE {{some}} GROUP BY 1
)
SELECT json_agg(json_build_array(place, {LATENCY.column}, {OVERHEAD.column}))::text FROM lines
"""  # noqa: S608 -- as above
