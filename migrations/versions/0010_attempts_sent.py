"""Whether the request of an attempt went out: what a provider has seen can be counted in the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of those that are there nobody knows; nearly all were.
    op.add_column("attempts", sa.Column("sent", sa.Boolean(), nullable=False, server_default=sa.true()))


def downgrade() -> None:
    op.drop_column("attempts", "sent")
