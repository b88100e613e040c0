"""What response on event watches (86): when something counts as an event; no time, no messages."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from protocols.uds import DtcReport, ServiceId, Session
from protocols.uds.enums import EventType

#: DID, comparison logic, reference value, hysteresis in percent, localization.
_COMPARISON: Final = struct.Struct(">HBIBH")
#: Bytes of each event's eventTypeRecord; `None`: all that comes, for no request follows it.
RECORD_LENGTHS: Final = {
    EventType.ON_DTC_STATUS_CHANGE: 1,
    EventType.ON_TIMER_INTERRUPT: 1,
    EventType.ON_CHANGE_OF_DATA_IDENTIFIER: 2,
    EventType.ON_COMPARISON_OF_VALUES: _COMPARISON.size,
    EventType.MOST_RECENT_DTC_ON_STATUS_CHANGE: None,
    EventType.DTC_RECORD_ON_STATUS_CHANGE: None,
}
#: Reports that 08 may name.
_MOST_RECENT: Final = frozenset(
    {DtcReport.MOST_RECENT_TEST_FAILED, DtcReport.MOST_RECENT_CONFIRMED}
)
#: Reports that 09 may name -> bytes of its record, memory selection included.
_RECORD_REPORTS: Final = {
    DtcReport.SNAPSHOT_RECORD_BY_DTC_NUMBER: 3,
    DtcReport.EXTENDED_DATA_RECORD_BY_DTC_NUMBER: 3,
    DtcReport.USER_MEMORY_SNAPSHOT_RECORD_BY_DTC_NUMBER: 4,
    DtcReport.USER_MEMORY_EXTENDED_DATA_RECORD_BY_DTC_NUMBER: 4,
}
_WHOLE_VALUE: Final = 32


class ComparisonLogic(IntEnum):
    LESS = 0x01
    GREATER = 0x02
    EQUAL = 0x03
    NOT_EQUAL = 0x04


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDefinition:
    """One event as a tester has set it up."""

    event: EventType
    window: int
    #: eventTypeRecord and serviceToRespondToRecord, which 08 and 09 have none of.
    record: bytes
    response: bytes

    def encode(self) -> bytes:
        """As 86 04 reports it, and as the NVM keeps it."""
        return bytes([self.event, self.window]) + self.record + self.response

    @classmethod
    def decode(cls, data: bytes) -> "EventDefinition":
        """From what `encode` gave, or from a request behind its service identifier."""
        event = EventType(data[0] & 0x3F)
        length = RECORD_LENGTHS[event]
        end = len(data) if length is None else 2 + length
        return cls(event=event, window=data[1], record=data[2:end], response=data[end:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Where events are looked for."""

    #: DTC -> status.
    dtcs: Callable[[], dict[int, int]]
    #: DTC -> place of its last failure or confirmation in the order of all, 0 for none.
    order: Callable[[DtcReport], dict[int, int]]
    #: A data identifier's record; `Refusal` if it cannot be read now.
    read: Callable[[int], bytes]
    #: What a request would be refused with here and now.
    objection: Callable[[bytes], Nrc | None]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event has happened: what is to be answered to it."""

    request: bytes
    #: Of which DTC alone (08): several become one each, so that none is lost.
    dtc: int | None = None


class Detector:
    """Tells at each look what has happened since the one before."""

    def __init__(self, definition: EventDefinition, watched: Watched) -> None:
        self._definition = definition
        self._watched = watched
        self._look = {
            EventType.ON_DTC_STATUS_CHANGE: self._dtcs_changed,
            EventType.ON_TIMER_INTERRUPT: self._always,
            EventType.ON_CHANGE_OF_DATA_IDENTIFIER: self._data_changed,
            EventType.ON_COMPARISON_OF_VALUES: self._compares,
            EventType.MOST_RECENT_DTC_ON_STATUS_CHANGE: self._dtcs_turned,
            EventType.DTC_RECORD_ON_STATUS_CHANGE: self._records_changed,
        }[definition.event]
        self._statuses: dict[int, int] = {}
        self._data: bytes | None = None
        self._order = 0
        self._armed = True
        if definition.event != EventType.ON_COMPARISON_OF_VALUES:
            self.look()

    def look(self) -> list[Occurrence]:
        """A record that cannot be read now has not changed."""
        try:
            return self._look()
        except Refusal:
            return []

    def _once(self, happened: bool) -> list[Occurrence]:  # noqa: FBT001 the one thing it is told
        return [Occurrence(self._definition.response)] if happened else []

    def _always(self) -> list[Occurrence]:
        return self._once(happened=True)

    def _changed(self) -> list[int]:
        """DTCs in whose status a bit of the mask has changed."""
        mask = self._definition.record[0]
        now = {code: status & mask for code, status in self._watched.dtcs().items()}
        before, self._statuses = self._statuses, now
        return [code for code, status in now.items() if before.get(code, status) != status]

    def _dtcs_changed(self) -> list[Occurrence]:
        return self._once(happened=bool(self._changed()))

    def _records_changed(self) -> list[Occurrence]:
        report, parameters = self._definition.record[1:2], self._definition.record[2:]
        head = bytes([ServiceId.READ_DTC_INFORMATION]) + report
        return [Occurrence(head + code.to_bytes(3) + parameters) for code in self._changed()]

    def _dtcs_turned(self) -> list[Occurrence]:
        """DTCs whose testFailed, or confirmedDTC, went from 0 to 1, the earliest first."""
        report = DtcReport(self._definition.record[0])
        before, order = self._order, self._watched.order(report)
        self._order = max(order.values(), default=0)
        turned = sorted((code for code in order if order[code] > before), key=order.__getitem__)
        request = bytes([ServiceId.READ_DTC_INFORMATION, report])
        return [Occurrence(request, code) for code in turned]

    def _data_changed(self) -> list[Occurrence]:
        now = self._watched.read(int.from_bytes(self._definition.record))
        before, self._data = self._data, now
        return self._once(happened=before is not None and before != now)

    def _compares(self) -> list[Occurrence]:
        """Once each time the comparison becomes true; again after it was false by hysteresis."""
        did, logic, _, percent, localization = _COMPARISON.unpack(self._definition.record)
        value = locate(self._watched.read(did), localization)
        reference = _reference(self._definition.record)
        margin = abs(reference) * percent / 100
        true, false = {
            ComparisonLogic.LESS: (value < reference, value >= reference + margin),
            ComparisonLogic.GREATER: (value > reference, value <= reference - margin),
            ComparisonLogic.EQUAL: (value == reference, abs(value - reference) > margin),
            ComparisonLogic.NOT_EQUAL: (value != reference, abs(value - reference) <= margin),
        }[ComparisonLogic(logic)]
        if self._armed and true:
            self._armed = False
            return self._once(happened=True)
        if false and not true:
            self._armed = True
        return []


def check_definition(
    definition: EventDefinition, watched: Watched, *, timers: Mapping[int, float]
) -> None:
    """`Refusal` for an event that cannot be watched here and now."""
    record = definition.record
    match definition.event:
        case EventType.ON_DTC_STATUS_CHANGE:
            _require(record[0] != 0, "an empty DTC status mask")
        case EventType.ON_TIMER_INTERRUPT:
            _require(record[0] in timers, "timer schedule")
        case EventType.ON_CHANGE_OF_DATA_IDENTIFIER:
            watched.read(int.from_bytes(record))
        case EventType.MOST_RECENT_DTC_ON_STATUS_CHANGE:
            _require(record[0] in _MOST_RECENT, "report type")
            request = bytes([ServiceId.READ_DTC_INFORMATION, record[0]])
            _require(watched.objection(request) is None, "report type")
        case EventType.DTC_RECORD_ON_STATUS_CHANGE:
            _require(record[0] != 0, "an empty DTC status mask")
            _check_record_report(record, watched)
        case _:
            did, logic, _, percent, localization = _COMPARISON.unpack(definition.record)
            known = logic in set(ComparisonLogic) and percent <= 100
            _require(known, "comparison logic or hysteresis")
            locate(watched.read(did), localization)


def _check_record_report(record: bytes, watched: Watched) -> None:
    """09: its report with the length that this report has, as some DTC of the ECU would answer."""
    _require(record[1] in set(_RECORD_REPORTS), "report type")
    if len(record) != _RECORD_REPORTS[DtcReport(record[1])]:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    code = next(iter(watched.dtcs()), 0)
    head = bytes([ServiceId.READ_DTC_INFORMATION, record[1]])
    objection = watched.objection(head + code.to_bytes(3) + record[2:])
    _require(objection is None, "report type, record number or memory selection")


def _require(condition: bool, what: str) -> None:  # noqa: FBT001 a sentence as in `assert`
    if not condition:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, what)


def locate(record: bytes, localization: int) -> int:
    """The value in a data record: sign (bit 15), bits (14 to 10; 0: 32), offset (9 to 0).

    The offset is read as the number of bits in front of the value, counted from the first bit of
    the data record. `Refusal(REQUEST_OUT_OF_RANGE)` if the record does not hold the value.
    """
    length = localization >> 10 & 0x1F or _WHOLE_VALUE
    behind = 8 * len(record) - (localization & 0x3FF) - length
    if behind < 0:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "the record is shorter than the localization")
    raw = int.from_bytes(record) >> behind & (1 << length) - 1
    return _signed(raw, length) if localization & 0x8000 else raw


def _reference(record: bytes) -> int:
    _, _, raw, _, localization = _COMPARISON.unpack(record)
    return _signed(raw, 32) if localization & 0x8000 else raw


def _signed(raw: int, bits: int) -> int:
    return raw - (1 << bits) if raw >> bits - 1 & 1 else raw


@dataclass(slots=True, kw_only=True)
class WatchedEvent:
    """An event with who asked for it, and how it stands."""

    definition: EventDefinition
    source: int
    #: The session that it was set up in: elsewhere it sleeps.
    session: Session
    #: Kept in the NVM.
    stored: bool = False
    detector: Detector | None = None
    #: When its window ends, loop time in seconds; None: it has no end.
    until: float | None = None
    count: int = 0
    #: 02: what comes by the clock, and not by looking.
    timer: "Timer | None" = None

    @property
    def active(self) -> bool:
        return self.detector is not None

    def take(self, now: float, *, look: bool) -> list[Occurrence]:
        """What has happened by now; `look`: this is the time to look at what is watched."""
        if self.detector is None or not (look if self.timer is None else self.timer.take(now)):
            return []
        return self.detector.look()

    def next_deadline(self, next_look: float) -> float:
        due = next_look if self.timer is None else self.timer.due
        return due if self.until is None else min(due, self.until)


@dataclass(slots=True, kw_only=True)
class Timer:
    """The n-th time is due at start + n periods: no drift, however late we are called."""

    start: float
    period_s: float
    count: int = 0

    @property
    def due(self) -> float:
        return self.start + (self.count + 1) * self.period_s

    def take(self, now: float) -> bool:
        if self.due > now:
            return False
        self.count += 1
        return True

    def catch_up(self, now: float) -> None:
        """Of all that are overdue only the last one is left."""
        self.count = max(self.count, int((now - self.start) / self.period_s) - 1)


class Events:
    """What is set up; those of the default session outlive others, all end with the program."""

    def __init__(self) -> None:
        self.all: list[WatchedEvent] = []
        #: Next look at what is watched, loop time in seconds.
        self.next_look: float | None = None

    def active_in(self, session: Session) -> list[WatchedEvent]:
        return [one for one in self.all if one.active and one.session == session]

    def set_up(self, event: WatchedEvent) -> None:
        """In place of the same event with the same record, if there is one."""
        self.all = [one for one in self.all if not same(one.definition, event.definition)]
        self.all.append(event)

    def leave(self, session: Session, entered: Session) -> None:
        """The session ends, and another, or the same one anew, begins.

        Events of the default session sleep in others; when it begins anew those that are stored
        are left.
        """
        if session != Session.DEFAULT:
            self.all = [one for one in self.all if one.session != session]
        elif entered == Session.DEFAULT:
            self.all = [one for one in self.all if one.stored]

    def next_deadline(self, session: Session) -> float | None:
        active = self.active_in(session)
        if not active or self.next_look is None:
            return None
        return min(one.next_deadline(self.next_look) for one in active)

    def catch_up(self, now: float) -> None:
        """What would have happened meanwhile happens once."""
        if self.next_look is not None:
            self.next_look = max(self.next_look, now)
        for one in self.all:
            if one.timer is not None:
                one.timer.catch_up(now)


def same(one: EventDefinition, other: EventDefinition) -> bool:
    return (one.event, one.record) == (other.event, other.record)
