"""What testers behind an edge node have asked an ECU to send unasked: 2A and 86, without I/O.

To an ECU on CAN the edge node is one tester, so it has to remember who asked for what. It follows
the requests that the ECU has accepted, its session, S3 and its resets, as a tester would.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ecu_sim.diagnostics.events import RECORD_LENGTHS, EventDefinition, same
from protocols.uds import ServiceId, Session, TransmissionMode
from protocols.uds.enums import EventType

_ANSWER: Final = 0x40
_NEGATIVE: Final = 0x7F
_SUPPRESS: Final = 0x80
_STORE: Final = 0x40
#: Services whose positive response may be suppressed: an accepted request is then silence.
_SUPPRESSIBLE: Final = frozenset(
    {
        ServiceId.DIAGNOSTIC_SESSION_CONTROL,
        ServiceId.ECU_RESET,
        ServiceId.RESPONSE_ON_EVENT,
    }
)
#: Events remembered of one ECU, at most; the oldest goes first. No ECU has that many.
_EVENT_LIMIT: Final = 16
#: Services that ISO 14229-1 recommends for serviceToRespondTo.
_EVENT_SERVICES: Final = frozenset(
    {
        ServiceId.READ_DATA_BY_IDENTIFIER,
        ServiceId.READ_DTC_INFORMATION,
        ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER,
        ServiceId.ROUTINE_CONTROL,
    }
)


@dataclass(frozen=True, slots=True)
class Asker:
    """A tester on its connection: after a new one the same address is another asker."""

    tester: int
    connection: int


@dataclass(slots=True)
class _Event:
    asker: Asker
    #: `None`: who started what others had set up before.
    definition: EventDefinition | None
    session: int
    started: bool = False

    def fits(self, message: bytes) -> int:
        """How well an unasked response is an answer to this event: 0 not at all, 3 in full."""
        if not self.started:
            return 0
        wanted = None if self.definition is None else self.definition.response
        if message[0] == ServiceId.RESPONSE_ON_EVENT + _ANSWER:
            return self._ends(message)
        refused = message[0] == _NEGATIVE
        service = message[1] if refused and len(message) > 1 else message[0] - _ANSWER
        if not wanted:
            return int(service in _EVENT_SERVICES)
        if service != wanted[0]:
            return 0
        return 2 if refused or message[1 : len(wanted)] != wanted[1:] else 3

    def _ends(self, message: bytes) -> int:
        """The final response at the end of a window: C6, type, number of events, definition."""
        if self.definition is None:
            return 1
        told = message[1:2] + message[3:]
        return 3 if told == self.definition.encode() else 1


class Subscriptions:
    """Of one ECU. Times are loop seconds; `s3_s` is when the ECU leaves a session by itself."""

    def __init__(self, *, s3_s: float) -> None:
        self._s3_s = s3_s
        self._session: int = Session.DEFAULT
        self._last_heard = 0.0
        #: Periodic identifier (low byte) -> who gets it.
        self._periodic: dict[int, Asker] = {}
        self._events: list[_Event] = []
        #: The events started last were to be stored: they begin again after a reset.
        self._stored = False

    @property
    def has_periodic(self) -> bool:
        return bool(self._periodic)

    @property
    def has_events(self) -> bool:
        return any(event.started for event in self._events)

    def active(self, *, now: float) -> None:
        """A request, or an answer to one: S3 runs from here."""
        self.expire(now=now)
        self._last_heard = now

    def accepted(self, asker: Asker, request: bytes, *, now: float) -> None:
        """The ECU has said yes to a request, or nothing because it was not to."""
        self.active(now=now)
        effect = _EFFECTS.get(request[0])
        if effect is not None and len(request) > 1:
            effect(self, asker, request)

    def periodic(self, message: bytes) -> Asker | None:
        """Who gets a periodic message (identifier, record)."""
        return self._periodic.get(message[0]) if message else None

    def event(self, message: bytes) -> Asker | None:
        """Who gets a response that answers no open request."""
        if not message:
            return None
        best: _Event | None = None
        for event in self._events:  # of two that fit alike the later one
            if event.fits(message) and (best is None or event.fits(message) >= best.fits(message)):
                best = event
        if best is None:
            return None
        if message[0] == ServiceId.RESPONSE_ON_EVENT + _ANSWER:
            best.started = False
        return best.asker

    def restarted(self) -> None:
        """The ECU has been reset: what it stores alone goes on."""
        self._enter(Session.DEFAULT)
        if not self._stored:
            self._events.clear()

    def forget(self, connection: int) -> None:
        """A tester is gone."""
        self._periodic = {
            low: asker for low, asker in self._periodic.items() if asker.connection != connection
        }
        self._events = [its for its in self._events if its.asker.connection != connection]

    def expire(self, *, now: float) -> None:
        """S3: nobody has said anything for so long, so the ECU is back in its default session."""
        if self._session != Session.DEFAULT and now >= self._last_heard + self._s3_s:
            self._enter(Session.DEFAULT)

    def next_deadline(self) -> float | None:
        """When a session ends that something hangs on."""
        if self._session == Session.DEFAULT or not (self._periodic or self._events):
            return None
        return self._last_heard + self._s3_s

    # What an accepted request changes

    def _change_session(self, _asker: Asker, request: bytes) -> None:
        self._enter(request[1] & ~_SUPPRESS)

    def _enter(self, session: int) -> None:
        """Any change ends periodic messages, and the events that were set up outside default."""
        self._periodic.clear()
        self._events = [its for its in self._events if its.session == Session.DEFAULT]
        self._session = session

    def _reset(self, _asker: Asker, _request: bytes) -> None:
        self.restarted()

    def _schedule(self, asker: Asker, request: bytes) -> None:
        mode, identifiers = request[1], request[2:]
        if mode == TransmissionMode.STOP:
            for low in identifiers or tuple(self._periodic):
                self._periodic.pop(low, None)
        else:
            self._periodic |= dict.fromkeys(identifiers, asker)

    def _respond_on_event(self, asker: Asker, request: bytes) -> None:
        event = request[1] & ~(_SUPPRESS | _STORE)
        if event == EventType.START:
            self._stored = bool(request[1] & _STORE)
            self._add(_Event(asker, None, self._session))
        if event == EventType.CLEAR:
            self._events.clear()
        if event in {EventType.START, EventType.STOP}:
            for its in self._events:
                its.started = event == EventType.START
        if event in {EventType.STOP, EventType.CLEAR}:
            self._stored = False
        if event in RECORD_LENGTHS and len(request) > 3:
            definition = EventDefinition.decode(bytes([request[1] & ~_SUPPRESS]) + request[2:])
            self._add(_Event(asker, definition, self._session))

    def _add(self, event: _Event) -> None:
        """In place of the same one; the oldest makes room."""
        self._events = [its for its in self._events if not _is_same(its, event)]
        self._events = [*self._events, event][-_EVENT_LIMIT:]


def _is_same(one: _Event, other: _Event) -> bool:
    if one.definition is None or other.definition is None:
        return one.definition is other.definition
    return same(one.definition, other.definition)


def suppresses(request: bytes) -> bool:
    """Whether silence may be the ECU's consent."""
    return len(request) > 1 and request[0] in _SUPPRESSIBLE and bool(request[1] & _SUPPRESS)


_EFFECTS: Final[dict[int, Callable[[Subscriptions, Asker, bytes], None]]] = {
    ServiceId.DIAGNOSTIC_SESSION_CONTROL: Subscriptions._change_session,  # noqa: SLF001 its own table
    ServiceId.ECU_RESET: Subscriptions._reset,  # noqa: SLF001 its own table
    ServiceId.READ_DATA_BY_PERIODIC_IDENTIFIER: Subscriptions._schedule,  # noqa: SLF001 its own table
    ServiceId.RESPONSE_ON_EVENT: Subscriptions._respond_on_event,  # noqa: SLF001 its own table
}
