"""ECUs that stay in their boot loader, and parts that a workshop has replaced."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.add_column("ecu", sa.Column("intended_sha256", sa.LargeBinary(), nullable=True))
    for column in ("reported_hardware_id", "reported_serial_number"):
        op.add_column("ecu", sa.Column(column, sa.Text(), nullable=False, server_default=""))
    op.execute("UPDATE ecu SET intended_sha256 = image_sha256")


def downgrade() -> None:
    for column in ("reported_serial_number", "reported_hardware_id", "intended_sha256"):
        op.drop_column("ecu", column)
