"""What a report of a campaign holds, whoever reads it: a browser, a script or a spreadsheet.

Values only. Whoever has the evidence (the store's rows) fills these in; the renderers beside
this module turn one `CampaignReport` into HTML, JSON and CSV and never ask for more.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Outcome(StrEnum):
    """How the update of one vehicle ended, or that it has not ended."""

    UPDATED = "updated"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    FAILED_SAFE = "failed_safe"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class DtcRecord:
    """What an ECU stored beside a trouble code: a snapshot or extended data record."""

    number: int
    data: bytes
    #: For people: `Cabin temperature 26.6 °C`; hexadecimal where nothing is known of it.
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DtcReading:
    """One trouble code as an ECU reported it at one time."""

    #: 24 bits, ISO 14229-1.
    code: int
    #: ISO 15031-6 letter form with failure type: `B1A01-00`.
    display: str
    text: str
    #: Status byte, ISO 14229-1 annex D.2.
    status: int
    snapshots: tuple[DtcRecord, ...] = ()
    extended_data: tuple[DtcRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DidReading:
    """One data identifier as an ECU answered it."""

    data_identifier: int
    text: str
    #: For people: text, or hexadecimal.
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuReading:
    """What one ECU said to a tester at one time."""

    ecu: str
    #: Why it could not be read; empty if it was.
    error: str = ""
    dtcs: tuple[DtcReading, ...] = ()
    dids: tuple[DidReading, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSeries:
    """One bus signal over a window of time; both tuples have one length."""

    wire: str
    message: str
    signal: str
    unit: str
    #: Seconds from the snapshot's time; negative: before it.
    offsets_seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A vehicle's diagnostics at one time."""

    #: `before_update`, `after_update` or `on_request`.
    occasion: str
    time: datetime | None
    ecus: tuple[EcuReading, ...] = ()
    signals: tuple[SignalSeries, ...] = ()


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
