"""Link control (87). The wire itself is the node's: a transition goes there as an event."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ecu_sim.diagnostics import Nrc, Refusal, SetBitRate
from ecu_sim.diagnostics.handling import Handler, Request, positive
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer
from protocols.uds.enums import LinkControl, ServiceId


def _link_control(state: ServerState, request: Request) -> Answer:
    """Verify a bit rate, then go there; the answer to a transition is the old rate's last frame."""
    control = LinkControl(request.sub_function)
    answer = positive(ServiceId.LINK_CONTROL, bytes([control]))
    transferring = state.download is not None or state.upload is not None
    if control == LinkControl.TRANSITION:
        bit_rate = state.verified_bit_rate
        if bit_rate is None:
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, "no bit rate has been verified")
        if transferring:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a transfer is under way")
        state.verified_bit_rate = None
        state.bit_rate_changed = True
        return Answer(answer, then=(SetBitRate(bit_rate),))
    bit_rate = _asked(state, control, request.data[2:])
    if bit_rate is None:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "not a bit rate of this controller")
    if transferring:
        raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a transfer is under way")
    state.verified_bit_rate = bit_rate
    return Answer(answer)


def _asked(state: ServerState, control: LinkControl, parameter: bytes) -> int | None:
    rules, number = state.rules.special.link, int.from_bytes(parameter)
    if rules is None:
        return None
    if control == LinkControl.VERIFY_FIXED:
        return rules.fixed.get(number)
    return number if number in rules.specific else None


HANDLERS: Final[Mapping[int, Handler]] = MappingProxyType({ServiceId.LINK_CONTROL: _link_control})
