"""A call tagged as part of a run keeps a digest of what was asked: a harness's log is matched by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("prompt_hash", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("calls", "prompt_hash")
