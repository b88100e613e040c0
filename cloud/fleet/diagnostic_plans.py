"""When vehicles read themselves, which signals an operator follows, and what got lost."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

from cloud.fleet.diagnostics import SignalSeries
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import check_ecu, check_text

DEFAULT_STATUS_MASK: Final = 0x08
LEAST_PERIOD_S: Final = 60.0
LEAST_CHANGE_INTERVAL_S: Final = 5.0
LONGEST_PERIOD_S: Final = 30 * 86400.0

#: Subscriptions of one vehicle that have not ended.
OPEN_LIMIT: Final = 8
SIGNALS_LIMIT: Final = 32
LEAST_SAMPLE_S: Final = 0.1
LEAST_IDENTIFIER_SAMPLE_S: Final = 1.0
LONGEST_SAMPLE_S: Final = 60.0
LONGEST_DURATION_S: Final = 3600.0
#: Values of one batch, and batches of one subscription, that the cloud takes.
VALUES_LIMIT: Final = 20_000
BATCHES_LIMIT: Final = 2000
_SIGNAL: Final = re.compile(r"([A-Za-z_]\w{0,63}\.)?[A-Za-z_]\w{0,63}", re.ASCII)
IDENTIFIER: Final = re.compile(r"([a-z0-9][a-z0-9_-]{0,31}):([0-9A-Fa-f]{4})", re.ASCII)

RANGES_LIMIT: Final = 10_000
KINDS: Final = ("live", "snapshot", "result", "report")
_LARGEST: Final = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Seconds; 0 means never. Revision 0: the operator has never set one."""

    period_s: float = 0.0
    ecus: tuple[str, ...] = ()
    change_interval_s: float = 0.0
    status_mask: int = DEFAULT_STATUS_MASK
    wake: bool = False
    revision: int = 0
    update_time: datetime | None = None


class SubscriptionState(IntEnum):
    """Numbers as in fleet.v1."""

    WAITING = 1
    RUNNING = 2
    FINISHED = 3
    CANCELLED = 4


ENDED: Final = frozenset({SubscriptionState.FINISHED, SubscriptionState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an operator asked for."""

    signals: tuple[str, ...]
    period_s: float
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    vin: str
    subscription_id: str
    wanted: Wanted
    state: SubscriptionState
    create_time: datetime
    start_time: datetime | None = None

    @property
    def expire_time(self) -> datetime | None:
        if self.start_time is None:
            return None
        return self.start_time + timedelta(seconds=self.wanted.duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalError:
    signal: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    time: datetime
    series: tuple[SignalSeries, ...]
    errors: tuple[SignalError, ...]
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRange:
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    number: int
    kind: str
    count: int
    bytes_dropped: int
    ranges: tuple[SequenceRange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGap:
    """A gap, and how many of its messages the cloud has nevertheless."""

    gap: Gap
    arrived: int
    receive_time: datetime


def check_plan(plan: Plan) -> Plan:
    """Return a plan that may be stored; `InvalidFieldError` names the field."""
    _check_pause(plan.period_s, LEAST_PERIOD_S, "diagnostic_plan.period")
    _check_pause(plan.change_interval_s, LEAST_CHANGE_INTERVAL_S, "diagnostic_plan.change_interval")
    if not 0 < plan.status_mask <= 0xFF:
        raise InvalidFieldError(
            "diagnostic_plan.status_mask", f"{plan.status_mask:#x} is not in 0x01 to 0xFF"
        )
    for index, ecu in enumerate(plan.ecus):
        check_ecu(ecu, field=f"diagnostic_plan.ecus[{index}]")
    if len(set(plan.ecus)) != len(plan.ecus):
        raise InvalidFieldError("diagnostic_plan.ecus", "an ECU is named twice")
    return plan


def check_wanted(wanted: Wanted) -> Wanted:
    """Return a subscription that may be stored; `InvalidFieldError` names the field."""
    field = "signal_subscription"
    if not 0 < len(wanted.signals) <= SIGNALS_LIMIT:
        raise InvalidFieldError(
            f"{field}.signals", f"{len(wanted.signals)}; 1 to {SIGNALS_LIMIT} are possible"
        )
    for index, name in enumerate(wanted.signals):
        if not _SIGNAL.fullmatch(name) and not IDENTIFIER.fullmatch(name):
            raise InvalidFieldError(
                f"{field}.signals[{index}]",
                f"{name!r} is neither a signal (CabinTemperature, CCU_Status.CabinTemperature) "
                "nor a data identifier of an ECU (blower:0111)",
            )
    if len(set(wanted.signals)) != len(wanted.signals):
        raise InvalidFieldError(f"{field}.signals", "a signal is named twice")
    asked = any(IDENTIFIER.fullmatch(name) for name in wanted.signals)
    least_s = LEAST_IDENTIFIER_SAMPLE_S if asked else LEAST_SAMPLE_S
    if not least_s <= wanted.period_s <= LONGEST_SAMPLE_S:
        raise InvalidFieldError(
            f"{field}.period",
            f"{wanted.period_s:g} s; {least_s:g} s to {LONGEST_SAMPLE_S:g} s"
            + (" where data identifiers are read" if asked else ""),
        )
    if not 0 < wanted.duration_s <= LONGEST_DURATION_S:
        raise InvalidFieldError(
            f"{field}.duration",
            f"{wanted.duration_s:g} s; above 0, at most {LONGEST_DURATION_S:g} s",
        )
    return wanted


def check_batch(batch: Batch) -> Batch:
    """Return a batch that may be stored; `InvalidFieldError` names the field."""
    for index, series in enumerate(batch.series):
        if len(series.offsets_s) != len(series.values):
            raise InvalidFieldError(
                f"batch.series[{index}].values",
                f"{series.signal}: {len(series.values)} values at {len(series.offsets_s)} times",
            )
    if sum(len(series.values) for series in batch.series) > VALUES_LIMIT:
        raise InvalidFieldError("batch.series", f"more than {VALUES_LIMIT} values")
    if max(len(batch.series), len(batch.errors)) > 2 * SIGNALS_LIMIT:
        raise InvalidFieldError("batch.series", f"more than {2 * SIGNALS_LIMIT} signals")
    for error in batch.errors:
        check_text(error.signal, field="batch.errors")
        check_text(error.cause, field="batch.errors")
    return batch


def check_gap(gap: Gap) -> Gap:
    """Return a gap that may be stored; `InvalidFieldError` names the field."""
    if gap.kind not in KINDS:
        raise InvalidFieldError("gap.kind", f"{gap.kind!r} is none of {', '.join(KINDS)}")
    if max(gap.count, gap.bytes_dropped, gap.number) > _LARGEST:
        raise InvalidFieldError("gap.count", f"above {_LARGEST}")
    if len(gap.ranges) > RANGES_LIMIT:
        raise InvalidFieldError("gap.ranges", f"more than {RANGES_LIMIT}")
    for index, one in enumerate(gap.ranges):
        if not 0 < one.first <= one.last <= _LARGEST:
            raise InvalidFieldError(
                f"gap.ranges[{index}]", f"{one.first} to {one.last} is no range"
            )
    return gap


def _check_pause(seconds: float, least: float, field: str) -> None:
    if seconds and not least <= seconds <= LONGEST_PERIOD_S:
        raise InvalidFieldError(
            field,
            f"{seconds:g} s; {least:g} s to {LONGEST_PERIOD_S / 86400:g} days, or 0 for never",
        )
