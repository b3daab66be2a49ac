"""Results keep what judging them cost, apart from what the answers cost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("results", sa.Column("judge_cost_usd", sa.Numeric(), nullable=True))


def downgrade() -> None:
    op.drop_column("results", "judge_cost_usd")
