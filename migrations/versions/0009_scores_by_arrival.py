"""When Postgres took each score: routers that learn while they serve look for new ones by it, so a late one is learned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Those that are there count as received now, which writes no row anew.
    op.add_column(
        "scores", sa.Column("shipped_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now())
    )
    op.alter_column("scores", "shipped_at", server_default=sa.func.clock_timestamp())
    op.create_index("ix_scores_shipped_at_id", "scores", ["shipped_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_scores_shipped_at_id", "scores")
    op.drop_column("scores", "shipped_at")
