"""What response on event watches (86): when something counts as an event; no time, no messages."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from protocols.uds import Session
from protocols.uds.enums import EventType

#: DID, comparison logic, reference value, hysteresis in percent, localization.
_COMPARISON: Final = struct.Struct(">HBIBH")
#: Bytes of each event's eventTypeRecord.
RECORD_LENGTHS: Final = {
    EventType.ON_DTC_STATUS_CHANGE: 1,
    EventType.ON_CHANGE_OF_DATA_IDENTIFIER: 2,
    EventType.ON_COMPARISON_OF_VALUES: _COMPARISON.size,
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
    #: eventTypeRecord and serviceToRespondToRecord.
    record: bytes
    response: bytes

    def encode(self) -> bytes:
        """As 86 04 reports it, and as the NVM keeps it."""
        return bytes([self.event, self.window]) + self.record + self.response

    @classmethod
    def decode(cls, data: bytes) -> "EventDefinition":
        """From what `encode` gave, or from a request behind its service identifier."""
        event = EventType(data[0] & 0x3F)
        end = 2 + RECORD_LENGTHS[event]
        return cls(event=event, window=data[1], record=data[2:end], response=data[end:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Where events are looked for."""

    #: DTC -> status.
    dtcs: Callable[[], dict[int, int]]
    #: A data identifier's record; `Refusal` if it cannot be read now.
    read: Callable[[int], bytes]


class Detector:
    """Tells at each look whether the event has happened since the one before."""

    def __init__(self, definition: EventDefinition, watched: Watched) -> None:
        self._definition = definition
        self._watched = watched
        self._look = {
            EventType.ON_DTC_STATUS_CHANGE: self._dtcs_changed,
            EventType.ON_CHANGE_OF_DATA_IDENTIFIER: self._data_changed,
            EventType.ON_COMPARISON_OF_VALUES: self._compares,
        }[definition.event]
        self._before: object = None
        self._armed = True
        if definition.event != EventType.ON_COMPARISON_OF_VALUES:
            self.happened()

    def happened(self) -> bool:
        """A record that cannot be read now has not changed."""
        try:
            return self._look()
        except Refusal:
            return False

    def _dtcs_changed(self) -> bool:
        """A bit of the mask changed in the status of some DTC."""
        mask = self._definition.record[0]
        now = {code: status & mask for code, status in self._watched.dtcs().items()}
        before, self._before = self._before, now
        return before is not None and before != now

    def _data_changed(self) -> bool:
        now = self._watched.read(int.from_bytes(self._definition.record))
        before, self._before = self._before, now
        return before is not None and before != now

    def _compares(self) -> bool:
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
            return True
        if false and not true:
            self._armed = True
        return False


def check_definition(definition: EventDefinition, watched: Watched) -> None:
    """`Refusal` for an event that cannot be watched here and now."""
    match definition.event:
        case EventType.ON_DTC_STATUS_CHANGE:
            if not definition.record[0]:
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "an empty DTC status mask")
        case EventType.ON_CHANGE_OF_DATA_IDENTIFIER:
            watched.read(int.from_bytes(definition.record))
        case _:
            did, logic, _, percent, localization = _COMPARISON.unpack(definition.record)
            if logic not in set(ComparisonLogic) or percent > 100:
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "comparison logic or hysteresis")
            locate(watched.read(did), localization)


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

    @property
    def active(self) -> bool:
        return self.detector is not None


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

    def leave(self, session: Session) -> None:
        """The session ends."""
        if session != Session.DEFAULT:
            self.all = [one for one in self.all if one.session != session]

    def next_deadline(self, session: Session) -> float | None:
        active = self.active_in(session)
        if not active or self.next_look is None:
            return None
        return min([self.next_look, *(one.until for one in active if one.until is not None)])


def same(one: EventDefinition, other: EventDefinition) -> bool:
    return (one.event, one.record) == (other.event, other.record)
