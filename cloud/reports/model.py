"""What a report of a campaign holds, whoever reads it: a browser, a script or a spreadsheet.

Values only. Whoever has the evidence (the store's rows) fills these in; the renderers beside
this module turn one `CampaignReport` into HTML, JSON and CSV and never ask for more.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cloud.fleet.diagnostics import Snapshot
from cloud.fleet.evidence import ConditionRecord, ConsentRecord


class Outcome(StrEnum):
    """How the update of one vehicle ended, or that it has not ended."""

    UPDATED = "updated"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    FAILED_SAFE = "failed_safe"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuUpdate:
    """One ECU's part in the update of its vehicle."""

    name: str
    hardware_id: str
    wire: str
    single_slot: bool = False
    version_before: str
    #: As read back after the update, whatever its outcome; empty if it never answered.
    version_after: str
    software_number_after: str = ""
    supplier_version_after: str = ""
    #: True only if the boot loader's signed digest was checked against the image offered.
    read_back: bool
    #: SHA-256 that the boot loader stated; empty if it stated none.
    read_back_sha256: str = ""
    #: The image that was to be installed, in lower-case hexadecimal, and its size.
    image_sha256: str
    image_bytes: int
    #: Seconds between the first 34 and the last 37, and the least that wire and memory allow.
    transfer_seconds: float
    bound_seconds: float
    #: Seconds of staging while the ECU worked on, and seconds in which it did not work.
    staging_seconds: float
    out_of_use_seconds: float
    #: Why this ECU failed; empty if it did not.
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the update with its time; `ecu` is empty for a step of the whole vehicle."""

    start: datetime
    seconds: float
    ecu: str
    step: str
    detail: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleReport:
    vin: str
    model: str = ""
    #: What the cloud holds to be true after judging the gateway's evidence.
    outcome: Outcome
    #: Names the ECU, step and cause; empty if updated.
    reason: str = ""
    start: datetime | None = None
    finish: datetime | None = None
    ecus: tuple[EcuUpdate, ...] = ()
    before: Snapshot | None = None
    after: Snapshot | None = None
    steps: tuple[Step, ...] = ()
    #: Over the air for this campaign, as the gateway counted.
    bytes_sent: int = 0
    bytes_received: int = 0
    #: What the vehicle waited for, and what activation began on, in the order of time.
    conditions: tuple[ConditionRecord, ...] = ()
    consents: tuple[ConsentRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignReport:
    #: Without `campaigns/` and `releases/`.
    campaign_id: str
    release_id: str
    release_version: str = ""
    release_description: str = ""
    #: "virtual" or "real".
    clock: str
    #: None where no seed was given (real vehicles).
    seed: int | None = None
    create_time: datetime | None = None
    start_time: datetime | None = None
    finish_time: datetime | None = None
    vehicles: tuple[VehicleReport, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of any vehicle; `PENDING` if there is none or one is under way."""
        found = {vehicle.outcome for vehicle in self.vehicles}
        return next((outcome for outcome in _WORST_FIRST if outcome in found), Outcome.PENDING)


_WORST_FIRST = (
    Outcome.PENDING,
    Outcome.FAILED_SAFE,
    Outcome.ROLLED_BACK,
    Outcome.REFUSED,
    Outcome.UPDATED,
)
