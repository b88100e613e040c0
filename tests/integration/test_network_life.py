"""Wires and ECUs that sleep, wake up, and go bus-off, in the whole simulated vehicle."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import clock
import dbc
from ecu_sim.bus import CanWire, ErrorState, WireFaults
from ecu_sim.ecus import ecu_names
from ecu_sim.node import Mode
from ecu_sim.vehicle import Vehicle
from protocols.can import CanPort, FrameHeader
from protocols.network_management import NODES, identifier, node_of
from tests.support.ecu import RawTester
from tests.support.gateway_fleet import car, cloud_in
from tests.support.programming import expect
from tests.support.vehicle import open_tester, running
from vehicle_gateway.app import Gateway
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.wires.isotp import IsoTpWire
from vehicle_gateway.wires.tester import TesterTiming as Timing
from vehicle_gateway.wires.tester import UdsTester

DESCRIPTION = dbc.describe_vehicle()
NETWORK_MANAGEMENT = frozenset(identifier(node) for node in range(NODES))
#: Terminal 15 off: five seconds after the last request, then the timeout and the wait.
SLEEPS_WITHIN_S = 12.0
ALL = ecu_names()
ON_CAN = tuple(ecu for ecu in ALL if DESCRIPTION.ecus[ecu].request_id)
EVERY = frozenset(range(100_000))


def drive(directory: Path, main: Callable[[Vehicle], Awaitable[None]], *ecus: str) -> None:
    async def whole() -> None:
        async with running(directory, *ecus) as vehicle:
            await main(vehicle)

    clock.run(whole(), virtual=True)


def can_wire(vehicle: Vehicle, name: str) -> CanWire:
    wire = vehicle.wires[name]
    assert isinstance(wire, CanWire)
    return wire


def modes(vehicle: Vehicle, *ecus: str) -> set[Mode]:
    return {vehicle.nodes[ecu].mode for ecu in ecus}


async def asleep(vehicle: Vehicle) -> None:
    vehicle.rest_bus.set("Terminal15", 0)
    await asyncio.sleep(SLEEPS_WITHIN_S)
    assert modes(vehicle, *ON_CAN) == {Mode.ASLEEP}


def listening(port: CanPort) -> list[tuple[float, int]]:
    heard: list[tuple[float, int]] = []
    port.listen(lambda header, _, at_s: heard.append((at_s, header.identifier)))
    return heard


@asynccontextmanager
async def gateway(vehicle: Vehicle, ecu: str) -> AsyncIterator[UdsTester]:
    described = DESCRIPTION.ecus[ecu]
    wire = IsoTpWire(vehicle.can_port(described.wire, "gateway"), DESCRIPTION.wires[described.wire])
    timing = Timing(p2_s=described.p2_s, p2_star_s=described.p2_star_s)
    try:
        yield UdsTester(ecu, wire.channel(described), timing)
    finally:
        await wire.close()


def test_a_vehicle_stays_awake_while_terminal_15_is_on(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle) -> None:
        heard = listening(vehicle.can_port("comfort", "logger"))
        await asyncio.sleep(60.0)
        assert modes(vehicle, *ON_CAN) == {Mode.APPLICATION}
        spoken = {name for _, name in heard} & NETWORK_MANAGEMENT
        nodes = {node_of(ecu.logical_address) for ecu in DESCRIPTION.on_wire("comfort")}
        assert spoken == {0x53F, *map(identifier, nodes)}

    drive(tmp_path, main)


def test_with_terminal_15_off_all_nodes_of_all_wires_sleep_and_the_wires_are_silent(
    tmp_path: Path,
) -> None:
    async def main(vehicle: Vehicle) -> None:
        await asleep(vehicle)
        assert vehicle.nodes["rear"].mode is Mode.APPLICATION  # not on CAN
        before = {name: can_wire(vehicle, name).load() for name in ("comfort", "thermal")}
        await asyncio.sleep(600.0)
        for name, load in before.items():
            assert can_wire(vehicle, name).load().frames == load.frames

    drive(tmp_path, main)


def test_terminal_15_wakes_the_vehicle_and_each_ecu_takes_its_boot_time(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle) -> None:
        await asleep(vehicle)
        begin = asyncio.get_running_loop().time()
        heard = listening(vehicle.can_port("comfort", "logger"))
        vehicle.rest_bus.set("Terminal15", 1)
        await asyncio.sleep(2.0)
        assert modes(vehicle, *ON_CAN) == {Mode.APPLICATION}
        for node, ecu in ((0x510, "ccu"), (0x511, "blower")):
            first = min(at for at, name in heard if name == node)
            assert first - begin == pytest.approx(vehicle.nodes[ecu].ecu.boot_s, abs=0.002)
        assert min(heard)[1] == 0x53F

    drive(tmp_path, main)


def test_any_frame_wakes_the_ecus_of_its_wire_and_of_no_other(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle) -> None:
        await asleep(vehicle)
        vehicle.can_port("comfort", "tester").send(FrameHeader(0x123), (b"",))
        await asyncio.sleep(1.0)
        assert modes(vehicle, "ccu", "blower") == {Mode.APPLICATION}
        assert modes(vehicle, "ecomp") == {Mode.ASLEEP}
        await asyncio.sleep(SLEEPS_WITHIN_S)
        assert modes(vehicle, "ccu", "blower") == {Mode.ASLEEP}

    drive(tmp_path, main)


def test_the_request_that_wakes_an_ecu_is_lost_and_the_next_one_answered(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle) -> None:
        await asleep(vehicle)
        tester = open_tester(vehicle, "ccu")
        tester.send(bytes.fromhex("3E 00"))
        await asyncio.sleep(vehicle.nodes["ccu"].ecu.boot_s - 0.01)
        tester.send(bytes.fromhex("3E 00"))
        await asyncio.sleep(0.1)
        await expect(tester, "22 F1 90", f"62 f1 90 {vehicle.options.vin.encode().hex(' ')}")

    drive(tmp_path, main)


def test_a_diagnostic_session_keeps_its_wire_awake(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle) -> None:
        tester = open_tester(vehicle, "ccu")
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        vehicle.rest_bus.set("Terminal15", 0)
        await in_session(tester, seconds=30)
        assert modes(vehicle, "ccu", "blower") == {Mode.APPLICATION}
        assert modes(vehicle, "ecomp") == {Mode.ASLEEP}
        await asyncio.sleep(5.0 + SLEEPS_WITHIN_S)
        assert modes(vehicle, "ccu", "blower") == {Mode.ASLEEP}

    drive(tmp_path, main)


async def in_session(tester: RawTester, *, seconds: int) -> None:
    for _ in range(seconds // 2):
        await asyncio.sleep(2.0)
        tester.send(bytes.fromhex("3E 80"))


@pytest.mark.parametrize("ecu", ON_CAN)
def test_the_gateway_wakes_a_sleeping_ecu_and_waits_for_it(tmp_path: Path, ecu: str) -> None:
    async def main(vehicle: Vehicle) -> None:
        await asleep(vehicle)
        async with gateway(vehicle, ecu) as tester:
            begin = asyncio.get_running_loop().time()
            answer = await tester.request(bytes.fromhex("22 F1 90"))
            took = asyncio.get_running_loop().time() - begin
        assert answer[3:] == vehicle.options.vin.encode()
        assert took == pytest.approx(vehicle.nodes[ecu].ecu.boot_s + 0.1, abs=0.05)

    drive(tmp_path, main)


def test_the_gateway_loses_no_time_on_a_wire_that_is_awake(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle) -> None:
        await asyncio.sleep(20.0)
        async with gateway(vehicle, "ccu") as tester:
            begin = asyncio.get_running_loop().time()
            await tester.request(bytes.fromhex("3E 00"))
            assert asyncio.get_running_loop().time() - begin < 0.01

    drive(tmp_path, main)


def test_the_gateway_keeps_the_wire_awake_while_it_works_and_no_longer(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle) -> None:
        await asleep(vehicle)
        async with gateway(vehicle, "ccu") as tester:
            for _ in range(6):
                await tester.request(bytes.fromhex("22 F1 90"))
                await asyncio.sleep(9.0)
            assert modes(vehicle, "ccu", "blower") == {Mode.APPLICATION}
            await asyncio.sleep(SLEEPS_WITHIN_S)
            assert modes(vehicle, "ccu", "blower") == {Mode.ASLEEP}

    drive(tmp_path, main)


def test_communication_control_silences_network_management_if_asked_to(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle) -> None:
        tester = open_tester(vehicle, "ccu")
        await expect(tester, "10 03", "50 03 00 32 01 f4")
        await expect(tester, "28 01 02", "68 01")
        await asyncio.sleep(0.1)
        heard = listening(vehicle.can_port("comfort", "logger"))
        await asyncio.sleep(2.0)
        names = {name for _, name in heard}
        assert 0x510 not in names
        assert {0x210, 0x310, 0x511} <= names

    drive(tmp_path, main)


def test_an_ecu_whose_frames_all_fail_is_bus_off_and_recovers_when_they_do_not(
    tmp_path: Path,
) -> None:
    async def main(vehicle: Vehicle) -> None:
        wire = can_wire(vehicle, "comfort")
        states: list[ErrorState] = []
        wire.on_error_state(lambda node, state: states.append(state) if node == "ccu" else None)
        heard = listening(vehicle.can_port("comfort", "logger"))
        wire.begin_faults(WireFaults(corrupted=EVERY, senders=frozenset({"ccu"}), recovery=False))
        await asyncio.sleep(2.0)
        assert states == [ErrorState.PASSIVE, ErrorState.BUS_OFF]
        assert wire.error_counters("ccu").state is ErrorState.BUS_OFF
        assert not {name for at, name in heard if at > 2.0} & {0x210, 0x310, 0x510}
        assert 0x320 in {name for _, name in heard}  # the blower goes on

        wire.begin_faults(None)
        wire.ask_recovery("ccu")
        await asyncio.sleep(1.0)
        heard.clear()
        await asyncio.sleep(1.0)
        assert states[-1] is ErrorState.ACTIVE
        assert {0x210, 0x310, 0x510} <= {name for _, name in heard}
        await expect(open_tester(vehicle, "ccu"), "3E 00", "7e 00")

    drive(tmp_path, main)


def test_a_long_message_crosses_a_wire_that_corrupts_every_twentieth_frame(tmp_path: Path) -> None:
    async def main(vehicle: Vehicle) -> None:
        wire = can_wire(vehicle, "comfort")
        wire.begin_faults(WireFaults(corruption=0.05, rng=random.Random(3)))  # noqa: S311 a seeded plan
        async with gateway(vehicle, "ccu") as tester:
            for _ in range(50):
                answer = await tester.request(bytes.fromhex("22 F1 90"))
                assert answer[3:] == vehicle.options.vin.encode()
        assert wire.load().error_frames > 10

    drive(tmp_path, main)


def test_a_release_reaches_every_ecu_of_a_sleeping_vehicle(tmp_path: Path) -> None:
    async def walk() -> None:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ALL, cloud) as fleet:
                gateway = Gateway(fleet.options(), fleet.links())
                async with gateway:
                    await asleep(fleet.vehicle)
                    fleet.register()
                    fleet.publish("1.0.0")
                    # Nobody sits in the car: it is not to wait for the ignition.
                    fleet.publish("2.0.0", preconditions="Speed == 0 km/h and Gear == P")
                    assert await gateway.run_once() is None
                    fleet.start_campaign("2.0.0")
                    await asyncio.sleep(60.0)
                    assert modes(fleet.vehicle, *ON_CAN) == {Mode.ASLEEP}
                    assert await gateway.run_once() is Outcome.UPDATED
                    await asyncio.sleep(60.0)
                assert modes(fleet.vehicle, *ON_CAN) == {Mode.ASLEEP}
                assert fleet.versions() == dict.fromkeys(ALL, "2.0.0")

    clock.run(walk(), virtual=True)
