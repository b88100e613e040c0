"""No questions about data and memory make a server raise, answer too much, or write unasked."""

from typing import Final

from ecu_sim.diagnostics import Respond, SendUnsegmented
from fuzz import Draw, Harness
from tests.support.data import IMAGE, KEYS, RAM, SIZE, DataBench

_PAUSES_S: Final = (0.0, 0.05, 0.9, 6.0)
_LONGEST_ANSWER: Final = 256
#: Levels of security access to begin with; 0: none.
_LEVELS: Final = (0, 1, 3)
_WRITER: Final = 3


def prove(data: bytes) -> None:
    draw = Draw(data)
    level = _LEVELS[draw.byte() % len(_LEVELS)]
    bench = DataBench()
    bench.ask("1003")
    if level:
        bench.unlock(level)
    while draw:
        head = draw.byte()
        events = bench.tell(draw.chunk(), functional=bool(head & 2))
        events += [event for _, event in bench.run(_PAUSES_S[head >> 6])]
        for event in events:
            match event:
                case SendUnsegmented(payload=payload) if not 0 < len(payload) <= 8:
                    raise AssertionError(f"a frame of {len(payload)} bytes")
                case Respond(payload=payload) if not 0 < len(payload) <= _LONGEST_ANSWER:
                    raise AssertionError(f"an answer of {len(payload)} bytes")
    outside = [at for at in bench.memory.cells if not RAM <= at < RAM + SIZE]
    if outside or (bench.memory.cells and level != _WRITER):
        raise AssertionError(f"written with level {level}: {sorted(bench.memory.cells)}")


def _requests(*requests: str, level: int = 0) -> bytes:
    encoded = [bytes.fromhex(request) for request in requests]
    return bytes((level,)) + b"".join(b"\x40" + bytes((len(one),)) + one for one in encoded)


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        _requests("22 01 00 F1 90 02 00", "24 01 00", "2A 01 01 02", "2A 04"),
        _requests("2C 01 F3 00 01 00 01 01", "22 F3 00", "2C 03 F3 00", "2C 03"),
        _requests(f"2C 02 F3 01 14 {RAM:08X} 04", "22 F3 01", f"23 14 {RAM:08X} 10"),
        _requests(f"3D 14 {RAM:08X} 02 01 02", f"23 14 {KEYS:08X} 10", level=2),
        _requests(f"35 00 14 {IMAGE:08X} 20", "36 01", "36 01", "36 02", "37", level=1),
        _requests("2F 01 80 03 10", "2F 01 80 00", "2E 02 00 00 07", "10 01", level=2),
    ),
)
