"""Files, events and secured data on a running bench ECU, over its wire and its own NVM."""

import asyncio
from pathlib import Path

from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle
from protocols.uds.secured_data import KEY_LEVEL, Administrative, Keys, SecuredMessage
from protocols.uds.security_access import derive_key
from tests.support.bench import on_bench, with_application
from tests.support.ecu import RawTester
from tests.support.programming import expect, unlock

FILE = bytes(range(256)) * 9
PATH = b"/log/trip"


def _asked(operation: int, rest: bytes = b"") -> bytes:
    return bytes([0x38, operation]) + len(PATH).to_bytes(2) + PATH + rest


async def _power_cycle(node: EcuNode) -> None:
    node.kill()
    node.power_on()
    await node.booted()


async def _extended(tester: RawTester, node: EcuNode) -> None:
    await expect(tester, "10 03", "50 03 00 32 01 f4")
    await unlock(tester, node)


def test_a_file_is_kept_over_a_power_cut_and_read_back(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await _extended(tester, node)
        size = len(FILE).to_bytes(2)
        await expect(tester, _asked(1, b"\x00\x02" + size * 2), "78 01 02 04 02 00")
        for number, start in enumerate(range(0, len(FILE), 1024), start=1):
            block = bytes([0x36, number]) + FILE[start : start + 1024]
            await expect(tester, block, f"76 {number:02x}")
        await expect(tester, "37", "77")
        await _power_cycle(node)
        await _extended(tester, node)
        head = "78 04 02 04 02 00 00 04"
        size_text = len(FILE).to_bytes(4).hex(" ")
        await expect(tester, _asked(4, b"\x00"), f"{head} {size_text} {size_text}")
        read = b""
        for number in (1, 2, 3):
            read += (await tester.ask(bytes([0x36, number])))[2:]
        await expect(tester, "37", "77")
        assert read == FILE
        await expect(tester, _asked(2), "78 02")
        await expect(tester, _asked(4, b"\x00"), "7f 38 31")

    on_bench(tmp_path, with_application(test))


def test_a_changed_calibration_value_is_told_by_itself(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await expect(tester, "86 03 02 02 C1 22 02 C1", "c6 03 00 02 02 c1 22 02 c1")
        await expect(tester, "86 05 02", "c6 05 00 02")
        await expect(tester, "2E 02 C1 00 05", "6e 02 c1")
        assert (await tester.answer()).hex(" ") == "62 02 c1 00 05"
        assert node.program is not None

    on_bench(tmp_path, with_application(test))


def test_a_failing_monitor_is_told_to_who_stored_the_event(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "86 01 02 01 19 02 01", "c6 01 00 02 01 19 02 01")
        await expect(tester, "86 45 02", "c6 45 00 02")
        await _power_cycle(node)
        assert node.program is not None
        await asyncio.sleep(0.5)
        node.program.dtcs.report(0x9A4000, failed=True)
        told = await tester.answer()
        assert told[:2] == bytes.fromhex("59 02")
        assert told[3:6] == bytes.fromhex("9A 40 00")

    on_bench(tmp_path, with_application(test))


def test_an_encrypted_write_is_taken_once(tmp_path: Path) -> None:
    async def test(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        identity = node.hardware.identity
        key = derive_key(identity.diagnostics_master, identity.serial, KEY_LEVEL)
        keys = Keys.derive(key)
        bits = Administrative.REQUEST | Administrative.SIGNED | Administrative.ENCRYPTED
        write = SecuredMessage(
            administrative=bits, counter=1, inner=bytes.fromhex("2E 02 C1 00 07")
        ).encode(keys)
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        answer = await tester.ask(write)
        assert SecuredMessage.decode(answer, keys).inner == bytes.fromhex("6E 02 C1")
        await expect(tester, "22 02 C1", "62 02 c1 00 07")
        await _power_cycle(node)
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await expect(tester, write, "7f 84 3a")

    on_bench(tmp_path, with_application(test))
