"""Wireless diagnostics: jobs, plans, signals, and what was dropped."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"
branch_labels: Final = None
depends_on: Final = None


def _sequence() -> sa.Column[int]:
    return sa.Column(
        "sequence",
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        autoincrement=True,
        nullable=False,
    )


def upgrade() -> None:
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.add_column(sa.Column("number", sa.BigInteger(), nullable=True))
        batch_op.create_index(batch_op.f("ix_snapshot_vin_number"), ["vin", "number"], unique=False)

    for table, identifier in (
        ("diagnostic_job", "job_id"),
        ("signal_subscription", "subscription_id"),
    ):
        op.create_table(
            table,
            _sequence(),
            sa.Column("vin", sa.String(length=17), nullable=False),
            sa.Column(identifier, sa.Text(), nullable=False),
            sa.Column("request_id", sa.Text(), nullable=True),
            sa.Column("state", sa.SmallInteger(), nullable=False),
            sa.Column("document", sa.LargeBinary(), nullable=False),
            sa.ForeignKeyConstraint(["vin"], ["vehicle.vin"], name=op.f(f"fk_{table}_vin")),
            sa.PrimaryKeyConstraint("sequence", name=op.f(f"pk_{table}")),
            sa.UniqueConstraint("vin", identifier, name=op.f(f"uq_{table}_vin_{identifier}")),
            sa.UniqueConstraint("vin", "request_id", name=op.f(f"uq_{table}_vin_request_id")),
        )
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.create_index(
                batch_op.f(f"ix_{table}_vin_state"), ["vin", "state"], unique=False
            )

    op.create_table(
        "diagnostic_plan",
        sa.Column("vin", sa.String(length=17), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["vin"], ["vehicle.vin"], name=op.f("fk_diagnostic_plan_vin")),
        sa.PrimaryKeyConstraint("vin", name=op.f("pk_diagnostic_plan")),
    )
    op.create_table(
        "signal_batch",
        _sequence(),
        sa.Column("vin", sa.String(length=17), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["vin"], ["vehicle.vin"], name=op.f("fk_signal_batch_vin")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_signal_batch")),
        sa.UniqueConstraint(
            "vin",
            "subscription_id",
            "time_us",
            name=op.f("uq_signal_batch_vin_subscription_id_time_us"),
        ),
    )
    with op.batch_alter_table("signal_batch", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_signal_batch_vin_number"), ["vin", "number"], unique=False
        )
    op.create_table(
        "diagnostic_gap",
        sa.Column("vin", sa.String(length=17), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["vin"], ["vehicle.vin"], name=op.f("fk_diagnostic_gap_vin")),
        sa.PrimaryKeyConstraint("vin", "number", name=op.f("pk_diagnostic_gap")),
    )


def downgrade() -> None:
    for table in (
        "diagnostic_gap",
        "signal_batch",
        "diagnostic_plan",
        "signal_subscription",
        "diagnostic_job",
    ):
        op.drop_table(table)
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_snapshot_vin_number"))
        batch_op.drop_column("number")
