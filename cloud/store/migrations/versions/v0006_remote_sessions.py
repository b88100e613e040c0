"""Remote sessions: testers that reach a vehicle by way of the cloud."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0006"
down_revision: Final = "0005"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.create_table(
        "remote_session",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("vin", sa.String(length=17), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["vin"], ["vehicle.vin"], name=op.f("fk_remote_session_vin")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_remote_session")),
        sa.UniqueConstraint("vin", "session_id", name=op.f("uq_remote_session_vin_session_id")),
    )
    op.create_index(
        op.f("ix_remote_session_vin_state"), "remote_session", ["vin", "state"], unique=False
    )


def downgrade() -> None:
    op.drop_table("remote_session")
