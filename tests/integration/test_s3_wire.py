"""S3 of an ECU on its wire: measured from the frames, on each side of the limit."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import clock
from ecu_sim.faults import Fault
from ecu_sim.faults.dialogue import NegativeAnswer, NoAnswer, StuckBusy
from ecu_sim.node import EcuNode
from protocols.can import CanPort, FrameHeader
from protocols.isotp import IsoTpParameters
from protocols.uds import Session
from tests.support.ecu import RawTester
from tests.support.vehicle import ADDRESSES, open_tester, running

REQUEST, RESPONSE = (FrameHeader(identifier) for identifier in ADDRESSES["ccu"])
S3_S = 5.0
JUST_S = 0.0001
EXTENDED = bytes.fromhex("10 03")


def _on_ccu(directory: Path, test: Callable[[EcuNode, CanPort], Awaitable[None]]) -> None:
    async def drive() -> None:
        async with running(directory, "ccu") as vehicle:
            await test(vehicle.nodes["ccu"], vehicle.can_port("comfort", "tester"))

    clock.run(drive(), virtual=True)


def _session(node: EcuNode) -> Session:
    assert node.program is not None
    return node.program.server.session


async def _assert_runs_from(node: EcuNode, begin: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(begin + S3_S - JUST_S - loop.time())
    assert _session(node) == Session.EXTENDED
    await asyncio.sleep(2 * JUST_S)
    assert _session(node) == Session.DEFAULT


class _LastBit:
    """When the last frame of an identifier was heard."""

    def __init__(self, port: CanPort, header: FrameHeader) -> None:
        self.at = 0.0
        self.frames = 0
        port.listen(self._hear, header)

    def _hear(self, _header: FrameHeader, _data: bytes, now: float) -> None:
        self.at = now
        self.frames += 1


def test_an_answer_that_a_slow_tester_takes_for_longer_than_s3_does_not_end_the_session(
    tmp_path: Path,
) -> None:
    async def test(node: EcuNode, port: CanPort) -> None:
        last = _LastBit(port, RESPONSE)
        slow = IsoTpParameters(st_min=0x7F)
        tester = RawTester(port, request=REQUEST, response=RESPONSE, parameters=slow)
        await tester.ask(EXTENDED)
        tester.send(b"\x22" + b"\xf1\x90" * 16)
        begin = asyncio.get_running_loop().time()
        assert len(await tester.answer()) == 1 + 16 * 19
        assert last.at - begin > S3_S
        await _assert_runs_from(node, last.at)
        tester.close()

    _on_ccu(tmp_path, test)


def test_an_answer_that_nobody_takes_is_given_up_after_n_bs_and_s3_starts(tmp_path: Path) -> None:
    async def test(node: EcuNode, port: CanPort) -> None:
        tester, last = RawTester(port, request=REQUEST, response=RESPONSE), _LastBit(port, RESPONSE)
        await tester.ask(EXTENDED)
        tester.close()
        port.send(REQUEST, (bytes.fromhex("03 22 f1 90"),))
        await asyncio.sleep(0.1)
        await _assert_runs_from(node, last.at + node.ecu.isotp.n_bs_s)

    _on_ccu(tmp_path, test)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "broken off"])
def test_a_request_that_takes_longer_than_s3_does_not_end_the_session(
    tmp_path: Path,
    whole: bool,  # noqa: FBT001 a column of the table
) -> None:
    async def test(node: EcuNode, port: CanPort) -> None:
        tester, answered = (
            RawTester(port, request=REQUEST, response=RESPONSE),
            _LastBit(port, RESPONSE),
        )
        assert node.hardware.port is not None
        heard = _LastBit(node.hardware.port, REQUEST)
        await tester.ask(EXTENDED)
        tester.close()
        gap_s = 0.9 * node.ecu.isotp.n_cr_s
        await asyncio.sleep(S3_S - 0.5)
        message = bytes.fromhex("2e f1 5a") + bytes(45)
        port.send(REQUEST, (b"\x10" + bytes([len(message)]) + message[:6],))
        frames = [message[at : at + 7] for at in range(6, len(message), 7)]
        begin = asyncio.get_running_loop().time()
        for number, frame in enumerate(frames if whole else frames[:-1], start=1):
            await asyncio.sleep(gap_s)
            port.send(REQUEST, (bytes([0x20 | number]) + frame,))
        await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - begin > (S3_S if whole else 4.0)
        assert _session(node) == Session.EXTENDED
        await _assert_runs_from(node, answered.at if whole else heard.at + node.ecu.isotp.n_cr_s)

    _on_ccu(tmp_path, test)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (NoAnswer(), "22 f1 90"),
        (StuckBusy(), "2e f1 5a" + " 00" * 20),
        (NegativeAnswer(code=0x22), "2e f1 5a" + " 00" * 20),
    ],
    ids=["no answer", "busy", "refused"],
)
def test_a_fault_that_keeps_request_or_answer_away_does_not_hold_the_session(
    tmp_path: Path, fault: Fault, message: str
) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            await tester.ask(EXTENDED)
            vehicle.begin_fault("ccu", fault)
            tester.send(bytes.fromhex(message))
            await asyncio.sleep(0.1)
            await asyncio.sleep(S3_S - 0.1)
            assert _session(node) == Session.EXTENDED
            await asyncio.sleep(0.1)
            assert _session(node) == Session.DEFAULT
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_request_during_a_long_answer_is_answered_after_it(tmp_path: Path) -> None:
    """And a tester that asks without end and takes nothing gets no endless queue."""

    async def test(node: EcuNode, port: CanPort) -> None:
        last = _LastBit(port, RESPONSE)
        for _ in range(200):
            port.send(REQUEST, (bytes.fromhex("03 22 f1 90"),))
        await asyncio.sleep(34.0)
        # One on the wire and 32 that wait; each first frame waits for N_Bs.
        assert last.frames == 33
        tester = RawTester(port, request=REQUEST, response=RESPONSE)
        assert await tester.ask(EXTENDED) == bytes.fromhex("50 03 00 32 01 f4")
        assert _session(node) == Session.EXTENDED
        tester.close()

    _on_ccu(tmp_path, test)
