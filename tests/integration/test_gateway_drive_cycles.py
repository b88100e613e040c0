"""A release is staged over drive cycles: terminal 15 off, wires and ECUs asleep, on again."""

import asyncio
from pathlib import Path

import clock
from ecu_sim.node import Mode
from protocols.fleet.v1 import campaigns_pb2
from tests.support.gateway_fleet import Fleet, car, cloud_in
from vehicle_gateway.app import Gateway
from vehicle_gateway.update import Progress
from vehicle_gateway.update.coordinator import Outcome

ECUS = ("ccu", "blower")


async def _under_way(fleet: Fleet, gateway: Gateway) -> "asyncio.Task[Outcome | None]":
    fleet.register()
    fleet.publish("1.0.0")
    fleet.publish("2.0.0")
    await asyncio.sleep(5)
    assert await gateway.run_once() is None
    fleet.start_campaign("2.0.0")
    return asyncio.create_task(gateway.run_once())


def test_staging_sleeps_with_the_car_and_goes_on_with_it(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ECUS, cloud) as fleet:
                done: list[int] = []

                def on_progress(note: Progress) -> None:
                    if note.ecu == "ccu" and note.step == "transferring":
                        done.append(note.bytes_done)

                async with Gateway(fleet.options(), fleet.links(), on_progress) as gateway:
                    updating = await _under_way(fleet, gateway)
                    await asyncio.sleep(2.5)
                    fleet.vehicle.rest_bus.set("Terminal15", 0)
                    await asyncio.sleep(40)
                    assert fleet.vehicle.nodes["ccu"].mode is Mode.ASLEEP
                    assert not updating.done()
                    reached = done[-1]
                    assert reached > 0
                    fleet.vehicle.rest_bus.set("Terminal15", 1)
                    outcome = await updating
                assert outcome is Outcome.UPDATED

    clock.run(walk(), virtual=True)


def test_an_ecu_that_loses_its_power_in_the_midst_of_staging_is_waited_for(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ECUS, cloud) as fleet:
                steps: list[str] = []

                def on_progress(note: Progress) -> None:
                    if note.ecu == "ccu":
                        steps.append(note.step)

                async with Gateway(fleet.options(), fleet.links(), on_progress) as gateway:
                    updating = await _under_way(fleet, gateway)
                    await asyncio.sleep(2.5)
                    fleet.vehicle.nodes["ccu"].power_off()
                    await asyncio.sleep(20)
                    assert not updating.done()
                    seen = fleet.assignment("campaigns/2.0.0-1")
                    assert seen.phase == campaigns_pb2.PHASE_STAGING
                    assert seen.ecus[1 if seen.ecus[0].ecu == "blower" else 0].step == "waiting"
                    fleet.vehicle.nodes["ccu"].power_on()
                    assert await updating is Outcome.UPDATED
                assert "waiting" in steps

    clock.run(walk(), virtual=True)
