"""A port of a simulated CAN wire, held over TCP."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import pytest

from clock import run
from ecu_sim.bus import BridgeServer, CanWire, serve_bridge
from protocols.can import FrameHeader
from protocols.can.bridge import (
    BridgeDecoder,
    Frames,
    Listen,
    Open,
    Opened,
    Record,
    Refused,
    Send,
    Sent,
    encode,
)

REQUEST, RESPONSE = FrameHeader(0x7A0), FrameHeader(0x7A8)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = BridgeDecoder()
        self._records: list[Record] = []

    def send(self, *records: Record) -> None:
        self._writer.write(b"".join(map(encode, records)))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def receive(self) -> Record | None:
        while not self._records:
            data = await self._reader.read(65536)
            if not data:
                return None
            self._records += self._decoder.receive(data)
        return self._records.pop(0)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@asynccontextmanager
async def bridged() -> AsyncIterator[tuple[CanWire, BridgeServer, Client]]:
    wire = CanWire("comfort", bit_rate=500_000, loop=asyncio.get_running_loop())
    server = await serve_bridge(wire, "127.0.0.1", 0)
    client = Client(*await asyncio.open_connection("127.0.0.1", server.port))
    try:
        async with asyncio.timeout(20):
            yield wire, server, client
    finally:
        await client.close()
        await server.close()
        wire.close()


def really(main: Coroutine[object, object, None]) -> None:
    run(main, virtual=False)


def test_frames_go_both_ways_and_each_burst_is_confirmed_at_its_last_bit() -> None:
    async def main() -> None:
        async with bridged() as (wire, _, client):
            ecu = wire.port("ccu")
            heard: list[tuple[bytes, float]] = []
            answered = asyncio.Event()

            def receive(_: FrameHeader, data: bytes, at: float) -> None:
                heard.append((data, at))
                ecu.send(RESPONSE, [data[::-1]])
                answered.set()

            ecu.listen(receive, REQUEST)
            client.send(Open(wire="comfort", node="gateway"))
            assert await client.receive() == Opened(bit_rate=500_000, data_bit_rate=0)
            client.send(Listen((RESPONSE,)), Send(7, REQUEST, (b"abc", b"def")))
            got = [await client.receive() for _ in range(3)]
            assert sorted(map(repr, got)) == sorted(
                map(repr, [Frames(RESPONSE, (b"cba",)), Frames(RESPONSE, (b"fed",)), Sent(7)])
            )
            assert got.index(Sent(7)) < got.index(Frames(RESPONSE, (b"fed",)))
            assert [data for data, _ in heard] == [b"abc", b"def"]

    really(main())


def test_a_long_burst_arrives_whole() -> None:
    payloads = tuple(bytes((number % 256,)) * 8 for number in range(600))

    async def main() -> None:
        async with bridged() as (wire, _, client):
            client.send(Open(wire="comfort", node="gateway"), Listen(None))
            await client.receive()  # both records were in one write: both are handled
            wire.port("ccu").send(RESPONSE, payloads)
            received: list[bytes] = []
            while len(received) < 600:
                record = await client.receive()
                assert isinstance(record, Frames)
                received += record.payloads
            assert tuple(received) == payloads

    really(main())


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ((Open(wire="engine", node="x"),), "engine"),
        ((Open(wire="comfort", node="x", version=9),), "version 9"),
        ((Listen(None),), "Listen is not due"),
        ((Open(wire="comfort", node="x"), Open(wire="comfort", node="x")), "Open is not due"),
        (
            (
                Open(wire="comfort", node="x"),
                Send(1, FrameHeader(1, fd=True), (b"",)),
            ),
            "classic wire",
        ),
    ],
)
def test_a_client_that_breaks_the_rules_is_told_why_and_dropped(
    records: tuple[Record, ...], reason: str
) -> None:
    async def main() -> None:
        async with bridged() as (_, _, client):
            client.send(*records)
            answer = await client.receive()
            if isinstance(answer, Opened):
                answer = await client.receive()
            assert isinstance(answer, Refused)
            assert reason in answer.reason
            assert await client.receive() is None

    really(main())


def test_rubbish_ends_the_connection_and_leaves_the_wire_alone() -> None:
    async def main() -> None:
        async with bridged() as (wire, server, client):
            client.send_bytes(b"\xff" * 64)
            assert isinstance(await client.receive(), Refused)
            other = Client(*await asyncio.open_connection("127.0.0.1", server.port))
            other.send(Open(wire="comfort", node="y"))
            assert isinstance(await other.receive(), Opened)
            await other.close()
            assert wire.load().frames == 0

    really(main())
