"""0213 of the air distribution moves a flap and looks whether it followed."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import clock
from ecu_sim.vehicle import Vehicle
from tests.support.ecu import RawTester
from tests.support.vehicle import built_image, open_tester, running

SELF_TEST = bytes.fromhex("31 01 02 13")
CONFIRMED = bytes.fromhex("19 02 08")


def drive(directory: Path, test: Callable[[Vehicle, RawTester], Awaitable[None]]) -> None:
    async def whole() -> None:
        images = {ecu: built_image(ecu, "2.0.0") for ecu in ("ccu", "flap")}
        async with running(directory, "ccu", "flap", images=images) as vehicle:
            await asyncio.sleep(10.0)
            tester = open_tester(vehicle, "flap")
            await tester.ask(bytes.fromhex("10 03"))
            await test(vehicle, tester)
            tester.close()

    clock.run(whole(), virtual=True)


@pytest.mark.parametrize("begins", [0.05, 1.0])
def test_the_self_test_sweeps_the_flap_and_leaves_no_trouble_code(
    tmp_path: Path, begins: float
) -> None:
    async def test(vehicle: Vehicle, tester: RawTester) -> None:
        # A tester has held it there until now.
        held = f"2F 01 C1 03 {round(100 * begins):02X} 00 00 80"
        assert (await tester.ask(bytes.fromhex(held)))[0] == 0x6F
        await asyncio.sleep(4.5)
        assert vehicle.cabin.defrost_travel == pytest.approx(begins)
        assert (await tester.ask(bytes.fromhex("2F 01 C1 00 80")))[0] == 0x6F
        travels: list[float] = []

        async def watch() -> None:
            while True:
                travels.append(vehicle.cabin.defrost_travel)
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        assert (await tester.ask(SELF_TEST)).hex(" ") == "71 01 02 13 00 00"
        watching.cancel()
        assert min(travels) < 0.01
        assert max(travels) > 0.95
        await asyncio.sleep(20.0)
        # The flap is where the climate control unit wants it again.
        assert vehicle.cabin.defrost_opening_percent == pytest.approx(10.0, abs=0.5)
        assert (await tester.ask(CONFIRMED)).hex(" ") == "59 02 ff"

    drive(tmp_path, test)


def test_a_flap_that_does_not_move_fails_the_self_test(tmp_path: Path) -> None:
    async def test(vehicle: Vehicle, tester: RawTester) -> None:
        vehicle.cabin.stuck = frozenset({"defrost"})
        assert (await tester.ask(SELF_TEST)).hex(" ")[:14] == "71 01 02 13 03"

    drive(tmp_path, test)
