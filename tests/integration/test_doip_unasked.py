"""What an ECU behind the edge node sends unasked (2A, 86), and requests that wake its wire.

On virtual time; the last part with doipclient, unmodified, on loopback.
"""

import asyncio
import contextlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from doipclient.client import DoIPClient
from doipclient.messages import DiagnosticMessage, DiagnosticMessagePositiveAcknowledgement

import clock
from ecu_sim.app import EcuServer
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.edge_route import RouteTuning
from ecu_sim.node import Mode
from protocols.can.port import CanPort
from protocols.doip import messages as m
from protocols.doip.messages import DiagnosticNack
from protocols.doip.settings import Acknowledge
from protocols.network_management import NODES, identifier
from protocols.stream import ByteStream
from tests.integration.test_doip_doipclient import options
from tests.integration.test_doip_edge import CCU, ECOMP, GROUP, Edge, drive
from tests.support.doip import DoipTester
from tests.support.ecu import crc_image
from tests.support.vehicle import open_tester

BENCH_2013 = 0x10C1
EXTENDED = ("10 03", "50 03 00 32 01 f4")
#: Every second, without end: the cabin temperature.
TICK, TICKS_START = "86 02 02 01 22 01 d1", "86 05 02"


async def heard(tester: DoipTester, seconds: float) -> list[tuple[float, int, str]]:
    """Time, source and bytes of the diagnostic messages that come in so many seconds."""
    loop, found = asyncio.get_running_loop(), []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (message := await tester.next()) is not None:
                assert isinstance(message, m.DiagnosticMessage), message
                assert message.target_address == tester.address
                found.append((loop.time(), message.source_address, message.user_data.hex(" ")))
    return found


@pytest.mark.parametrize("named", [True, False])
def test_periodic_messages_reach_the_tester_that_asked_from_their_ecu(
    tmp_path: Path,
    named: bool,  # noqa: FBT001 the parameter
) -> None:
    async def scenario(at: Edge) -> None:
        one, two = await at.tester(0x0E80), await at.tester(0x0E81)
        for target in (CCU, ECOMP):
            assert await one.ask(EXTENDED[0], target) == EXTENDED[1]
        records = {(await one.ask("22 01 01", CCU))[9:]}
        assert await one.ask("2a 03 01", CCU) == "6a"
        assert await one.ask("2a 02 22", ECOMP) == "6a"
        found, nothing = await asyncio.gather(heard(one, 2.0), heard(two, 2.0))
        assert nothing == []
        kinds = {(source, data[: 5 if named else 2]) for _, source, data in found}
        assert kinds == (
            {(CCU, "6a 01"), (ECOMP, "6a 22")} if named else {(CCU, "01"), (ECOMP, "22")}
        )
        times = [at_s for at_s, source, _ in found if source == CCU]
        assert len(times) == 40
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert gaps == pytest.approx([0.05] * 39, abs=0.002)
        assert sum(source == ECOMP for _, source, _ in found) == 10
        records.add((await one.ask("22 01 01", CCU))[9:])
        prefix = "6a 01 " if named else "01 "
        told = {data.removeprefix(prefix) for _, source, data in found if source == CCU}
        assert told <= records

    tuning = RouteTuning(names_periodic=named)
    drive(scenario, tmp_path, "ccu", "ecomp", tuning=tuning)


def test_two_testers_get_the_periodic_messages_that_each_asked_for(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        one, two = await at.tester(0x0E80), await at.tester(0x0E81)
        assert await one.ask(EXTENDED[0], CCU) == EXTENDED[1]
        assert await one.ask("2a 02 01", CCU) == "6a"
        assert await two.ask("2a 02 02", CCU) == "6a"
        mine, others = await asyncio.gather(heard(one, 1.0), heard(two, 1.0))
        assert {data[:5] for _, _, data in mine} == {"6a 01"}
        assert {data[:5] for _, _, data in others} == {"6a 02"}
        assert len(mine) == len(others) == 5
        # Stopped by one of them, for all: to the ECU they are one tester.
        assert await two.ask("2a 04", CCU) == "6a"
        silence = await asyncio.gather(heard(one, 1.0), heard(two, 1.0))
        assert not any(silence)

    drive(scenario, tmp_path, "ccu")


def test_periodic_messages_end_with_the_session_that_nobody_keeps(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        assert await tester.ask(EXTENDED[0], CCU) == EXTENDED[1]
        assert await tester.ask("2a 02 01", CCU) == "6a"
        await asyncio.sleep(0.1)
        assert await tester.ask("3e 00", CCU) == "7e 00"
        # The first after 0.2 s, the last before the session ends at 5.1 s.
        found = await heard(tester, 20.0)
        assert found[-1][0] - found[0][0] == pytest.approx(4.8, abs=0.01)
        # What another tester on the wire asks for from now on is not for this one.
        direct = open_tester(at.vehicle, "ccu")
        await direct.ask(bytes.fromhex("10 03"))
        await direct.ask(bytes.fromhex("2a 02 01"))
        assert await heard(tester, 3.0) == []
        direct.close()

    drive(scenario, tmp_path, "ccu")


@pytest.mark.parametrize("back", [False, True])
def test_nothing_goes_to_a_tester_that_has_gone_even_if_its_address_is_back(
    tmp_path: Path,
    back: bool,  # noqa: FBT001 the parameter
) -> None:
    async def scenario(at: Edge) -> None:
        one, other = await at.tester(0x0E80), await at.tester(0x0E81)
        assert await one.ask(EXTENDED[0], CCU) == EXTENDED[1]
        assert await one.ask("2a 02 01", CCU) == "6a"
        assert len(await heard(one, 1.0)) == 5
        # An answer that is still to come is not for the next connection either.
        await one.request("22 f1 90", CCU)
        assert isinstance(await one.next(), m.DiagnosticAcknowledge)
        await one.close()
        again = await at.tester(0x0E80) if back else other
        assert await heard(again, 1.0) == []
        assert await again.ask("22 f1 89", CCU) == "62 f1 89 31 2e 30 2e 30"

    drive(scenario, tmp_path, "ccu")


class Clogged:
    """A stream whose peer takes nothing more once it is told so."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.open = True

    async def receive(self) -> bytes:
        return await self._stream.receive()

    async def send(self, data: bytes) -> None:
        if not self.open:
            await asyncio.Event().wait()
        await self._stream.send(data)

    async def close(self) -> None:
        await self._stream.close()


def test_a_tester_that_does_not_read_is_cut_off_and_the_others_go_on(tmp_path: Path) -> None:
    """Periodic messages that nobody takes: 64 wait at the edge node, the next one ends it."""

    async def scenario(at: Edge) -> None:
        ours, theirs = EthernetWire(loop=asyncio.get_running_loop()).connect()
        clogged = Clogged(theirs)
        at.node.attach_stream(clogged)
        deaf, other = DoipTester(ours, 0x0E80), await at.tester(0x0E81)
        assert await deaf.activate() == 0x10
        assert await deaf.ask(EXTENDED[0], CCU) == EXTENDED[1]
        assert await deaf.ask("2a 03 01", CCU) == "6a"
        clogged.open = False
        sockets = []
        for _ in range(4):
            assert await other.ask("3e 00", CCU) == "7e 00"
            await asyncio.sleep(1.0)
            (status,) = at.node.node.receive_datagram(m.encode(m.EntityStatusRequest(), version=3))
            sockets.append(status[10])
        # 65 of 20 a second: in the fourth second.
        assert sockets == [2, 2, 2, 1]
        assert at.node._routes[CCU]._unlisten_periodic is None  # noqa: SLF001 what it listens to
        assert await other.ask("22 f1 89", CCU) == "62 f1 89 31 2e 30 2e 30"
        await ours.close()

    drive(scenario, tmp_path, "ccu")


def test_events_reach_who_set_them_up_and_the_end_of_their_window_too(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        one, two = await at.tester(0x0E80), await at.tester(0x0E81)
        assert await one.ask("86 02 03 01 22 01 d1", BENCH_2013) == "c6 02 00 03 01 22 01 d1"
        assert await two.ask("86 05 02", BENCH_2013) == "c6 05 00 02"
        mine, nothing = await asyncio.gather(heard(one, 30.0), heard(two, 30.0))
        assert nothing == []
        assert [data[:8] for _, _, data in mine[:-1]] == ["62 01 d1"] * 10
        assert mine[-1][1:] == (BENCH_2013, "c6 02 0a 03 01 22 01 d1")
        gaps = [b[0] - a[0] for a, b in pairwise(mine)]
        assert gaps[:-1] == pytest.approx([1.0] * 9, abs=0.005)

    drive(scenario, tmp_path, "bench_2013")


def test_stored_events_go_on_after_a_reset_for_who_asked_and_others_do_not(
    tmp_path: Path,
) -> None:
    async def scenario(at: Edge) -> None:
        for stored in (False, True):
            tester = await at.tester(0x0E80 + stored)
            begin = "86 42 02 01 22 01 d1" if stored else TICK
            assert (await tester.ask(begin, BENCH_2013))[:2] == "c6"
            assert (await tester.ask("86 45 02" if stored else TICKS_START, BENCH_2013))[:2] == "c6"
            assert len(await heard(tester, 2.5)) == 2
            assert await tester.ask("11 01", BENCH_2013) == "51 01"
            assert len(await heard(tester, 10.0)) == (9 if stored else 0)

    drive(scenario, tmp_path, "bench_2013")


def test_while_an_event_is_awaited_others_may_ask_and_get_their_own_answers(
    tmp_path: Path,
) -> None:
    async def scenario(at: Edge) -> None:
        one, two = await at.tester(0x0E80), await at.tester(0x0E81)
        assert (await one.ask(TICK, BENCH_2013))[:2] == "c6"
        assert (await one.ask(TICKS_START, BENCH_2013))[:2] == "c6"

        async def ask() -> None:
            for _ in range(100):
                assert (await two.ask("22 f1 90", BENCH_2013)).startswith("62 f1 90")
                await asyncio.sleep(0.03)

        found, _ = await asyncio.gather(heard(one, 4.0), ask())
        assert [data[:8] for _, _, data in found] == ["62 01 d1"] * 4

    drive(scenario, tmp_path, "bench_2013")


# Functional requests to wires that sleep


def listening(port: CanPort) -> list[tuple[float, int]]:
    found: list[tuple[float, int]] = []
    port.listen(lambda header, _, at_s: found.append((at_s, header.identifier)))
    return found


EDGE_NODE = identifier(NODES - 2)


@pytest.mark.parametrize("acknowledge", Acknowledge)
def test_a_functional_request_wakes_the_wires_and_every_ecu_answers(
    tmp_path: Path, acknowledge: Acknowledge
) -> None:
    """Acknowledged at once (or when it is on the wires), then wake-up, request, answers."""

    async def scenario(at: Edge) -> None:
        loop, tester = asyncio.get_running_loop(), await at.tester()
        nodes = [at.vehicle.nodes[name] for name in ("ccu", "blower", "ecomp")]
        at.vehicle.rest_bus.set("Terminal15", 0)
        await asyncio.sleep(30)
        assert {node.mode for node in nodes} == {Mode.ASLEEP}
        wires = {name: listening(at.vehicle.can_port(name, "ear")) for name in at.vehicle.wires}
        asked = loop.time()
        await tester.request("3e 00", GROUP)
        acknowledge_of_group = m.DiagnosticAcknowledge(
            source_address=GROUP, target_address=tester.address
        )
        assert await tester.next() == acknowledge_of_group
        acknowledged = loop.time()
        slowest = max(node.ecu.boot_s for node in nodes)
        if acknowledge is Acknowledge.ON_ACCEPTANCE:
            assert acknowledged - asked < 0.0002
            assert all(acknowledged < frames[0][0] for frames in wires.values() if frames)
        else:
            # On the first wire that is awake; the other one's may still have to come.
            fastest = min(node.ecu.boot_s for node in nodes)
            assert fastest < acknowledged - asked < slowest + 0.01
        answers = await heard(tester, 3.0)
        for frames in wires.values():
            assert frames[0][1] == EDGE_NODE
            assert next(at_s for at_s, name in frames if name == 0x7DF) > acknowledged - 0.001
        assert all(data == "7e 00" for _, _, data in answers)
        assert {source for _, source, _ in answers} == {its.ecu.logical_address for its in nodes}
        assert len(answers) == len(nodes)
        assert acknowledged < answers[0][0] < answers[-1][0] < asked + slowest + 0.05

    drive(scenario, tmp_path, "ccu", "blower", "ecomp", acknowledge=acknowledge)


def test_nothing_overtakes_a_functional_request_while_a_wire_wakes(tmp_path: Path) -> None:
    """The ccu is up before the blower; its own request still comes after that for both."""

    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        ccu, blower = (at.vehicle.nodes[name] for name in ("ccu", "blower"))
        assert ccu.ecu.boot_s != blower.ecu.boot_s
        at.vehicle.rest_bus.set("Terminal15", 0)
        await asyncio.sleep(30)
        first = min((ccu, blower), key=lambda node: node.ecu.boot_s).ecu.logical_address
        await tester.request("10 83", GROUP)
        await tester.request("22 f1 86", first)
        for _ in range(2):
            assert isinstance(await tester.next(), m.DiagnosticAcknowledge)
        assert await tester.response(first) == "62 f1 86 03"

    drive(scenario, tmp_path, "ccu", "blower")


def test_an_ecu_that_does_not_wake_is_given_up_and_the_others_are_asked(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        loop, tester = asyncio.get_running_loop(), await at.tester()
        ccu, blower = (at.vehicle.nodes[name] for name in ("ccu", "blower"))
        at.vehicle.rest_bus.set("Terminal15", 0)
        await asyncio.sleep(30)
        # A transceiver that no longer wakes its ECU.
        assert blower._wake_up is not None  # noqa: SLF001 the broken part
        blower._wake_up.cancel()  # noqa: SLF001 the broken part
        asked = loop.time()
        await tester.request("3e 00", GROUP)
        assert await tester.refusal("22 f1 89", blower.ecu.logical_address) == (
            DiagnosticNack.TRANSPORT_PROTOCOL_ERROR
        )
        assert loop.time() - asked == pytest.approx(2.0, abs=0.01)
        assert isinstance(await tester.next(), m.DiagnosticAcknowledge)
        assert await tester.response(CCU) == "7e 00"
        assert ccu.mode is Mode.APPLICATION

    tuning = RouteTuning(wake_s=2.0)
    drive(scenario, tmp_path, "ccu", "blower", tuning=tuning, acknowledge=Acknowledge.ON_DELIVERY)


def test_functional_requests_that_wait_for_a_wire_are_bounded(tmp_path: Path) -> None:
    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        at.vehicle.rest_bus.set("Terminal15", 0)
        await asyncio.sleep(30)
        for _ in range(2):
            await tester.request("3e 80", GROUP)
            assert isinstance(await tester.next(), m.DiagnosticAcknowledge)
        assert await tester.refusal("3e 80", GROUP) == DiagnosticNack.OUT_OF_MEMORY
        await asyncio.sleep(2.0)
        assert await tester.ask("3e 00", CCU) == "7e 00"

    drive(scenario, tmp_path, "ccu", tuning=RouteTuning(queue_length=2))


# doipclient, unmodified


def test_doipclient_receives_periodic_messages_and_events_from_behind_the_edge_node(
    tmp_path: Path,
) -> None:
    def tester(port: int) -> None:
        with contextlib.ExitStack() as stack:

            def client(target: int, address: int) -> Any:  # noqa: ANN401 the library types nothing
                opened = DoIPClient(  # type: ignore[no-untyped-call]  # the library types nothing
                    "127.0.0.1",
                    target,
                    tcp_port=port,
                    udp_port=port,
                    client_logical_address=address,
                )
                stack.callback(opened.close)
                return opened

            def ask(one: Any, request: str) -> str:  # noqa: ANN401 the library types nothing
                one.send_diagnostic(bytes.fromhex(request))
                return bytes(one.receive_diagnostic(timeout=5)).hex(" ")

            ccu, bench = client(CCU, 0x0E80), client(BENCH_2013, 0x0E81)
            assert ask(ccu, "10 03") == "50 03 00 32 01 f4"
            assert ask(ccu, "2a 03 01") == "6a"
            assert ask(bench, "86 02 02 03 22 01 d1") == "c6 02 00 02 03 22 01 d1"
            assert ask(bench, "86 05 02") == "c6 05 00 02"
            for its, source, address, begin in (
                (ccu, CCU, 0x0E80, "6a 01"),
                (bench, BENCH_2013, 0x0E81, "62 01 d1"),
            ):
                for _ in range(5):
                    message = its.read_doip(timeout=5)
                    assert isinstance(message, DiagnosticMessage)
                    assert (message.source_address, message.target_address) == (source, address)
                    assert bytes(message.user_data).hex(" ").startswith(begin)
            # A request in between is acknowledged, and answered, among them.
            ccu.send_doip(0x8001, bytes.fromhex("0e80 1010 22f189"))
            kinds = []
            while not (
                isinstance(message := ccu.read_doip(timeout=5), DiagnosticMessage)
                and bytes(message.user_data) == bytes.fromhex("62f189") + b"1.0.0"
            ):
                kinds.append(type(message))
            assert kinds.count(DiagnosticMessagePositiveAcknowledgement) == 1

    async def run() -> None:
        chosen = options(tmp_path, "ccu", "bench_2013")
        chosen.factory_images["bench_2013"] = crc_image(hardware_id="BCH-2013")  # type: ignore[index]  # the dictionary that options() has just made
        async with EcuServer(chosen) as server:
            port = int(server.doors["edge node"].rpartition(":")[2])
            await asyncio.to_thread(tester, port)

    clock.run(run(), virtual=False)


def test_the_wire_of_periodic_messages_is_left_alone_once_nobody_wants_them(
    tmp_path: Path,
) -> None:
    """The edge node hears an ECU's frames while it may have to pass them on, and no longer."""

    async def scenario(at: Edge) -> None:
        tester = await at.tester()
        wire = at.vehicle.can_port("comfort", "ear")
        assert await tester.ask(EXTENDED[0], CCU) == EXTENDED[1]
        assert await tester.ask("2a 02 01", CCU) == "6a"
        assert len(await heard(tester, 1.0)) == 5
        await tester.close()
        frames = listening(wire)
        route = at.node._routes[CCU]  # noqa: SLF001 what it listens to
        await asyncio.sleep(5.2)
        assert any(name == 0x6A8 for _, name in frames)
        assert route._unlisten_periodic is None  # noqa: SLF001 what it listens to
        assert route._unlisten is None  # noqa: SLF001 what it listens to

    drive(scenario, tmp_path, "ccu")
