"""The car is held while its ECUs are changed: gateway, wires and the rest of the car together."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import clock
from ecu_sim.interlock import SILENCE_S
from ecu_sim.vehicle import Vehicle
from protocols.fleet.v1 import campaigns_pb2
from tests.support.gateway_fleet import Fleet, car, cloud_in
from tests.support.vehicle import new_vehicle
from vehicle_gateway.app import Gateway
from vehicle_gateway.diagnostics.interlock import CanInterlock
from vehicle_gateway.diagnostics.readings import VehicleReadings
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.vehicle import Phase
from vehicle_gateway.wires import LinkError

WIRE = "comfort"
DATABASES = ("vehicle", "gateway")
SPEED = "Speed"
Walk = Callable[[Vehicle, CanInterlock, VehicleReadings], Awaitable[None]]


def _on_a_car(folder: Path, walk: Walk) -> None:
    async def whole() -> None:
        vehicle = new_vehicle(folder, "ccu")
        await vehicle.start()
        interlock, readings = CanInterlock(), VehicleReadings()
        port = vehicle.can_port(WIRE, "GW")
        interlock.add(port)
        readings.listen(WIRE, port, DATABASES)
        try:
            await asyncio.sleep(1.0)
            await walk(vehicle, interlock, readings)
        finally:
            interlock.stop()
            readings.stop()
            await vehicle.stop()

    clock.run(whole(), virtual=True)


def _said(readings: VehicleReadings, signal: str) -> float | None:
    reading = readings.read(signal)
    assert reading is not None
    assert not reading.problem()
    return reading.value


def test_a_held_car_does_not_drive_and_shows_that_it_was_asked_to(tmp_path: Path) -> None:
    async def walk(vehicle: Vehicle, interlock: CanInterlock, readings: VehicleReadings) -> None:
        assert _said(readings, "HighVoltage") == 398.0
        interlock.hold(engaged=True)
        await asyncio.sleep(0.5)
        assert _said(readings, "DriveInhibited") == 1.0
        assert _said(readings, "DriveRefused") == 0.0
        assert _said(readings, "HighVoltage") == 0.0
        for signal, wish in (("Gear", 3.0), ("Speed", 30.0)):
            vehicle.rest_bus.set(signal, wish)
            await asyncio.sleep(0.5)
            assert _said(readings, signal) == 0.0
            assert _said(readings, "DriveRefused") == 1.0
        interlock.hold(engaged=False)
        await asyncio.sleep(0.5)
        assert _said(readings, "DriveInhibited") == 0.0
        assert _said(readings, "DriveRefused") == 0.0
        assert _said(readings, "HighVoltage") == 398.0
        vehicle.rest_bus.set("Speed", 30.0)
        await asyncio.sleep(0.5)
        assert _said(readings, SPEED) == 30.0

    _on_a_car(tmp_path, walk)


def test_a_car_that_moves_is_not_stopped_and_one_that_charges_keeps_its_high_voltage(
    tmp_path: Path,
) -> None:
    async def walk(vehicle: Vehicle, interlock: CanInterlock, readings: VehicleReadings) -> None:
        vehicle.rest_bus.set("Speed", 50.0)
        interlock.hold(engaged=True)
        await asyncio.sleep(1.0)
        assert _said(readings, SPEED) == 50.0
        assert _said(readings, "DriveInhibited") == 0.0
        vehicle.rest_bus.set("Charging", 1.0)
        vehicle.rest_bus.set("Speed", 0.0)
        await asyncio.sleep(1.0)
        assert _said(readings, "DriveInhibited") == 1.0
        assert _said(readings, "HighVoltage") == 398.0

    _on_a_car(tmp_path, walk)


def test_a_dead_gateway_lets_nothing_go_until_a_driver_waits_and_switches_ignition_off_and_on(
    tmp_path: Path,
) -> None:
    async def ignition(vehicle: Vehicle) -> None:
        vehicle.rest_bus.set("Terminal15", 0.0)
        await asyncio.sleep(1.0)
        vehicle.rest_bus.set("Terminal15", 1.0)
        await asyncio.sleep(5.0)

    async def walk(vehicle: Vehicle, interlock: CanInterlock, readings: VehicleReadings) -> None:
        interlock.hold(engaged=True)
        await asyncio.sleep(1.0)
        interlock.stop()
        await asyncio.sleep(SILENCE_S / 2)
        assert _said(readings, "DriveInhibited") == 1.0
        await ignition(vehicle)
        assert _said(readings, "DriveInhibited") == 1.0, "too early"
        await asyncio.sleep(SILENCE_S)
        assert _said(readings, "DriveInhibited") == 1.0, "time alone lets nothing go"
        await ignition(vehicle)
        assert _said(readings, "DriveInhibited") == 0.0

    _on_a_car(tmp_path, walk)


def test_a_value_that_the_car_calls_not_available_or_no_longer_sends_is_no_value(
    tmp_path: Path,
) -> None:
    async def walk(vehicle: Vehicle, _: CanInterlock, readings: VehicleReadings) -> None:
        vehicle.rest_bus.set("Speed", 655.35)
        await asyncio.sleep(0.2)
        speed = readings.read("VEH_Motion.Speed")
        assert speed is not None
        assert speed.problem() == "not available"
        assert speed.source == WIRE
        vehicle.rest_bus.set("Speed", 0.0)
        await asyncio.sleep(0.2)
        assert _said(readings, SPEED) == 0.0
        vehicle.rest_bus.stop()
        await asyncio.sleep(1.0)
        stale = readings.read(SPEED)
        assert stale is not None
        assert "old, at most 0.5 s" in stale.problem()
        assert readings.read("GW_Interlock.DriveInhibit") is not None
        assert readings.read("Wings") is None

    _on_a_car(tmp_path, walk)


async def _offered(fleet: Fleet, gateway: Gateway) -> str:
    fleet.register()
    fleet.publish("1.0.0")
    fleet.publish("2.0.0")
    assert await gateway.run_once() is None
    return fleet.start_campaign("2.0.0")


def test_a_drive_attempt_in_the_middle_of_an_update_changes_nothing(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ("ccu", "blower"), cloud) as fleet:
                rest_bus = fleet.vehicle.rest_bus
                seen: list[tuple[str, float, float]] = []

                def drive(phase: Phase) -> None:
                    rest_bus.set("Gear", 3.0)
                    rest_bus.set("Speed", 30.0)
                    held = rest_bus.value("DriveInhibited")
                    seen.append((phase.value, held, rest_bus.value("Speed")))
                    if not held:
                        rest_bus.set("Speed", 0.0)
                        rest_bus.set("Gear", 0.0)

                gateway = Gateway(fleet.options(), fleet.links(), on_phase=drive)
                async with gateway:
                    await asyncio.sleep(5)
                    campaign = await _offered(fleet, gateway)
                    assert await gateway.run_once() is Outcome.UPDATED
                held = {phase: (inhibited, speed) for phase, inhibited, speed in seen}
                assert held["staging"] == (0.0, 30.0), "the car is in use while it is staged"
                assert held["activating"] == held["confirming"] == (1.0, 0.0)
                assert held["done"] == (0.0, 30.0)
                outcome = fleet.assignment(campaign).outcome
                assert outcome == campaigns_pb2.OUTCOME_UPDATED

    clock.run(walk(), virtual=True)


def test_the_car_stays_held_over_a_gateway_that_is_killed_until_another_lets_it_go(
    tmp_path: Path,
) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ("ccu", "blower"), cloud) as fleet:
                rest_bus = fleet.vehicle.rest_bus
                async with Gateway(fleet.options(), fleet.links()) as gateway:
                    await asyncio.sleep(5)
                    await _offered(fleet, gateway)
                    running = asyncio.create_task(gateway.run_once())
                    while rest_bus.value("DriveInhibited") == 0.0:  # noqa: ASYNC110 another's state
                        await asyncio.sleep(0.1)
                    await asyncio.sleep(1.0)
                    running.cancel()
                    with suppress(asyncio.CancelledError):
                        await running
                await asyncio.sleep(120.0)
                rest_bus.set("Speed", 30.0)
                assert (rest_bus.value("DriveInhibited"), rest_bus.value("Speed")) == (1.0, 0.0)
                async with Gateway(fleet.options(), fleet.links()) as gateway:
                    ended = await gateway.run_once()
                assert ended in {Outcome.UPDATED, Outcome.ROLLED_BACK}
                assert rest_bus.value("DriveInhibited") == 0.0
                versions = set(fleet.versions().values())
                assert versions == {"2.0.0" if ended is Outcome.UPDATED else "1.0.0"}

    clock.run(walk(), virtual=True)


def test_a_wire_that_is_away_does_not_end_the_gateway_and_is_told_again() -> None:
    tried_s: list[float] = []

    class Away:
        def send(self, *_: object) -> None:
            tried_s.append(asyncio.get_running_loop().time())
            raise LinkError("not connected")

    async def drive() -> None:
        interlock = CanInterlock()
        interlock.add(Away())  # type: ignore[arg-type]  # nothing but sending is asked of it
        interlock.hold(engaged=True)
        await asyncio.sleep(1.0)
        interlock.stop()

    clock.run(drive(), virtual=True)
    assert len(tried_s) > 5
    assert tried_s[-1] > 0.8
