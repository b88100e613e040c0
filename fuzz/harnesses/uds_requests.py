"""No requests make a diagnostic server raise, answer too much, or write while it is locked."""

from typing import Final

from ecu_sim.diagnostics import Respond
from fuzz import Draw, Harness
from protocols.uds.rules import SERVERS
from tests.support.diagnostics import SIZE, Bench

_PAUSES_S: Final = (0.0, 0.05, 1.0, 7.0)
_LONGEST_ANSWER: Final = 256


def prove(data: bytes) -> None:
    draw = Draw(data)
    bench = Bench(SERVERS[draw.byte() % len(SERVERS)])
    while draw:
        head = draw.byte()
        source = 0x0E00 if head & 1 else 0x0F00
        events = bench.tell(draw.chunk(), source=source, functional=bool(head & 2))
        events += [event for _, event in bench.run(_PAUSES_S[head >> 6])]
        for event in events:
            if isinstance(event, Respond) and not 0 < len(event.payload) <= _LONGEST_ANSWER:
                raise AssertionError(f"an answer of {len(event.payload)} bytes")
    if bench.device.memory != b"\xff" * SIZE:
        raise AssertionError("written without a key")


def _requests(*requests: str, server: int = 0) -> bytes:
    encoded = [bytes.fromhex(request) for request in requests]
    return bytes((server,)) + b"".join(b"\0" + bytes((len(one),)) + one for one in encoded)


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        _requests("10 03", "27 01", "27 02 00", "22 F1 90 F1 88", "3E 80"),
        _requests("19 02 FF", "19 04 9A 01 00 FF", "19 06 9A 01 00 FF", "14 FF FF FF", "85 02"),
        _requests("10 02", "34 00 44 00 00 10 00 00 00 00 40", "36 01 00", "37", server=1),
        _requests("31 01 FF 00 44 00 00 10 00 00 00 00 40", "31 01 02 02", "11 01", server=2),
        _requests("28 03 01", "2E F1 5A 00", "2C 01 F3 00 F1 90 01 02", "2A 01 00", server=1),
        _requests("23 14 00 00 10 00 04", "3D 14 00 00 10 00 04 01 02 03 04", "24 F1 90"),
        _requests("10 03", "28 03 01", "28 04 03 00 01", "85 02 9A 01 00", "28 00 01"),
        _requests("86 00 02", "87 01 12", "84 00", "38 01 00 01 41 00 01 00", "29 08"),
    ),
)
