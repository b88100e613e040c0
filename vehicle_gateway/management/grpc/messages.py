"""fleet.v1 messages to our values and back; nothing else knows the generated classes."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from protocols.fleet.v1 import campaigns_pb2, diagnostics_pb2, gateway_pb2, releases_pb2
from vehicle_gateway.diagnostics import DtcRecord, EcuDiagnostics, SignalSeries, TroubleCode
from vehicle_gateway.management import CheckIn, ManagementError, Snapshot, Withdrawal
from vehicle_gateway.update import Inventory, Progress, ReadBack
from vehicle_gateway.update.account import EcuResult, Step, UpdateReport
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.offer import ImageFormat, Offer, OfferedImage, PublishedImage
from vehicle_gateway.update.vehicle import Phase

_FORMATS: Final = {
    releases_pb2.IMAGE_FORMAT_INTEL_HEX: ImageFormat.INTEL_HEX,
    releases_pb2.IMAGE_FORMAT_S_RECORD: ImageFormat.S_RECORD,
    releases_pb2.IMAGE_FORMAT_RAW: ImageFormat.RAW,
    releases_pb2.IMAGE_FORMAT_VBF: ImageFormat.VBF,
    releases_pb2.IMAGE_FORMAT_ODX_F: ImageFormat.ODX_F,
    releases_pb2.IMAGE_FORMAT_ELF: ImageFormat.ELF,
}
OUTCOMES: Final = {
    Outcome.UPDATED: campaigns_pb2.OUTCOME_UPDATED,
    Outcome.ROLLED_BACK: campaigns_pb2.OUTCOME_ROLLED_BACK,
    Outcome.REFUSED: campaigns_pb2.OUTCOME_REFUSED,
    Outcome.FAILED_SAFE: campaigns_pb2.OUTCOME_FAILED_SAFE,
}
PHASES: Final = {
    Phase.DOWNLOADING: campaigns_pb2.PHASE_DOWNLOADING,
    Phase.STAGING: campaigns_pb2.PHASE_STAGING,
    Phase.AWAITING: campaigns_pb2.PHASE_AWAITING,
    Phase.ACTIVATING: campaigns_pb2.PHASE_ACTIVATING,
    Phase.CONFIRMING: campaigns_pb2.PHASE_CONFIRMING,
    Phase.REVERTING: campaigns_pb2.PHASE_REVERTING,
    Phase.DONE: campaigns_pb2.PHASE_DONE,
}
_LEAST_NONCE: Final = 16
_SHA256_BYTES: Final = 32


def check_in_of(message: gateway_pb2.CheckInResponse) -> CheckIn:
    """The cloud's answer; `ManagementError` names a field that is not as `fleet.v1` has it."""
    offer = offer_of(message.offer) if message.HasField("offer") else None
    try:
        wait_s = message.next_check_in.ToTimedelta().total_seconds()
    except (OverflowError, ValueError) as error:
        seconds = message.next_check_in.seconds
        raise ManagementError(f"next_check_in: {seconds} s is no duration") from error
    if wait_s < 0:
        raise ManagementError(f"next_check_in: {wait_s} s lie in the past")
    return CheckIn(offer=offer, next_check_in_s=wait_s, withdrawal=withdrawal_of(message))


def withdrawal_of(
    message: gateway_pb2.CheckInResponse | gateway_pb2.ReportProgressResponse,
) -> Withdrawal | None:
    if not message.HasField("withdrawal"):
        return None
    told = message.withdrawal
    return Withdrawal(campaign=told.campaign, reason=told.reason, superseded_by=told.superseded_by)


def offer_of(message: gateway_pb2.Offer) -> Offer:
    if not message.campaign or not message.images:
        raise ManagementError("offer: no campaign or no images")
    if len(message.nonce) < _LEAST_NONCE:
        raise ManagementError(f"offer.nonce: {len(message.nonce)} bytes, at least {_LEAST_NONCE}")
    names = [offered.ecu for offered in message.images]
    if len(set(names)) < len(names):
        raise ManagementError("offer.images: an ECU is named twice")
    return Offer(
        campaign=message.campaign,
        release=message.release,
        version=message.version,
        nonce=message.nonce,
        images=tuple(_offered(offered) for offered in message.images),
    )


def _offered(message: gateway_pb2.OfferedImage) -> OfferedImage:
    return OfferedImage(
        ecu=message.ecu,
        image=_published(message.image, message.ecu),
        present=_published(message.present, message.ecu) if message.HasField("present") else None,
    )


def _published(message: releases_pb2.Image, ecu: str) -> PublishedImage:
    if message.format not in _FORMATS:
        raise ManagementError(f"offer.images {ecu}: no such format: {message.format}")
    if {len(message.file_sha256), len(message.image_sha256)} != {_SHA256_BYTES}:
        raise ManagementError(f"offer.images {ecu}: a SHA-256 has {_SHA256_BYTES} bytes")
    return PublishedImage(
        hardware_id=message.hardware_id,
        file_name=message.file_name,
        format=_FORMATS[message.format],
        file_size=message.file_size,
        file_sha256=message.file_sha256,
        address=message.address,
        image_size=message.image_size,
        image_sha256=message.image_sha256,
        software_number=message.software_number,
        software_version=message.software_version,
        supplier_version=message.supplier_version,
    )


def inventory_message(inventory: Inventory) -> gateway_pb2.EcuInventory:
    return gateway_pb2.EcuInventory(
        ecu=inventory.ecu,
        error=inventory.error,
        hardware_id=inventory.hardware_id,
        serial_number=inventory.serial_number,
        software_number=inventory.software_number,
        software_version=inventory.software_version,
        supplier_version=inventory.supplier_version,
        read_back=_read_back(inventory.read_back),
    )


def progress_message(progress: Progress) -> campaigns_pb2.EcuProgress:
    return campaigns_pb2.EcuProgress(
        ecu=progress.ecu,
        step=progress.step,
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        remaining_seconds=progress.remaining_s,
    )


def snapshot_message(snapshot: Snapshot, *, vin: str) -> diagnostics_pb2.DiagnosticSnapshot:
    return diagnostics_pb2.DiagnosticSnapshot(
        name=snapshot_name(vin, snapshot.id),
        occasion=snapshot.occasion,
        campaign=snapshot.campaign,
        time=timestamp(snapshot.time_us),
        ecus=[_ecu_diagnostics(ecu) for ecu in snapshot.ecus],
        signals=[_series(series, snapshot.loop_time_s) for series in snapshot.signals],
    )


def report_message(report: UpdateReport, *, vin: str) -> gateway_pb2.UpdateReport:
    before, after = report.snapshot_before, report.snapshot_after
    return gateway_pb2.UpdateReport(
        campaign=report.campaign,
        release=report.release,
        outcome=OUTCOMES[report.outcome],
        reason=report.reason,
        start_time=timestamp(report.start_us),
        finish_time=timestamp(report.finish_us),
        ecus=[_ecu_result(ecu) for ecu in report.ecus],
        steps=[_step(step) for step in report.steps],
        snapshot_before=snapshot_name(vin, before) if before else "",
        snapshot_after=snapshot_name(vin, after) if after else "",
        bytes_sent=report.bytes_sent,
        bytes_received=report.bytes_received,
    )


def snapshot_name(vin: str, snapshot: str) -> str:
    return f"vehicles/{vin}/snapshots/{snapshot}"


def timestamp(time_us: int) -> Timestamp:
    seconds, rest = divmod(time_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def _ecu_result(result: EcuResult) -> gateway_pb2.EcuResult:
    return gateway_pb2.EcuResult(
        ecu=result.offered.ecu,
        hardware_id=result.after.hardware_id or result.offered.image.hardware_id,
        wire=result.wire,
        version_before=result.before.software_version,
        version_after=result.after.software_version,
        software_number_after=result.after.software_number,
        supplier_version_after=result.after.supplier_version,
        image_sha256=result.offered.image.image_sha256,
        image_bytes=result.offered.image.image_size,
        read_back=_read_back(result.after.read_back),
        transfer_seconds=result.figures.transfer_s,
        bound_seconds=result.figures.bound_s,
        staging_seconds=result.figures.staging_s,
        out_of_use_seconds=result.figures.out_of_use_s,
        error=result.error or result.after.error,
    )


def _step(step: Step) -> gateway_pb2.Step:
    seconds, rest = divmod(step.duration_us, 1_000_000)
    return gateway_pb2.Step(
        start_time=timestamp(step.start_us),
        duration=Duration(seconds=seconds, nanos=rest * 1000),
        ecu=step.ecu,
        step=step.step,
        detail=step.detail,
        failed=step.failed,
    )


def _read_back(read_back: ReadBack | None) -> gateway_pb2.ReadBack | None:
    if read_back is None:
        return None
    return gateway_pb2.ReadBack(
        nonce=read_back.nonce,
        image_sha256=read_back.image_sha256,
        signature=read_back.signature,
    )


def _ecu_diagnostics(ecu: EcuDiagnostics) -> diagnostics_pb2.EcuDiagnostics:
    return diagnostics_pb2.EcuDiagnostics(
        ecu=ecu.ecu,
        error=ecu.error,
        data_identifiers=[
            diagnostics_pb2.DataIdentifier(
                data_identifier=record.data_identifier,
                text=record.text,
                record=record.record,
                value=record.value,
            )
            for record in ecu.data_identifiers
        ],
        dtcs=[_dtc(dtc) for dtc in ecu.dtcs],
    )


def _dtc(dtc: TroubleCode) -> diagnostics_pb2.Dtc:
    return diagnostics_pb2.Dtc(
        code=dtc.code,
        display=dtc.display,
        text=dtc.text,
        status=dtc.status,
        snapshots=_records(dtc.snapshots),
        extended_data=_records(dtc.extended_data),
    )


def _records(records: Iterable[DtcRecord]) -> list[diagnostics_pb2.DtcRecord]:
    return [
        diagnostics_pb2.DtcRecord(
            record_number=one.record_number, record=one.record, value=one.value
        )
        for one in records
    ]


def _series(series: SignalSeries, now_s: float) -> diagnostics_pb2.SignalSeries:
    return diagnostics_pb2.SignalSeries(
        wire=series.wire,
        message=series.message,
        signal=series.signal,
        unit=series.unit,
        # Microseconds are finer than any cycle; more digits would only differ from run to run.
        offsets_seconds=[round(time_s - now_s, 6) for time_s in series.times_s],
        values=series.values,
    )
