"""The tables as the code sees them; `migrations/` makes and changes them.

Dates are microseconds since 1970 in UTC, digests raw bytes. A campaign is started by changing its
one row and the rows of its assignments; reports never take an assignment backwards.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite numbers rows by itself only in a column of exactly this type.
_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")

vehicle = Table(
    "vehicle",
    metadata,
    Column("vin", String(17), primary_key=True),
    Column("model", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("last_seen_us", BigInteger),
)

ecu = Table(
    "ecu",
    metadata,
    Column("vin", ForeignKey("vehicle.vin"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("hardware_id", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("wire", Text, nullable=False),
    Column("single_slot", Boolean, nullable=False),
    Column("application_base", BigInteger, nullable=False),
    Column("slot_size", BigInteger, nullable=False),
    Column("software_number", Text, nullable=False),
    Column("software_version", Text, nullable=False),
    Column("supplier_version", Text, nullable=False),
    Column("image_sha256", LargeBinary),
    Column("intended_sha256", LargeBinary),
    Column("reported_hardware_id", Text, nullable=False, server_default=""),
    Column("reported_serial_number", Text, nullable=False, server_default=""),
    Column("inventory_error", Text, nullable=False),
    Column("inventory_us", BigInteger),
)

release = Table(
    "release",
    metadata,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("release_id", Text, nullable=False, unique=True),
    Column("version", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    #: A document of its terms; empty for what was published before there were any.
    Column("terms", LargeBinary),
)

image = Table(
    "image",
    metadata,
    Column("release_id", ForeignKey("release.release_id"), primary_key=True),
    Column("hardware_id", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("format", SmallInteger, nullable=False),
    Column("file_size", BigInteger, nullable=False),
    Column("file_sha256", LargeBinary, nullable=False),
    Column("address", BigInteger, nullable=False),
    Column("image_size", BigInteger, nullable=False),
    Column("image_sha256", LargeBinary, nullable=False),
    Column("declared_hardware_id", Text, nullable=False),
    Column("software_number", Text, nullable=False),
    Column("software_version", Text, nullable=False),
    Column("supplier_version", Text, nullable=False),
    Column("signed", Boolean, nullable=False),
    Index(None, "image_sha256"),
    Index(None, "file_sha256"),
)

campaign = Table(
    "campaign",
    metadata,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("campaign_id", Text, nullable=False, unique=True),
    Column("release_id", ForeignKey("release.release_id"), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("started_us", BigInteger),
    Column("finished_us", BigInteger),
    Column("cancelled_us", BigInteger),
)

assignment = Table(
    "assignment",
    metadata,
    Column("campaign_id", ForeignKey("campaign.campaign_id"), primary_key=True),
    Column("vin", ForeignKey("vehicle.vin"), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("phase", SmallInteger, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("progress_sequence", BigInteger, nullable=False),
    Column("updated_us", BigInteger),
    #: When a gateway was first given the offer; empty: no vehicle can have begun.
    Column("offered_us", BigInteger),
    Column("withdrawal", SmallInteger, nullable=False, server_default="0"),
    Column("superseded_by", Text, nullable=False, server_default=""),
    Index(None, "vin", "phase"),
    Index(None, "campaign_id", "phase"),
)

#: What an assignment changes, settled when its campaign starts.
change = Table(
    "change",
    metadata,
    Column("campaign_id", Text, primary_key=True),
    Column("vin", String(17), primary_key=True),
    Column("ecu", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("release_id", Text, nullable=False),
    Column("hardware_id", Text, nullable=False),
    Column("version_before", Text, nullable=False),
    Column("sha256_before", LargeBinary),
    Column("present_release_id", Text),
    Column("present_hardware_id", Text),
    ForeignKeyConstraint(["campaign_id", "vin"], ["assignment.campaign_id", "assignment.vin"]),
    ForeignKeyConstraint(["release_id", "hardware_id"], ["image.release_id", "image.hardware_id"]),
    ForeignKeyConstraint(
        ["present_release_id", "present_hardware_id"], ["image.release_id", "image.hardware_id"]
    ),
)

progress = Table(
    "progress",
    metadata,
    Column("campaign_id", Text, primary_key=True),
    Column("vin", String(17), primary_key=True),
    Column("ecu", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("step", Text, nullable=False),
    Column("bytes_done", BigInteger, nullable=False),
    Column("bytes_total", BigInteger, nullable=False),
    Column("remaining_s", Float, nullable=False),
    ForeignKeyConstraint(["campaign_id", "vin"], ["assignment.campaign_id", "assignment.vin"]),
)

report = Table(
    "report",
    metadata,
    Column("campaign_id", Text, primary_key=True),
    Column("vin", String(17), primary_key=True),
    Column("received_us", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("judgement", LargeBinary, nullable=False),
    ForeignKeyConstraint(["campaign_id", "vin"], ["assignment.campaign_id", "assignment.vin"]),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("vin", ForeignKey("vehicle.vin"), nullable=False),
    Column("snapshot_id", Text, nullable=False),
    Column("occasion", Text, nullable=False),
    Column("campaign_id", Text),
    Column("time_us", BigInteger, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    #: The gateway's own number of the message; None: it does not number.
    Column("number", BigInteger),
    UniqueConstraint("vin", "snapshot_id"),
    Index(None, "vin", "number"),
)

diagnostic_job = Table(
    "diagnostic_job",
    metadata,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("vin", ForeignKey("vehicle.vin"), nullable=False),
    Column("job_id", Text, nullable=False),
    Column("request_id", Text),
    Column("state", SmallInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    UniqueConstraint("vin", "job_id"),
    UniqueConstraint("vin", "request_id"),
    Index(None, "vin", "state"),
)

remote_session = Table(
    "remote_session",
    metadata,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("vin", ForeignKey("vehicle.vin"), nullable=False),
    Column("session_id", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    UniqueConstraint("vin", "session_id"),
    Index(None, "vin", "state"),
)

diagnostic_plan = Table(
    "diagnostic_plan",
    metadata,
    Column("vin", ForeignKey("vehicle.vin"), primary_key=True),
    Column("document", LargeBinary, nullable=False),
)

signal_subscription = Table(
    "signal_subscription",
    metadata,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("vin", ForeignKey("vehicle.vin"), nullable=False),
    Column("subscription_id", Text, nullable=False),
    Column("request_id", Text),
    Column("state", SmallInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    UniqueConstraint("vin", "subscription_id"),
    UniqueConstraint("vin", "request_id"),
    Index(None, "vin", "state"),
)

signal_batch = Table(
    "signal_batch",
    metadata,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("vin", ForeignKey("vehicle.vin"), nullable=False),
    Column("subscription_id", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("number", BigInteger),
    Column("document", LargeBinary, nullable=False),
    UniqueConstraint("vin", "subscription_id", "time_us"),
    Index(None, "vin", "number"),
)

diagnostic_gap = Table(
    "diagnostic_gap",
    metadata,
    Column("vin", ForeignKey("vehicle.vin"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("received_us", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
