"""Periodic data identifiers (2A). The messages themselves are the server's deadlines."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.handling import Handler, Request, positive
from ecu_sim.diagnostics.identifiers import read_identifier
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer
from protocols.uds import ServiceId, TransmissionMode
from protocols.uds.rules import PeriodicRules

#: What a periodic data identifier's one byte stands for.
_FIRST: Final = 0xF200
_MODES: Final = frozenset(TransmissionMode)


def _read_periodic(state: ServerState, request: Request) -> Answer:
    rules, mode = state.rules.data.periodic, request.data[1]
    dids = [_FIRST + low for low in dict.fromkeys(request.data[2:])]
    if rules is None or mode not in _MODES:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    if mode == TransmissionMode.STOP:
        state.schedule.stop(dids or state.schedule.identifiers())
    elif not dids:
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    else:
        _start(state, request, rules, dids)
    return Answer(positive(ServiceId.READ_DATA_BY_PERIODIC_IDENTIFIER))


def _start(state: ServerState, request: Request, rules: PeriodicRules, dids: list[int]) -> None:
    """Those that the ECU has are sent, if there is one at all; all fit the schedule or none."""
    there = [did for did in dids if _is_sendable(state, request, rules, did)]
    if not there or len(state.schedule.identifiers().union(there)) > rules.limit:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    period_s = {
        TransmissionMode.SLOW: rules.slow_s,
        TransmissionMode.MEDIUM: rules.medium_s,
        TransmissionMode.FAST: rules.fast_s,
    }[TransmissionMode(request.data[1])]
    for did in there:
        state.schedule.start(did, source=request.source, period_s=period_s, now=request.now)


def _is_sendable(state: ServerState, request: Request, rules: PeriodicRules, did: int) -> bool:
    if did not in rules.identifiers and not state.dynamic.parts(did):
        return False
    try:
        record = read_identifier(state, did, source=request.source, functional=request.functional)
    except Refusal as refusal:
        if refusal.nrc == Nrc.REQUEST_OUT_OF_RANGE:
            return False
        raise
    return len(record) <= rules.max_record


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {ServiceId.READ_DATA_BY_PERIODIC_IDENTIFIER: _read_periodic}
)
