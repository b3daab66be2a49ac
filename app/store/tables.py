"""The tables. Columns carry the names of `app.core.types`; durations are seconds, money is USD.

Money is `numeric` without a precision, so a `Decimal` comes back as it went in. Quality and cost of recorded outcomes
are `double precision`, which holds a Python float exactly. JSON that is only ever read back whole (messages, reports)
is `json`, which keeps the text as it was written; JSON that is compared or looked into is `jsonb`. Decisions and price
snapshots are `json` though now and then looked into: taking them apart costs a batch of calls a third of its time.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, INT8MULTIRANGE, JSON, JSONB

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _id(name: str, *, key: bool = False, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Uuid(as_uuid=False), primary_key=key, nullable=nullable)


def _time(name: str, *, key: bool = False, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.TIMESTAMP(timezone=True), primary_key=key, nullable=nullable)


def _tokens() -> list[sa.Column[int]]:
    """Tokens as `app.core.types.Usage` has them; all null where there is no usage."""
    kinds = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
    return [sa.Column(kind, sa.BigInteger) for kind in kinds]


calls = sa.Table(
    "calls",
    metadata,
    _time("started_at", key=True),  # first, so that the key is the order of every list of calls, and must hold the day
    _id("id", key=True),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("requested_model", sa.Text, nullable=False),
    sa.Column("stream", sa.Boolean, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("latency", sa.Double, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("overhead", sa.Double),
    sa.Column("time_to_first_token", sa.Double),
    sa.Column("model", sa.Text),
    sa.Column("router", sa.Text),
    sa.Column("router_version", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("tradeoff", sa.Double),
    sa.Column("decision", JSON(none_as_null=True)),
    *_tokens(),
    sa.Column("usage_estimated", sa.Boolean),
    sa.Column("cost_usd", sa.Numeric),
    sa.Column("run", sa.Text),
    sa.Column("item", sa.Text),
    sa.Column("session", sa.Text),
    sa.Column("client_request_id", sa.Text),
    sa.Column("error_type", sa.Text),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("request_text", sa.Text),
    sa.Column("reply_text", sa.Text),
    sa.Column("prompt_hash", sa.Text),
    sa.Column("attempt_count", sa.Integer, nullable=False),
    postgresql_partition_by="RANGE (started_at)",
)
# Every list of calls is newest first and paged by (started_at, id), so each filter's index ends in that pair. Most
# calls are in none of the partial ones, and pay nothing for them.
sa.Index(None, calls.c.id)
sa.Index(None, calls.c.model, calls.c.started_at, calls.c.id)
sa.Index(None, calls.c.router, calls.c.started_at, calls.c.id)
sa.Index(None, calls.c.outcome, calls.c.started_at, calls.c.id, postgresql_where=sa.text("outcome <> 'ok'"))
sa.Index(None, calls.c.error_type, calls.c.started_at, calls.c.id, postgresql_where=calls.c.error_type.is_not(None))
sa.Index(None, calls.c.run, calls.c.started_at, calls.c.id, postgresql_where=calls.c.run.is_not(None))
sa.Index(None, calls.c.session, calls.c.started_at, calls.c.id, postgresql_where=calls.c.session.is_not(None))
sa.Index(
    "ix_calls_retried",
    calls.c.started_at,
    calls.c.id,
    calls.c.attempt_count,
    postgresql_where=sa.text("attempt_count > 1"),
)

# No foreign key to calls: both are written by one statement and dropped by the day, and the check would cost more than
# the row.
attempts = sa.Table(
    "attempts",
    metadata,
    _time("call_started_at", key=True),
    _id("call_id", key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # from 1, in the order they began
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("upstream", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("start_offset", sa.Double, nullable=False),  # `offset` is a keyword of SQL
    sa.Column("latency", sa.Double, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("time_to_first_token", sa.Double),
    sa.Column("upstream_model", sa.Text),
    *_tokens(),
    sa.Column("usage_estimated", sa.Boolean),
    sa.Column("cost_usd", sa.Numeric),
    sa.Column("price", JSON(none_as_null=True)),
    sa.Column("finish_reason", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("sent", sa.Boolean, nullable=False, server_default=sa.true()),  # the request went out whole
    postgresql_partition_by="RANGE (call_started_at)",
)

# What pages show of many calls: added up by the statement that writes them, in the same transaction. Each call counts
# three times, for its minute, its hour and its day (UTC), so that any period is read from a few thousand rows.
call_stats = sa.Table(
    "call_stats",
    metadata,
    sa.Column("seconds", sa.Integer, primary_key=True, autoincrement=False),  # 60, 3600 or 86400
    _time("began_at", key=True),
    sa.Column("router", sa.Text, primary_key=True),  # "" where nothing was decided
    sa.Column("model", sa.Text, primary_key=True),  # that answered; "" where none did
    sa.Column("outcome", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("tagged", sa.Boolean, primary_key=True),  # part of a run
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.BigInteger, nullable=False),
    sa.Column("latency", sa.Double, nullable=False),  # sums, as all that follow
    sa.Column("overhead", sa.Double, nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost_usd", sa.Numeric, nullable=False),
    sa.Column("unpriced", sa.BigInteger, nullable=False),  # calls with tokens and no known cost
    # Of the calls that a model answered at a known cost, with the tokens of that answer alone: what another model would
    # have cost in its place is reckoned from them.
    sa.Column("compared_calls", sa.BigInteger, nullable=False),
    sa.Column("compared_cost_usd", sa.Numeric, nullable=False),
    sa.Column("compared_prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("compared_cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("compared_completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("latency_counts", ARRAY(sa.Integer), nullable=False),  # see `app.store.histograms`
    sa.Column("overhead_counts", ARRAY(sa.Integer), nullable=False),
    postgresql_with={"fillfactor": 50},  # rows are updated again and again while their time lasts
)

# No foreign key to calls: a score may reach Postgres before its call does, because the two may come from different
# processes, each with a journal of its own.
scores = sa.Table(
    "scores",
    metadata,
    _id("id", key=True),
    _id("call_id"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("comment", sa.Text),
    _time("created_at"),
    # When Postgres took it: a journal may hold a score back for as long as Postgres or a machine is away.
    sa.Column("shipped_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
)
sa.Index(None, scores.c.call_id, scores.c.created_at)
sa.Index(None, scores.c.created_at, scores.c.id)
sa.Index(None, scores.c.shipped_at, scores.c.id)

# The numbers of each writer's rows (see `app.store.receipts`), by the UTC day of the row.
receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("writer", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("numbers", INT8MULTIRANGE, nullable=False),
)

suites = sa.Table(
    "suites",
    metadata,
    _id("id", key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("grader", sa.Text),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("models", ARRAY(sa.Text)),  # null where nothing is recorded
    _time("created_at"),
)


def _suite_id() -> sa.Column[str]:
    return sa.Column(
        "suite_id", sa.Uuid(as_uuid=False), sa.ForeignKey("suites.id", ondelete="CASCADE"), primary_key=True
    )


items = sa.Table(
    "items",
    metadata,
    _suite_id(),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),  # from 0
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("messages", JSON, nullable=False),
    sa.Column("target", sa.Text),
    sa.Column("grader", sa.Text),
    sa.UniqueConstraint("suite_id", "id"),
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    _suite_id(),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),  # of the item
    sa.Column("model", sa.Integer, primary_key=True, autoincrement=False),  # place in suites.models, from 0
    sa.Column("quality", sa.Double, nullable=False),  # NaN where it was not judged
    sa.Column("cost", sa.Double, nullable=False),  # USD; NaN where unknown
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("reply", sa.Text),
)

runs = sa.Table(
    "runs",
    metadata,
    _id("id", key=True),
    sa.Column("suite", sa.Text, nullable=False),  # its name
    # A run outlives the suite it was made on: its results are kept when the suite is deleted or replaced.
    sa.Column("suite_id", sa.Uuid(as_uuid=False), sa.ForeignKey("suites.id", ondelete="SET NULL")),
    sa.Column("suite_digest", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("spec", JSONB, nullable=False),
    _time("created_at"),
    _time("finished_at", nullable=True),
    sa.Column("report", JSON(none_as_null=True)),
    sa.CheckConstraint("status IN ('running', 'done', 'failed')", name="status"),
)
sa.Index(None, runs.c.created_at, runs.c.id)
sa.Index(None, runs.c.suite_id)

results = sa.Table(
    "results",
    metadata,
    sa.Column("run", sa.Uuid(as_uuid=False), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("router", sa.Text, primary_key=True),
    sa.Column("tradeoff", sa.Double, primary_key=True),
    sa.Column("item", sa.Text, primary_key=True),
    _id("call_id", nullable=True),
    sa.Column("model", sa.Text),
    sa.Column("quality", sa.Double),
    sa.Column("cost_usd", sa.Numeric),
    sa.Column("answered", sa.Boolean, nullable=False),
    sa.Column("latency", sa.Double),
    sa.Column("overhead", sa.Double),
    sa.Column("error", sa.Text),
    sa.Column("reply", sa.Text),  # kept by a recording alone
    sa.Column("prompt_tokens", sa.BigInteger),
    sa.Column("completion_tokens", sa.BigInteger),
    sa.Column("judge_cost_usd", sa.Numeric),  # null where no model judged, or at an unknown price
)

# Replies to requests with an Idempotency-Key. Written by those requests only, and deleted when their time is over.
kept_replies = sa.Table(
    "kept_replies",
    metadata,
    sa.Column("key", sa.LargeBinary, primary_key=True),  # SHA-256 of the client's API key, endpoint and key
    sa.Column("request", sa.LargeBinary, nullable=False),  # SHA-256 of the request's body
    _id("call_id"),
    _time("held_until"),  # while the call runs it is put off again and again
    _time("expires_at"),
    sa.Column("stream", sa.Boolean),  # this and the rest are null while the call runs
    sa.Column("headers", JSONB(none_as_null=True)),
    sa.Column("body", sa.LargeBinary),
)
sa.Index(None, kept_replies.c.expires_at)
