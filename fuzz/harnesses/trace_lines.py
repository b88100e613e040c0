"""Any records give lines that can be printed: no frame, segment or message stops a trace."""

import json
from typing import Final

from dbc import describe_vehicle
from fuzz import Draw, Harness
from protocols.can import FrameHeader
from protocols.can.bits import FrameError, check
from protocols.doip.messages import DiagnosticMessage, RoutingActivationRequest, encode
from protocols.isotp import segment
from recording import CanErrorFrame, CanFrame, Channel, EthernetFrame, Record
from recording.trace import IsoTpPair, TraceOptions, Tracer, VehicleNames
from tests.support.tcp import client_frames

_NAMES: Final = VehicleNames(describe_vehicle())
_CHANNELS: Final = (
    Channel(name="comfort"),
    Channel(name="thermal"),
    Channel(name="rear", ethernet=True),
    Channel(name="can0"),
)
_PAIR: Final = IsoTpPair(request_id=0x123, response_id=0x124, extended=False)
#: Identifiers of ISO-TP, signals, network management, ISO 15765-4 and of nobody.
_IDENTIFIERS: Final = (
    *(0x7A0, 0x7A8, 0x7B0, 0x7B8, 0x7DF, 0x7E0, 0x7E8, 0x123, 0x124),
    *(0x210, 0x310, 0x320, 0x250, 0x0C0, 0x510, 0x53F, 0x001),
    *(0x18DA10F1, 0x18DAF110, 0x18DB33F1),
)
_ETHERNET, _ERROR = 0xFE, 0xFF


def prove(data: bytes) -> None:
    draw = Draw(data)
    flags = draw.byte()
    options = TraceOptions(
        frames=bool(flags & 1), changes=bool(flags & 2), isotp=(_PAIR,) if flags & 4 else ()
    )
    tracer = Tracer(_CHANNELS, _NAMES, options)
    at_ns = 0
    while draw:
        at_ns += 1_000
        record = _record(draw, at_ns)
        if record is None:
            continue
        for line in tracer.lines(record):
            text = json.dumps(line.json())
            words = f"{line.source}{line.target}{line.name}{line.text}"
            if not text or not words.isprintable():
                raise AssertionError(f"a line that cannot be printed: {words!r}")


def _record(draw: Draw, at_ns: int) -> Record | None:
    choice = draw.byte()
    if choice == _ERROR:
        return CanErrorFrame(at_ns, draw.byte() % len(_CHANNELS))
    if choice == _ETHERNET:
        return EthernetFrame(at_ns, 2, draw.take(int.from_bytes(draw.take(2)) % 2048))
    identifier = _IDENTIFIERS[choice % len(_IDENTIFIERS)]
    content = draw.chunk()
    header = FrameHeader(identifier, extended=identifier > 0x7FF, fd=len(content) > 8)
    try:
        check(header, content)
    except FrameError:
        return None
    return CanFrame(at_ns, choice % 2 * 3, header, content)


def _can(index: int, message: bytes) -> bytes:
    return b"".join(bytes((index, len(frame))) + frame for frame in segment(message, 8))


def _doip() -> bytes:
    asked = DiagnosticMessage(
        source_address=0x0F00, target_address=0x1031, user_data=b"\x22\xf1\x90"
    )
    said = encode(RoutingActivationRequest(source_address=0x0F00)) + encode(asked)
    frames = client_frames(said)
    return b"".join(bytes((_ETHERNET,)) + len(frame).to_bytes(2) + frame for frame in frames)


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        b"\x00" + _can(0, b"\x22\xf1\x90") + _can(1, b"\x62\xf1\x90WCANHVAC000000001"),
        b"\x01" + _can(0, bytes.fromhex("19 02 FF")) + _can(1, bytes.fromhex("59 02 FF 9A01002F")),
        b"\x02" + bytes((9, 8)) + bytes(8) + bytes((14, 8)) + bytes(8) + bytes((_ERROR, 0)),
        b"\x05" + _can(7, b"\x31\x01\xff\x00") + _can(8, b"\x7f\x31\x78"),
        b"\x00" + _doip(),
    ),
    max_length=1024,
)
