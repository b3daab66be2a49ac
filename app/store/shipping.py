"""From journal lines to rows: a batch is COPYed as it stands, then one statement spreads it over the tables.

A line goes to Postgres as the JSON it was journalled as, and Postgres takes it apart. So this process spends next to
nothing on a row, rows from memory and rows from disk go the same way, and a line written by an older version still
ships: what it lacks becomes null. Rows that are there already are left alone, so a batch may be shipped twice.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal

import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.receipts import ACKNOWLEDGE

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

_CALLS = f"""
WITH incoming AS MATERIALIZED (
  SELECT c.* FROM shipped_calls CROSS JOIN LATERAL json_to_record(line) AS c(
    id uuid, started_at timestamptz, endpoint text, requested_model text, stream boolean, outcome text, status integer,
    latency double precision, source text, overhead double precision, time_to_first_token double precision, model text,
    decision jsonb, attempts jsonb, usage jsonb, cost_usd numeric, run text, item text, session text,
    client_request_id text, error_type text, error_code text, error_message text, request_text text, reply_text text,
    prompt_hash text, writer text, number bigint)
), acknowledged AS ({ACKNOWLEDGE.format(kind="call", time="started_at")}), written AS (
  INSERT INTO calls (
    id, started_at, endpoint, requested_model, stream, outcome, status, latency, source, overhead, time_to_first_token,
    model, router, router_version, reason, tradeoff, decision, {_USAGE_COLUMNS}, cost_usd, run, item, session,
    client_request_id, error_type, error_code, error_message, request_text, reply_text, prompt_hash)
  SELECT
    c.id, started_at, endpoint, requested_model, stream, outcome, status, latency, source, overhead,
    time_to_first_token, left(model, {INDEXED_LETTERS}), left(decision->>'router', {INDEXED_LETTERS}),
    decision->>'version', decision->>'reason', (decision->>'tradeoff')::double precision, decision, {_usage("c")},
    cost_usd, left(run, {INDEXED_LETTERS}), item, left(session, {INDEXED_LETTERS}), client_request_id, error_type,
    error_code, error_message, request_text, reply_text, prompt_hash
  FROM incoming AS c LEFT JOIN LATERAL jsonb_to_record(c.usage) AS u({_USAGE}) ON true
  ON CONFLICT (id) DO NOTHING
)
INSERT INTO attempts (
  call_id, number, model, upstream, outcome, start_offset, latency, status, time_to_first_token, upstream_model,
  {_USAGE_COLUMNS}, cost_usd, price, finish_reason, error)
SELECT
  c.id, a.number, a.model, a.upstream, a.outcome, a."offset", a.latency, a.status, a.time_to_first_token,
  a.upstream_model, {_usage("a")}, a.cost_usd, a.price, a.finish_reason, a.error
FROM incoming AS c CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(c.attempts) AS (
    model text, upstream text, outcome text, "offset" double precision, latency double precision, status integer,
    time_to_first_token double precision, upstream_model text, usage jsonb, cost_usd numeric, price jsonb,
    finish_reason text, error text)) WITH ORDINALITY AS a(
    model, upstream, outcome, "offset", latency, status, time_to_first_token, upstream_model, usage, cost_usd, price,
    finish_reason, error, number)
  LEFT JOIN LATERAL jsonb_to_record(a.usage) AS u({_USAGE}) ON true
ON CONFLICT (call_id, number) DO NOTHING
"""  # noqa: S608 -- only constants of this module are put in

_SCORES = f"""
WITH incoming AS MATERIALIZED (
  SELECT s.* FROM shipped_scores CROSS JOIN LATERAL json_to_record(line) AS s(
    id uuid, call_id uuid, name text, value double precision, source text, comment text, created_at timestamptz,
    writer text, number bigint)
), acknowledged AS ({ACKNOWLEDGE.format(kind="score", time="created_at")})
INSERT INTO scores (id, call_id, name, value, source, comment, created_at)
SELECT id, call_id, name, value, source, comment, created_at FROM incoming
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 -- only constants of this module are put in

_TABLES: dict[Kind, str] = {"call": "shipped_calls", "score": "shipped_scores"}
_STATEMENTS: dict[Kind, str] = {"call": _CALLS, "score": _SCORES}

# PostgreSQL's binary COPY format (documentation of COPY, "Binary Format"): header, tuples of one field, trailer.
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
# Rows handed to the driver at once: buffers of megabytes cost more in page faults than the copying itself.
_CHUNK = 64
_FIELD = struct.Struct("!hi").pack


async def ship(connection: AsyncConnection, kind: Kind, lines: Sequence[bytes]) -> None:
    """Write journal lines of one kind. Raises what psycopg and SQLAlchemy raise; nothing is written then."""
    if not lines:
        return
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)
    table = _TABLES[kind]
    async with raw.cursor() as cursor:
        # Dropped at the commit rather than kept with the session: a pooler may hand the session to somebody else.
        await cursor.execute(f"CREATE TEMP TABLE {table} (line json) ON COMMIT DROP".encode())
        async with cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)".encode()) as copy:
            await copy.write(_HEADER)
            for start in range(0, len(lines), _CHUNK):
                chunk = lines[start : start + _CHUNK]
                # The letter before the JSON says the kind.
                await copy.write(b"".join([_FIELD(1, len(line) - 1) + line[1:] for line in chunk]))
            await copy.write(_TRAILER)
    await connection.exec_driver_sql(_STATEMENTS[kind])
