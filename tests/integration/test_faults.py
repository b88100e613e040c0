"""Every fault of the table, and what a tester sees of it."""

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import can
import pytest

from canota.testing.vehicle import key_of
from clock import run
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.faults import ErrorState
from ecu_sim.faults import FaultError
from ecu_sim.faults.dialogue import LateAnswer, Reset
from ecu_sim.faults.ecu import Begun
from ecu_sim.faults.readings import Direction, Requests
from ecu_sim.faults.table import KINDS, parse_fault, text_of
from ecu_sim.faults.wire import LostFrames
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle, VehicleOptions
from protocols.can import FrameHeader
from protocols.uds.routine_status import CheckStatus
from tests.support.doip import DoipTester
from tests.support.ecu import (
    DIAGNOSTICS_MASTER,
    IMAGE_PUBLIC_KEY,
    RawTester,
    crc_image,
    signed_image,
)
from tests.support.programming import erase, expect, program_single_slot, stage, transfer, unlock
from tests.support.vehicle import back_in, open_tester, running

Faulty = Callable[[Vehicle, EcuNode, RawTester], Awaitable[None]]

IMAGE = signed_image(bytes(range(256)) * 64, hardware_id="CCU-2")
BASE = 0x0804_0000
READ = bytes.fromhex("22 F1 90")
#: The answer to it takes three frames.
VIN_ANSWER = b"\x62\xf1\x90WCANHVAC000000001"


def on(directory: Path, ecu: str, test: Faulty) -> None:
    async def whole() -> None:
        async with running(directory, ecu) as vehicle:
            tester = open_tester(vehicle, ecu)
            await test(vehicle, vehicle.nodes[ecu], tester)
            tester.close()

    run(whole(), virtual=True)


def begin(node: EcuNode, text: str) -> Begun:
    return node.faults.begin(text)


async def silent(tester: RawTester, request: bytes | None = None, *, for_s: float = 9.0) -> None:
    if request is not None:
        tester.send(request)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(for_s):
            raise AssertionError((await tester.answer()).hex(" "))


class Listener:
    """Frames of one identifier, as a recorder on the wire sees them."""

    def __init__(self, vehicle: Vehicle, wire: str, identifier: int) -> None:
        self.frames: list[bytes] = []
        self.times: list[float] = []
        port = vehicle.can_port(wire, "listener")
        self._header = FrameHeader(identifier)
        self.close = port.listen(self._hear, self._header)

    def _hear(self, _: FrameHeader, data: bytes, at_s: float) -> None:
        self.frames.append(data)
        self.times.append(at_s)

    @property
    def kinds(self) -> list[int]:
        """First bytes."""
        return [frame[0] for frame in self.frames]


def test_a_lost_consecutive_frame_is_not_on_the_wire(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        wire = Listener(vehicle, "comfort", 0x7A8)
        fault = begin(node, "lost-cf=2")
        await silent(tester, READ)
        assert wire.kinds == [0x10, 0x21]
        assert fault.hits == 1
        fault.end()
        assert await tester.ask(READ) == VIN_ANSWER
        assert wire.kinds == [0x10, 0x21, 0x10, 0x21, 0x22]

    on(tmp_path, "ccu", main)


def test_a_lost_consecutive_frame_of_the_tester_was_on_the_wire(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        wire = Listener(vehicle, "comfort", 0x7A0)
        begin(node, "lost-cf=1,direction=rx")
        await silent(tester, bytes.fromhex("22 F1 90 F1 91 F1 88 F1 89"))
        assert wire.kinds == [0x10, 0x21]

    on(tmp_path, "ccu", main)


def test_a_wrong_sequence_number_ends_the_message(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        wire = Listener(vehicle, "comfort", 0x7A8)
        with begin(node, "wrong-sequence=1"):
            await silent(tester, READ)
        assert wire.kinds == [0x10, 0x29, 0x22]

    on(tmp_path, "ccu", main)


def test_a_share_of_the_frames_is_lost_and_the_seed_says_which(tmp_path: Path) -> None:
    """Only what the ECU hears: what it sends of its own accord would shift the draws."""

    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        async def answered(text: str) -> str:
            answers = ""
            node.faults.end_all()
            begin(node, text)
            for _ in range(40):
                tester.send(bytes.fromhex("3E 00"))
                try:
                    async with asyncio.timeout(0.1):
                        await tester.answer()
                        answers += "x"
                except TimeoutError:
                    answers += "."
            return answers

        losing = LostFrames(share=0.4, direction=Direction.RX, seed=5)
        text = "lost-frames=0.4,direction=rx,seed=5"
        assert parse_fault(text) == losing
        assert text_of(losing) == text
        patterns = [await answered(text) for text in (text, text, text.replace("5", "6"))]
        assert 10 < patterns[0].count("x") < 35
        assert len(set(patterns)) > 1
        assert await answered("lost-frames=1") == "." * 40

    on(tmp_path, "ccu", main)


def test_frames_come_late_and_in_order(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        wire = Listener(vehicle, "comfort", 0x7A8)
        await expect(tester, "3E 00", "7e 00")
        tester_sent = asyncio.get_running_loop().time()
        begin(node, "late-frames=20ms,jitter=10ms")
        assert await tester.ask(READ) == VIN_ANSWER
        assert wire.times[1] - tester_sent > 0.02
        assert wire.kinds[1:] == [0x10, 0x21, 0x22]

    on(tmp_path, "ccu", main)


def test_corrupt_frames_are_error_frames_up_to_bus_off_and_recovery(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        wire = vehicle.wires["comfort"]
        assert isinstance(wire, CanWire)
        states: list[ErrorState] = []
        wire.on_error_state(lambda name, state: states.append(state) if name == "ccu" else None)
        before = wire.load().error_frames
        with begin(node, "corrupt-frames=1"):
            await silent(tester, READ, for_s=0.2)
        assert wire.load().error_frames - before >= 32
        assert states[:2] == [ErrorState.PASSIVE, ErrorState.BUS_OFF]
        await asyncio.sleep(0.5)
        assert await tester.ask(READ) == VIN_ANSWER

    on(tmp_path, "ccu", main)


def test_corrupt_frames_of_two_ecus_hold_side_by_side(tmp_path: Path) -> None:
    async def whole() -> None:
        async with running(tmp_path, "ccu", "blower") as vehicle:
            wire = vehicle.wires["comfort"]
            assert isinstance(wire, CanWire)
            senders: list[str] = []
            wire.on_error_frame(lambda error: senders.append(error.node))
            ccu = begin(vehicle.nodes["ccu"], "corrupt-frames=0.2")
            begin(vehicle.nodes["blower"], "corrupt-frames=0.2")
            await asyncio.sleep(5.0)
            assert set(senders) == {"ccu", "blower"}
            ccu.end()
            senders.clear()
            await asyncio.sleep(5.0)
            assert set(senders) == {"blower"}

    run(whole(), virtual=True)


def test_a_silent_ecu_hears_and_a_deaf_one_sends(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        with begin(node, "silent"):
            await silent(tester, bytes.fromhex("10 03"), for_s=0.5)
            assert node.program is not None
            assert node.program.server.session == 3
        with begin(node, "deaf"):
            sent = Listener(vehicle, "comfort", 0x7A8)
            await silent(tester, bytes.fromhex("10 01"), for_s=0.5)
            assert node.program.server.session == 3
            assert sent.frames == []
        await expect(tester, "3E 00", "7e 00")

    on(tmp_path, "ccu", main)


def test_a_babbling_ecu_sends_what_nobody_wants(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle, node: EcuNode, _tester: RawTester) -> None:
        wire = Listener(vehicle, "comfort", 0x010)
        with begin(node, "babble=0x010,every=2ms"):
            await asyncio.sleep(0.1)
        assert 48 <= len(wire.frames) <= 51
        wire.frames.clear()
        await asyncio.sleep(0.1)
        assert len(wire.frames) <= 1

    on(tmp_path, "ccu", main)


LONG_REQUEST = bytes.fromhex("22 F1 90 F1 91 F1 88 F1 89")


@pytest.mark.parametrize(
    ("text", "seen"),
    [("no-flow-control", []), ("flow-overflow", [0x32]), ("flow-wait=3,every=50ms", [0x31] * 3)],
)
def test_flow_control_goes_wrong(tmp_path: Path, text: str, seen: list[int]) -> None:
    async def main(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        wire = Listener(vehicle, "comfort", 0x7A8)
        with begin(node, text):
            if text.startswith("flow-wait"):
                answer = await tester.ask(LONG_REQUEST)
                assert answer.startswith(VIN_ANSWER)
                assert wire.kinds[:4] == [*seen, 0x30]
                assert wire.times[3] - wire.times[0] == pytest.approx(0.15, abs=0.003)
            else:
                await silent(tester, LONG_REQUEST)
                assert wire.kinds == seen
        assert (await tester.ask(LONG_REQUEST)).startswith(VIN_ANSWER)

    on(tmp_path, "ccu", main)


async def timed(tester: RawTester, request: str) -> tuple[bytes, float]:
    before = asyncio.get_running_loop().time()
    tester.send(bytes.fromhex(request))
    return await tester.answer(), asyncio.get_running_loop().time() - before


def test_answers_are_late_to_the_requests_that_are_meant(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        begin(node, "late=300ms@22F190")
        _, usual_s = await timed(tester, "22 F1 91")
        answer, late_s = await timed(tester, "22 F1 90")
        assert usual_s < 0.02
        assert answer == VIN_ANSWER
        assert late_s == pytest.approx(0.3, abs=0.02)

    on(tmp_path, "ccu", main)


def test_a_late_answer_to_a_reset_comes_before_the_reset(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        boots = node.boots
        node.faults.begin(LateAnswer(by_s=0.5, at=Requests(b"\x11")))
        answer, late_s = await timed(tester, "11 01")
        assert answer == bytes.fromhex("51 01")
        assert late_s == pytest.approx(0.5, abs=0.02)
        await back_in(node, Mode.APPLICATION)
        assert node.boots == boots + 1

    on(tmp_path, "ccu", main)


def test_a_request_is_served_and_not_answered(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        with begin(node, "no-answer@10"):
            await silent(tester, bytes.fromhex("10 03"), for_s=1.0)
        await expect(tester, "22 F1 86", "62 f1 86 03")

    on(tmp_path, "ccu", main)


def test_stuck_busy_is_busy_however_often_it_is_asked(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        fault = begin(node, "stuck-busy@22")
        for _ in range(5):
            await expect(tester, READ, "7f 22 21")
        await expect(tester, "3E 00", "7e 00")
        assert fault.hits == 5
        fault.end()
        assert await tester.ask(READ) == VIN_ANSWER

    on(tmp_path, "ccu", main)


def test_stuck_pending_goes_on_until_the_fault_ends(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        fault = begin(node, "stuck-pending@22")
        loop = asyncio.get_running_loop()
        before = loop.time()
        tester.send(READ)
        times = []
        for _ in range(4):
            assert await tester.answer() == bytes.fromhex("7F 22 78")
            times.append(loop.time() - before)
        # Within P2 first, then within P2*.
        assert times[0] < node.ecu.p2_s
        assert times[3] - times[2] < node.ecu.p2_star_s
        fault.end()
        assert await tester.answer() == VIN_ANSWER

    on(tmp_path, "ccu", main)


def test_a_negative_response_code_of_choice_to_the_nth_request(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        begin(node, "nrc=72@22:2")
        assert await tester.ask(READ) == VIN_ANSWER
        await expect(tester, READ, "7f 22 72")
        assert await tester.ask(READ) == VIN_ANSWER

    on(tmp_path, "ccu", main)


def test_a_wrong_key_uses_up_the_attempts(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        with begin(node, "wrong-key"):
            for code in ("35", "35", "36"):
                seed = (await tester.ask(bytes.fromhex("27 01")))[2:]
                await expect(tester, b"\x27\x02" + key_of(node, 1, seed), f"7f 27 {code}")
            await expect(tester, "27 01", "7f 27 37")
        await expect(tester, "3E 00", "7e 00")
        await asyncio.sleep(4.0)
        await expect(tester, "3E 00", "7e 00")
        await asyncio.sleep(4.0)
        await expect(tester, "3E 00", "7e 00")
        await asyncio.sleep(2.1)
        await unlock(tester, node)

    on(tmp_path, "ccu", main)


def test_an_answer_is_wrong_in_one_byte_or_too_short(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        with begin(node, "wrong-answer=4@22"):
            wrong = bytearray(VIN_ANSWER)
            wrong[4] ^= 0xFF
            assert await tester.ask(READ) == wrong
        with begin(node, "short-answer=5"):
            assert await tester.ask(READ) == VIN_ANSWER[:5]
            await expect(tester, "22 FF FF", "7f 22 31")

    on(tmp_path, "ccu", main)


def test_a_reset_at_the_nth_block_loses_session_and_download(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        fault = begin(node, "reset@36:2")
        assert fault.fault == Reset(at=Requests(b"\x36", 2))
        boots = node.boots
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await unlock(tester, node)
        await erase(tester, BASE, len(IMAGE))
        with pytest.raises(TimeoutError):
            await transfer(tester, BASE, IMAGE)
        assert fault.hits == 1
        await back_in(node, Mode.APPLICATION)
        assert node.boots == boots + 1
        await expect(tester, "22 F1 86", "62 f1 86 01")
        await stage(tester, node, IMAGE)

    on(tmp_path, "ccu", main)


def test_power_is_lost_at_a_request_and_comes_back(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        begin(node, "power-loss@3E00,off=2s")
        tester.send(bytes.fromhex("3E 00"))
        await asyncio.sleep(1.9)
        assert node.mode is Mode.OFF
        await node.booted()
        await silent(tester, for_s=0.1)
        begin(node, "power-loss@3E00:2")

    on(tmp_path, "ccu", main)


def test_power_that_comes_back_is_not_waited_for_by_a_vehicle_that_stops(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        begin(node, "power-loss@3E00,off=1min")
        tester.send(bytes.fromhex("3E 00"))
        await asyncio.sleep(0.1)
        # It is off when the vehicle stops, and would be on again only a minute later.
        assert node.mode is Mode.OFF

    on(tmp_path, "ccu", main)


@pytest.mark.parametrize("address", ["0x1000", "0x08041000"])
def test_a_write_error_is_told_with_the_next_request(tmp_path: Path, address: str) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        fault = begin(node, f"write-error@{address}")
        with pytest.raises(AssertionError, match="7f3672"):
            await stage(tester, node, IMAGE)
        assert fault.hits == 1
        fault.end()
        await asyncio.sleep(6.0)
        await stage(tester, node, IMAGE)

    on(tmp_path, "ccu", main)


def test_a_write_error_beyond_the_image_is_not_met(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        fault = begin(node, f"write-error@{len(IMAGE) + 0x100:X}")
        await stage(tester, node, IMAGE)
        assert fault.hits == 0

    on(tmp_path, "ccu", main)


def test_a_sector_that_does_not_erase_is_told(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        begin(node, "erase-error@0x2000")
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await unlock(tester, node)
        await erase(tester, BASE, 0x2000)
        size = "00004000"
        await expect(tester, f"31 01 FF 00 44 08040000 {size}", "7f 31 72")

    on(tmp_path, "ccu", main)


def test_a_bad_cell_is_found_by_the_check(tmp_path: Path) -> None:
    image = crc_image(b"\xff" * 0x800, hardware_id="BLW-1")

    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        fault = begin(node, "bad-cell@0x400,bit=3")
        with pytest.raises(AssertionError):
            await program_single_slot(tester, node, image)
        assert fault.hits == 1
        check = bytes.fromhex("31 01 02 02") + zlib.crc32(image).to_bytes(4)
        answer = await tester.ask(check)
        assert answer[:4] == bytes.fromhex("71 01 02 02")
        assert answer[4] == CheckStatus.WRONG_CHECKSUM
        assert node.hardware.memory.flash.read(0x3FF, 3) == b"\xff\xf7\xff"

    on(tmp_path, "blower", main)


def test_slow_flash_takes_so_many_times_as_long(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await unlock(tester, node)
        loop = asyncio.get_running_loop()
        took = []
        for text in ("", "slow-flash=8"):
            if text:
                begin(node, text)
            before = loop.time()
            await erase(tester, BASE, 0x8000)
            took.append(loop.time() - before)
        # Four sectors: the wire's share is the same both times.
        assert took[1] - took[0] == pytest.approx(7 * 4 * node.ecu.slot.erase_s, rel=0.05)

    on(tmp_path, "ccu", main)


def test_power_is_cut_within_a_page_and_the_ecu_comes_back(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await unlock(tester, node)
        await erase(tester, BASE, len(IMAGE))
        begin(node, "power-cut=3,off=2s")
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await transfer(tester, BASE, IMAGE)
        await back_in(node, Mode.APPLICATION)
        assert asyncio.get_running_loop().time() - begun > 2.0
        size = node.ecu.slot.page_size
        slot = node.hardware.memory.flash.read(node.ecu.slot.size, 4 * size)
        assert slot[: 2 * size + size // 2] == IMAGE[: 2 * size + size // 2]
        assert set(slot[2 * size + size // 2 :]) == {0xFF}
        await stage(tester, node, IMAGE)

    on(tmp_path, "ccu", main)


def test_a_boot_takes_longer_or_never_comes(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        loop = asyncio.get_running_loop()
        with begin(node, "slow-boot=3s"):
            await expect(tester, "11 01", "51 01")
            before = loop.time()
            await asyncio.sleep(0.01)
            await back_in(node, Mode.APPLICATION)
            assert loop.time() - before == pytest.approx(3.0 + node.ecu.boot_s, abs=0.05)
        with begin(node, "no-boot"):
            await expect(tester, "11 01", "51 01")
            await silent(tester, READ)
            assert node.mode is Mode.BOOTING
        await back_in(node, Mode.APPLICATION)
        assert await tester.ask(READ) == VIN_ANSWER

    on(tmp_path, "ccu", main)


def test_an_application_that_is_kept_out_leaves_the_boot_loader(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        with begin(node, "no-application"):
            await expect(tester, "11 01", "51 01")
            await asyncio.sleep(0.01)
            await node.booted()
            assert node.mode is Mode.BOOTLOADER
            assert node.reason == "a fault keeps the application out"
        await expect(tester, "11 01", "51 01")
        await asyncio.sleep(0.01)
        await back_in(node, Mode.APPLICATION)

    on(tmp_path, "ccu", main)


def test_the_watchdog_bites_until_the_boot_loader_has_had_enough(tmp_path: Path) -> None:
    async def main(_vehicle: Vehicle, node: EcuNode, _tester: RawTester) -> None:
        fault = begin(node, "watchdog=2s")
        await asyncio.sleep(1.9)
        assert node.watchdog_resets == 0
        await asyncio.sleep(10)
        assert node.watchdog_resets == 3
        assert fault.hits == 3
        assert node.mode is Mode.BOOTLOADER

    on(tmp_path, "ccu", main)


def test_a_doip_ecu_hangs_up_and_is_there_again(tmp_path: Path) -> None:
    async def whole() -> None:
        async with running(tmp_path, "rear") as vehicle:
            node = vehicle.nodes["rear"]
            begin(node, "disconnect@22:2")
            stream = await vehicle.connect("rear")
            tester = DoipTester(stream)
            await tester.activate()
            assert await tester.ask(READ.hex(), 0x1031) == VIN_ANSWER.hex(" ")
            await tester.request(READ.hex(), 0x1031)
            while await tester.next() is not None:
                pass  # the request was acknowledged, and no answer comes
            again = DoipTester(await vehicle.connect("rear"))
            await again.activate()
            assert await again.ask(READ.hex(), 0x1031) == VIN_ANSWER.hex(" ")

    run(whole(), virtual=True)


@pytest.mark.parametrize(
    ("ecu", "text", "said"),
    [
        ("rear", "lost-frames=0.1", "rear: lost-frames=0.1 is of CAN frames, and rear is on DoIP"),
        ("ccu", "disconnect@22", "ccu: disconnect@22 is of ECUs on DoIP, and ccu is on CAN"),
        ("ccu", "write-error@F0000000", "ccu: no flash at F0000000; there is 08040000 \\+ 80000"),
        ("ccu", "lost-frame=0.1", "ccu: lost-frame=0.1: no fault 'lost-frame'; there are lost-"),
        ("ccu", "late=3", "ccu: late=3: by: a time such as 300ms, 2s or 1min is expected, not '3'"),
        ("ccu", "reset", "ccu: reset: at is missing: reset@REQUEST"),
        ("ccu", "nrc=72@36:0", "ccu: nrc=72@36:0: at: the first bytes of a request in hex"),
        ("ccu", "late=1s,tardy=2", "no parameter 'tardy=2'; there are: by, at"),
    ],
)
def test_what_an_ecu_cannot_have_is_said(tmp_path: Path, ecu: str, text: str, said: str) -> None:
    async def whole() -> None:
        async with running(tmp_path, ecu) as vehicle:
            with pytest.raises(FaultError, match=said):
                vehicle.begin_fault(ecu, text)
            assert vehicle.nodes[ecu].faults.begun == ()

    run(whole(), virtual=True)


def test_every_fault_of_the_table_is_begun_in_a_test_of_this_file() -> None:
    written = Path(__file__).read_text()
    assert [name for name in KINDS if not re.search(rf'"{name}[@=,"]', written)] == []


def test_on_an_interface_of_the_machine_frames_are_lost_too(tmp_path: Path) -> None:
    """And what only a simulated wire can do is refused."""

    def heard(bus: can.BusABC) -> list[int]:
        request = bytes.fromhex("03 22 F1 90 CC CC CC CC")
        bus.send(can.Message(arbitration_id=0x7A1, is_extended_id=False, data=request))
        kinds: list[int] = []
        while (message := bus.recv(timeout=0.5)) is not None:
            if message.arbitration_id != 0x7A9:
                continue
            kinds.append(message.data[0])
            if kinds == [0x10]:
                proceed = bytes.fromhex("30 00 00 CC CC CC CC CC")
                bus.send(can.Message(arbitration_id=0x7A1, is_extended_id=False, data=proceed))
            if message.data[0] == 0x22:
                break
        return kinds

    async def main() -> None:
        vehicle = Vehicle(
            VehicleOptions(
                vin="WCANHVAC000000001",
                state_directory=tmp_path,
                ecus=("blower",),
                image_public_keys=(IMAGE_PUBLIC_KEY,),
                diagnostics_master=DIAGNOSTICS_MASTER,
                interfaces={"comfort": "can://virtual/faults"},
            )
        )
        try:
            vehicle.provision("blower", crc_image())
            await vehicle.start()
            vehicle.rest_bus.stop()
            with can.Bus(interface="virtual", channel="faults") as bus:
                with vehicle.begin_fault("blower", "lost-cf=1"):
                    assert await asyncio.to_thread(heard, bus) == [0x10, 0x22]
                assert await asyncio.to_thread(heard, bus) == [0x10, 0x21, 0x22]
            with pytest.raises(FaultError, match=r"corrupt-frames=0\.1 needs a simulated wire"):
                vehicle.begin_fault("blower", "corrupt-frames=0.1")
        finally:
            await vehicle.stop()

    run(main(), virtual=False)
