"""Response on event (86), and the responses themselves: `respond_to_events` is the server's.

Events are set up first, then started together. Each window runs from the start; the one of the
start request bounds them all. When a finite window ends the tester is told how many events there
were. With bit 6 (storageState) set-up, start, stop and clear are kept in the NVM: at the next
power-on stored events begin by themselves, in the default session, for the tester that started
them.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Job, Nrc, Refusal, Respond, ServerEvent
from ecu_sim.diagnostics.events import (
    RECORD_LENGTHS,
    Detector,
    EventDefinition,
    Watched,
    WatchedEvent,
    check_definition,
    same,
)
from ecu_sim.diagnostics.handling import Handler, Request, fitting, positive
from ecu_sim.diagnostics.identifiers import read_identifier
from ecu_sim.diagnostics.services import serve
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds import Session
from protocols.uds.enums import NEGATIVE_RESPONSE, EventType, ServiceId
from protocols.uds.rules import EventRules, check
from protocols.uds.rules.special_rows import STORE_EVENT

#: Bytes of one non-volatile record of the server.
_RECORD_LIMIT: Final = 16
#: Tester, window, whether started.
_CONTROL: Final = struct.Struct(">IBB")
_CONTROL_KEY: Final = "events"
_MOST_EVENTS: Final = 0xFF


def _respond_on_event(state: ServerState, request: Request) -> Answer | Work:
    rules = state.rules.special.events
    if rules is None:
        raise Refusal(Nrc.SERVICE_NOT_SUPPORTED)
    event = EventType(request.sub_function & ~STORE_EVENT)
    if request.data[2] not in rules.windows and event != EventType.REPORT_ACTIVATED:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "event window time")
    if event == EventType.REPORT_ACTIVATED:
        active = state.events.active_in(state.session)
        told = b"".join(one.definition.encode() for one in active)
        return fitting(state, _answer(event, bytes([len(active)]) + told))
    if event in RECORD_LENGTHS:
        job = _set_up(state, rules, request)
    else:
        job = _CONTROLS[event](state, rules, request)
    answer = Answer(_answer(request.sub_function, b"\x00" + request.data[2:]))
    if not request.sub_function & STORE_EVENT:
        return answer
    return Work(start=lambda _: job, finish=lambda _: answer)


def _set_up(state: ServerState, rules: EventRules, request: Request) -> Job:
    """Take the event; the job stores it."""
    definition = EventDefinition.decode(request.data[1:])
    watched = _watched(state, request.source)
    check_definition(definition, watched)
    respond_to = definition.response
    objection = _objection(state, respond_to, request.source)
    if respond_to[0] not in rules.services or objection is not None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "service to respond to")
    stores = bool(request.sub_function & STORE_EVENT)
    if stores and len(definition.encode()) > _RECORD_LIMIT:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "too long to be stored")
    replaced = any(same(one.definition, definition) for one in state.events.all)
    if not replaced and len(state.events.all) >= rules.limit:
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "no room for another event")
    state.events.set_up(
        WatchedEvent(
            definition=definition, source=request.source, session=state.session, stored=stores
        )
    )
    return _store_definitions(state)


def _start(state: ServerState, rules: EventRules, request: Request) -> Job:
    if not state.events.all:
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "no event is set up")
    start_events(state, rules, source=request.source, window=request.data[2], now=request.now)
    return _store_control(state, request, started=True)


def _stop(state: ServerState, _rules: EventRules, request: Request) -> Job:
    for one in state.events.all:
        one.detector = None
    return _store_control(state, request, started=False)


def _clear(state: ServerState, rules: EventRules, request: Request) -> Job:
    state.events.all.clear()
    return _forget(state, rules, request)


def _forget(state: ServerState, rules: EventRules, request: Request) -> Job:
    yield from _stop(state, rules, request)
    return (yield from _store_definitions(state))


_CONTROLS: Final = {
    EventType.STOP: _stop,
    EventType.START: _start,
    EventType.CLEAR: _clear,
}


def start_events(
    state: ServerState, rules: EventRules, *, source: int, window: int, now: float
) -> None:
    for one in state.events.all:
        ends = [rules.windows[code] for code in (window, one.definition.window)]
        one.until = min((now + end for end in ends if end is not None), default=None)
        one.source, one.count = source, 0
        one.detector = Detector(one.definition, _watched(state, source))
    state.events.next_look = now + rules.sample_s


def restore_events(state: ServerState, *, now: float) -> None:
    """Set up and start what the NVM holds: the program begins."""
    rules, control = state.rules.special.events, state.device.nvm_read(_CONTROL_KEY)
    if rules is None or control is None or len(control) != _CONTROL.size:
        return
    source, window, started = _CONTROL.unpack(control)
    for number in range(rules.limit):
        stored = state.device.nvm_read(_definition_key(number))
        if stored:
            definition = EventDefinition.decode(stored)
            state.events.all.append(
                WatchedEvent(
                    definition=definition, source=source, session=Session.DEFAULT, stored=True
                )
            )
    if started and window in rules.windows:
        start_events(state, rules, source=source, window=window, now=now)


def respond_to_events(state: ServerState, now: float) -> list[ServerEvent]:
    """What a look at the watched things gives at `now`, and the windows that end."""
    rules, events = state.rules.special.events, state.events
    if rules is None or events.next_look is None:
        return []
    told: list[ServerEvent] = []
    for one in events.active_in(state.session):
        if events.next_look <= now and one.detector is not None and one.detector.happened():
            one.count = min(one.count + 1, _MOST_EVENTS)
            told.append(Respond(_respond(state, one, now), one.source))
        if one.until is not None and one.until <= now:
            one.detector = None
            definition = one.definition.encode()
            ended = _answer(definition[0], bytes([one.count]) + definition[1:])
            told.append(Respond(ended, one.source))
    if events.next_look <= now:
        events.next_look += rules.sample_s
    return told


def _respond(state: ServerState, event: WatchedEvent, now: float) -> bytes:
    """The response to serviceToRespondTo, as if the tester had asked just now."""
    request, source = event.definition.response, event.source
    nrc = _objection(state, request, source)
    if nrc is None:
        try:
            outcome = serve(state, Request(request, source, functional=False, now=now))
        except Refusal as refusal:
            nrc = refusal.nrc
        else:
            if isinstance(outcome, Answer) and outcome.payload is not None:
                return outcome.payload
            # A service that does not answer at once.
            nrc = Nrc.CONDITIONS_NOT_CORRECT
    return bytes([NEGATIVE_RESPONSE, request[0], nrc])


def _objection(state: ServerState, request: bytes, source: int) -> Nrc | None:
    return check(
        state.rules,
        request,
        session=state.session,
        unlocked=state.unlocked_for(source),
        functional=False,
    )


def _store_control(state: ServerState, request: Request, *, started: bool) -> Job:
    record = _CONTROL.pack(request.source, request.data[2], started)
    return state.device.nvm_write(_CONTROL_KEY, record)


def _store_definitions(state: ServerState) -> Job:
    """Keep what is set up now and is to be kept."""
    rules = state.rules.special.events
    kept = [one.definition.encode() for one in state.events.all if one.stored]
    for number in range(rules.limit if rules is not None else 0):
        stored = kept[number] if number < len(kept) else b""
        if (state.device.nvm_read(_definition_key(number)) or b"") != stored:
            yield from state.device.nvm_write(_definition_key(number), stored)
    return b""


def _definition_key(number: int) -> str:
    return f"event {number}"


def _watched(state: ServerState, source: int) -> Watched:
    return Watched(
        dtcs=lambda: dict(state.device.dtcs.supported()),
        read=lambda did: read_identifier(state, did, source=source),
    )


def _answer(event: int, rest: bytes) -> bytes:
    return positive(ServiceId.RESPONSE_ON_EVENT, bytes([event]) + rest)


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {ServiceId.RESPONSE_ON_EVENT: _respond_on_event}
)
