"""The statement that adds calls up in `call_stats`, for whoever has just written them.

Rows are updated in the order of their key, so that several writers wait for each other and never in a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from app.store.histograms import LATENCY, OVERHEAD, added, counted, summed

MINUTE, HOUR, DAY = 60, 3600, 86400
"""The widths of the rows, in seconds."""
MINUTES_KEPT = timedelta(days=2)
"""Rows of single minutes are dropped when they are so old; see `retention`."""

_KEY = "router, model, outcome, source, tagged"
_SUMS = (
    "calls",
    "attempts",
    "latency",
    "overhead",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cost_usd",
    "unpriced",
    "compared_calls",
    "compared_cost_usd",
    "compared_prompt_tokens",
    "compared_cached_tokens",
    "compared_completion_tokens",
)
_HISTOGRAMS = (LATENCY, OVERHEAD)
COLUMNS = f"seconds, began_at, {_KEY}, {', '.join(_SUMS)}, {', '.join(h.column for h in _HISTOGRAMS)}"


def bin_of(width: str, time: str) -> str:
    """SQL: the beginning of the minute, hour or day (UTC) of `time`; `width` is an interval."""
    return f"date_bin({width}, {time}, TIMESTAMPTZ '2000-01-01 00:00:00Z')"


_COMPARED = "cost_usd IS NOT NULL AND answered_prompt_tokens IS NOT NULL"


def rolled_up(written: str, widths: Sequence[int] = (MINUTE, HOUR, DAY)) -> str:
    """SQL: a CTE named `minutes` and the INSERT that adds it to `call_stats`; follows a WITH and a comma.

    `written`: a relation with the columns started_at, router, model, outcome, source, run, latency, overhead,
    prompt_tokens, completion_tokens, cached_tokens, cost_usd and attempt_count of `calls`, and answered_prompt_tokens,
    answered_cached_tokens and answered_completion_tokens: those of the answer alone, null where no model answered.
    """
    # Summed up to minutes first: a batch is hundreds of calls and a few minutes, and the arrays are taken apart once.
    return f"""minutes AS MATERIALIZED (
  SELECT
    {bin_of("INTERVAL '1 minute'", "started_at")} AS minute, coalesce(router, '') AS router,
    coalesce(model, '') AS model, outcome, source, run IS NOT NULL AS tagged, count(*) AS calls,
    sum(attempt_count) AS attempts, sum(latency) AS latency, coalesce(sum(overhead), 0) AS overhead,
    coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
    coalesce(sum(completion_tokens), 0) AS completion_tokens, coalesce(sum(cached_tokens), 0) AS cached_tokens,
    coalesce(sum(cost_usd), 0) AS cost_usd, count(prompt_tokens) FILTER (WHERE cost_usd IS NULL) AS unpriced,
    count(*) FILTER (WHERE {_COMPARED}) AS compared_calls,
    coalesce(sum(cost_usd) FILTER (WHERE {_COMPARED}), 0) AS compared_cost_usd,
    coalesce(sum(answered_prompt_tokens) FILTER (WHERE {_COMPARED}), 0) AS compared_prompt_tokens,
    coalesce(sum(answered_cached_tokens) FILTER (WHERE {_COMPARED}), 0) AS compared_cached_tokens,
    coalesce(sum(answered_completion_tokens) FILTER (WHERE {_COMPARED}), 0) AS compared_completion_tokens,
    {", ".join(f"{counted(_bucket(h.column))} AS {h.column}" for h in _HISTOGRAMS)}
  FROM (
    SELECT *, {LATENCY.bucket("latency")} AS {_bucket(LATENCY.column)},
      {OVERHEAD.bucket("overhead")} AS {_bucket(OVERHEAD.column)}
    FROM {written}
  ) AS w
  GROUP BY 1, 2, 3, 4, 5, 6
)
INSERT INTO call_stats AS s ({COLUMNS})
SELECT
  width, {bin_of("make_interval(secs => width)", "minute")}, {_KEY}, {", ".join(f"sum({name})" for name in _SUMS)},
  {", ".join(summed(h.column) for h in _HISTOGRAMS)}
FROM minutes CROSS JOIN (VALUES {", ".join(f"({width})" for width in widths)}) AS widths(width)
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 4, 5, 6, 7
ON CONFLICT (seconds, began_at, {_KEY}) DO UPDATE SET
  {", ".join(f"{name} = s.{name} + excluded.{name}" for name in _SUMS)},
  {", ".join(f"{h.column} = {added(f's.{h.column}', f'excluded.{h.column}')}" for h in _HISTOGRAMS)}
"""  # noqa: S608 -- only constants of this package are put in


def _bucket(column: str) -> str:
    return f"{column}_bucket"
