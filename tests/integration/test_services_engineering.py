"""What an engineer does on a running vehicle: memory, calibration, outputs, periodic values."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
import wasmtime

import clock
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle
from protocols.can import FrameHeader
from protocols.uds.security_access import compute_key, derive_key
from tests.support.ecu import RawTester, signed_image
from tests.support.programming import expect, stage
from tests.support.vehicle import back_in, built_image, open_tester, running, small_images

RAM = 0x2000_0000
CALIBRATION = 0x0E00_0000
#: Writes what it reads on channel 0 to output 0, and counts its steps at address 16 of its memory.
MIRROR = """
(module
  (import "io" "kick" (func $kick))
  (import "io" "read" (func $read (param i32) (result f64)))
  (import "io" "write" (func $write (param i32 f64)))
  (memory (export "memory") 1 1)
  (func (export "init"))
  (func (export "step") (param f64)
    (call $kick)
    (i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1)))
    (call $write (i32.const 0) (call $read (i32.const 0)))))
"""


def mirror() -> bytes:
    return signed_image(bytes(wasmtime.wat2wasm(MIRROR)))


async def unlock(tester: RawTester, node: EcuNode, level: int) -> None:
    identity = node.hardware.identity
    key = derive_key(identity.diagnostics_master, identity.serial, level)
    seed = (await tester.ask(bytes([0x27, level])))[2:]
    answer = compute_key(key, level=level, ecu_id=identity.serial, seed=seed)
    told = await tester.ask(bytes([0x27, level + 1]) + answer)
    assert told == bytes([0x67, level + 1])


async def extended(vehicle: Vehicle, ecu: str, level: int = 0) -> RawTester:
    tester = open_tester(vehicle, ecu)
    await expect(tester, "10 03", "50 03 00 32 01 f4")
    if level:
        await unlock(tester, vehicle.nodes[ecu], level)
    return tester


async def keep_alive(tester: RawTester, seconds: float) -> None:
    for _ in range(round(seconds / 2)):
        tester.send(b"\x3e\x80")
        await asyncio.sleep(2.0)


# Outputs


@pytest.mark.parametrize("end", ["10 01", "s3", "11 01"])
def test_a_blower_in_a_testers_hands_blows_until_it_is_given_back(tmp_path: Path, end: str) -> None:
    images = {ecu: built_image(ecu, "2.0.0") for ecu in ("ccu", "blower")}

    async def drive() -> None:
        async with running(tmp_path, "ccu", "blower", images=images) as vehicle:
            await asyncio.sleep(30.0)
            own = vehicle.cabin.blower_drive
            assert own != pytest.approx(0.07, abs=0.02)
            tester = await extended(vehicle, "blower")
            await expect(tester, "2F 01 91 03 07", "6f 01 91 03 07")
            await keep_alive(tester, 10.0)
            assert vehicle.cabin.blower_drive == pytest.approx(0.07)
            # What the module reports on the wire is what it drives.
            await expect(open_tester(vehicle, "ccu"), "22 01 02", "62 01 02 07")
            slow = int.from_bytes((await tester.ask(bytes.fromhex("22 01 11")))[3:])
            if end == "s3":
                await asyncio.sleep(5.5)
            else:
                await tester.ask(bytes.fromhex(end))
                await asyncio.sleep(1.0)
            assert vehicle.cabin.blower_drive != pytest.approx(0.07)
            await asyncio.sleep(10.0)
            fast = int.from_bytes((await tester.ask(bytes.fromhex("22 01 11")))[3:])
            assert fast > 2 * slow
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_request_of_the_control_unit_is_overridden_where_it_leaves_the_unit(
    tmp_path: Path,
) -> None:
    async def drive() -> None:
        images = {"ccu": mirror(), "blower": built_image("blower", "2.0.0")}
        async with running(tmp_path, "ccu", "blower", images=images) as vehicle:
            tester = await extended(vehicle, "ccu")
            # Only the first of three outputs, by the mask.
            answer = await tester.ask(bytes.fromhex("2F 01 81 03 4B 00 00 80"))
            assert answer[:5] == bytes.fromhex("6f 01 81 03 4b")
            await keep_alive(tester, 10.0)
            assert vehicle.cabin.blower_drive == pytest.approx(0.75, abs=0.03)
            tester.close()

    clock.run(drive(), virtual=True)


def test_no_actuator_is_taken_while_the_car_drives(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "blower") as vehicle:
            vehicle.rest_bus.set("Speed", 30.0)
            await asyncio.sleep(0.5)
            tester = await extended(vehicle, "blower")
            await expect(tester, "2F 01 91 03 07", "7f 2f 22")
            tester.close()

    clock.run(drive(), virtual=True)


# Periodic values


@pytest.mark.parametrize(
    ("mode", "period_s"), [(1, 1.0), (2, 0.2), (3, 0.05)], ids=["slow", "medium", "fast"]
)
@pytest.mark.parametrize(("ecu", "low", "identifier"), [("ccu", 1, 0x6A8), ("ecomp", 0x21, 0x6B8)])
def test_periodic_values_are_single_frames_on_their_own_identifier_and_on_time(
    tmp_path: Path, ecu: str, low: int, identifier: int, mode: int, period_s: float
) -> None:
    heard: list[tuple[float, bytes]] = []

    async def drive() -> float:
        async with running(tmp_path, ecu) as vehicle:
            fd = ecu == "ecomp"
            vehicle.can_port(vehicle.nodes[ecu].ecu.wire, "logger").listen(
                lambda _, payload, now: heard.append((now, payload)),
                FrameHeader(identifier, fd=fd, bit_rate_switch=fd),
            )
            tester = await extended(vehicle, ecu)
            await expect(tester, bytes([0x2A, mode, low]), "6a")
            begin = asyncio.get_running_loop().time()
            await asyncio.sleep(4.02)
            await expect(tester, "2A 04", "6a")
            stopped = len(heard)
            await asyncio.sleep(2.0)
            assert len(heard) == stopped
            tester.close()
            return begin

    begin = clock.run(drive(), virtual=True)
    assert len(heard) == round(4.0 / period_s)
    for number, (when, payload) in enumerate(heard, 1):
        # The request was taken one response frame before; a frame may wait for another's end.
        assert begin + number * period_s - 0.001 < when < begin + number * period_s + 0.001
        assert (payload[0], len(payload)) == (low, 3)


def test_over_ethernet_periodic_values_are_responses(tmp_path: Path) -> None:
    async def drive() -> bytes:
        async with running(tmp_path, "rear") as vehicle:
            stream = await vehicle.connect("rear")
            await stream.send(bytes.fromhex("02FD0005 00000007 0E80 00 00000000"))
            await stream.send(bytes.fromhex("02FD8001 00000006 0E80 1031 1003"))
            await stream.send(bytes.fromhex("02FD8001 00000007 0E80 1031 2A0231"))
            received = b""
            begin = asyncio.get_running_loop().time()
            while received.count(b"\x10\x31\x0e\x80\x6a\x31") < 3:
                received += await stream.receive()
            assert asyncio.get_running_loop().time() - begin == pytest.approx(0.6, abs=0.001)
            await stream.close()
            return received

    assert b"\x10\x31\x0e\x80\x6a\x31" in clock.run(drive(), virtual=True)


# Memory


def test_ram_is_the_memory_of_the_application_that_runs(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu", images={"ccu": mirror()}) as vehicle:
            tester = await extended(vehicle, "ccu", level=3)
            read = b"\x23\x14" + (RAM + 16).to_bytes(4) + b"\x04"
            first = int.from_bytes((await tester.ask(read))[1:], "little")
            await asyncio.sleep(1.0)
            later = int.from_bytes((await tester.ask(read))[1:], "little")
            assert later - first == 10
            await expect(
                tester,
                b"\x3d\x14" + (RAM + 16).to_bytes(4) + b"\x04" + bytes(4),
                "7d 14 20 00 00 10 04",
            )
            again = int.from_bytes((await tester.ask(read))[1:], "little")
            assert again <= 1
            # As a dynamic identifier, which 2A can send.
            await expect(
                tester, b"\x2c\x02\xf2\x80\x14" + (RAM + 16).to_bytes(4) + b"\x01", "6c 02 f2 80"
            )
            await asyncio.sleep(1.0)
            answer = await tester.ask(b"\x22\xf2\x80")
            assert answer[3] - again in {10, 11}
            # Beyond the one page that this application has, and beyond the region.
            await expect(tester, b"\x23\x14" + (RAM + 0xFFFF).to_bytes(4) + b"\x02", "7f 23 31")
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_wrong_byte_in_ram_traps_the_application_and_the_watchdog_starts_it_anew(
    tmp_path: Path,
) -> None:
    check = "(call $kick) (if (i32.load (i32.const 32)) (then unreachable))"
    image = signed_image(bytes(wasmtime.wat2wasm(MIRROR.replace("(call $kick)", check))))

    async def drive() -> None:
        async with running(tmp_path, "ccu", images={"ccu": image}) as vehicle:
            node = vehicle.nodes["ccu"]
            tester = await extended(vehicle, "ccu", level=3)
            await expect(
                tester,
                b"\x3d\x14" + (RAM + 32).to_bytes(4) + b"\x01\x01",
                "7d 14 20 00 00 20 01",
            )
            await asyncio.sleep(0.2)
            assert (node.mode, node.watchdog_resets) == (Mode.BOOTING, 1)
            await back_in(node, Mode.APPLICATION)
            tester.close()

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize("ecu", ["ccu", "ecomp"])
def test_an_upload_gives_the_image_that_runs(tmp_path: Path, ecu: str) -> None:
    image = small_images()[ecu]

    async def drive() -> bytes:
        async with running(tmp_path, ecu) as vehicle:
            tester = await extended(vehicle, ecu, level=1)
            base = vehicle.nodes[ecu].ecu.application_base
            size = len(image) + 5000
            answer = await tester.ask(b"\x35\x00\x44" + base.to_bytes(4) + size.to_bytes(4))
            assert answer[:2] == b"\x75\x20"
            step = int.from_bytes(answer[2:]) - 2
            data = b""
            for number in range(1, -(-size // step) + 1):
                block = await tester.ask(bytes([0x36, number]))
                assert block[:2] == bytes([0x76, number])
                data += block[2:]
            await expect(tester, "37", "77")
            tester.close()
            return data

    data = clock.run(drive(), virtual=True)
    assert data == image + b"\xff" * 5000


def test_what_is_read_is_the_running_slot_whichever_that_is(tmp_path: Path) -> None:
    new = signed_image(version=(2, 0, 0))

    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            node, tester = vehicle.nodes["ccu"], open_tester(vehicle, "ccu")
            read = b"\x23\x24" + node.ecu.application_base.to_bytes(4) + len(new).to_bytes(2)
            await stage(tester, node, new)
            assert (await tester.ask(read))[1:] == small_images()["ccu"]
            await expect(tester, "31 01 02 02", "71 01 02 02 00")
            await expect(tester, "31 01 FF 01", "71 01 ff 01 00")
            await expect(tester, "31 01 02 10", "71 01 02 10 00")
            await expect(tester, "11 01", "51 01")
            await asyncio.sleep(0.1)
            await back_in(node, Mode.APPLICATION)
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await unlock(tester, node, 1)
            assert (await tester.ask(read))[1:] == new
            tester.close()

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize("data_format", [0x01, 0x10, 0xFF])
def test_an_upload_is_neither_compressed_nor_encrypted(tmp_path: Path, data_format: int) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            tester = await extended(vehicle, "ccu", level=1)
            base = vehicle.nodes["ccu"].ecu.application_base.to_bytes(4)
            await expect(tester, bytes([0x35, data_format, 0x14]) + base + b"\x10", "7f 35 31")
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_long_periodic_record_fills_a_frame_of_a_length_that_can_fd_has(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def drive() -> None:
        async with running(tmp_path, "ecomp") as vehicle:
            vehicle.can_port("thermal", "logger").listen(
                lambda _, payload, __: heard.append(payload),
                FrameHeader(0x6B8, fd=True, bit_rate_switch=True),
            )
            tester = await extended(vehicle, "ecomp")
            memory = b"\x14" + RAM.to_bytes(4) + b"\x09"
            await expect(tester, b"\x2c\x02\xf2\xa0" + memory, "6c 02 f2 a0")
            await expect(tester, "2A 02 A0", "6a")
            await asyncio.sleep(0.21)
            tester.close()

    clock.run(drive(), virtual=True)
    assert [payload.hex() for payload in heard] == ["a0" + "00" * 9 + "cccc"]


# Calibration


def test_a_calibration_shifts_the_input_of_the_application_and_outlives_resets(
    tmp_path: Path,
) -> None:
    async def request_percent(tester: RawTester) -> int:
        await asyncio.sleep(0.3)
        return (await tester.ask(b"\x22\x01\x81"))[3]

    async def write_and_reset(images: dict[str, bytes]) -> None:
        async with running(tmp_path, "ccu", images=images) as vehicle:
            tester = await extended(vehicle, "ccu")
            before = await request_percent(tester)
            await expect(tester, "2E 02 01 00 32", "7f 2e 33")
            await unlock(tester, vehicle.nodes["ccu"], 3)
            await expect(tester, "2E 02 01 00 33", "7f 2e 31")
            await expect(tester, "2E 02 01 32", "7f 2e 13")
            await expect(tester, "2E 02 01 00 32", "6e 02 01")
            assert await request_percent(tester) - before in {4, 5}
            # The same bytes at their address, and the other value behind them.
            at = CALIBRATION.to_bytes(4)
            await expect(tester, b"\x23\x14" + at + b"\x05", "63 00 32 00 00 ff")
            await expect(tester, b"\x3d\x14" + at + b"\x02\xff\xce", "7d 14 0e 00 00 00 02")
            await expect(tester, "22 02 01", "62 02 01 ff ce")
            await expect(tester, b"\x3d\x14" + at + b"\x02\x7f\xff", "7f 3d 31")
            await expect(tester, "11 01", "51 01")
            await asyncio.sleep(0.1)
            await back_in(vehicle.nodes["ccu"], Mode.APPLICATION)
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await expect(tester, "22 02 01", "62 02 01 ff ce")
            assert before - await request_percent(tester) in {4, 5, 6}
            tester.close()

    async def read_again() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            tester = await extended(vehicle, "ccu")
            await expect(tester, "22 02 01", "62 02 01 ff ce")
            tester.close()

    clock.run(write_and_reset({"ccu": mirror()}), virtual=True)
    clock.run(read_again(), virtual=True)


# What an ECU does not have


@pytest.mark.parametrize(
    ("ecu", "refused"),
    [
        ("blower", ("23142000000001", "2a0101", "2c03", "3500440001000000000001", "2e020100")),
        ("ecomp", ("3d14200000000100",)),
    ],
)
def test_a_service_that_an_ecu_type_lacks_is_not_there(
    tmp_path: Path, ecu: str, refused: Sequence[str]
) -> None:
    async def drive() -> None:
        async with running(tmp_path, ecu) as vehicle:
            tester = await extended(vehicle, ecu)
            for request in refused:
                await expect(tester, request, f"7f {request[:2]} 11")
            tester.close()

    clock.run(drive(), virtual=True)


@pytest.mark.parametrize("ecu", ["ccu", "blower", "ecomp"])
def test_every_identifier_that_a_type_names_is_read_with_its_scaling(
    tmp_path: Path, ecu: str
) -> None:
    async def drive() -> None:
        async with running(tmp_path, ecu) as vehicle:
            kind = vehicle.nodes[ecu].ecu
            tester = await extended(vehicle, ecu)
            for did in kind.data_identifiers | kind.engineering_identifiers:
                asked = did.to_bytes(2)
                assert (await tester.ask(b"\x22" + asked))[:3] == b"\x62" + asked
                assert (await tester.ask(b"\x24" + asked))[:3] == b"\x64" + asked
            tester.close()

    clock.run(drive(), virtual=True)
