"""Whatever a tester sends, a read gate lets no service through that writes."""

from fuzz import Draw, Harness
from protocols.doip.decoder import DoipDecoder
from protocols.doip.gate import Pass, ReadGate, reads_only
from protocols.doip.messages import DiagnosticMessage, RoutingActivationRequest, encode


def prove(data: bytes) -> None:
    draw = Draw(data)
    step = draw.byte() + 1
    stream = draw.rest()
    gate, passed = ReadGate(max_payload=100), b""
    for start in range(0, len(stream), step):
        for made in gate.receive(stream[start : start + step]):
            if isinstance(made, Pass):
                passed += made.data
    for found in DoipDecoder(max_payload=100).receive(passed):
        if isinstance(found, DiagnosticMessage) and not reads_only(found.user_data):
            raise AssertionError(f"{found.user_data.hex()} has passed")


def _asked(request: str) -> bytes:
    message = DiagnosticMessage(
        source_address=0x0E80, target_address=0x1010, user_data=bytes.fromhex(request)
    )
    return encode(message)


HARNESS = Harness(
    prove=prove,
    seeds=tuple(
        b"\x03" + seed
        for seed in (
            encode(RoutingActivationRequest(source_address=0x0E80)),
            _asked("22f190") + _asked("2ef1900102") + _asked("1002"),
            _asked("1083") + _asked("3e80"),
            bytes.fromhex("02fd8001ffffffff"),
        )
    ),
)
