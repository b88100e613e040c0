"""No requests make an unlocked server raise, or write outside of the area that it was given."""

from typing import Final

from fuzz import Draw, Harness
from protocols.uds.rules import SERVERS
from tests.support.diagnostics import SIZE, Bench

#: Bytes of the download that is open at the beginning.
_AREA: Final = 200


def prove(data: bytes) -> None:
    draw = Draw(data)
    bench = Bench(SERVERS[0])
    bench.ask("1003")
    bench.unlock()
    bench.ask("34004400001000000000c8")
    counter = 1
    while draw:
        head = draw.byte()
        if head & 1:
            # The next block, so that the transfer gets on.
            bench.tell(bytes((0x36, counter & 0xFF)) + draw.chunk())
            counter += 1
        else:
            request = draw.chunk()
            if request[:1] in {b"\x34", b"\x35", b"\x3d"}:
                continue  # a new area of its own
            bench.tell(request, functional=bool(head & 2))
        bench.run((head >> 6) * 0.05)
    if len(bench.device.memory) != SIZE or bench.device.memory[_AREA:].strip(b"\xff"):
        raise AssertionError("written outside of the download")


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        bytes.fromhex("41 04 01 02 03 04 41 04 01 02 03 04 40 01 37"),
        b"".join(b"\x41\x40" + bytes(64) for _ in range(4)) + b"\x40\x01\x37",
        bytes.fromhex("40 05 2E F1 5A 01 02 40 02 11 01 40 02 3E 80"),
    ),
)
