"""Routines (31)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.handling import Handler, Request, positive, require_access
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds import ServiceId


def _routine_control(state: ServerState, request: Request) -> Work:
    control, rid = bytes([request.sub_function]), request.data[2:4]
    option = request.data[4:]
    access = state.rules.routines.get(int.from_bytes(rid))
    require_access(state, request, access)
    if state.download is not None and access is not None and access.secured:
        # What changes memory or boot state waits for the transfer's end.
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a download is under way")
    return Work(
        start=lambda _: state.device.routine(int.from_bytes(rid), option),
        finish=lambda status: Answer(positive(ServiceId.ROUTINE_CONTROL, control + rid + status)),
    )


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {ServiceId.ROUTINE_CONTROL: _routine_control}
)
