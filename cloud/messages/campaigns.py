"""Campaigns, assignments, verdicts and progress."""

from collections.abc import Iterable

from cloud.fleet.campaigns import Assignment, Campaign, EcuProgress, Outcome, Phase
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import campaign_name, check_ecu, check_text, release_name
from cloud.fleet.verdicts import VehicleVerdict
from cloud.messages.times import to_timestamp
from protocols.fleet.v1 import campaigns_pb2


def to_campaign(campaign: Campaign) -> campaigns_pb2.Campaign:
    return campaigns_pb2.Campaign(
        name=campaign_name(campaign.campaign_id),
        release=release_name(campaign.release_id),
        state=campaigns_pb2.CampaignState.ValueType(campaign.state),
        assignments=[_to_assignment(assignment) for assignment in campaign.assignments],
        create_time=to_timestamp(campaign.create_time),
        start_time=to_timestamp(campaign.start_time),
        finish_time=to_timestamp(campaign.finish_time),
        cancel_time=to_timestamp(campaign.cancel_time),
    )


def to_verdict(verdict: VehicleVerdict) -> campaigns_pb2.VehicleVerdict:
    return campaigns_pb2.VehicleVerdict(
        vin=verdict.vin,
        verdict=campaigns_pb2.Verdict.ValueType(verdict.verdict),
        reasons=verdict.reasons,
        warnings=verdict.warnings,
        changes=[
            campaigns_pb2.PlannedChange(
                ecu=change.ecu,
                hardware_id=change.image.hardware_id,
                version_before=change.version_before,
                version_after=change.image.software_version,
                image_size=change.image.image_size,
            )
            for change in verdict.changes
        ],
        preconditions=verdict.terms.preconditions,
        consent_required=verdict.terms.consent_required,
    )


def to_outcome(outcome: Outcome) -> campaigns_pb2.Outcome.ValueType:
    return campaigns_pb2.Outcome.ValueType(outcome)


def from_outcome(value: int, *, field: str) -> Outcome:
    """Return the outcome; `InvalidFieldError` for a number that this edition does not know."""
    try:
        return Outcome(value)
    except ValueError as error:
        raise InvalidFieldError(field, f"there is no outcome {value}") from error


def from_phase(value: int, *, field: str) -> Phase:
    """Return the phase; `InvalidFieldError` for a number that this edition does not know."""
    try:
        return Phase(value)
    except ValueError as error:
        raise InvalidFieldError(field, f"there is no phase {value}") from error


def from_progress(messages: Iterable[campaigns_pb2.EcuProgress]) -> tuple[EcuProgress, ...]:
    """Return one entry for each ECU; `InvalidFieldError` if one is named twice."""
    found: dict[str, EcuProgress] = {}
    for index, message in enumerate(messages):
        ecu = check_ecu(message.ecu, field=f"ecus[{index}].ecu")
        if ecu in found:
            raise InvalidFieldError(f"ecus[{index}].ecu", f"{ecu!r} is there twice")
        found[ecu] = EcuProgress(
            ecu=ecu,
            step=check_text(message.step, field=f"ecus[{index}].step"),
            bytes_done=_size(message.bytes_done, field=f"ecus[{index}].bytes_done"),
            bytes_total=_size(message.bytes_total, field=f"ecus[{index}].bytes_total"),
            remaining_s=message.remaining_seconds,
        )
    return tuple(found.values())


def _size(value: int, *, field: str) -> int:
    if value >= 1 << 63:
        raise InvalidFieldError(field, f"{value} bytes")
    return value


def _to_assignment(assignment: Assignment) -> campaigns_pb2.Assignment:
    return campaigns_pb2.Assignment(
        vin=assignment.vin,
        phase=campaigns_pb2.Phase.ValueType(assignment.phase),
        outcome=to_outcome(assignment.outcome),
        reason=assignment.reason,
        ecus=[
            campaigns_pb2.EcuProgress(
                ecu=ecu.ecu,
                step=ecu.step,
                bytes_done=ecu.bytes_done,
                bytes_total=ecu.bytes_total,
                remaining_seconds=ecu.remaining_s,
            )
            for ecu in assignment.progress
        ],
        update_time=to_timestamp(assignment.update_time),
        withdrawal=campaigns_pb2.Withdrawal.ValueType(assignment.withdrawal),
        superseded_by=campaign_name(assignment.superseded_by) if assignment.superseded_by else "",
    )
