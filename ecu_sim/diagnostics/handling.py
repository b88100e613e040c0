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
