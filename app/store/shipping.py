"""From journal lines to rows: a batch is the one parameter of a statement that spreads it over the tables.

A line goes to Postgres as the JSON it was journalled as, and Postgres takes it apart. So this process spends next to
nothing on a row, rows from memory and rows from disk go the same way, and a line written by an older version still
ships: what it lacks becomes null. Rows that are there already are left alone, so a batch may be shipped twice; only
calls that were not there before are added up in `call_stats`.

A parameter rather than a COPY into a temporary table: a row costs the same either way, but the table has to be made,
planned for anew and dropped with each batch, which took a server four times as long as all else that a batch costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.types.json import Json

from app.store.partitions import ensure
from app.store.receipts import ACKNOWLEDGE
from app.store.rollup import rolled_up
from app.store.sessions import Connection

Kind = Literal["call", "score"]

# An index entry holds at most 2,704 bytes; a client's header may be longer. At four bytes a letter this fits.
INDEXED_LETTERS = 512

_USAGE = (
    "prompt_tokens bigint, completion_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, "
    "reasoning_tokens bigint, estimated boolean"
)


def _usage(source: str) -> str:
    """Six expressions: what JSON leaves out is a default, 0 or false, but only where there is usage at all."""
    names = [column.split()[0] for column in _USAGE.split(", ")]
    defaults = ["false" if name == "estimated" else "0" for name in names]
    return ", ".join(
        f"CASE WHEN {source}.usage IS NOT NULL THEN coalesce(u.{name}, {default}) END"
        for name, default in zip(names, defaults, strict=True)
    )


_USAGE_COLUMNS = (
    "prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, usage_estimated"
)


def _answered(tokens: str) -> str:
    return (
        f"CASE WHEN w.attempt_count > 1 THEN a.{tokens} WHEN w.model IS NOT NULL THEN w.{tokens} END "
        f"AS answered_{tokens}"
    )


_IF_NEW = "ON CONFLICT DO NOTHING"
_CALLS = f"""
WITH incoming AS MATERIALIZED (
  SELECT coalesce(json_array_length(attempts), 0) AS attempt_count, c.*
  FROM json_to_recordset(%b) AS c(
    id uuid, started_at timestamptz, endpoint text, requested_model text, stream boolean, outcome text, status integer,
    latency double precision, source text, overhead double precision, time_to_first_token double precision, model text,
    decision json, attempts json, usage json, cost_usd numeric, run text, item text, session text,
    client_request_id text, error_type text, error_code text, error_message text, request_text text, reply_text text,
    prompt_hash text, writer text, number bigint)
), acknowledged AS ({ACKNOWLEDGE.format(kind="call", time="started_at")}), written AS (
  INSERT INTO calls (
    id, started_at, endpoint, requested_model, stream, outcome, status, latency, source, overhead, time_to_first_token,
    model, router, router_version, reason, tradeoff, decision, {_USAGE_COLUMNS}, cost_usd, run, item, session,
    client_request_id, error_type, error_code, error_message, request_text, reply_text, prompt_hash, attempt_count)
  SELECT
    c.id, started_at, endpoint, requested_model, stream, outcome, status, latency, source, overhead,
    time_to_first_token, left(model, {INDEXED_LETTERS}), left(d.router, {INDEXED_LETTERS}), d.version, d.reason,
    d.tradeoff, decision, {_usage("c")}, cost_usd, left(run, {INDEXED_LETTERS}), item, left(session, {INDEXED_LETTERS}),
    client_request_id, left(error_type, {INDEXED_LETTERS}), error_code, error_message, request_text, reply_text,
    prompt_hash, attempt_count
  FROM incoming AS c
    LEFT JOIN LATERAL json_to_record(c.decision) AS d(
      router text, version text, reason text, tradeoff double precision) ON true
    LEFT JOIN LATERAL json_to_record(c.usage) AS u({_USAGE}) ON true
  {_IF_NEW}
  RETURNING
    calls.id, calls.started_at, calls.router, calls.model, calls.outcome, calls.source, calls.run, calls.latency,
    calls.overhead, calls.prompt_tokens, calls.completion_tokens, calls.cached_tokens, calls.cost_usd,
    calls.attempt_count
), tried AS (
  INSERT INTO attempts (
    call_started_at, call_id, number, model, upstream, outcome, start_offset, latency, status, time_to_first_token,
    upstream_model, {_USAGE_COLUMNS}, cost_usd, price, finish_reason, error, sent)
  SELECT
    c.started_at, c.id, a.number, a.model, a.upstream, a.outcome, a."offset", a.latency, a.status,
    a.time_to_first_token, a.upstream_model, {_usage("a")}, a.cost_usd, a.price, a.finish_reason, a.error,
    coalesce(a.sent, true)
  FROM incoming AS c CROSS JOIN LATERAL ROWS FROM (json_to_recordset(c.attempts) AS (
      model text, upstream text, outcome text, "offset" double precision, latency double precision, status integer,
      time_to_first_token double precision, upstream_model text, usage json, cost_usd numeric, price json,
      finish_reason text, error text, sent boolean)) WITH ORDINALITY AS a(
      model, upstream, outcome, "offset", latency, status, time_to_first_token, upstream_model, usage, cost_usd, price,
      finish_reason, error, sent, number)
    LEFT JOIN LATERAL json_to_record(a.usage) AS u({_USAGE}) ON true
  {_IF_NEW}
), answers AS MATERIALIZED (
  -- The answer's own tokens, where a call's are those of several attempts.
  SELECT DISTINCT ON (c.id) c.id, coalesce(u.prompt_tokens, 0) AS prompt_tokens,
    coalesce(u.cached_tokens, 0) AS cached_tokens, coalesce(u.completion_tokens, 0) AS completion_tokens
  FROM incoming AS c
    CROSS JOIN LATERAL ROWS FROM (json_to_recordset(c.attempts) AS (model text, outcome text, usage json))
      WITH ORDINALITY AS a(model, outcome, usage, number)
    CROSS JOIN LATERAL json_to_record(a.usage) AS u(
      prompt_tokens bigint, completion_tokens bigint, cached_tokens bigint)
  WHERE c.attempt_count > 1 AND a.model = c.model AND a.usage IS NOT NULL
  ORDER BY c.id, a.outcome = 'ok' DESC, a.number DESC
), answered AS (
  SELECT w.*, {_answered("prompt_tokens")}, {_answered("cached_tokens")}, {_answered("completion_tokens")}
  FROM written AS w LEFT JOIN answers AS a USING (id)
), {rolled_up("answered")}
"""  # noqa: S608 -- only constants of this module are put in

_SCORES = f"""
WITH incoming AS MATERIALIZED (
  SELECT s.* FROM json_to_recordset(%b) AS s(
    id uuid, call_id uuid, name text, value double precision, source text, comment text, created_at timestamptz,
    writer text, number bigint)
), acknowledged AS ({ACKNOWLEDGE.format(kind="score", time="created_at")})
INSERT INTO scores (id, call_id, name, value, source, comment, created_at)
SELECT id, call_id, name, value, source, comment, created_at FROM incoming
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 -- only constants of this module are put in

# Looking before a row is written costs a server a tenth of all that a batch does, and next to no row is there already.
_NEW_CALLS = _CALLS.replace(_IF_NEW, "").encode()
_DAYS = b"""
SELECT DISTINCT (started_at AT TIME ZONE 'UTC')::date FROM json_to_recordset(%b) AS c(started_at timestamptz)
WHERE started_at IS NOT NULL
"""


async def ship(connection: Connection, kind: Kind, rows: Sequence[bytes]) -> None:
    """Write `rows`, each one JSON object, in one transaction: `connection` is in none. Raises what psycopg raises;
    nothing is written then."""
    if not rows:
        return
    batch = (Json(rows, dumps=_array),)
    if kind == "score":
        await connection.execute(_SCORES.encode(), batch)
        return
    try:
        await connection.execute(_NEW_CALLS, batch)
    except (CheckViolation, UniqueViolation):
        # The tables have no check of their own: a day has no partition yet, which happens once a day. Or a process died
        # between shipping rows and removing their segment. Or both.
        async with connection.transaction():
            found = await connection.execute(_DAYS, batch)
            await ensure(connection, [day for (day,) in await found.fetchall()])
            await connection.execute(_CALLS.encode(), batch)


def _array(rows: Sequence[bytes]) -> bytes:
    return b"[%b]" % b",".join(rows)
