"""The first schema: the ledger (calls, attempts, scores), suites with their outcomes, runs with their results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("requested_model", sa.Text(), nullable=False),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("latency", sa.Double(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("overhead", sa.Double(), nullable=True),
        sa.Column("time_to_first_token", sa.Double(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("router", sa.Text(), nullable=True),
        sa.Column("router_version", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("tradeoff", sa.Double(), nullable=True),
        sa.Column("decision", postgresql.JSONB(), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True),
        sa.Column("usage_estimated", sa.Boolean(), nullable=True),
        sa.Column("cost_usd", sa.Numeric(), nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("item", sa.Text(), nullable=True),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("client_request_id", sa.Text(), nullable=True),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("request_text", sa.Text(), nullable=True),
        sa.Column("reply_text", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calls")),
    )
    op.create_index(op.f("ix_calls_model_started_at_id"), "calls", ["model", "started_at", "id"], unique=False)
    op.create_index(op.f("ix_calls_outcome_started_at_id"), "calls", ["outcome", "started_at", "id"], unique=False)
    op.create_index(op.f("ix_calls_router_started_at_id"), "calls", ["router", "started_at", "id"], unique=False)
    op.create_index(
        op.f("ix_calls_run_started_at_id"),
        "calls",
        ["run", "started_at", "id"],
        unique=False,
        postgresql_where=sa.text("run IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_calls_session_started_at_id"),
        "calls",
        ["session", "started_at", "id"],
        unique=False,
        postgresql_where=sa.text("session IS NOT NULL"),
    )
    op.create_index(op.f("ix_calls_started_at_id"), "calls", ["started_at", "id"], unique=False)
    op.create_table(
        "scores",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scores")),
    )
    op.create_index(op.f("ix_scores_call_id_created_at"), "scores", ["call_id", "created_at"], unique=False)
    op.create_table(
        "suites",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("grader", sa.Text(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("models", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suites")),
        sa.UniqueConstraint("name", name=op.f("uq_suites_name")),
    )
    op.create_table(
        "attempts",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("start_offset", sa.Double(), nullable=False),
        sa.Column("latency", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("time_to_first_token", sa.Double(), nullable=True),
        sa.Column("upstream_model", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True),
        sa.Column("usage_estimated", sa.Boolean(), nullable=True),
        sa.Column("cost_usd", sa.Numeric(), nullable=True),
        sa.Column("price", postgresql.JSONB(), nullable=True),
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], name=op.f("fk_attempts_call_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("call_id", "number", name=op.f("pk_attempts")),
    )
    op.create_table(
        "items",
        sa.Column("suite_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("messages", postgresql.JSON(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("grader", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["suite_id"], ["suites.id"], name=op.f("fk_items_suite_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("suite_id", "position", name=op.f("pk_items")),
        sa.UniqueConstraint("suite_id", "id", name=op.f("uq_items_suite_id_id")),
    )
    op.create_table(
        "outcomes",
        sa.Column("suite_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("quality", sa.Double(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["suite_id"], ["suites.id"], name=op.f("fk_outcomes_suite_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("suite_id", "position", "model", name=op.f("pk_outcomes")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("suite", sa.Text(), nullable=False),
        sa.Column("suite_id", sa.Uuid(), nullable=True),
        sa.Column("suite_digest", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("spec", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("report", postgresql.JSON(), nullable=True),
        sa.CheckConstraint("status IN ('running', 'done', 'failed')", name=op.f("ck_runs_status")),
        sa.ForeignKeyConstraint(["suite_id"], ["suites.id"], name=op.f("fk_runs_suite_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_created_at_id"), "runs", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_runs_suite_id"), "runs", ["suite_id"], unique=False)
    op.create_table(
        "results",
        sa.Column("run", sa.Uuid(), nullable=False),
        sa.Column("router", sa.Text(), nullable=False),
        sa.Column("tradeoff", sa.Double(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("quality", sa.Double(), nullable=True),
        sa.Column("cost_usd", sa.Numeric(), nullable=True),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("latency", sa.Double(), nullable=True),
        sa.Column("overhead", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_results_run"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "router", "tradeoff", "item", name=op.f("pk_results")),
    )


def downgrade() -> None:
    op.drop_table("results")
    op.drop_index(op.f("ix_runs_suite_id"), table_name="runs")
    op.drop_index(op.f("ix_runs_created_at_id"), table_name="runs")
    op.drop_table("runs")
    op.drop_table("outcomes")
    op.drop_table("items")
    op.drop_table("attempts")
    op.drop_table("suites")
    op.drop_index(op.f("ix_scores_call_id_created_at"), table_name="scores")
    op.drop_table("scores")
    op.drop_index(op.f("ix_calls_started_at_id"), table_name="calls")
    op.drop_index(
        op.f("ix_calls_session_started_at_id"), table_name="calls", postgresql_where=sa.text("session IS NOT NULL")
    )
    op.drop_index(op.f("ix_calls_run_started_at_id"), table_name="calls", postgresql_where=sa.text("run IS NOT NULL"))
    op.drop_index(op.f("ix_calls_router_started_at_id"), table_name="calls")
    op.drop_index(op.f("ix_calls_outcome_started_at_id"), table_name="calls")
    op.drop_index(op.f("ix_calls_model_started_at_id"), table_name="calls")
    op.drop_table("calls")
