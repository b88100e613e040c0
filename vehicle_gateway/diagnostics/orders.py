"""What the cloud wants of the vehicle's diagnostics, and what became of it, as values."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from vehicle_gateway.diagnostics import SignalSeries

#: Confirmed.
DEFAULT_STATUS_MASK: Final = 0x08


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When the vehicle reads its ECUs by itself. Seconds; 0: never."""

    period_s: float = 0.0
    #: None: all.
    ecus: tuple[str, ...] = ()
    change_interval_s: float = 0.0
    #: Status bits that count as a change.
    status_mask: int = DEFAULT_STATUS_MASK
    #: Also of a parked car, whose wires are woken for it.
    wake: bool = False
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalOrder:
    """Signals that somebody follows."""

    #: `vehicles/{vin}/signalSubscriptions/{id}`.
    subscription: str
    signals: tuple[str, ...]
    period_s: float
    #: Seconds until its end.
    remaining_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalBatch:
    subscription: str
    #: Unix time in microseconds, and the loop's time at the same moment.
    time_us: int
    loop_time_s: float
    series: tuple[SignalSeries, ...]
    #: (signal, why it brought nothing).
    errors: tuple[tuple[str, str], ...]
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Routine:
    ecu: str
    routine_identifier: int
    option_record: bytes = b""
    #: It runs on for so many seconds at most; 0: its first answer is its result.
    run_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputHold:
    """A short-term adjustment (2F 03), given back after so many seconds."""

    ecu: str
    data_identifier: int
    control_state: bytes
    control_mask: bytes = b""
    hold_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearDtcs:
    #: None: all.
    ecus: tuple[str, ...] = ()
    group: int = 0xFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSnapshot:
    #: None: all.
    ecus: tuple[str, ...] = ()


Action: TypeAlias = Routine | OutputHold | ClearDtcs | TakeSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something that is done at most once."""

    #: `vehicles/{vin}/diagnosticJobs/{id}`.
    name: str
    #: Unix time in microseconds after which it is not begun.
    expire_us: int
    action: Action

    @property
    def id(self) -> str:
        return self.name.rpartition("/")[2]


class JobEnd(Enum):
    SUCCEEDED = "succeeded"
    #: The ECU refused, or said that it failed.
    FAILED = "failed"
    #: Nothing was done: a condition was not met.
    REFUSED = "refused"
    #: A condition was no longer met, or the time that it may run was over.
    ABORTED = "aborted"
    #: Nothing was done: too late.
    EXPIRED = "expired"
    #: It may have had its effect; it is not repeated.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    ecu: str
    request: bytes
    response: bytes
    #: Seconds since the job began.
    offset_s: float
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A condition as it was found."""

    condition: str
    met: bool
    value: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    job: str
    end: JobEnd
    detail: str
    start_us: int
    finish_us: int
    exchanges: tuple[Exchange, ...] = ()
    #: Id of the snapshot that was taken; empty: none.
    snapshot: str = ""
    conditions: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Everything that one check-in brought."""

    #: None: the cloud has none.
    plan: Plan | None = None
    signals: tuple[SignalOrder, ...] = ()
    jobs: tuple[Job, ...] = ()
