"""Whatever an ECU answers, the gateway has records of it, or an error that says what failed."""

import asyncio
from collections import deque
from typing import Final

from clock import run
from dbc.vehicle import describe_vehicle
from fuzz import Draw, Harness
from protocols.uds import UdsError
from vehicle_gateway.diagnostics.reader import read_dtcs, read_identification
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.flashing.direct import shown
from vehicle_gateway.flashing.keys import DerivedKeys
from vehicle_gateway.update import UpdateError
from vehicle_gateway.wires import (
    AnswerBroken,
    AnswerReceived,
    AnswerStarted,
    ChannelEvent,
    WireError,
)
from vehicle_gateway.wires.tester import UdsTester

_CCU: Final = describe_vehicle().ecus["ccu"]
#: A length of the drawn answers: its answer repeats the request as a positive one does.
_POSITIVE: Final = 0x80


class _Answers:
    """Implements `vehicle_gateway.wires.Channel`: the answers of the input, then silence."""

    longest_request: int | None = None

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._request = b""
        self._due: deque[ChannelEvent] = deque()

    async def send(self, request: bytes) -> float:
        self._request = request
        self._due.clear()
        head = self._draw.byte()
        data = self._draw.take(head & 0x3F)
        if head & _POSITIVE:
            data = bytes((request[0] + 0x40 & 0xFF,)) + request[1:3] + data
        if head & 0x40:
            self._due.append(AnswerStarted())
        if data:
            self._due.append(AnswerReceived(data, asyncio.get_running_loop().time()))
        elif head:
            self._due.append(AnswerBroken("cut off"))
        return asyncio.get_running_loop().time()

    async def receive(self) -> ChannelEvent:
        if not self._due:
            await asyncio.Event().wait()
        return self._due.popleft()

    def discard(self) -> None:
        self._due.clear()


async def _ask(data: bytes) -> None:
    tester = UdsTester("ccu", _Answers(Draw(data)))
    try:
        found = await read_identification(tester, _CCU)
        await read_dtcs(tester, _CCU, {one.data_identifier: len(one.record) for one in found})
    except (WireError, UdsError):
        pass
    dialogue = Dialogue(tester, _CCU, keys=DerivedKeys(bytes(32)))
    try:
        dialogue.take_timing(await dialogue.ask("entering", b"\x10\x03"))
        if not tester.timing.p2_s <= 66 or not tester.timing.p2_star_s <= 656:
            raise AssertionError(f"waits for ever: {tester.timing}")
        if (record := await dialogue.record_if_known("reading", 0xF187)) is not None:
            shown(record)
        await dialogue.read_text("reading", 0xF188)
        await dialogue.unlock("unlocking", 1)
    except UpdateError:
        pass


def prove(data: bytes) -> None:
    run(_ask(data), virtual=True)


def _answers(*answers: str) -> bytes:
    made = [bytes.fromhex(one) for one in answers]
    return b"".join(bytes((_POSITIVE | len(one),)) + one for one in made)


_RECORDS: Final = [""] * len(_CCU.data_identifiers)
HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        _answers("00", *_RECORDS[1:], "89 9A 01 00 2F"),
        _answers(
            *("41 42",) * len(_RECORDS),
            "9A 01 00 2F",
            "01 00 2F 01 01 01 01 00 01",
            "01 00 2F 01 05",
        ),
        _answers(*("F1",) * len(_RECORDS))
        + b"\x03\x7f\x19\x11"
        + b"\x06\x50\x03\x00\x32\x01\xf4"
        + _answers("41", "41", "00", "00 00"),
        b"\x03\x7f\x22\x21" * 40,
        b"\x41\x62\x01",
    ),
)
