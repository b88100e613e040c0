"""Inventories, offers and final reports of vehicles."""

from dataclasses import fields
from typing import Final

from cloud.fleet.campaigns import Assignment, Campaign, Withdrawal
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.evidence import (
    ConditionRecord,
    ConsentRecord,
    EcuInventory,
    EcuResult,
    ReadBack,
    Step,
    UpdateReport,
)
from cloud.fleet.names import (
    campaign_id_of,
    campaign_name,
    check_ecu,
    check_printable,
    check_text,
    release_id_of,
    release_name,
    snapshot_of,
)
from cloud.fleet.releases import SHA256_LENGTH, Release
from cloud.messages.campaigns import from_outcome
from cloud.messages.releases import from_notice, to_image, to_notice
from cloud.messages.times import from_duration, from_timestamp, to_duration
from protocols.fleet.v1 import conditions_pb2, gateway_pb2

#: What JSON readers keep exactly, and more than any vehicle sends.
_MOST_BYTES: Final = 2**53 - 1


def from_inventory(message: gateway_pb2.EcuInventory, *, field: str) -> EcuInventory:
    return EcuInventory(
        ecu=check_ecu(message.ecu, field=f"{field}.ecu"),
        error=check_text(message.error, field=f"{field}.error"),
        hardware_id=message.hardware_id,
        serial_number=message.serial_number,
        software_number=check_printable(message.software_number, field=f"{field}.software_number"),
        software_version=check_printable(
            message.software_version, field=f"{field}.software_version"
        ),
        supplier_version=check_printable(
            message.supplier_version, field=f"{field}.supplier_version"
        ),
        read_back=_from_read_back(message, field=f"{field}.read_back"),
    )


def to_offer(campaign: Campaign, assignment: Assignment, release: Release) -> gateway_pb2.Offer:
    return gateway_pb2.Offer(
        campaign=campaign_name(campaign.campaign_id),
        release=release_name(campaign.release_id),
        version=release.version,
        nonce=assignment.nonce,
        images=[
            gateway_pb2.OfferedImage(
                ecu=change.ecu,
                image=to_image(change.image),
                present=None if change.present is None else to_image(change.present),
            )
            for change in assignment.changes
        ],
        preconditions=release.terms.preconditions,
        notice=to_notice(release.terms.notice),
        consent_required=release.terms.consent_required,
        wait=to_duration(release.terms.wait_s),
    )


def to_withdrawal(
    campaign_id: str, assignment: Assignment
) -> gateway_pb2.CampaignWithdrawal | None:
    """Return what a gateway is told that works on this; None if it may go on."""
    if assignment.withdrawal in {Withdrawal.UNSPECIFIED, Withdrawal.TOO_LATE}:
        return None
    by = assignment.superseded_by
    return gateway_pb2.CampaignWithdrawal(
        campaign=campaign_name(campaign_id),
        reason=assignment.withdrawal_reason,
        superseded_by=campaign_name(by) if by else "",
    )


def from_report(message: gateway_pb2.UpdateReport, *, vin: str) -> UpdateReport:
    """Return the report of `vin`; `InvalidFieldError` names the field."""
    return UpdateReport(
        campaign_id=campaign_id_of(message.campaign, field="report.campaign"),
        release_id=release_id_of(message.release, field="report.release"),
        outcome=from_outcome(message.outcome, field="report.outcome"),
        reason=check_text(message.reason, field="report.reason"),
        start_time=(
            from_timestamp(message.start_time, field="report.start_time")
            if message.HasField("start_time")
            else None
        ),
        finish_time=(
            from_timestamp(message.finish_time, field="report.finish_time")
            if message.HasField("finish_time")
            else None
        ),
        ecus=tuple(
            _from_result(result, field=f"report.ecus[{index}]")
            for index, result in enumerate(message.ecus)
        ),
        steps=tuple(
            Step(
                start=from_timestamp(step.start_time, field=f"report.steps[{index}].start_time"),
                duration=from_duration(step.duration, field=f"report.steps[{index}].duration"),
                ecu=step.ecu,
                step=step.step,
                detail=step.detail,
                failed=step.failed,
            )
            for index, step in enumerate(message.steps)
        ),
        conditions=tuple(
            _from_condition(one, field=f"report.conditions[{index}]")
            for index, one in enumerate(message.conditions)
        ),
        consents=tuple(
            _from_consent(one, field=f"report.consents[{index}]")
            for index, one in enumerate(message.consents)
        ),
        snapshot_before=_snapshot_id(message.snapshot_before, vin, "report.snapshot_before"),
        snapshot_after=_snapshot_id(message.snapshot_after, vin, "report.snapshot_after"),
        bytes_sent=min(message.bytes_sent, _MOST_BYTES),
        bytes_received=min(message.bytes_received, _MOST_BYTES),
    )


def _from_condition(message: conditions_pb2.ConditionRecord, *, field: str) -> ConditionRecord:
    return ConditionRecord(
        time=from_timestamp(message.time, field=f"{field}.time"),
        occasion=check_text(message.occasion, field=f"{field}.occasion"),
        origin=check_text(message.origin, field=f"{field}.origin"),
        condition=check_text(message.condition, field=f"{field}.condition"),
        verdict=check_text(message.verdict, field=f"{field}.verdict"),
        signal=check_text(message.signal, field=f"{field}.signal"),
        message=check_text(message.message, field=f"{field}.message"),
        source=check_text(message.source, field=f"{field}.source"),
        value=check_text(message.value, field=f"{field}.value"),
        value_time=(
            from_timestamp(message.value_time, field=f"{field}.value_time")
            if message.HasField("value_time")
            else None
        ),
        problem=check_text(message.problem, field=f"{field}.problem"),
    )


def _from_consent(message: conditions_pb2.ConsentRecord, *, field: str) -> ConsentRecord:
    notice = from_notice(message.notice) if message.HasField("notice") else None
    if notice is not None:
        for one in fields(notice):
            check_text(getattr(notice, one.name), field=f"{field}.notice.{one.name}")
    return ConsentRecord(
        time=from_timestamp(message.time, field=f"{field}.time"),
        answer=check_text(message.answer, field=f"{field}.answer"),
        defer_until=(
            from_timestamp(message.defer_until, field=f"{field}.defer_until")
            if message.HasField("defer_until")
            else None
        ),
        release_sha256=message.release_sha256,
        notice=notice,
    )


def _from_result(message: gateway_pb2.EcuResult, *, field: str) -> EcuResult:
    return EcuResult(
        ecu=check_ecu(message.ecu, field=f"{field}.ecu"),
        hardware_id=message.hardware_id,
        wire=message.wire,
        version_before=message.version_before,
        version_after=message.version_after,
        software_number_after=message.software_number_after,
        supplier_version_after=message.supplier_version_after,
        image_sha256=message.image_sha256,
        image_bytes=message.image_bytes,
        read_back=_from_read_back(message, field=f"{field}.read_back"),
        transfer_s=message.transfer_seconds,
        bound_s=message.bound_seconds,
        staging_s=message.staging_seconds,
        out_of_use_s=message.out_of_use_seconds,
        error=check_text(message.error, field=f"{field}.error"),
    )


def _from_read_back(
    message: gateway_pb2.EcuInventory | gateway_pb2.EcuResult, *, field: str
) -> ReadBack | None:
    if not message.HasField("read_back"):
        return None
    read_back = message.read_back
    if len(read_back.image_sha256) != SHA256_LENGTH:
        raise InvalidFieldError(
            f"{field}.image_sha256",
            f"{message.ecu}: {len(read_back.image_sha256)} bytes; SHA-256 has {SHA256_LENGTH}",
        )
    return ReadBack(
        nonce=read_back.nonce,
        image_sha256=read_back.image_sha256,
        signature=read_back.signature,
    )


def _snapshot_id(name: str, vin: str, field: str) -> str | None:
    if not name:
        return None
    named_vin, snapshot_id = snapshot_of(name, field=field)
    if named_vin != vin:
        raise InvalidFieldError(field, f"{name!r} is not of vehicle {vin}")
    return snapshot_id
