"""Calls and attempts are kept by the day, and added up in call_stats; decisions and prices are kept as text."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

USAGE = "prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, usage_estimated"
CALLS = (
    "id, started_at, endpoint, requested_model, stream, outcome, status, latency, source, overhead, "
    f"time_to_first_token, model, router, router_version, reason, tradeoff, {USAGE}, cost_usd, run, item, session, "
    "client_request_id, error_type, error_code, error_message, request_text, reply_text, prompt_hash"
)
ATTEMPTS = (
    "call_id, number, model, upstream, outcome, start_offset, latency, status, time_to_first_token, upstream_model, "
    f"{USAGE}, cost_usd, finish_reason, error"
)
KEY = "router, model, outcome, source, tagged"
SUMS = (
    "calls attempts latency overhead prompt_tokens completion_tokens cached_tokens cost_usd unpriced compared_calls "
    "compared_cost_usd compared_prompt_tokens compared_cached_tokens compared_completion_tokens"
).split()
BUCKETS = 27


def upgrade() -> None:
    op.execute("ALTER TABLE attempts DROP CONSTRAINT fk_attempts_call_id")
    _put_aside("attempts")
    _put_aside("calls")
    _create_calls("json", day=True)
    _create_attempts("json", day=True)
    _create_stats()
    _create_partitions()
    op.execute(
        f"INSERT INTO calls ({CALLS}, decision, attempt_count) SELECT {CALLS}, decision::json, "
        "(SELECT count(*) FROM old_attempts AS a WHERE a.call_id = c.id) FROM old_calls AS c"
    )
    op.execute(
        f"INSERT INTO attempts (call_started_at, {ATTEMPTS}, price) SELECT c.started_at, "
        f"{', '.join(f'a.{name.strip()}' for name in ATTEMPTS.split(','))}, a.price::json "
        "FROM old_attempts AS a JOIN old_calls AS c ON c.id = a.call_id"
    )
    _fill_stats()
    op.execute("DROP TABLE old_attempts")
    op.execute("DROP TABLE old_calls")


def downgrade() -> None:
    op.drop_table("call_stats")
    _put_aside("attempts")
    _put_aside("calls")
    _create_calls("jsonb", day=False)
    _create_attempts("jsonb", day=False)
    op.execute(f"INSERT INTO calls ({CALLS}, decision) SELECT {CALLS}, decision::jsonb FROM old_calls")
    op.execute(f"INSERT INTO attempts ({ATTEMPTS}, price) SELECT {ATTEMPTS}, price::jsonb FROM old_attempts")
    op.create_foreign_key("fk_attempts_call_id", "attempts", "calls", ["call_id"], ["id"], ondelete="CASCADE")
    op.execute("DROP TABLE old_attempts")
    op.execute("DROP TABLE old_calls")


def _put_aside(table: str) -> None:
    """Rename a table, and drop its indexes, whose names are wanted; the key of calls stays for a join."""
    op.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    op.execute(f"ALTER TABLE old_{table} RENAME CONSTRAINT pk_{table} TO pk_old_{table}")
    inspector = sa.inspect(op.get_bind())
    for index in inspector.get_indexes(f"old_{table}"):
        op.execute(f"DROP INDEX {index['name']}")


def _usage() -> list[sa.Column[Any]]:
    kinds = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
    return [*(sa.Column(kind, sa.BigInteger()) for kind in kinds), sa.Column("usage_estimated", sa.Boolean())]


def _json(kind: str) -> sa.types.TypeEngine[object]:
    return postgresql.JSON() if kind == "json" else postgresql.JSONB()


def _create_calls(json: str, *, day: bool) -> None:
    op.create_table(
        "calls",
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("requested_model", sa.Text(), nullable=False),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("latency", sa.Double(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("overhead", sa.Double()),
        sa.Column("time_to_first_token", sa.Double()),
        sa.Column("model", sa.Text()),
        sa.Column("router", sa.Text()),
        sa.Column("router_version", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("tradeoff", sa.Double()),
        sa.Column("decision", _json(json)),
        *_usage(),
        sa.Column("cost_usd", sa.Numeric()),
        sa.Column("run", sa.Text()),
        sa.Column("item", sa.Text()),
        sa.Column("session", sa.Text()),
        sa.Column("client_request_id", sa.Text()),
        sa.Column("error_type", sa.Text()),
        sa.Column("error_code", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("request_text", sa.Text()),
        sa.Column("reply_text", sa.Text()),
        sa.Column("prompt_hash", sa.Text()),
        *([sa.Column("attempt_count", sa.Integer(), nullable=False)] if day else []),
        sa.PrimaryKeyConstraint(*(["started_at", "id"] if day else ["id"]), name="pk_calls"),
        postgresql_partition_by="RANGE (started_at)" if day else None,
    )
    for name in ("model", "router"):
        op.create_index(f"ix_calls_{name}_started_at_id", "calls", [name, "started_at", "id"])
    for name in ("run", "session", *(["error_type"] if day else [])):
        op.create_index(
            f"ix_calls_{name}_started_at_id",
            "calls",
            [name, "started_at", "id"],
            postgresql_where=sa.text(f"{name} IS NOT NULL"),
        )
    where = sa.text("outcome <> 'ok'") if day else None
    op.create_index("ix_calls_outcome_started_at_id", "calls", ["outcome", "started_at", "id"], postgresql_where=where)
    if day:
        op.create_index("ix_calls_id", "calls", ["id"])
        many = sa.text("attempt_count > 1")
        op.create_index("ix_calls_retried", "calls", ["started_at", "id", "attempt_count"], postgresql_where=many)
    else:
        op.create_index("ix_calls_started_at_id", "calls", ["started_at", "id"])


def _create_attempts(json: str, *, day: bool) -> None:
    op.create_table(
        "attempts",
        *([sa.Column("call_started_at", sa.TIMESTAMP(timezone=True), nullable=False)] if day else []),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("start_offset", sa.Double(), nullable=False),
        sa.Column("latency", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("time_to_first_token", sa.Double()),
        sa.Column("upstream_model", sa.Text()),
        *_usage(),
        sa.Column("cost_usd", sa.Numeric()),
        sa.Column("price", _json(json)),
        sa.Column("finish_reason", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint(*(["call_started_at"] if day else []), "call_id", "number", name="pk_attempts"),
        postgresql_partition_by="RANGE (call_started_at)" if day else None,
    )


def _create_stats() -> None:
    op.create_table(
        "call_stats",
        sa.Column("seconds", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("began_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("router", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("tagged", sa.Boolean(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("latency", sa.Double(), nullable=False),
        sa.Column("overhead", sa.Double(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), nullable=False),
        sa.Column("compared_calls", sa.BigInteger(), nullable=False),
        sa.Column("compared_cost_usd", sa.Numeric(), nullable=False),
        sa.Column("compared_prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("compared_cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("compared_completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("latency_counts", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("overhead_counts", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.PrimaryKeyConstraint(
            "seconds", "began_at", "router", "model", "outcome", "source", "tagged", name="pk_call_stats"
        ),
        postgresql_with={"fillfactor": 50},
    )


def _create_partitions() -> None:
    found = op.get_bind().execute(sa.text("SELECT DISTINCT (started_at AT TIME ZONE 'UTC')::date FROM old_calls"))
    for (day,) in found.all():
        assert isinstance(day, date)
        for table in ("calls", "attempts"):
            op.execute(
                f"CREATE TABLE {table}_{day.isoformat().replace('-', '')} PARTITION OF {table} "
                f"FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
            )


def _fill_stats() -> None:
    """As the writer does from then on, for what is there."""
    compared = "FILTER (WHERE cost_usd IS NOT NULL AND answered_prompt_tokens IS NOT NULL)"
    answered = ", ".join(
        f"CASE WHEN c.attempt_count > 1 THEN a.{kind} WHEN c.model IS NOT NULL THEN c.{kind} END AS answered_{kind}"
        for kind in ("prompt_tokens", "cached_tokens", "completion_tokens")
    )
    op.execute(f"""
INSERT INTO call_stats (seconds, began_at, {KEY}, {", ".join(SUMS)}, latency_counts, overhead_counts)
SELECT
  seconds, date_bin(make_interval(secs => seconds), started_at, TIMESTAMPTZ '2000-01-01 00:00:00Z'),
  coalesce(router, ''), coalesce(model, ''), outcome, source, run IS NOT NULL, count(*), sum(attempt_count),
  sum(latency), coalesce(sum(overhead), 0), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0),
  coalesce(sum(cached_tokens), 0), coalesce(sum(cost_usd), 0), count(prompt_tokens) FILTER (WHERE cost_usd IS NULL),
  count(*) {compared}, coalesce(sum(cost_usd) {compared}, 0), coalesce(sum(answered_prompt_tokens) {compared}, 0),
  coalesce(sum(answered_cached_tokens) {compared}, 0), coalesce(sum(answered_completion_tokens) {compared}, 0),
  {_counts("latency_bucket")}, {_counts("overhead_bucket")}
FROM (
  SELECT c.*, {answered}, {_bucket("c.latency", 0.005)} AS latency_bucket,
    {_bucket("c.overhead", 0.00005)} AS overhead_bucket
  FROM calls AS c LEFT JOIN (
    SELECT DISTINCT ON (a.call_id) a.call_id, a.prompt_tokens, a.cached_tokens, a.completion_tokens
    FROM attempts AS a JOIN calls AS c ON c.started_at = a.call_started_at AND c.id = a.call_id
    WHERE c.attempt_count > 1 AND a.model = c.model AND a.usage_estimated IS NOT NULL
    ORDER BY a.call_id, a.outcome = 'ok' DESC, a.number DESC
  ) AS a ON a.call_id = c.id
) AS c CROSS JOIN (VALUES (60), (3600), (86400)) AS widths(seconds)
WHERE seconds > 60 OR started_at > now() - INTERVAL '2 days'
GROUP BY 1, 2, 3, 4, 5, 6, 7
""")


def _bucket(seconds: str, first: float) -> str:
    return f"least(greatest(ceil(5 * log(greatest({seconds} / {first}, 1e-9))), 0), {BUCKETS - 1})::integer"


def _counts(bucket: str) -> str:
    counts = ", ".join(f"count(*) FILTER (WHERE {bucket} = {place})" for place in range(BUCKETS))
    return f"ARRAY[{counts}]::integer[]"
