"""fleet.v1 messages to our values and back; nothing else knows the generated classes."""

import logging
from collections.abc import Iterable
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from protocols.fleet.v1 import (
    campaigns_pb2,
    conditions_pb2,
    diagnostic_jobs_pb2,
    diagnostic_plans_pb2,
    diagnostics_pb2,
    gateway_pb2,
    releases_pb2,
)
from protocols.preconditions import PreconditionError, parse
from vehicle_gateway.diagnostics import DtcRecord, EcuDiagnostics, SignalSeries, TroubleCode
from vehicle_gateway.diagnostics.orders import (
    DEFAULT_STATUS_MASK,
    Action,
    ClearDtcs,
    Job,
    JobEnd,
    JobResult,
    Orders,
    OutputHold,
    Plan,
    Routine,
    SignalBatch,
    SignalOrder,
    TakeSnapshot,
)
from vehicle_gateway.management import CheckIn, ManagementError, Snapshot, Withdrawal
from vehicle_gateway.management.grpc.remote import remote_offer_of
from vehicle_gateway.outbox import Gap
from vehicle_gateway.update import Inventory, Progress, ReadBack
from vehicle_gateway.update.account import (
    ConditionRecord,
    ConsentRecord,
    EcuResult,
    Step,
    UpdateReport,
)
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.offer import (
    DEFAULT_WAIT_S,
    ImageFormat,
    Notice,
    Offer,
    OfferedImage,
    PublishedImage,
)
from vehicle_gateway.update.vehicle import Phase

_LOG = logging.getLogger(__name__)

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
JOB_ENDS: Final = {
    JobEnd.SUCCEEDED: diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_SUCCEEDED,
    JobEnd.FAILED: diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_FAILED,
    JobEnd.REFUSED: diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_REFUSED,
    JobEnd.ABORTED: diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_ABORTED,
    JobEnd.EXPIRED: diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_EXPIRED,
    JobEnd.UNKNOWN: diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_UNKNOWN,
}
_LEAST_NONCE: Final = 16
#: What a gateway does at most, whatever the cloud says.
_MOST_JOBS: Final = 8
_MOST_SUBSCRIPTIONS: Final = 8
_LONGEST_RUN_S: Final = 600.0
_LEAST_PERIOD_S: Final = 60.0
_LEAST_CHANGE_INTERVAL_S: Final = 5.0
_GREATEST_IDENTIFIER: Final = 0xFFFF
_EVERY_DTC: Final = 0xFFFFFF
_SHA256_BYTES: Final = 32
_LONGEST_WAIT_S: Final = 90 * 86_400.0


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
    remote = None
    if message.HasField("remote_session"):
        remote = remote_offer_of(message.remote_session)
    return CheckIn(
        offer=offer,
        next_check_in_s=wait_s,
        withdrawal=withdrawal_of(message),
        orders=orders_of(message),
        remote=remote,
    )


def withdrawal_of(
    message: gateway_pb2.CheckInResponse | gateway_pb2.ReportProgressResponse,
) -> Withdrawal | None:
    if not message.HasField("withdrawal"):
        return None
    told = message.withdrawal
    return Withdrawal(campaign=told.campaign, reason=told.reason, superseded_by=told.superseded_by)


def orders_of(message: gateway_pb2.CheckInResponse) -> Orders:
    """What the cloud wants of the vehicle's diagnostics.

    A job or a plan that cannot be is left out, and the log says so: an update goes on.
    """
    wanted = message.diagnostic_orders
    return Orders(
        plan=_plan(wanted.plan) if wanted.HasField("plan") else None,
        signals=tuple(
            SignalOrder(
                subscription=order.subscription.name,
                signals=tuple(order.subscription.signals),
                period_s=_seconds(order.subscription.period),
                remaining_s=_seconds(order.remaining),
            )
            for order in wanted.subscriptions[:_MOST_SUBSCRIPTIONS]
        ),
        jobs=tuple(
            Job(name=job.name, expire_us=_time_us(job.expire_time), action=action)
            for job in message.diagnostic_jobs[:_MOST_JOBS]
            if (action := _action(job)) is not None
        ),
    )


def _plan(message: diagnostic_plans_pb2.DiagnosticPlan) -> Plan:
    period_s, change_interval_s = _seconds(message.period), _seconds(message.change_interval)
    return Plan(
        period_s=max(period_s, _LEAST_PERIOD_S) if period_s else 0.0,
        ecus=tuple(message.ecus),
        change_interval_s=(
            max(change_interval_s, _LEAST_CHANGE_INTERVAL_S) if change_interval_s else 0.0
        ),
        status_mask=message.status_mask & 0xFF or DEFAULT_STATUS_MASK,
        wake=message.wake,
        revision=message.revision,
    )


def _action(message: diagnostic_jobs_pb2.DiagnosticJob) -> Action | None:
    match message.WhichOneof("action"):
        case "routine" if message.routine.routine_identifier <= _GREATEST_IDENTIFIER:
            return Routine(
                ecu=message.routine.ecu,
                routine_identifier=message.routine.routine_identifier,
                option_record=message.routine.option_record,
                run_s=min(_seconds(message.routine.run_time), _LONGEST_RUN_S),
            )
        case "output_control" if message.output_control.data_identifier <= _GREATEST_IDENTIFIER:
            return OutputHold(
                ecu=message.output_control.ecu,
                data_identifier=message.output_control.data_identifier,
                control_state=message.output_control.control_state,
                control_mask=message.output_control.control_mask,
                hold_s=min(_seconds(message.output_control.hold_time), _LONGEST_RUN_S),
            )
        case "clear_dtcs" if message.clear_dtcs.group <= _EVERY_DTC:
            group = message.clear_dtcs.group if message.clear_dtcs.HasField("group") else _EVERY_DTC
            return ClearDtcs(ecus=tuple(message.clear_dtcs.ecus), group=group)
        case "take_snapshot":
            return TakeSnapshot(ecus=tuple(message.take_snapshot.ecus))
        case kind:
            _LOG.error("job_not_understood job=%s action=%s", message.name, kind)
            return None


def _seconds(duration: Duration) -> float:
    """A duration as a number that time can be counted with; what lies in the past is 0."""
    return max(0.0, duration.seconds + duration.nanos / 1e9)


def _time_us(moment: Timestamp) -> int:
    return moment.seconds * 1_000_000 + moment.nanos // 1000


def batch_message(batch: SignalBatch) -> diagnostics_pb2.SignalBatch:
    return diagnostics_pb2.SignalBatch(
        subscription=batch.subscription,
        time=timestamp(batch.time_us),
        series=[_series(series, batch.loop_time_s) for series in batch.series],
        errors=dict(batch.errors),
        last=batch.last,
    )


def result_message(result: JobResult, *, vin: str) -> gateway_pb2.SubmitDiagnosticResultRequest:
    return gateway_pb2.SubmitDiagnosticResultRequest(
        vin=vin,
        job=result.job,
        result=diagnostic_jobs_pb2.DiagnosticJobResult(
            state=JOB_ENDS[result.end],
            detail=result.detail,
            start_time=timestamp(result.start_us),
            finish_time=timestamp(result.finish_us),
            exchanges=[
                diagnostic_jobs_pb2.DiagnosticExchange(
                    ecu=one.ecu,
                    request=one.request,
                    response=one.response,
                    offset=_duration(one.offset_s),
                    text=one.text,
                )
                for one in result.exchanges
            ],
            snapshot=snapshot_name(vin, result.snapshot) if result.snapshot else "",
            conditions=[
                diagnostic_jobs_pb2.ConditionFinding(
                    condition=one.condition, met=one.met, value=one.value, source=one.source
                )
                for one in result.conditions
            ],
        ),
    )


def gap_message(gap: Gap, *, vin: str, number: int) -> gateway_pb2.ReportGapRequest:
    return gateway_pb2.ReportGapRequest(
        vin=vin,
        gap=diagnostic_plans_pb2.DiagnosticGap(
            name=f"vehicles/{vin}/diagnosticGaps/{number}",
            kind=gap.kind,
            count=gap.count,
            bytes=gap.bytes_dropped,
            ranges=[
                diagnostic_plans_pb2.SequenceRange(first=first, last=last)
                for first, last in gap.ranges
            ],
        ),
    )


def _duration(seconds: float) -> Duration:
    whole, rest = divmod(round(seconds * 1_000_000), 1_000_000)
    return Duration(seconds=whole, nanos=rest * 1000)


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
        preconditions=_preconditions(message.preconditions),
        notice=_notice(message.notice) if message.HasField("notice") else None,
        consent_required=message.consent_required,
        wait_s=_wait_s(message),
    )


def _preconditions(text: str) -> str:
    """What cannot be read here is not taken for something that always holds."""
    try:
        if text:
            parse(text)
    except PreconditionError as error:
        raise ManagementError(f"offer.preconditions: {error}") from error
    return text


def _notice(message: conditions_pb2.UserNotice) -> Notice:
    return Notice(
        purpose=message.purpose,
        changes=message.changes,
        expected_time=message.expected_time,
        functions_lost=message.functions_lost,
        instructions=message.instructions,
    )


def _wait_s(message: gateway_pb2.Offer) -> float:
    if not message.HasField("wait"):
        return DEFAULT_WAIT_S
    wait_s = message.wait.seconds + message.wait.nanos / 1e9
    if not 0 < wait_s <= _LONGEST_WAIT_S:
        raise ManagementError(f"offer.wait: {wait_s:g} s, up to {_LONGEST_WAIT_S:g} s are taken")
    return wait_s


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
        conditions=[_condition(one) for one in report.conditions],
        consents=[_consent(one) for one in report.consents],
        snapshot_before=snapshot_name(vin, before) if before else "",
        snapshot_after=snapshot_name(vin, after) if after else "",
        bytes_sent=report.bytes_sent,
        bytes_received=report.bytes_received,
    )


def _condition(one: ConditionRecord) -> conditions_pb2.ConditionRecord:
    return conditions_pb2.ConditionRecord(
        time=timestamp(one.time_us),
        occasion=one.occasion,
        origin=one.origin,
        condition=one.condition,
        verdict=one.verdict,
        signal=one.signal,
        message=one.message,
        source=one.source,
        value=one.value,
        value_time=timestamp(one.value_us) if one.value_us else None,
        problem=one.problem,
    )


def _consent(one: ConsentRecord) -> conditions_pb2.ConsentRecord:
    notice = one.notice
    return conditions_pb2.ConsentRecord(
        time=timestamp(one.time_us),
        answer=one.answer,
        defer_until=timestamp(one.defer_until_us) if one.defer_until_us else None,
        release_sha256=one.release_sha256,
        notice=None
        if notice is None
        else conditions_pb2.UserNotice(
            purpose=notice.purpose,
            changes=notice.changes,
            expected_time=notice.expected_time,
            functions_lost=notice.functions_lost,
            instructions=notice.instructions,
        ),
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
