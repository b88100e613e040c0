"""A DoIP byte stream gives the same messages in any pieces, and little of it is held."""

from typing import Final

from fuzz import Draw, Harness
from protocols.doip.decoder import HEADER_LENGTH, DoipDecoder, decode_datagram
from protocols.doip.messages import (
    AliveCheckRequest,
    DiagnosticMessage,
    EntityStatusRequest,
    EntityStatusResponse,
    RoutingActivationRequest,
    VehicleIdentificationRequest,
    encode,
)

_MAX_PAYLOAD: Final = 100


def prove(data: bytes) -> None:
    draw = Draw(data)
    step = draw.byte() + 1
    stream = draw.rest()
    decode_datagram(stream, max_payload=_MAX_PAYLOAD)
    whole = DoipDecoder(max_payload=_MAX_PAYLOAD).receive(stream)
    decoder, found = DoipDecoder(max_payload=_MAX_PAYLOAD), []
    for start in range(0, len(stream), step):
        found += decoder.receive(stream[start : start + step])
        if decoder.held > _MAX_PAYLOAD + HEADER_LENGTH:
            raise AssertionError(f"{decoder.held} bytes held")
    if found != whole:
        raise AssertionError(f"{found} in pieces, {whole} at once")


_REQUEST: Final = DiagnosticMessage(
    source_address=0x0F00, target_address=0x1031, user_data=b"\x22\xf1\x90"
)
SEEDS: Final = (
    encode(VehicleIdentificationRequest()),
    encode(AliveCheckRequest()),
    encode(EntityStatusRequest()),
    encode(EntityStatusResponse(node_type=1, max_sockets=4, open_sockets=0, max_data_size=4095)),
    encode(RoutingActivationRequest(source_address=0x0F00)),
    encode(RoutingActivationRequest(source_address=0x0F00))
    + encode(
        DiagnosticMessage(source_address=0x0F00, target_address=0x1031, user_data=b"\x22\xf1\x90")
    ),
    bytes.fromhex("02fd8001ffffffff"),
    bytes.fromhex("fffe0002000000060102030405 06"),
)

HARNESS: Final = Harness(prove=prove, seeds=tuple(b"\x02" + seed for seed in SEEDS))
