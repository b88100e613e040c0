"""What every service's handler is made of: the request, and the steps they share."""

from collections.abc import Callable
from dataclasses import dataclass

from ecu_sim.diagnostics import Nrc, Refusal
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work
from protocols.uds import ServiceId
from protocols.uds.enums import POSITIVE_RESPONSE, SUPPRESS_POSITIVE_RESPONSE
from protocols.uds.rules import Access, check_access


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the general rules have passed."""

    data: bytes
    source: int
    functional: bool
    now: float
    #: It came inside a secured message (84).
    secured: bool = False

    @property
    def sub_function(self) -> int:
        return self.data[1] & ~SUPPRESS_POSITIVE_RESPONSE


#: Answers one service: at once (`Answer`), by a job (`Work`), or by `Refusal`.
Handler = Callable[[ServerState, Request], Answer | Work]


def positive(service: ServiceId, rest: bytes = b"") -> bytes:
    """A positive response."""
    return bytes([service + POSITIVE_RESPONSE]) + rest


def require_access(state: ServerState, request: Request, access: Access | None) -> None:
    """Raise the `Refusal` that a routine's or an identifier's own row gives (`None`: no row)."""
    nrc = check_access(
        access,
        session=state.session,
        unlocked=state.unlocked_for(request.source),
        functional=request.functional,
    )
    if nrc is not None:
        raise Refusal(nrc)


def fitting(state: ServerState, response: bytes) -> Answer:
    """The answer; `Refusal(RESPONSE_TOO_LONG)` if the transport cannot carry it."""
    if len(response) > state.max_response:
        raise Refusal(Nrc.RESPONSE_TOO_LONG)
    return Answer(response)


def memory_range(request: bytes, at: int, *, last: bool = True) -> tuple[int, int, int]:
    """Address, size and where they end, from addressAndLengthFormatIdentifier at `at` on.

    `last`: nothing may follow. `Refusal` as ISO 14229-1 orders it: a format that is not supported
    (31), the length of the request (13), a range that cannot be (31).
    """
    size_length, address_length = request[at] >> 4, request[at] & 0x0F
    if not (1 <= size_length <= 4 and 1 <= address_length <= 4):
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "address and length format")
    end = at + 1 + address_length + size_length
    if len(request) < end or (last and len(request) != end):
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    address = int.from_bytes(request[at + 1 : at + 1 + address_length])
    size = int.from_bytes(request[at + 1 + address_length : end])
    if size == 0 or address + size > 0x1_0000_0000:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
    return address, size, end


def length_format(max_block_length: int) -> bytes:
    """LengthFormatIdentifier and maxNumberOfBlockLength, as 74 and 75 carry them."""
    length = 2 if max_block_length <= 0xFFFF else 4
    return bytes([length << 4]) + max_block_length.to_bytes(length)
