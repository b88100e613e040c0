"""No bytes from an entity make our DoIP tester raise anything but a `DoipError`."""

from contextlib import suppress
from typing import Final

from fuzz import Draw, Harness
from protocols.doip import DoipClient
from protocols.doip.errors import DoipError
from protocols.doip.messages import (
    AliveCheckRequest,
    DiagnosticAcknowledge,
    DiagnosticMessage,
    RoutingActivationResponse,
    encode,
)

_ACTIVATED: Final = encode(
    RoutingActivationResponse(source_address=0x0F00, entity_address=0x1031, code=0x10)
)


def prove(data: bytes) -> None:
    draw, now = Draw(data), 0.0
    client = DoipClient(source_address=0x0F00)
    client.connect(now=now)
    if draw.byte() & 1:
        client.receive(_ACTIVATED, now=now)
    while draw:
        head = draw.byte()
        if head & 1 and client.active:
            with suppress(DoipError):
                client.send(b"\x3e\x00", target=0x1031, now=now)
        client.receive(draw.chunk(), now=now)
        now += (head >> 6) * 0.7
        with suppress(DoipError):
            client.handle_timeout(now=now)


_ANSWERS: Final = (
    _ACTIVATED,
    encode(AliveCheckRequest()),
    encode(DiagnosticAcknowledge(source_address=0x1031, target_address=0x0F00)),
    encode(DiagnosticMessage(source_address=0x1031, target_address=0x0F00, user_data=b"\x7e\x00")),
)
HARNESS: Final = Harness(
    prove=prove,
    seeds=tuple(
        bytes((head, 1, len(answer))) + answer for answer in _ANSWERS for head in (0x00, 0x01)
    ),
)
