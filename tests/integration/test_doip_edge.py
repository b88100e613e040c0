"""The edge node in front of the CAN ECUs: routes, queues, refusals and groups, on virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import clock
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.bus.faults import WireFaults
from ecu_sim.edge_node import EdgeNode, edge_settings
from ecu_sim.edge_route import RouteTuning
from ecu_sim.node import Mode
from ecu_sim.vehicle import Vehicle
from protocols.can import FrameHeader
from protocols.doip import messages as m
from protocols.doip.messages import DiagnosticNack
from protocols.doip.settings import Acknowledge
from protocols.uds.security_access import compute_key, derive_key
from tests.support.doip import DoipTester
from tests.support.ecu import crc_image
from tests.support.vehicle import open_tester, running

CCU, BLOWER, ECOMP, REAR, GROUP = 0x1010, 0x1011, 0x1020, 0x1031, 0xE400
VERSION, V1 = "22 f1 89", "62 f1 89 31 2e 30 2e 30"


class Edge:
    def __init__(self, vehicle: Vehicle, node: EdgeNode, stack: AsyncExitStack) -> None:
        self.vehicle = vehicle
        self.node = node
        self._stack = stack
        self._wire = EthernetWire(loop=asyncio.get_running_loop())

    async def tester(self, address: int = 0x0E80) -> DoipTester:
        ours, theirs = self._wire.connect()
        self.node.attach_stream(theirs)
        tester = DoipTester(ours, address)
        self._stack.push_async_callback(tester.close)
        assert await tester.activate() == 0x10
        return tester


@asynccontextmanager
async def edge(
    directory: Path,
    *ecus: str,
    tuning: RouteTuning | None = None,
    **changes: Any,  # noqa: ANN401 any of the settings
) -> AsyncIterator[Edge]:
    images = {
        "bench": crc_image(hardware_id="BCH-1"),
        "bench_2013": crc_image(hardware_id="BCH-2013"),
    }
    async with running(directory, *ecus, images=images) as vehicle, AsyncExitStack() as stack:
        node = EdgeNode(vehicle, replace(edge_settings(vehicle), **changes), tuning)
        stack.push_async_callback(node.close)
        yield Edge(vehicle, node, stack)


def drive(
    scenario: Callable[[Edge], Awaitable[None]],
    directory: Path,
    *ecus: str,
    tuning: RouteTuning | None = None,
    **changes: Any,  # noqa: ANN401 any of the settings
) -> None:
    async def main() -> None:
        async with edge(directory, *ecus, tuning=tuning, **changes) as opened:
            await scenario(opened)

    clock.run(main(), virtual=True)


@pytest.mark.parametrize("target", [CCU, BLOWER, ECOMP])
def test_every_can_ecu_answers_at_its_logical_address_after_the_acknowledgement(
    tmp_path: Path, target: int
) -> None:
    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        assert await tester.ask(VERSION, target) == V1

    drive(scenario, tmp_path, "ccu", "blower", "ecomp")


def test_an_ecu_beside_the_model_is_reached_where_it_is_fitted(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        bench = at.vehicle.nodes["bench"].ecu.logical_address
        assert await tester.ask("3e 00", bench) == "7e 00"

    drive(scenario, tmp_path, "bench", "ccu")


def test_a_request_of_many_frames_and_its_answer_pass(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        identifiers = "22 f1 89 f1 90 f1 8c f1 91 f1 88"
        answer = bytes.fromhex(await tester.ask(identifiers, CCU))
        assert answer.startswith(bytes.fromhex("62 f1 89") + b"1.0.0" + bytes.fromhex("f1 90"))
        assert at.vehicle.options.vin.encode() in answer

    drive(scenario, tmp_path, "ccu")


@pytest.mark.parametrize(
    ("target", "request_bytes", "code"),
    [
        (0x1099, "3e 00", DiagnosticNack.UNKNOWN_TARGET_ADDRESS),
        (REAR, "3e 00", DiagnosticNack.UNKNOWN_NETWORK),
        (0x1000, "3e 00", DiagnosticNack.UNKNOWN_TARGET_ADDRESS),
        (ECOMP, "3e 00", DiagnosticNack.TARGET_UNREACHABLE),
        (CCU, "36 01" + "00" * 4094, DiagnosticNack.MESSAGE_TOO_LARGE),
        (GROUP, "22 f1 89 f1 90 f1 8c f1 91", DiagnosticNack.TRANSPORT_PROTOCOL_ERROR),
    ],
    ids=["unknown", "foreign network", "the edge itself", "not fitted", "too long", "two frames"],
)
def test_what_cannot_be_routed_is_refused_by_its_reason_and_the_socket_stays(
    tmp_path: Path, target: int, request_bytes: str, code: DiagnosticNack
) -> None:
    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        assert await tester.refusal(request_bytes, target) == code
        assert await tester.ask(VERSION, CCU) == V1

    drive(scenario, tmp_path, "ccu", foreign_networks=(range(0x1030, 0x1040),))


def test_an_ecu_that_is_switched_off_is_unreachable_and_later_is_not(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        tester, ccu = await at.tester(), at.vehicle.nodes["ccu"]
        ccu.power_off()
        assert await tester.refusal(VERSION, CCU) == DiagnosticNack.TARGET_UNREACHABLE
        assert await tester.refusal("3e 00", GROUP) == DiagnosticNack.TARGET_UNREACHABLE
        ccu.power_on()
        await ccu.booted()
        assert await tester.ask(VERSION, CCU) == V1

    drive(scenario, tmp_path, "ccu")


def test_the_group_reaches_every_wire_and_each_answer_names_its_ecu(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        await tester.request("3e 00", GROUP)
        assert await tester.next() == m.DiagnosticAcknowledge(
            source_address=GROUP, target_address=tester.address
        )
        answers = [await tester.next() for _ in range(3)]
        assert all(isinstance(its, m.DiagnosticMessage) for its in answers)
        found = {
            (its.source_address, its.user_data.hex())
            for its in answers
            if isinstance(its, m.DiagnosticMessage)
        }
        assert found == {(CCU, "7e00"), (BLOWER, "7e00"), (ECOMP, "7e00")}

    drive(scenario, tmp_path, "ccu", "blower", "ecomp")


def test_two_testers_on_one_ecu_get_their_own_answers_in_turn(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        one, two = await at.tester(0x0E80), await at.tester(0x0E81)
        await one.request("22 f1 90", CCU)
        await two.request("22 f1 89", CCU)
        # Both are acknowledged at once: the second waits in the ECU's queue.
        for its in (one, two):
            assert isinstance(await its.next(), m.DiagnosticAcknowledge)
        assert await two.response(CCU) == V1
        assert (await one.response(CCU)).startswith("62 f1 90")

    drive(scenario, tmp_path, "ccu")


def test_a_request_waits_behind_another_tester_until_p2_and_not_longer(tmp_path: Path) -> None:
    """3E 80 is never answered: the next tester's turn comes when P2 and the margin are over."""

    async def scenario(at: Edge) -> None:
        loop = asyncio.get_running_loop()
        one, two = await at.tester(0x0E80), await at.tester(0x0E81)
        started = loop.time()
        await one.request("3e 80", CCU)
        await one.next()
        assert await two.ask(VERSION, CCU) == V1
        assert 0.15 < loop.time() - started < 0.16

    drive(scenario, tmp_path, "ccu")


def test_the_tester_whose_request_is_open_is_told_by_the_ecu_that_it_is_busy(
    tmp_path: Path,
) -> None:
    """An erase takes seconds: 78 and the final answer come from the ECU, and so does 21."""

    async def scenario(at: Edge) -> None:
        one, two = await at.tester(0x0E80), await at.tester(0x0E81)
        assert await one.ask("10 03", CCU) == "50 03 00 32 01 f4"
        node = at.vehicle.nodes["ccu"]
        serial = node.hardware.identity.serial
        key = derive_key(node.hardware.identity.diagnostics_master, serial, 1)
        seed = bytes.fromhex(await one.ask("27 01", CCU))[2:]
        proof = compute_key(key, level=1, ecu_id=serial, seed=seed)
        answer = await one.ask("27 02" + proof.hex(), CCU)
        while answer == "7f 27 78":
            answer = await one.response(CCU)
        assert answer == "67 02"
        erase = "31 01 ff 00 44 08 04 00 00 00 04 00 00"
        assert await one.ask(erase, CCU) == "7f 31 78"
        assert await one.ask(VERSION, CCU) == "7f 22 21"
        await two.request(VERSION, CCU)
        assert isinstance(await two.next(), m.DiagnosticAcknowledge)
        assert await one.response(CCU) == "71 01 ff 00 00"
        assert await two.response(CCU) == V1

    drive(scenario, tmp_path, "ccu")


def test_a_full_queue_is_out_of_memory(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        one, two = await at.tester(0x0E80), await at.tester(0x0E81)
        await one.request("3e 80", CCU)
        await one.next()
        for _ in range(2):
            await two.request(VERSION, CCU)
            assert isinstance(await two.next(), m.DiagnosticAcknowledge)
        assert await two.refusal(VERSION, CCU) == DiagnosticNack.OUT_OF_MEMORY
        assert [await two.response(CCU) for _ in range(2)] == [V1, V1]

    drive(scenario, tmp_path, "ccu", tuning=RouteTuning(queue_length=2))


@pytest.mark.parametrize("deferred", [False, True])
def test_an_ecu_that_sends_no_flow_control(tmp_path: Path, deferred: bool) -> None:  # noqa: FBT001 the parameter
    """While it boots an ECU is deaf: N_Bs runs out after a second, which only 8003 08 can tell."""
    when = Acknowledge.ON_DELIVERY if deferred else Acknowledge.ON_ACCEPTANCE

    async def scenario(at: Edge) -> None:
        loop = asyncio.get_running_loop()
        tester, started = await at.tester(), loop.time()
        assert await tester.ask("11 01", CCU) == "51 01"
        await asyncio.sleep(0.01)
        long = "2e f1 5a" + "00" * 20
        asked = loop.time()
        if deferred:
            refused = await tester.refusal(long, CCU)
            assert refused == DiagnosticNack.TRANSPORT_PROTOCOL_ERROR
            assert 1.0 < loop.time() - asked < 1.01
        else:
            await tester.request(long, CCU)
            assert isinstance(await tester.next(), m.DiagnosticAcknowledge)
            assert loop.time() - asked < 0.001
            await asyncio.sleep(1.1)
        assert await tester.ask(VERSION, CCU) == V1
        assert loop.time() - started < 2.5

    drive(scenario, tmp_path, "ccu", acknowledge=when)


def test_an_acknowledgement_on_delivery_still_precedes_the_response(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        for target in (CCU, BLOWER):
            assert await tester.ask(VERSION, target) == V1
        await tester.request("3e 80", GROUP)
        assert isinstance(await tester.next(), m.DiagnosticAcknowledge)

    drive(scenario, tmp_path, "ccu", "blower", acknowledge=Acknowledge.ON_DELIVERY)


def test_while_nobody_asks_through_it_the_edge_node_leaves_the_wire_to_others(
    tmp_path: Path,
) -> None:
    """A tester on the same identifiers would else get two flow controls for each answer."""

    async def scenario(at: Edge) -> None:
        flow_controls: list[bytes] = []

        def hear(_header: FrameHeader, data: bytes, _now: float) -> None:
            if data[0] >> 4 == 3:
                flow_controls.append(data)

        unlisten = at.vehicle.can_port("comfort", "ear").listen(hear, FrameHeader(0x7A0))
        direct = open_tester(at.vehicle, "ccu")
        assert (await direct.ask(bytes.fromhex("22 f1 90")))[:3] == bytes.fromhex("62 f1 90")
        assert len(flow_controls) == 1
        direct.close()
        tester = await at.tester()
        await tester.ask(VERSION, CCU)
        await asyncio.sleep(5.1)
        flow_controls.clear()
        direct = open_tester(at.vehicle, "ccu")
        assert (await direct.ask(bytes.fromhex("22 f1 90")))[:3] == bytes.fromhex("62 f1 90")
        assert len(flow_controls) == 1
        direct.close()
        unlisten()

    drive(scenario, tmp_path, "ccu")


def test_a_request_wakes_a_wire_that_sleeps_and_waits_for_its_ecu(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        loop, tester, ccu = asyncio.get_running_loop(), await at.tester(), at.vehicle.nodes["ccu"]
        at.vehicle.rest_bus.set("Terminal15", 0)
        for _ in range(2):
            await asyncio.sleep(30)
            assert ccu.mode is Mode.ASLEEP
            asked = loop.time()
            await tester.request("22 f1 90", CCU)
            await tester.request(VERSION, CCU)
            for _ in range(2):
                assert isinstance(await tester.next(), m.DiagnosticAcknowledge)
            assert loop.time() - asked < 0.001
            assert (await tester.response(CCU)).startswith("62 f1 90")
            assert ccu.ecu.boot_s < loop.time() - asked < ccu.ecu.boot_s + 0.05
            assert await tester.response(CCU) == V1

    drive(scenario, tmp_path, "ccu")


def test_while_a_tester_asks_the_wire_does_not_sleep(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        tester, ccu = await at.tester(), at.vehicle.nodes["ccu"]
        at.vehicle.rest_bus.set("Terminal15", 0)
        for _ in range(10):
            assert await tester.ask("3e 00", CCU) == "7e 00"
            await asyncio.sleep(4)
        assert ccu.boots == 1

    drive(scenario, tmp_path, "ccu")


@pytest.mark.parametrize("target", [CCU, GROUP])
def test_an_edge_node_that_is_bus_off_says_so(tmp_path: Path, target: int) -> None:
    """The first request is lost with the wire (08), the next is not taken (06)."""

    async def scenario(at: Edge) -> None:
        tester, wire = await at.tester(), at.vehicle.wires["comfort"]
        assert isinstance(wire, CanWire)
        assert await tester.ask(VERSION, CCU) == V1
        wire.begin_faults(
            WireFaults(corrupted=frozenset(range(200)), senders=frozenset({"edge"}), recovery=False)
        )
        assert await tester.refusal("3e 00", target) == DiagnosticNack.TRANSPORT_PROTOCOL_ERROR
        assert await tester.refusal("3e 00", target) == DiagnosticNack.TARGET_UNREACHABLE
        wire.begin_faults(None)
        wire.ask_recovery("edge")
        await asyncio.sleep(1)
        assert await tester.ask("22 f1 90", CCU) != ""

    drive(scenario, tmp_path, "ccu", acknowledge=Acknowledge.ON_DELIVERY)


def test_the_edge_node_announces_itself_as_a_gateway_with_its_own_eid(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        (answer,) = at.node.node.receive_datagram(
            m.encode(m.VehicleIdentificationRequest(), version=0xFF)
        )
        assert answer[:2] == bytes.fromhex("03 fc")
        settings = at.node.entity.settings
        assert settings.eid in answer
        assert settings.gid in answer
        assert b"\x10\x00" + settings.eid in answer
        (status,) = at.node.node.receive_datagram(m.encode(m.EntityStatusRequest(), version=3))
        assert status[8:] == bytes.fromhex("00 04 00") + (65535).to_bytes(4)

    drive(scenario, tmp_path, "ccu")
