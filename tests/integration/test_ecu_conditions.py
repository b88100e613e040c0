"""An ECU refuses what a moving car, or one without supply, must not do; by the code for it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import clock
from ecu_sim.values import MISSING_AFTER_S
from ecu_sim.vehicle import Vehicle
from protocols.uds.enums import Nrc
from protocols.uds.routine_status import PRECONDITION_NRCS, Precondition
from tests.support.ecu import RawTester
from tests.support.programming import erase_request, expect, unlock
from tests.support.vehicle import open_tester, running

CASES = {
    Precondition.VEHICLE_MOVING: {"Speed": 5.0},
    Precondition.NOT_IN_PARK: {"Gear": 3.0},
    Precondition.SUPPLY_VOLTAGE_TOO_LOW: {"BatteryVoltage": 9.0},
    Precondition.SUPPLY_VOLTAGE_TOO_HIGH: {"BatteryVoltage": 17.0},
    Precondition.SIGNALS_OF_THE_VEHICLE_MISSING: {"Speed": 655.35},
}
CHECK = bytes.fromhex("31 01 02 03")
EXTENDED = ("10 03", "50 03 00 32 01 f4")
PROGRAMMING = bytes.fromhex("10 02")
ACTIVATE = bytes.fromhex("31 01 02 10")

Test = Callable[[Vehicle, RawTester], Awaitable[None]]


def _on(folder: Path, ecu: str, test: Test) -> None:
    async def main() -> None:
        async with running(folder, ecu) as vehicle:
            await asyncio.sleep(2.0)
            await test(vehicle, open_tester(vehicle, ecu))

    clock.run(main(), virtual=True)


async def _becomes(vehicle: Vehicle, values: dict[str, float]) -> None:
    for signal, value in values.items():
        vehicle.rest_bus.set(signal, value)
    await asyncio.sleep(0.3)


def _refusal(service: int, nrc: Nrc) -> bytes:
    return bytes((0x7F, service, nrc))


def test_each_condition_has_its_own_code_where_the_standard_has_one() -> None:
    codes = {one: int(nrc) for one, nrc in PRECONDITION_NRCS.items()}
    assert set(codes) == set(Precondition)
    assert [codes[one] for one in CASES] == [0x88, 0x90, 0x93, 0x92, 0x22]


@pytest.mark.parametrize("condition", CASES, ids=lambda one: one.name.lower())
def test_a_session_for_programming_is_refused_with_the_conditions_code(
    tmp_path: Path, condition: Precondition
) -> None:
    async def test(vehicle: Vehicle, tester: RawTester) -> None:
        await expect(tester, *EXTENDED)
        await _becomes(vehicle, CASES[condition])
        assert await tester.ask(CHECK) == CHECK.replace(b"\x31", b"\x71", 1) + bytes(
            (1, 1, condition)
        )
        assert await tester.ask(PROGRAMMING) == _refusal(0x10, PRECONDITION_NRCS[condition])
        await _becomes(vehicle, {"Speed": 0.0, "Gear": 0.0, "BatteryVoltage": 13.8})
        await expect(tester, *EXTENDED)
        assert await tester.ask(CHECK) == CHECK.replace(b"\x31", b"\x71", 1) + bytes((0, 0))
        assert (await tester.ask(PROGRAMMING))[0] == 0x50

    _on(tmp_path, "blower", test)


def test_what_has_fallen_silent_is_not_taken_for_what_it_was(tmp_path: Path) -> None:
    async def test(vehicle: Vehicle, tester: RawTester) -> None:
        await expect(tester, *EXTENDED)
        vehicle.rest_bus.stop()
        await asyncio.sleep(MISSING_AFTER_S / 2)
        assert (await tester.ask(CHECK))[-2:] == bytes((0, 0))
        await asyncio.sleep(MISSING_AFTER_S)
        await expect(tester, *EXTENDED)
        assert (await tester.ask(CHECK))[-2:] == bytes(
            (1, Precondition.SIGNALS_OF_THE_VEHICLE_MISSING)
        )
        assert await tester.ask(PROGRAMMING) == _refusal(0x10, Nrc.CONDITIONS_NOT_CORRECT)

    _on(tmp_path, "blower", test)


def test_a_slot_that_does_not_run_is_filled_while_driving_and_not_begun_with(
    tmp_path: Path,
) -> None:
    async def test(vehicle: Vehicle, tester: RawTester) -> None:
        node = vehicle.nodes["ccu"]
        base = node.ecu.application_base
        await _becomes(vehicle, {"Speed": 50.0, "Gear": 3.0})
        await expect(tester, *EXTENDED)
        await unlock(tester, node)
        assert (await tester.ask(erase_request(base, 0x2000)))[0] == 0x71
        assert await tester.ask(ACTIVATE) == _refusal(0x31, Nrc.VEHICLE_SPEED_TOO_HIGH)
        await _becomes(vehicle, {"Speed": 0.0})
        assert await tester.ask(ACTIVATE) == _refusal(0x31, Nrc.SHIFTER_LEVER_NOT_IN_PARK)
        await _becomes(vehicle, {"BatteryVoltage": 9.0})
        erase = erase_request(base, 0x2000)
        assert await tester.ask(erase) == _refusal(0x31, Nrc.VOLTAGE_TOO_LOW)

    _on(tmp_path, "ccu", test)
