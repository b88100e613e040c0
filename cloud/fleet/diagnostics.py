"""Wireless diagnostics as vehicles send them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import check_ecu, check_snapshot_id

#: Why a snapshot was taken -> what that means.
OCCASIONS: Final[Mapping[str, str]] = {
    "before_update": "before the first change of an update",
    "after_update": "after the last change of an update",
    "on_request": "because somebody asked",
    "on_schedule": "by the vehicle's diagnostic plan",
    "on_change": "because trouble codes have changed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataIdentifier:
    data_identifier: int
    text: str
    record: bytes
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DtcRecord:
    record_number: int
    record: bytes
    #: For people.
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dtc:
    #: 24 bits, ISO 14229-1.
    code: int
    display: str
    text: str
    status: int
    snapshots: tuple[DtcRecord, ...] = ()
    extended_data: tuple[DtcRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuDiagnostics:
    ecu: str
    error: str = ""
    data_identifiers: tuple[DataIdentifier, ...] = ()
    dtcs: tuple[Dtc, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSeries:
    """One signal over a window; both tuples have one length, offsets in seconds."""

    wire: str
    message: str
    signal: str
    unit: str
    offsets_s: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    vin: str
    snapshot_id: str
    occasion: str
    #: None if it belongs to no campaign.
    campaign_id: str | None
    time: datetime
    ecus: tuple[EcuDiagnostics, ...] = ()
    signals: tuple[SignalSeries, ...] = ()


def check_snapshot(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot that may be stored; `InvalidFieldError` names the field."""
    if snapshot.snapshot_id == "latest":
        raise InvalidFieldError("snapshot.name", "'latest' is what the newest is called")
    check_snapshot_id(snapshot.snapshot_id, field="snapshot.name")
    if snapshot.occasion not in OCCASIONS:
        raise InvalidFieldError(
            "snapshot.occasion", f"{snapshot.occasion!r} is none of {', '.join(OCCASIONS)}"
        )
    for index, ecu in enumerate(snapshot.ecus):
        check_ecu(ecu.ecu, field=f"snapshot.ecus[{index}].ecu")
    for index, series in enumerate(snapshot.signals):
        if len(series.offsets_s) != len(series.values):
            raise InvalidFieldError(
                f"snapshot.signals[{index}].values",
                f"{series.signal}: {len(series.values)} values at {len(series.offsets_s)} times",
            )
    return snapshot
