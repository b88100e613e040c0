"""Diagnostic snapshots."""

from collections.abc import Iterable

from cloud.fleet.diagnostics import (
    DataIdentifier,
    Dtc,
    DtcRecord,
    EcuDiagnostics,
    SignalSeries,
    Snapshot,
)
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import campaign_id_of, campaign_name, snapshot_name, snapshot_of
from cloud.messages.times import from_timestamp, to_timestamp
from protocols.fleet.v1 import diagnostics_pb2


def to_snapshot(snapshot: Snapshot, *, with_signals: bool) -> diagnostics_pb2.DiagnosticSnapshot:
    return diagnostics_pb2.DiagnosticSnapshot(
        name=snapshot_name(snapshot.vin, snapshot.snapshot_id),
        occasion=snapshot.occasion,
        campaign="" if snapshot.campaign_id is None else campaign_name(snapshot.campaign_id),
        time=to_timestamp(snapshot.time),
        ecus=[_to_ecu(ecu) for ecu in snapshot.ecus],
        signals=[to_series(series) for series in snapshot.signals] if with_signals else [],
    )


def from_snapshot(message: diagnostics_pb2.DiagnosticSnapshot, *, vin: str) -> Snapshot:
    """Return the snapshot of `vin`; `InvalidFieldError` names the field."""
    named_vin, snapshot_id = snapshot_of(message.name, field="snapshot.name")
    if named_vin != vin:
        raise InvalidFieldError("snapshot.name", f"{message.name!r} is not of vehicle {vin}")
    return Snapshot(
        vin=vin,
        snapshot_id=snapshot_id,
        occasion=message.occasion,
        campaign_id=(
            campaign_id_of(message.campaign, field="snapshot.campaign")
            if message.campaign
            else None
        ),
        time=from_timestamp(message.time, field="snapshot.time"),
        ecus=tuple(_from_ecu(ecu) for ecu in message.ecus),
        signals=tuple(from_series(series) for series in message.signals),
    )


def _to_ecu(ecu: EcuDiagnostics) -> diagnostics_pb2.EcuDiagnostics:
    return diagnostics_pb2.EcuDiagnostics(
        ecu=ecu.ecu,
        error=ecu.error,
        data_identifiers=[
            diagnostics_pb2.DataIdentifier(
                data_identifier=did.data_identifier,
                text=did.text,
                record=did.record,
                value=did.value,
            )
            for did in ecu.data_identifiers
        ],
        dtcs=[
            diagnostics_pb2.Dtc(
                code=dtc.code,
                display=dtc.display,
                text=dtc.text,
                status=dtc.status,
                snapshots=_to_records(dtc.snapshots),
                extended_data=_to_records(dtc.extended_data),
            )
            for dtc in ecu.dtcs
        ],
    )


def _from_ecu(message: diagnostics_pb2.EcuDiagnostics) -> EcuDiagnostics:
    return EcuDiagnostics(
        ecu=message.ecu,
        error=message.error,
        data_identifiers=tuple(
            DataIdentifier(
                data_identifier=did.data_identifier,
                text=did.text,
                record=did.record,
                value=did.value,
            )
            for did in message.data_identifiers
        ),
        dtcs=tuple(
            Dtc(
                code=dtc.code,
                display=dtc.display,
                text=dtc.text,
                status=dtc.status,
                snapshots=_from_records(dtc.snapshots),
                extended_data=_from_records(dtc.extended_data),
            )
            for dtc in message.dtcs
        ),
    )


def _to_records(records: Iterable[DtcRecord]) -> list[diagnostics_pb2.DtcRecord]:
    return [
        diagnostics_pb2.DtcRecord(
            record_number=record.record_number, record=record.record, value=record.value
        )
        for record in records
    ]


def _from_records(messages: Iterable[diagnostics_pb2.DtcRecord]) -> tuple[DtcRecord, ...]:
    return tuple(
        DtcRecord(record_number=message.record_number, record=message.record, value=message.value)
        for message in messages
    )


def to_series(series: SignalSeries) -> diagnostics_pb2.SignalSeries:
    return diagnostics_pb2.SignalSeries(
        wire=series.wire,
        message=series.message,
        signal=series.signal,
        unit=series.unit,
        offsets_seconds=series.offsets_s,
        values=series.values,
    )


def from_series(message: diagnostics_pb2.SignalSeries) -> SignalSeries:
    return SignalSeries(
        wire=message.wire,
        message=message.message,
        signal=message.signal,
        unit=message.unit,
        offsets_s=tuple(message.offsets_seconds),
        values=tuple(message.values),
    )
