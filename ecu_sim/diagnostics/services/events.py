"""Response on event (86), and the responses themselves: `respond_to_events` is the server's.

Events are set up first, then started together. Each window runs from the start; the one of the
start request bounds them all. When a finite window ends the tester is told how many events there
were. What bit 6 (storageState) asks to be kept is in the NVM: at the next power-on stored events
begin by themselves, in the default session, for the tester that started them. In the edition of
2013 set-up, start, stop and clear may carry it; in that of 2020 start, which then keeps what is set
up with no end to its window in the default session, and stop.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Job, Nrc, Refusal, Respond, ServerEvent
from ecu_sim.diagnostics.dtc_reports import check_report, listing
from ecu_sim.diagnostics.events import (
    RECORD_LENGTHS,
    Detector,
    EventDefinition,
    Occurrence,
    Timer,
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
from protocols.uds import DtcReport, Session
from protocols.uds.enums import NEGATIVE_RESPONSE, EventType, ServiceId
from protocols.uds.rules import EventRules, check
from protocols.uds.rules.special_rows import STORE_EVENT, storable_events

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
    # Where 06 cannot ask for it by itself it clears what is stored all the same.
    clears = event == EventType.CLEAR and _stored_at_start(state, rules)
    if not (request.sub_function & STORE_EVENT or (clears and _has_stored(state))):
        return answer
    return Work(start=lambda _: job, finish=lambda _: answer)


def _set_up(state: ServerState, rules: EventRules, request: Request) -> Job:
    """Take the event; the job stores it."""
    definition = EventDefinition.decode(request.data[1:])
    watched = _watched(state, request.source)
    check_definition(definition, watched, timers=rules.timers)
    _check_response(state, rules, definition, request.source)
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


def _check_response(
    state: ServerState, rules: EventRules, definition: EventDefinition, source: int
) -> None:
    """serviceToRespondTo: one of the table, in a form that its own rows allow now."""
    respond_to = definition.response
    service = respond_to[0] if respond_to else ServiceId.READ_DTC_INFORMATION
    refused = bool(respond_to) and _objection(state, respond_to, source) is not None
    if service not in rules.services or refused:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "service to respond to")


def _start(state: ServerState, rules: EventRules, request: Request) -> Job:
    events = state.events.all
    if not events:
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "no event is set up")
    stores = bool(request.sub_function & STORE_EVENT)
    if stores and _stored_at_start(state, rules):
        _check_storable(state, rules, window=request.data[2])
        for one in events:
            one.stored = True
    start_events(state, rules, source=request.source, window=request.data[2], now=request.now)
    return _started(state, request)


def _started(state: ServerState, request: Request) -> Job:
    yield from _store_definitions(state)
    return (yield from _store_control(state, request, started=True))


def _stored_at_start(state: ServerState, rules: EventRules) -> bool:
    """Whether it is the start that asks for what is set up to be kept, for the set-up cannot."""
    return storable_events(rules, state.rules.edition).isdisjoint(RECORD_LENGTHS)


def _has_stored(state: ServerState) -> bool:
    return state.device.nvm_read(_CONTROL_KEY) is not None


def _check_storable(state: ServerState, rules: EventRules, *, window: int) -> None:
    if state.session != Session.DEFAULT:
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "stored events are the default session's")
    if rules.windows[window] is not None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "stored events have no end")
    if any(len(one.definition.encode()) > _RECORD_LIMIT for one in state.events.all):
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "too long to be stored")


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
        if one.definition.event == EventType.ON_TIMER_INTERRUPT:
            one.timer = Timer(start=now, period_s=rules.timers[one.definition.record[0]])
    state.events.next_look = now + rules.sample_s


def restore_events(state: ServerState, *, now: float) -> None:
    """Set up and start what the NVM holds: the program begins."""
    rules, control = state.rules.special.events, state.device.nvm_read(_CONTROL_KEY)
    if rules is None or control is None or len(control) != _CONTROL.size:
        return
    source, window, started = _CONTROL.unpack(control)
    for number in range(rules.limit):
        stored = state.device.nvm_read(_definition_key(number))
        definition = _restored(state, rules, stored) if stored else None
        if definition is not None:
            state.events.all.append(
                WatchedEvent(
                    definition=definition, source=source, session=Session.DEFAULT, stored=True
                )
            )
    if started and window in rules.windows:
        start_events(state, rules, source=source, window=window, now=now)


def _restored(state: ServerState, rules: EventRules, stored: bytes) -> EventDefinition | None:
    """What was stored; None for what another edition of the ECU left and this one does not have."""
    try:
        definition = EventDefinition.decode(stored)
    except (ValueError, IndexError):
        return None
    known = state.rules.services[ServiceId.RESPONSE_ON_EVENT].sub_functions
    timed = definition.event == EventType.ON_TIMER_INTERRUPT
    fits = definition.window in rules.windows and definition.event in known
    fits = fits and (not timed or definition.record[0] in rules.timers)
    return definition if fits else None


def respond_to_events(state: ServerState, now: float) -> list[ServerEvent]:
    """What a look at the watched things gives at `now`, and the windows that end."""
    rules, events = state.rules.special.events, state.events
    if rules is None or events.next_look is None:
        return []
    told: list[ServerEvent] = []
    look = events.next_look <= now
    for one in events.active_in(state.session):
        for occurrence in one.take(now, look=look):
            one.count = min(one.count + 1, _MOST_EVENTS)
            told.append(Respond(_respond(state, occurrence, one.source, now), one.source))
        if one.until is not None and one.until <= now:
            one.detector = None
            definition = one.definition.encode()
            ended = _answer(definition[0], bytes([one.count]) + definition[1:])
            told.append(Respond(ended, one.source))
    if look:
        events.next_look += rules.sample_s
    return told


def _respond(state: ServerState, occurrence: Occurrence, source: int, now: float) -> bytes:
    """The response to serviceToRespondTo, as if the tester had asked just now."""
    request = occurrence.request
    nrc = _objection(state, request, source)
    if nrc is None and occurrence.dtc is not None:
        told = request[1:2] + listing([state.device.dtcs.records()[occurrence.dtc]])
        return positive(ServiceId.READ_DTC_INFORMATION, told)
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
    """Keep what is set up now and is to be kept; what has not changed is not written."""
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
        order=lambda report: {
            code: (
                record.failed if report == DtcReport.MOST_RECENT_TEST_FAILED else record.confirmed
            ).last
            for code, record in state.device.dtcs.records().items()
        },
        read=lambda did: read_identifier(state, did, source=source),
        objection=lambda request: _would_refuse(state, request, source),
    )


def _would_refuse(state: ServerState, request: bytes, source: int) -> Nrc | None:
    """What a report would be refused with; that a memory has no such DTC yet is no refusal."""
    nrc = _objection(state, request, source)
    if nrc is not None:
        return nrc
    try:
        check_report(state.device.dtcs, request)
    except Refusal as refusal:
        return refusal.nrc
    return None


def _answer(event: int, rest: bytes) -> bytes:
    return positive(ServiceId.RESPONSE_ON_EVENT, bytes([event]) + rest)


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {ServiceId.RESPONSE_ON_EVENT: _respond_on_event}
)
