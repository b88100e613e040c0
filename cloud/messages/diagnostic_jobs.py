"""Diagnostic jobs and their results."""

from typing import Final

from cloud.fleet.diagnostic_jobs import (
    Action,
    ActionKind,
    Exchange,
    Finding,
    Job,
    JobState,
    Result,
)
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import diagnostic_job_name, snapshot_name, snapshot_of
from cloud.messages.times import from_duration, from_timestamp, to_duration, to_timestamp
from protocols.fleet.v1 import diagnostic_jobs_pb2

_EVERY_DTC: Final = 0xFFFFFF


def to_job(job: Job) -> diagnostic_jobs_pb2.DiagnosticJob:
    message = diagnostic_jobs_pb2.DiagnosticJob(
        name=diagnostic_job_name(job.vin, job.job_id),
        state=diagnostic_jobs_pb2.DiagnosticJobState.ValueType(job.state),
        create_time=to_timestamp(job.create_time),
        expire_time=to_timestamp(job.expire_time),
        fetch_time=to_timestamp(job.fetch_time),
        result=None if job.result is None else _to_result(job.result, job.vin),
    )
    action = job.action
    ecu = action.ecus[0] if action.ecus else ""
    match action.kind:
        case ActionKind.ROUTINE:
            message.routine.CopyFrom(
                diagnostic_jobs_pb2.DiagnosticJob.Routine(
                    ecu=ecu,
                    routine_identifier=action.identifier,
                    option_record=action.record,
                    run_time=to_duration(action.run_s),
                )
            )
        case ActionKind.OUTPUT_CONTROL:
            message.output_control.CopyFrom(
                diagnostic_jobs_pb2.DiagnosticJob.OutputControl(
                    ecu=ecu,
                    data_identifier=action.identifier,
                    control_state=action.record,
                    control_mask=action.mask,
                    hold_time=to_duration(action.run_s),
                )
            )
        case ActionKind.CLEAR_DTCS:
            message.clear_dtcs.CopyFrom(
                diagnostic_jobs_pb2.DiagnosticJob.ClearDtcs(
                    ecus=action.ecus, group=action.identifier
                )
            )
        case ActionKind.TAKE_SNAPSHOT:
            message.take_snapshot.CopyFrom(
                diagnostic_jobs_pb2.DiagnosticJob.TakeSnapshot(ecus=action.ecus)
            )
    return message


def from_action(message: diagnostic_jobs_pb2.DiagnosticJob) -> Action:
    """Return what a new job is to do; `InvalidFieldError` if it says nothing."""
    match message.WhichOneof("action"):
        case "routine":
            run = from_duration(message.routine.run_time, field="diagnostic_job.routine.run_time")
            return Action(
                kind=ActionKind.ROUTINE,
                ecus=(message.routine.ecu,),
                identifier=message.routine.routine_identifier,
                record=message.routine.option_record,
                run_s=run.total_seconds(),
            )
        case "output_control":
            control = message.output_control
            hold = from_duration(control.hold_time, field="diagnostic_job.output_control.hold_time")
            return Action(
                kind=ActionKind.OUTPUT_CONTROL,
                ecus=(control.ecu,),
                identifier=control.data_identifier,
                record=control.control_state,
                mask=control.control_mask,
                run_s=hold.total_seconds(),
            )
        case "clear_dtcs":
            clear = message.clear_dtcs
            return Action(
                kind=ActionKind.CLEAR_DTCS,
                ecus=tuple(clear.ecus),
                identifier=clear.group if clear.HasField("group") else _EVERY_DTC,
            )
        case "take_snapshot":
            return Action(kind=ActionKind.TAKE_SNAPSHOT, ecus=tuple(message.take_snapshot.ecus))
        case _:
            raise InvalidFieldError("diagnostic_job.action", "says nothing that is to be done")


def from_result(message: diagnostic_jobs_pb2.DiagnosticJobResult, *, vin: str) -> Result:
    """Return what a gateway told of a job; `InvalidFieldError` names the field."""
    snapshot_id = None
    if message.snapshot:
        named_vin, snapshot_id = snapshot_of(message.snapshot, field="result.snapshot")
        if named_vin != vin:
            raise InvalidFieldError("result.snapshot", f"is not of vehicle {vin}")
    try:
        state = JobState(message.state)
    except ValueError as error:
        raise InvalidFieldError("result.state", f"{message.state} is no end of a job") from error
    return Result(
        state=state,
        detail=message.detail,
        start_time=(
            from_timestamp(message.start_time, field="result.start_time")
            if message.HasField("start_time")
            else None
        ),
        finish_time=(
            from_timestamp(message.finish_time, field="result.finish_time")
            if message.HasField("finish_time")
            else None
        ),
        exchanges=tuple(
            Exchange(
                ecu=one.ecu,
                request=one.request,
                response=one.response,
                offset_s=from_duration(one.offset, field="result.exchanges.offset").total_seconds(),
                text=one.text,
            )
            for one in message.exchanges
        ),
        snapshot_id=snapshot_id,
        conditions=tuple(
            Finding(condition=one.condition, met=one.met, value=one.value, source=one.source)
            for one in message.conditions
        ),
    )


def _to_result(result: Result, vin: str) -> diagnostic_jobs_pb2.DiagnosticJobResult:
    return diagnostic_jobs_pb2.DiagnosticJobResult(
        state=diagnostic_jobs_pb2.DiagnosticJobState.ValueType(result.state),
        detail=result.detail,
        start_time=to_timestamp(result.start_time),
        finish_time=to_timestamp(result.finish_time),
        exchanges=[
            diagnostic_jobs_pb2.DiagnosticExchange(
                ecu=one.ecu,
                request=one.request,
                response=one.response,
                offset=to_duration(one.offset_s),
                text=one.text,
            )
            for one in result.exchanges
        ],
        snapshot="" if result.snapshot_id is None else snapshot_name(vin, result.snapshot_id),
        conditions=[
            diagnostic_jobs_pb2.ConditionFinding(
                condition=one.condition, met=one.met, value=one.value, source=one.source
            )
            for one in result.conditions
        ],
    )
