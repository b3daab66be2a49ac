"""New scores are found by their time: routers that learn while they serve look for them every other second."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_scores_created_at_id", "scores", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_scores_created_at_id", "scores")
