"""A blower that was left without an application is repaired by the next campaign."""

import asyncio
from pathlib import Path

import clock
from protocols.fleet.v1 import campaigns_pb2
from tests.support.gateway_fleet import car, cloud_in
from vehicle_gateway.app import Gateway
from vehicle_gateway.update import Progress
from vehicle_gateway.update.coordinator import Outcome

ECUS = ("ccu", "blower")


def test_an_ecu_that_was_given_up_in_its_boot_loader_is_repaired(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ECUS, cloud) as fleet:
                cut = False

                def cut_power(note: Progress) -> None:
                    nonlocal cut
                    if note.ecu == "blower" and note.step == "transferring" and not cut:
                        cut = note.bytes_done > 1000
                        if cut:
                            fleet.vehicle.nodes["blower"].power_off()

                async with Gateway(fleet.options(), fleet.links(), cut_power) as gateway:
                    await asyncio.sleep(5)
                    fleet.register()
                    fleet.publish("1.0.0")
                    fleet.publish("2.0.0")
                    assert await gateway.run_once() is None
                    first = fleet.start_campaign("2.0.0")
                    assert await gateway.run_once() is Outcome.FAILED_SAFE
                    assert "blower" in fleet.assignment(first).reason
                    assert cut
                    fleet.vehicle.nodes["blower"].power_on()
                    await asyncio.sleep(5)
                    assert await gateway.run_once() is None
                    assert fleet.versions() == {"ccu": "1.0.0", "blower": ""}
                    again = fleet.start_campaign("2.0.0")
                    assert await gateway.run_once() is Outcome.UPDATED
                    assert await gateway.run_once() is None
                assert fleet.assignment(again).outcome == campaigns_pb2.OUTCOME_UPDATED
                assert fleet.versions() == dict.fromkeys(ECUS, "2.0.0")

    clock.run(walk(), virtual=True)
