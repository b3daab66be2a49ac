"""What was received of each writer, number by number: `hullspeed ledger verify` finds a lost row by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "receipts",
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("numbers", postgresql.INT8MULTIRANGE(), nullable=False),
        sa.PrimaryKeyConstraint("writer", "kind", "day", name=op.f("pk_receipts")),
    )


def downgrade() -> None:
    op.drop_table("receipts")
