"""Releases with preconditions, notice and consent."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0005"
down_revision: Final = "0004"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.add_column("release", sa.Column("terms", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("release", "terms")
