"""Timing parameters of the session (83, edition 2013). What was set ends with the session."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.handling import Handler, Request, positive
from ecu_sim.diagnostics.state import ServerState, ServerTiming
from ecu_sim.diagnostics.work import Answer
from protocols.uds.enums import ServiceId, TimingAccess


def _access_timing(state: ServerState, request: Request) -> Answer:
    """Records are P2 in ms and P2* in 10 ms, as 50 carries them; the new ones hold after this."""
    access, rules = TimingAccess(request.sub_function), state.rules.special.timing
    if rules is None:
        raise Refusal(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
    record = b""
    match access:
        case TimingAccess.READ_EXTENDED:
            # The fastest and the slowest that can be set.
            record = b"".join(map(_record, rules.p2_s, rules.p2_star_s))
        case TimingAccess.READ_ACTIVE:
            record = _record(state.timing.p2_s, state.timing.p2_star_s)
        case TimingAccess.SET_DEFAULT:
            state.timing = state.default_timing
        case TimingAccess.SET_GIVEN:
            given = _given(request.data[2:], state.timing)
            if not (
                rules.p2_s[0] <= given.p2_s <= rules.p2_s[1]
                and rules.p2_star_s[0] <= given.p2_star_s <= rules.p2_star_s[1]
            ):
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "not within this server's limits")
            state.timing = given
    return Answer(positive(ServiceId.ACCESS_TIMING_PARAMETER, bytes([access]) + record))


def _record(p2_s: float, p2_star_s: float) -> bytes:
    return round(p2_s * 1000).to_bytes(2) + round(p2_star_s * 100).to_bytes(2)


def _given(record: bytes, now: ServerTiming) -> ServerTiming:
    p2_s, p2_star_s = int.from_bytes(record[:2]) / 1000, int.from_bytes(record[2:]) / 100
    return replace(now, p2_s=p2_s, p2_star_s=p2_star_s)


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType(
    {ServiceId.ACCESS_TIMING_PARAMETER: _access_timing}
)
