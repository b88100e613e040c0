"""What an assembled gateway lets a tester far away do."""

import asyncio

import pytest

import clock
from dbc import describe_vehicle
from protocols.can import FrameHeader
from tests.support.quiet_port import QuietPort
from vehicle_gateway.assembly import forbidden
from vehicle_gateway.diagnostics.readings import VehicleReadings
from vehicle_gateway.diagnostics.state import VehicleState
from vehicle_gateway.management import RemoteScope

MOTION = FrameHeader(192)


@pytest.mark.parametrize(
    ("frame", "against"),
    [
        (bytes(8), ""),
        (
            b"\x20\x03" + bytes(6),
            "the vehicle does not let itself be written to now: not met: Speed",
        ),
    ],
)
def test_a_parked_car_is_woken_to_say_whether_it_may_be_written_to(
    frame: bytes, against: str
) -> None:
    async def main() -> str:
        port = QuietPort()
        readings = VehicleReadings()
        readings.listen("comfort", port, ["vehicle"])

        def wake() -> None:
            asyncio.get_running_loop().call_later(0.02, port.say, MOTION, frame)

        return await forbidden(VehicleState(readings), describe_vehicle(), wake, RemoteScope.FULL)

    found = clock.run(main(), virtual=False)
    assert found.startswith(against)
    assert bool(found) == bool(against)


def test_what_is_only_read_needs_no_condition() -> None:
    async def main() -> str:
        state = VehicleState(VehicleReadings())
        return await forbidden(state, describe_vehicle(), lambda: None, RemoteScope.READ)

    assert clock.run(main(), virtual=False) == ""
    assert clock.run(main(), virtual=True) == "a live stream needs real time"
