"""Results may keep what the model said and how many tokens that took: a recording is made of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("results", sa.Column("reply", sa.Text(), nullable=True))
    op.add_column("results", sa.Column("prompt_tokens", sa.BigInteger(), nullable=True))
    op.add_column("results", sa.Column("completion_tokens", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("results", "completion_tokens")
    op.drop_column("results", "prompt_tokens")
    op.drop_column("results", "reply")
