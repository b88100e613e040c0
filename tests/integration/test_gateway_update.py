"""A real cloud over real gRPC, the gateway, and simulated ECUs on simulated wires."""

import asyncio
from pathlib import Path

import clock
from protocols.fleet.v1 import campaigns_pb2
from tests.support.gateway_fleet import Fleet, car, cloud_in
from vehicle_gateway.app import Gateway
from vehicle_gateway.update.coordinator import Outcome

ALL = ("ccu", "blower", "ecomp", "rear")


async def _offered(fleet: Fleet, gateway: Gateway, release: str = "2.0.0") -> str:
    """Register, publish, have the car check in once, start the campaign."""
    fleet.register()
    fleet.publish("1.0.0")
    if release == "2.0.0":
        fleet.publish(release)
    assert await gateway.run_once() is None
    return fleet.start_campaign(release)


def test_four_ecus_on_three_wires_get_a_release_and_the_cloud_believes_it(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ALL, cloud) as fleet:
                notes: list[str] = []
                gateway = Gateway(
                    fleet.options(), fleet.links(), lambda note: notes.append(note.step)
                )
                async with gateway:
                    await asyncio.sleep(20)
                    campaign = await _offered(fleet, gateway)
                    assert await gateway.run_once() is Outcome.UPDATED
                    assert await gateway.run_once() is None
                assignment = fleet.assignment(campaign)
                assert assignment.outcome == campaigns_pb2.OUTCOME_UPDATED, assignment
                assert fleet.versions() == dict.fromkeys(ALL, "2.0.0")
                occasions = {one.occasion: one for one in fleet.snapshots()}
                assert set(occasions) == {"before_update", "after_update"}
                for snapshot in occasions.values():
                    assert [ecu.ecu for ecu in snapshot.ecus if ecu.error] == []
                    assert any(one.signal == "CabinTemperature" for one in snapshot.signals)
                assert {"downloading", "transferring", "trial", "confirmed"} <= set(notes)

    clock.run(walk(), virtual=True)
