"""The DoIP entity on real sockets with an independent tester, and on the simulated wire."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import udsoncan
from doipclient.client import DoIPClient
from doipclient.connectors import DoIPClientUDSConnector
from udsoncan.client import Client
from udsoncan.configs import default_client_config

import clock
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.diagnostics.doip_server import DoipServer, TcpStream, serve_doip
from protocols.doip import Acknowledged, Activated, DoipClient, Response, Transmit, encode
from protocols.doip import messages as m
from protocols.doip.decoder import decode_datagram
from protocols.doip.settings import Acknowledge
from protocols.stream import ByteStream
from protocols.uds.rules import two_slot_application
from protocols.uds.security_access import compute_key
from tests.support.diagnostics import BASE, KEY, SERIAL, BenchDevice
from tests.support.doip import ECU, EID, SETTINGS, VIN, DoipEcu, DoipTester
from tests.support.vehicle import running

if TYPE_CHECKING:
    from udsoncan.typing import ClientConfig

T = TypeVar("T")


def _against_sockets(device: BenchDevice, tester: Callable[[DoipServer], T]) -> T:
    """Run a blocking tester in a thread against a bench ECU on loopback."""

    async def main() -> T:
        ecu = DoipEcu(two_slot_application(), device)
        server = await serve_doip(ecu.node.serve, ecu.node.receive_datagram)
        try:
            return await asyncio.to_thread(tester, server)
        finally:
            await ecu.stop()
            await server.stop()

    return clock.run(main(), virtual=False)


def _connect(
    server: DoipServer, *, tester: int = 0x0E00, activation_type: int | None = 0
) -> DoIPClient:
    return DoIPClient(  # type: ignore[no-untyped-call]  # the library types nothing
        "127.0.0.1",
        ECU,
        tcp_port=server.tcp_port,
        udp_port=server.udp_port,
        client_logical_address=tester,
        activation_type=activation_type,
    )


def _connector(server: DoipServer) -> DoIPClientUDSConnector:
    client = _connect(server)
    return DoIPClientUDSConnector(client, close_connection=True)  # type: ignore[no-untyped-call]  # the library types nothing


def test_doipclient_and_udsoncan_read_a_did_unchanged() -> None:
    def tester(server: DoipServer) -> object:
        configuration: ClientConfig = {
            **default_client_config,
            "data_identifiers": {0xF190: udsoncan.AsciiCodec(17)},
        }
        with Client(_connector(server), config=configuration) as client:
            response = client.read_data_by_identifier([0xF190])
            return response.service_data.values[0xF190]

    assert _against_sockets(BenchDevice(), tester) == VIN


def test_doipclient_and_udsoncan_program_the_memory_unchanged() -> None:
    data = bytes(index % 253 for index in range(600))

    def tester(server: DoipServer) -> None:
        configuration: ClientConfig = {
            **default_client_config,
            "security_algo": lambda level, seed, params: compute_key(  # noqa: ARG005 passed by name
                KEY, level=level, ecu_id=SERIAL, seed=bytes(seed)
            ),
        }
        with Client(_connector(server), config=configuration) as client:
            client.change_session(3)
            client.unlock_security_access(1)
            client.request_download(udsoncan.MemoryLocation(BASE, len(data), 32, 32))
            for counter, at in enumerate(range(0, len(data), 64), start=1):
                client.transfer_data(counter, data[at : at + 64])
            client.request_transfer_exit()

    device = BenchDevice()
    _against_sockets(device, tester)
    assert device.memory[: len(data)] == data


def test_an_activation_that_is_refused_reaches_doipclient() -> None:
    def tester(server: DoipServer) -> object:
        # A client whose constructor fails would leave its sockets open, so it asks afterwards.
        with _connect(server, tester=0x0123, activation_type=None) as client:
            return client.request_activation(0, disable_retry=True).response_code

    assert _against_sockets(BenchDevice(), tester) == 0x00


def test_doipclient_gets_the_entity_status() -> None:
    def tester(server: DoipServer) -> object:
        with _connect(server) as client:
            status = client.request_entity_status()
            return status.max_concurrent_sockets, status.currently_open_sockets

    assert _against_sockets(BenchDevice(), tester) == (2, 1)


def test_a_vehicle_is_found_by_udp() -> None:
    def tester(server: DoipServer) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(5)
            question = encode(m.VehicleIdentificationRequest(eid=EID))
            udp.sendto(question, ("127.0.0.1", server.udp_port))
            return udp.recv(100)

    found = decode_datagram(_against_sockets(BenchDevice(), tester))
    assert isinstance(found, m.VehicleAnnouncement)
    assert (found.vin.decode(), found.logical_address) == (VIN, ECU)


def test_a_socket_with_a_bad_pattern_is_told_so_and_closed() -> None:
    def tester(server: DoipServer) -> bytes:
        with socket.create_connection(("127.0.0.1", server.tcp_port), timeout=5) as tcp:
            tcp.sendall(bytes(8))
            received = b""
            while part := tcp.recv(100):
                received += part
            return received

    assert _against_sockets(BenchDevice(), tester) == bytes.fromhex("03fc00000000000100")


async def _until(client: DoipClient, stream: ByteStream, kind: type[T]) -> tuple[T, list[object]]:
    """Feed the tester's core until an event of this kind comes; it, and what came before."""
    before: list[object] = []
    while True:
        now = asyncio.get_running_loop().time()
        for event in client.receive(await stream.receive(), now=now):
            if isinstance(event, kind):
                return event, before
            before.append(event)


def test_on_the_simulated_wire_the_clock_may_jump() -> None:
    async def main() -> tuple[list[object], bytes, float, int]:
        loop = asyncio.get_running_loop()
        ecu = DoipEcu(two_slot_application(), BenchDevice())
        wire = EthernetWire(bit_rate=100e6, loop=loop)
        ours, theirs = wire.connect()
        ecu.node.attach(theirs)
        ecu.node.start(announce_wait_s=0.1)
        client = DoipClient(source_address=0x0F00)
        events = client.connect(now=loop.time())
        for event in events:
            if isinstance(event, Transmit):
                await ours.send(event.data)
        activated, _ = await _until(client, ours, Activated)
        assert activated == Activated(ECU)
        for event in client.send(b"\x22\xf1\x90", target=ECU, now=loop.time()):
            if isinstance(event, Transmit):
                await ours.send(event.data)
        response, before = await _until(client, ours, Response)
        answered_at = loop.time()
        # Five silent minutes later the entity has closed the connection.
        closed = await ours.receive()
        assert closed == b""
        assert 299.9 < loop.time() - answered_at < 300.1
        await ours.close()
        await ecu.stop()
        return before, response.payload, answered_at, len(ecu.announced)

    before, payload, answered_at, announced = clock.run(main(), virtual=True)
    assert before == [Acknowledged(ECU)]
    assert payload == b"\x62\xf1\x90" + VIN.encode()
    assert answered_at < 0.001
    assert announced == 3


def test_what_a_reset_sends_last_is_out_before_the_connection_closes() -> None:
    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        ecu = DoipEcu(two_slot_application(), BenchDevice())
        ours, theirs = EthernetWire(bit_rate=100e6, loop=loop).connect()
        ecu.node.attach(theirs)
        client = DoipClient(source_address=0x0F00)
        for event in client.connect(now=loop.time()):
            if isinstance(event, Transmit):
                await ours.send(event.data)
        await _until(client, ours, Activated)
        ecu.node.respond(b"\x51\x01", tester=0x0F00)
        idle = loop.create_future()
        ecu.node.when_idle(lambda: idle.set_result(None))
        await idle
        await ecu.stop()
        received = client.receive(await ours.receive(), now=loop.time())
        assert await ours.receive() == b""
        await ours.close()
        return list(received)

    assert clock.run(main(), virtual=True) == [Response(ECU, b"\x51\x01")]


class _DeafStream:
    """A peer that takes nothing: `send` never returns."""

    def __init__(self, hears: bytes) -> None:
        self._hears = [hears]
        #: Says that it sends no more.
        self.hangs_up = False
        self.closed = asyncio.Event()

    async def receive(self) -> bytes:
        if self._hears:
            return self._hears.pop()
        if self.hangs_up:
            return b""
        await self.closed.wait()
        return b""

    async def send(self, data: bytes) -> None:  # noqa: ARG002 nothing arrives
        await self.closed.wait()

    async def close(self) -> None:
        self.closed.set()


def test_a_peer_that_does_not_read_is_cut_off_and_its_place_is_free() -> None:
    async def main() -> bool:
        ecu = DoipEcu(two_slot_application(), BenchDevice())
        deaf = _DeafStream(encode(m.RoutingActivationRequest(source_address=0x0F00)))
        ecu.node.attach(deaf)
        await asyncio.sleep(0.001)
        for _ in range(100):
            ecu.node.respond(b"\x7e\x00", tester=0x0F00)
        await asyncio.wait_for(deaf.closed.wait(), 1)
        idle = asyncio.Event()
        ecu.node.when_idle(idle.set)
        await ecu.stop()
        return idle.is_set()

    assert clock.run(main(), virtual=True)


def test_a_peer_that_does_not_read_holds_up_a_reset_for_a_second_at_most() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        ecu = DoipEcu(two_slot_application(), BenchDevice())
        deaf = _DeafStream(encode(m.RoutingActivationRequest(source_address=0x0F00)))
        ecu.node.attach(deaf)
        await asyncio.sleep(0.5)
        idle = asyncio.Event()
        ecu.node.when_idle(idle.set)
        await idle.wait()
        waited = loop.time() - 0.5
        await ecu.stop()
        return waited

    assert clock.run(main(), virtual=True) == pytest.approx(1.0)


@pytest.mark.parametrize("why", ["bad header", "inactivity", "half closed"])
def test_a_connection_that_ends_does_not_wait_for_a_peer_that_takes_nothing(why: str) -> None:
    """Else each such peer would keep a socket for ever that is in no table any more."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        ecu = DoipEcu(
            two_slot_application(), BenchDevice(), replace(SETTINGS, general_inactivity_s=5.0)
        )
        hears = encode(m.RoutingActivationRequest(source_address=0x0F00))
        if why == "bad header":
            hears += bytes(8)
        deaf = _DeafStream(hears)
        if why == "half closed":
            deaf.hangs_up = True
        ecu.node.attach(deaf)
        await asyncio.wait_for(deaf.closed.wait(), 60)
        ended = loop.time()
        await ecu.stop()
        return ended

    began = {"bad header": 0.0, "inactivity": 5.0, "half closed": 0.0}[why]
    assert clock.run(main(), virtual=True) == pytest.approx(began + 1.0)


def test_a_socket_that_nobody_reads_is_closed_after_a_second_with_what_is_left() -> None:
    """On real TCP: buffers are full, so that a polite close would wait for ever."""

    async def main() -> tuple[float, bool]:
        loop = asyncio.get_running_loop()
        closed: asyncio.Future[tuple[float, bool]] = loop.create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(bytes(1 << 25))
            begin = loop.time()
            await TcpStream(reader, writer).close()
            closed.set_result((loop.time() - begin, writer.transport.is_closing()))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            found = await asyncio.wait_for(closed, 10)
        server.close()
        return found

    waited, closing = clock.run(main(), virtual=False)
    assert closing
    assert 0.9 < waited < 5.0


def test_an_ecu_on_ethernet_may_acknowledge_on_delivery_too(tmp_path: Path) -> None:
    async def main() -> str:
        async with running(tmp_path, "rear") as vehicle:
            node = vehicle.nodes["rear"]
            node.adapt_entity = lambda its: replace(its, acknowledge=Acknowledge.ON_DELIVERY)
            node.power_off()
            node.power_on()
            await node.booted()
            tester = DoipTester(await vehicle.connect("rear"))
            assert await tester.activate() == 0x10
            answer = await tester.ask("3e 00", ECU)
            await tester.close()
            return answer

    assert clock.run(main(), virtual=True) == "7e 00"


def test_an_answer_is_sent_when_its_own_connection_has_taken_it_or_is_gone() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        ecu = DoipEcu(two_slot_application(), BenchDevice())
        deaf = _DeafStream(encode(m.RoutingActivationRequest(source_address=0x0F00)))
        ecu.node.attach(deaf)
        ours, theirs = EthernetWire(bit_rate=100e6, loop=loop).connect()
        ecu.node.attach(theirs)
        tester = DoipTester(ours)
        assert await tester.activate() == 0x10
        sent: list[str] = []
        for address, name in ((0x0F00, "deaf"), (tester.address, "reads"), (0x0E99, "unknown")):
            ecu.node.respond(b"\x7e\x00", tester=address, sent=partial(sent.append, name))
        assert sent == ["unknown"]
        await asyncio.sleep(10.0)
        assert sent == ["unknown", "reads"]
        deaf.closed.set()
        await asyncio.sleep(0.1)
        await ecu.stop()
        return sent

    assert clock.run(main(), virtual=True) == ["unknown", "reads", "deaf"]


# Hostile peers


def test_idle_sockets_keep_a_tester_out_for_two_seconds_at_most() -> None:
    """Two testers and one socket more: half headers fill them, and a fourth is hung up on."""

    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        ecu = DoipEcu(two_slot_application(), BenchDevice())
        wire = EthernetWire(loop=loop)

        async def connect() -> ByteStream:
            ours, theirs = wire.connect()
            ecu.node.attach(theirs)
            return ours

        idle = [await connect() for _ in range(3)]
        for stream in idle:
            await stream.send(b"\x02\xfd\x00\x05")
        refused = await connect()
        heard: list[object] = [await refused.receive(), loop.time() < 0.01]
        for stream in idle:
            heard += [await stream.receive(), loop.time() == pytest.approx(2.0, abs=0.01)]
        tester = DoipTester(await connect())
        heard.append(await tester.activate())
        for stream in (*idle, refused):
            await stream.close()
        await tester.close()
        await ecu.stop()
        return heard

    assert clock.run(main(), virtual=True) == [b"", True, *[b"", True] * 3, 0x10]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "03fc00000000000100"),
        (bytes.fromhex("1603010200010001fc0303"), "03fc00000000000100"),
        (b"\x00" * 64, "03fc00000000000100"),
        (bytes.fromhex("03fc8001ffffffff") + bytes(100), "03fc00000000000102"),
        (bytes.fromhex("02fd00050000000700"), ""),
    ],
    ids=["HTTP", "TLS on the plain port", "zeros", "four gigabytes", "cut short"],
)
def test_what_is_no_doip_is_told_so_and_holds_nothing(said: bytes, answer: str) -> None:
    async def main() -> bytes:
        ecu = DoipEcu(two_slot_application(), BenchDevice())
        ours, theirs = EthernetWire(loop=asyncio.get_running_loop()).connect()
        ecu.node.attach(theirs)
        await ours.send(said)
        heard = b""
        while data := await ours.receive():
            heard += data
        await ours.close()
        await ecu.stop()
        return heard

    assert clock.run(main(), virtual=True).hex() == answer
