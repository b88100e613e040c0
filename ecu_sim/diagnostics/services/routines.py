"""Routines (31)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.handling import Handler, Request, positive, require_access
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds import RoutineControl, ServiceId


def _routine_control(state: ServerState, request: Request) -> Answer | Work:
    """In the standard's order: identifier, its lock, its sub-function, option record, sequence."""
    control, rid = bytes([request.sub_function]), request.data[2:4]
    option = request.data[4:]
    rule = state.rules.routines.get(int.from_bytes(rid))
    require_access(state, request, rule)
    if rule is None or request.sub_function not in rule.controls:
        raise Refusal(Nrc.SUB_FUNCTION_NOT_SUPPORTED, "not of this routine")
    if rule.runs_on:
        status = _control(state, request, int.from_bytes(rid), option)
        return Answer(positive(ServiceId.ROUTINE_CONTROL, control + rid + status))
    if state.download is not None and rule.secured:
        # What changes memory or boot state waits for the transfer's end.
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a download is under way")
    if rule.conditions:
        state.device.check_conditions(rule.conditions)
    return Work(
        start=lambda _: state.device.routine(int.from_bytes(rid), option),
        finish=lambda status: Answer(positive(ServiceId.ROUTINE_CONTROL, control + rid + status)),
    )


def _control(state: ServerState, request: Request, rid: int, option: bytes) -> bytes:
    """The status record of a routine that runs on."""
    routines = state.routines
    control = RoutineControl(request.sub_function)
    if control == RoutineControl.START:
        routine = state.device.background_routine(rid, option)
        return routines.start(rid, routine, now=request.now)
    if option:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "no option record")
    return routines.stop(rid) if control == RoutineControl.STOP else routines.results(rid)


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {ServiceId.ROUTINE_CONTROL: _routine_control}
)
