"""Any frames in a log give ECUs that answer what is in it, or a `RecordedError`."""

from typing import Final

from ecu_sim.recorded import RecordedError
from ecu_sim.recorded.answers import Answers
from ecu_sim.recorded.conversations import recorded_ecus
from fuzz import Harness
from protocols.can import FrameHeader
from recording import CanFrame, Channel

_IDENTIFIERS: Final = (0x7A0, 0x7A8, 0x7DF, 0x111)
_MS: Final = 1_000_000


def prove(data: bytes) -> None:
    """Records of a byte for identifier, length and time, and then their data bytes."""
    frames: list[CanFrame] = []
    at, now_ns = 0, 0
    while at < len(data):
        head = data[at]
        length = head >> 2 & 0xF
        content = data[at + 1 : at + 1 + min(length, 8)]
        now_ns += (1 + 20_000 * (head >> 6)) * _MS
        frames.append(CanFrame(now_ns, 0, FrameHeader(_IDENTIFIERS[head & 3]), content))
        at += 1 + len(content)
    try:
        ecus = recorded_ecus(frames, [Channel(name="fuzz")], name="fuzz.log")
    except RecordedError:
        return
    for ecu in ecus:
        answers = Answers(ecu.exchanges)
        for exchange in ecu.exchanges:
            if answers.of(exchange.request, functional=False) != exchange.answers:
                raise AssertionError(f"{exchange.request.hex()} is answered otherwise")
            if any(answer.after_s < 0 for answer in exchange.answers):
                raise AssertionError(f"{exchange.request.hex()} is answered before it is asked")


def _record(identifier: int, content: str) -> bytes:
    frame = bytes.fromhex(content)
    return bytes((identifier | len(frame) << 2,)) + frame


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        b"".join(
            (
                _record(0, "03 22 F1 90 CC CC CC CC"),
                _record(1, "10 0B 62 F1 90 41 42 43"),
                _record(0, "30 00 00 CC CC CC CC CC"),
                _record(1, "21 44 45 46 47 48 CC CC"),
                _record(2, "02 3E 80"),
                _record(0, "02 10 03"),
                _record(1, "03 7F 10 78"),
                _record(1, "06 50 03 00 32 01 F4 CC"),
            )
        ),
    ),
    max_length=1024,
)
