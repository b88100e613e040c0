"""What an operator wants done in a vehicle, once: routines, outputs, clearing, readings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, IntEnum
from typing import Final

from cloud.fleet.errors import InvalidFieldError, PreconditionError
from cloud.fleet.names import check_ecu, check_text, diagnostic_job_name

#: Jobs of one vehicle without a result, and those that one check-in carries.
OPEN_LIMIT: Final = 50
PER_CHECK_IN: Final = 8
DEFAULT_LIFE: Final = timedelta(hours=1)
LONGEST_LIFE: Final = timedelta(days=30)
#: Seconds that a routine may run on, or an output be held.
LONGEST_RUN_S: Final = 600.0
_RECORD_LIMIT: Final = 64
_EXCHANGES_LIMIT: Final = 200
_CONDITIONS_LIMIT: Final = 64
_RESPONSE_LIMIT: Final = 4096


class JobState(IntEnum):
    """Numbers as in fleet.v1."""

    QUEUED = 1
    FETCHED = 2
    SUCCEEDED = 3
    FAILED = 4
    REFUSED = 5
    ABORTED = 6
    EXPIRED = 7
    CANCELLED = 8
    UNKNOWN = 9


class Trigger(Enum):
    CHECK_IN = "the gateway asks for work"
    TIME_OVER = "its time is over"
    CANCEL = "an operator takes it back"
    RESULT = "the gateway tells its end"


#: What happens to a job; a pair without a row changes nothing. RESULT leads to the told state.
TRANSITIONS: Final[Mapping[tuple[JobState, Trigger], JobState | None]] = {
    (JobState.QUEUED, Trigger.CHECK_IN): JobState.FETCHED,
    (JobState.QUEUED, Trigger.TIME_OVER): JobState.EXPIRED,
    (JobState.QUEUED, Trigger.CANCEL): JobState.CANCELLED,
    (JobState.FETCHED, Trigger.RESULT): None,
}
OPEN: Final = frozenset({JobState.QUEUED, JobState.FETCHED})
#: States in which a gateway may say that a job ended.
TOLD: Final = frozenset(JobState) - OPEN - {JobState.CANCELLED}


class ActionKind(IntEnum):
    ROUTINE = 1
    OUTPUT_CONTROL = 2
    CLEAR_DTCS = 3
    TAKE_SNAPSHOT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What is to be done; which fields count depends on `kind`."""

    kind: ActionKind
    #: One for routines and outputs; none: all of the vehicle.
    ecus: tuple[str, ...] = ()
    #: Routine or data identifier, or the group of DTCs.
    identifier: int = 0
    #: Option record or control state, and control mask.
    record: bytes = b""
    mask: bytes = b""
    #: A routine's run time, an output's hold time, seconds.
    run_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    ecu: str
    request: bytes
    response: bytes
    offset_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    condition: str
    met: bool
    value: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    state: JobState
    detail: str
    start_time: datetime | None = None
    finish_time: datetime | None = None
    exchanges: tuple[Exchange, ...] = ()
    snapshot_id: str | None = None
    conditions: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    vin: str
    job_id: str
    state: JobState
    create_time: datetime
    expire_time: datetime
    action: Action
    fetch_time: datetime | None = None
    result: Result | None = None


def after(job: Job, trigger: Trigger) -> JobState:
    """The state that follows; `RESULT` is told apart by `finished`."""
    return TRANSITIONS.get((job.state, trigger)) or job.state


def at(job: Job, now: datetime) -> Job:
    """The job as it stands at a time: one that nobody fetched in time has expired."""
    if now <= job.expire_time:
        return job
    return replace(job, state=after(job, Trigger.TIME_OVER))


def cancelled(job: Job) -> Job:
    """The job taken back; `PreconditionError` once the gateway has it or it has ended."""
    if job.state is JobState.CANCELLED:
        return job
    if (job.state, Trigger.CANCEL) not in TRANSITIONS:
        raise PreconditionError(
            "JOB_IS_QUEUED",
            diagnostic_job_name(job.vin, job.job_id),
            f"is {job.state.name.lower()}: it cannot be taken back",
        )
    return replace(job, state=after(job, Trigger.CANCEL))


def finished(job: Job, result: Result) -> Job:
    """The job with its result; one that has ended already stays as it is."""
    if (job.state, Trigger.RESULT) not in TRANSITIONS:
        return job
    return replace(job, state=result.state, result=result)


def expire_time_of(wanted: datetime | None, *, now: datetime) -> datetime:
    """When a new job expires; `InvalidFieldError` for a time that is over or too far away."""
    if wanted is None:
        return now + DEFAULT_LIFE
    field = "diagnostic_job.expire_time"
    if wanted <= now:
        raise InvalidFieldError(field, f"{wanted.isoformat()} is over: it is {now.isoformat()}")
    if wanted > now + LONGEST_LIFE:
        raise InvalidFieldError(field, f"more than {LONGEST_LIFE.days} days away")
    return wanted


def check_action(action: Action) -> Action:
    """Return an action that may be stored; `InvalidFieldError` names the field."""
    field = f"diagnostic_job.{action.kind.name.lower()}"
    for index, ecu in enumerate(action.ecus):
        check_ecu(ecu, field=f"{field}.ecus[{index}]" if len(action.ecus) > 1 else f"{field}.ecu")
    if len(set(action.ecus)) != len(action.ecus):
        raise InvalidFieldError(f"{field}.ecus", "an ECU is named twice")
    match action.kind:
        case ActionKind.ROUTINE:
            _check_range(action.identifier, 0xFFFF, f"{field}.routine_identifier")
            _check_record(action.record, f"{field}.option_record", least=0)
            _check_run(action.run_s, f"{field}.run_time", least=0.0)
        case ActionKind.OUTPUT_CONTROL:
            _check_range(action.identifier, 0xFFFF, f"{field}.data_identifier")
            _check_record(action.record, f"{field}.control_state", least=1)
            _check_record(action.mask, f"{field}.control_mask", least=0)
            _check_run(action.run_s, f"{field}.hold_time", least=0.001)
        case ActionKind.CLEAR_DTCS:
            _check_range(action.identifier, 0xFFFFFF, f"{field}.group")
        case ActionKind.TAKE_SNAPSHOT:
            pass
    return action


def check_result(result: Result) -> Result:
    """Return a result that may be stored; `InvalidFieldError` names the field."""
    if result.state not in TOLD:
        raise InvalidFieldError(
            "result.state", f"{result.state.name} is no end that a gateway tells"
        )
    check_text(result.detail, field="result.detail")
    if len(result.exchanges) > _EXCHANGES_LIMIT:
        raise InvalidFieldError("result.exchanges", f"more than {_EXCHANGES_LIMIT}")
    if len(result.conditions) > _CONDITIONS_LIMIT:
        raise InvalidFieldError("result.conditions", f"more than {_CONDITIONS_LIMIT}")
    for index, exchange in enumerate(result.exchanges):
        field = f"result.exchanges[{index}]"
        check_ecu(exchange.ecu, field=f"{field}.ecu")
        check_text(exchange.text, field=f"{field}.text")
        if max(len(exchange.request), len(exchange.response)) > _RESPONSE_LIMIT:
            raise InvalidFieldError(field, f"more than {_RESPONSE_LIMIT} bytes")
    for index, finding in enumerate(result.conditions):
        for text in (finding.condition, finding.value, finding.source):
            check_text(text, field=f"result.conditions[{index}]")
    return result


def _check_range(value: int, greatest: int, field: str) -> None:
    if not 0 <= value <= greatest:
        raise InvalidFieldError(field, f"{value:#x} is not in 0 to {greatest:#x}")


def _check_record(record: bytes, field: str, *, least: int) -> None:
    if not least <= len(record) <= _RECORD_LIMIT:
        raise InvalidFieldError(field, f"{len(record)} bytes; {least} to {_RECORD_LIMIT}")


def _check_run(seconds: float, field: str, *, least: float) -> None:
    if not least <= seconds <= LONGEST_RUN_S:
        raise InvalidFieldError(field, f"{seconds:g} s; {least:g} to {LONGEST_RUN_S:g} s")
