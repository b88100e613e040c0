"""Link control on a simulated wire: the bit rate really changes, and comes back."""

import asyncio
from pathlib import Path

import pytest

from ecu_sim.bus.can import CanWire
from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle
from tests.support.bench import on_bench, with_application
from tests.support.ecu import RawTester
from tests.support.programming import expect

HOME = 500_000


def bit_rate(vehicle: Vehicle) -> int:
    wire = vehicle.wires["comfort"]
    assert isinstance(wire, CanWire)
    return wire.bit_rate


async def long_answer_s(tester: RawTester) -> float:
    """Seconds that an answer of several frames takes."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await tester.ask(bytes.fromhex("22 F1 90 F1 8C F1 88 F1 91"))
    return loop.time() - begin


async def go(tester: RawTester, verify: str) -> None:
    await expect(tester, "10 03", "50 03 00 32 01 f4")
    await expect(tester, verify, f"c7 {verify[3:5]}")
    await expect(tester, "87 03", "c7 03")


@pytest.mark.parametrize(
    ("verify", "expected"),
    [
        ("87 01 10", 125_000),
        ("87 01 11", 250_000),
        ("87 01 13", 1_000_000),
        ("87 02 0C 35 00", 800_000),
    ],
)
def test_a_transition_changes_the_wire_for_everybody(
    tmp_path: Path, verify: str, expected: int
) -> None:
    async def test(vehicle: Vehicle, _node: EcuNode, tester: RawTester) -> None:
        before = await long_answer_s(tester)
        await go(tester, verify)
        assert bit_rate(vehicle) == expected
        after = await long_answer_s(tester)
        assert (after > before) is (expected < HOME)
        await expect(tester, "10 01", "50 01 00 32 01 f4")
        assert bit_rate(vehicle) == HOME
        assert await long_answer_s(tester) == pytest.approx(before, rel=0.3)

    on_bench(tmp_path, with_application(test))


def test_the_answer_to_a_transition_is_the_last_message_at_the_old_bit_rate(
    tmp_path: Path,
) -> None:
    async def test(vehicle: Vehicle, _node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await expect(tester, "87 01 10", "c7 01")
        assert bit_rate(vehicle) == HOME
        # Suppressed: nothing is answered, and the wire changes all the same.
        tester.send(bytes.fromhex("87 83"))
        await asyncio.sleep(0.01)
        assert bit_rate(vehicle) == 125_000
        await expect(tester, "3E 00", "7e 00")

    on_bench(tmp_path, with_application(test))


def test_the_end_of_the_session_by_silence_brings_the_bit_rate_back(tmp_path: Path) -> None:
    async def test(vehicle: Vehicle, _node: EcuNode, tester: RawTester) -> None:
        await go(tester, "87 01 13")
        await asyncio.sleep(4.9)
        assert bit_rate(vehicle) == 1_000_000
        await asyncio.sleep(0.2)
        assert bit_rate(vehicle) == HOME

    on_bench(tmp_path, with_application(test))


@pytest.mark.parametrize("how", ["reset", "power"])
def test_a_reset_brings_the_bit_rate_back(tmp_path: Path, how: str) -> None:
    async def test(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await go(tester, "87 01 10")
        if how == "reset":
            await expect(tester, "11 01", "51 01")
            await asyncio.sleep(0.01)
        else:
            node.kill()
        assert bit_rate(vehicle) == HOME

    on_bench(tmp_path, with_application(test))


def test_a_boot_loader_flashes_at_the_bit_rate_that_was_asked_for(tmp_path: Path) -> None:
    async def test(vehicle: Vehicle, _node: EcuNode, tester: RawTester) -> None:
        await expect(tester, "10 02", "50 02 00 32 01 f4")
        await expect(tester, "87 01 13", "c7 01")
        await expect(tester, "87 03", "c7 03")
        assert bit_rate(vehicle) == 1_000_000
        await expect(tester, "11 01", "51 01")
        await asyncio.sleep(1.0)
        assert bit_rate(vehicle) == HOME

    on_bench(tmp_path, test)
