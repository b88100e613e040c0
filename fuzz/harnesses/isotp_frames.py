"""No frames, whatever their order and pauses, make an ISO-TP endpoint raise or hold too much."""

from typing import Final

from fuzz import Draw, Harness
from protocols.isotp import Endpoint, IsoTpParameters, MessageReceived

_LIMIT: Final = 2000
_PAUSES_S: Final = (0.0, 0.0005, 0.3, 2.0)
_REQUEST: Final = bytes(100)


def prove(data: bytes) -> None:
    draw = Draw(data)
    flags = draw.byte()
    extension = 0x55 if flags & 2 else None
    endpoint = Endpoint(
        IsoTpParameters(
            tx_data_length=64 if flags & 1 else 8,
            max_message_length=_LIMIT,
            tx_address_extension=extension,
            rx_address_extension=extension,
            functional=bool(flags & 4),
            half_duplex=bool(flags & 8),
            block_size=flags >> 6,
        )
    )
    now = 0.0
    if flags & 16 and not flags & 4:
        endpoint.send(_REQUEST, now=now)
    while draw:
        head = draw.byte()
        now += _PAUSES_S[head >> 6]
        happened = endpoint.handle_timeout(now=now)
        happened += endpoint.receive(draw.take((head & 0x3F) + 1), now=now)
        endpoint.transmitted(now=now)
        for event in happened:
            if isinstance(event, MessageReceived) and not 0 < len(event.message) <= _LIMIT:
                raise AssertionError(f"a message of {len(event.message)} bytes")


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        bytes.fromhex("00 07 03 22 F1 90 CC CC CC CC"),
        bytes.fromhex("00 07 10 0A 62 F1 90 01 02 03 07 21 04 05 06 07 08 09 0A"),
        bytes.fromhex("11 02 30 00 00 02 31 00 00 02 32 00 00"),
        bytes.fromhex("C1 3F 10 00 00 00 07 00") + bytes(58) + bytes.fromhex("3F 21") + bytes(63),
        bytes.fromhex("02 07 55 03 22 F1 90 CC CC CC"),
    ),
    max_length=2048,
)
