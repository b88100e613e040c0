"""What a recorded ECU answers now: the same requests in turn get what they got in turn."""

from collections.abc import Sequence
from typing import Final

from ecu_sim.recorded import Answer, Exchange
from protocols.uds import Nrc, ServiceId
from protocols.uds.enums import NEGATIVE_RESPONSE, SUPPRESS_POSITIVE_RESPONSE

#: How soon it says what the log cannot know.
_AT_ONCE_S: Final = 0.001
_TESTER_PRESENT: Final = bytes((ServiceId.TESTER_PRESENT,))


class Answers:
    """Between two resets; a reset begins anew."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._known: dict[bytes, list[tuple[Answer, ...]]] = {}
        for exchange in exchanges:
            self._known.setdefault(exchange.request, []).append(exchange.answers)
        self._services = {request[0] for request in self._known}
        self._turns: dict[bytes, int] = {}

    def of(self, request: bytes, *, functional: bool) -> tuple[Answer, ...]:
        """The answers to a request, in their order; the last turn of a request is repeated.

        What the log has not is refused: 31 where it has other requests of the service, else 11.
        """
        turns = self._known.get(request)
        if turns is not None:
            turn = self._turns.get(request, 0)
            self._turns[request] = turn + 1
            return turns[min(turn, len(turns) - 1)]
        if request[:1] == _TESTER_PRESENT and len(request) == 2:
            # Testers send it by themselves, and every server has it.
            suppressed = request[1] & SUPPRESS_POSITIVE_RESPONSE
            return () if suppressed else (Answer(b"\x7e\x00", _AT_ONCE_S),)
        if functional:
            return ()
        known = request[0] in self._services
        code = Nrc.REQUEST_OUT_OF_RANGE if known else Nrc.SERVICE_NOT_SUPPORTED
        return (Answer(bytes((NEGATIVE_RESPONSE, request[0], code)), _AT_ONCE_S),)
