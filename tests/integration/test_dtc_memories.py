"""Trouble codes and silenced nodes on running ECUs: what a tester and a logger on the wire see."""

import asyncio
from collections import Counter
from pathlib import Path

import clock
import dbc
from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle
from protocols.can import FrameHeader
from tests.support.ecu import RawTester
from tests.support.programming import expect
from tests.support.vehicle import built_image, open_tester, running

#: A DTC of ccu that fails when it hears no blower.
_SILENT_BLOWER = "d1 40 87"


async def _ask(tester: RawTester, request: str) -> str:
    return (await tester.ask(bytes.fromhex(request))).hex(" ")


async def _power_cycle(node: EcuNode) -> None:
    node.power_off()
    await asyncio.sleep(1.0)
    node.power_on()
    await node.booted()


def test_every_memory_outlives_the_power_and_the_workshops_also_the_clearing(
    tmp_path: Path,
) -> None:
    async def drive() -> None:
        images = {"ccu": built_image("ccu", "1.0.0")}
        async with running(tmp_path, "ccu", images=images) as vehicle:
            tester, node = open_tester(vehicle, "ccu"), vehicle.nodes["ccu"]
            await asyncio.sleep(30)
            await expect(tester, "19 02 08", f"59 02 ff {_SILENT_BLOWER} 2f")
            kept = await _ask(tester, f"19 18 {_SILENT_BLOWER} 01 10")
            await _power_cycle(node)
            await expect(tester, "19 02 08", f"59 02 ff {_SILENT_BLOWER} 6d")
            await expect(tester, "14 FF FF FF", "54")
            await expect(tester, "19 0E", "59 0e ff")
            await _power_cycle(node)
            await expect(tester, "19 02 08", "59 02 ff")
            assert (await _ask(tester, "19 17 08 10"))[12:20] == _SILENT_BLOWER
            # The snapshot is still that of the first failure.
            again = await _ask(tester, f"19 18 {_SILENT_BLOWER} 01 10")
            assert (again[:9], again[24:]) == (kept[:9], kept[24:])
            tester.close()

    clock.run(drive(), virtual=True)


def test_a_fault_detection_counter_is_seen_on_its_way(tmp_path: Path) -> None:
    async def drive() -> None:
        images = {"ccu": built_image("ccu", "1.0.0")}
        async with running(tmp_path, "ccu", images=images) as vehicle:
            tester = open_tester(vehicle, "ccu")
            seen = set[str]()
            while (await _ask(tester, "19 02 01"))[9:17] != _SILENT_BLOWER:
                seen.add(await _ask(tester, "19 14"))
                await asyncio.sleep(0.05)
            counters = {f"59 14 {_SILENT_BLOWER} {count}" for count in ("20", "40", "60")}
            assert seen - {"59 14"} == counters
            tester.close()

    clock.run(drive(), virtual=True)


async def _heard(vehicle: Vehicle) -> Counter[str]:
    """Messages of ccu in one second, by name."""
    found: Counter[str] = Counter()
    names = {message.frame_id: message.name for message in dbc.load("hvac_comfort").messages}

    def hear(header: FrameHeader, _data: bytes, _at_s: float) -> None:
        found[names.get(header.identifier, "")] += 1

    stop = vehicle.can_port("comfort", "logger").listen(hear)
    await asyncio.sleep(1.0)
    stop()
    return found


def test_a_node_that_28_names_gets_no_messages_and_the_others_go_on(tmp_path: Path) -> None:
    async def drive() -> None:
        async with running(tmp_path, "ccu") as vehicle:
            tester = open_tester(vehicle, "ccu")
            before = await _heard(vehicle)
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await expect(tester, "28 04 01 00 01", "68 04")
            silenced = await _heard(vehicle)
            await expect(tester, "28 05 01 00 01", "68 05")
            after = await _heard(vehicle)
            await expect(tester, "28 04 01 00 01", "68 04")
            await asyncio.sleep(6.0)
            expired = await _heard(vehicle)
            tester.close()
        for heard in (before, after, expired):
            assert heard["CCU_Control"] > 0
        assert silenced["CCU_Control"] == 0
        assert abs(silenced["CCU_Status"] - before["CCU_Status"]) <= 1 < silenced["CCU_Status"]

    clock.run(drive(), virtual=True)
