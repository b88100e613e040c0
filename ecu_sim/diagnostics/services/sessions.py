"""Sessions, resets, keep-alives and the lock (10, 11, 3E, 27)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import EnterBootloader, Nrc, Respond, Restart
from ecu_sim.diagnostics.handling import Handler, Request, positive
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds import ResetType, ServiceId, Session
from protocols.uds.enums import NEGATIVE_RESPONSE


def _session_control(state: ServerState, request: Request) -> Answer:
    session, left = Session(request.sub_function), state.session
    if session != Session.DEFAULT:
        state.device.check_session(session)
    if session == Session.PROGRAMMING and state.rules.programming_restarts:
        # The boot loader answers; P2* runs from here until it does.
        pending = bytes([NEGATIVE_RESPONSE, request.data[0], Nrc.RESPONSE_PENDING])
        enter = (Respond(pending, request.source), EnterBootloader(request.source))
        return Answer(None, then=enter)
    answer = state.enter(session, source=request.source)
    ends = state.rules.default_restarts and left == Session.PROGRAMMING
    restarts = ends and session == Session.DEFAULT
    return Answer(answer, then=(Restart(ResetType.SOFT),) if restarts else ())


def _ecu_reset(state: ServerState, request: Request) -> Answer:
    reset = ResetType(request.sub_function)
    state.device.check_reset(reset)
    return Answer(positive(ServiceId.ECU_RESET, bytes([reset])), then=(Restart(reset),))


def _tester_present(_state: ServerState, _request: Request) -> Answer:
    return Answer(positive(ServiceId.TESTER_PRESENT, b"\x00"))


def _security_access(state: ServerState, request: Request) -> Answer | Work:
    sub_function, key = request.sub_function, request.data[2:]
    security, source, now = state.security, request.source, request.now
    if sub_function % 2:
        seed = security.seed(sub_function, source=source, now=now)
        return Answer(positive(ServiceId.SECURITY_ACCESS, bytes([sub_function]) + seed))
    return Work(
        start=lambda _: security.try_key(sub_function - 1, key, source=source, now=now),
        finish=lambda _: Answer(positive(ServiceId.SECURITY_ACCESS, bytes([sub_function]))),
    )


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {
        ServiceId.DIAGNOSTIC_SESSION_CONTROL: _session_control,
        ServiceId.ECU_RESET: _ecu_reset,
        ServiceId.SECURITY_ACCESS: _security_access,
        ServiceId.TESTER_PRESENT: _tester_present,
    }
)
