"""report.json: the whole report for other programs.

Keys are part of the interface: they are added, never renamed. Times are ISO 8601 in UTC,
durations seconds, digests lower-case hexadecimal.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from cloud.fleet.diagnostics import DtcRecord, EcuDiagnostics, SignalSeries, Snapshot
from cloud.fleet.dtcs import Change, confirmed, words
from cloud.fleet.evidence import ConditionRecord, ConsentRecord
from cloud.reports.changes import changes_of
from cloud.reports.model import CampaignReport, EcuUpdate, Step, VehicleReport
from cloud.reports.words import verdict

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

#: Raised when a key changes its meaning.
FORMAT: Final = "canota-report/1"
#: A list of nothing but numbers; text cannot look like one, for it holds no line feeds.
_NUMBERS: Final = re.compile(r"\[\n((?:\s*(?:-?\d[\d.eE+-]*|null),?\n)+)\s*\]")
#: Decimal places kept of measured numbers: nanoseconds of seconds.
_PLACES: Final = 9


def render_json(report: CampaignReport) -> bytes:
    """Render indented UTF-8 JSON with a final line feed; the same report gives the same bytes."""
    text = json.dumps(as_json(report), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{_NUMBERS.sub(_on_one_line, text)}\n".encode()


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{', '.join(numbers[1].split())}]".replace(",,", ",")


def as_json(report: CampaignReport) -> dict[str, Json]:
    return {
        "format": FORMAT,
        "campaign": {
            "id": report.campaign_id,
            "release": report.release_id,
            "version": report.release_version,
            "outcome": report.outcome.value,
            "verdict": verdict(report),
            "create_time": _time(report.create_time),
            "start_time": _time(report.start_time),
            "finish_time": _time(report.finish_time),
        },
        "clock": report.clock,
        "seed": report.seed,
        "vehicles": [_vehicle(vehicle) for vehicle in report.vehicles],
    }


def _vehicle(vehicle: VehicleReport) -> dict[str, Json]:
    return {
        "vin": vehicle.vin,
        "model": vehicle.model,
        "outcome": vehicle.outcome.value,
        "reason": vehicle.reason,
        "start_time": _time(vehicle.start),
        "finish_time": _time(vehicle.finish),
        "data_sent_bytes": vehicle.bytes_sent,
        "data_received_bytes": vehicle.bytes_received,
        "ecus": [_ecu(ecu) for ecu in vehicle.ecus],
        "dtcs": _dtcs(vehicle),
        "dids": {"before": _dids(vehicle.before), "after": _dids(vehicle.after)},
        "signals": {"before": _signals(vehicle.before), "after": _signals(vehicle.after)},
        "steps": [_step(step) for step in vehicle.steps],
        "conditions": [_condition(one) for one in vehicle.conditions],
        "consents": [_consent(one) for one in vehicle.consents],
    }


def _ecu(ecu: EcuUpdate) -> Json:
    return {
        "name": ecu.name,
        "hardware_id": ecu.hardware_id,
        "wire": ecu.wire,
        "single_slot": ecu.single_slot,
        "version_before": ecu.version_before,
        "version_after": ecu.version_after,
        "software_number_after": ecu.software_number_after,
        "supplier_version_after": ecu.supplier_version_after,
        "read_back": ecu.read_back,
        "read_back_sha256": ecu.read_back_sha256,
        "image_sha256": ecu.image_sha256,
        "image_bytes": ecu.image_bytes,
        "transfer_seconds": _number(ecu.transfer_seconds),
        "bound_seconds": _number(ecu.bound_seconds),
        "staging_seconds": _number(ecu.staging_seconds),
        "out_of_use_seconds": _number(ecu.out_of_use_seconds),
        "error": ecu.error,
    }


def _dtcs(vehicle: VehicleReport) -> Json:
    changes = changes_of(vehicle)
    listed: dict[Change, list[Json]] = defaultdict(list)
    for change in changes:
        listed[change.change].append(
            {
                "ecu": change.ecu,
                "code": f"{change.code:06X}",
                "display": change.display,
                "text": change.text,
                "status_before": _status(change.before),
                "status_after": _status(change.after),
                "network": change.network,
            }
        )
    verdicts = [verdict for verdict in Change if verdict is not Change.CLEAR]
    return {
        "before": _readings(vehicle.before),
        "after": _readings(vehicle.after),
        **{verdict.value: listed[verdict] for verdict in verdicts},
    }


def _readings(snapshot: Snapshot | None) -> list[Json]:
    return [
        {
            "ecu": reading.ecu,
            "code": f"{dtc.code:06X}",
            "display": dtc.display,
            "text": dtc.text,
            "status": _status(dtc.status),
            "status_text": words(dtc.status),
            "confirmed": confirmed(dtc.status),
            "snapshots": _records(dtc.snapshots),
            "extended_data": _records(dtc.extended_data),
        }
        for reading in _readable(snapshot)
        for dtc in sorted(reading.dtcs, key=lambda dtc: dtc.code)
    ]


def _records(records: Iterable[DtcRecord]) -> list[Json]:
    return [
        {"record": record.record_number, "data": record.record.hex(), "value": record.value}
        for record in records
    ]


def _dids(snapshot: Snapshot | None) -> list[Json]:
    return [
        {
            "ecu": reading.ecu,
            "did": f"{did.data_identifier:04X}",
            "text": did.text,
            "value": did.value,
        }
        for reading in _readable(snapshot)
        for did in sorted(reading.data_identifiers, key=lambda did: did.data_identifier)
    ]


def _readable(snapshot: Snapshot | None) -> list[EcuDiagnostics]:
    return sorted(snapshot.ecus, key=lambda reading: reading.ecu) if snapshot else []


def _signals(snapshot: Snapshot | None) -> list[Json]:
    return [_series(series) for series in (snapshot.signals if snapshot else ())]


def _series(series: SignalSeries) -> Json:
    return {
        "wire": series.wire,
        "message": series.message,
        "signal": series.signal,
        "unit": series.unit,
        "offsets_seconds": [_number(offset) for offset in series.offsets_s],
        "values": [_number(value) for value in series.values],
    }


def _step(step: Step) -> Json:
    return {
        "start_time": _time(step.start),
        "seconds": _number(step.seconds),
        "ecu": step.ecu,
        "step": step.step,
        "detail": step.detail,
        "failed": step.failed,
    }


def step_of(step: Mapping[str, Any]) -> Step:
    """The same back again, from a report of ours."""
    return Step(
        start=datetime.fromisoformat(step["start_time"]),
        seconds=step["seconds"],
        ecu=step["ecu"],
        step=step["step"],
        detail=step["detail"],
        failed=step["failed"],
    )


def _condition(one: ConditionRecord) -> Json:
    return {
        "time": _time(one.time),
        "occasion": one.occasion,
        "origin": one.origin,
        "condition": one.condition,
        "verdict": one.verdict,
        "signal": one.signal,
        "message": one.message,
        "source": one.source,
        "value": one.value,
        "value_time": _time(one.value_time),
        "problem": one.problem,
    }


def _consent(one: ConsentRecord) -> Json:
    return {
        "time": _time(one.time),
        "answer": one.answer,
        "defer_until": _time(one.defer_until),
        "release_sha256": one.release_sha256.hex(),
        "notice": None
        if one.notice is None
        else {field.name: getattr(one.notice, field.name) for field in fields(one.notice)},
    }


def _status(status: int | None) -> Json:
    return None if status is None else f"{status:02X}"


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return round(value, _PLACES) if abs(value) < float("inf") else None


def _time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
