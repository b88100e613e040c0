"""Campaigns that are cancelled or superseded: what was handed out, and what was taken back."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.add_column("campaign", sa.Column("cancelled_us", sa.BigInteger(), nullable=True))
    op.add_column("assignment", sa.Column("offered_us", sa.BigInteger(), nullable=True))
    op.add_column(
        "assignment",
        sa.Column("withdrawal", sa.SmallInteger(), nullable=False, server_default="0"),
    )
    op.add_column(
        "assignment", sa.Column("superseded_by", sa.Text(), nullable=False, server_default="")
    )
    # What was started before may have been handed out.
    op.execute("UPDATE assignment SET offered_us = updated_us WHERE phase NOT IN (0, 7)")


def downgrade() -> None:
    for column in ("superseded_by", "withdrawal", "offered_us"):
        op.drop_column("assignment", column)
    op.drop_column("campaign", "cancelled_us")
