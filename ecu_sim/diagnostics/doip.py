"""The DoIP entity on real streams: one shell for the simulated wire and for TCP and UDP."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Final

from clock import Timer
from protocols.doip.entity import (
    Announce,
    Close,
    DoipEntity,
    EntityEvent,
    Request,
    Transmit,
)
from protocols.stream import ByteStream

#: (payload, tester's address, functional): a request for the ECU behind the entity.
OnRequest = Callable[[bytes, int, bool], None]

#: Messages that may wait for a peer that does not read; one more and it is cut off.
_OUTGOING_LIMIT: Final = 64
#: An ECU that is to reset waits so long for peers to take what it sent.
_FLUSH_S: Final = 1.0
_READ_SIZE: Final = 0x1_0000


class _Connection:
    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        #: `None` ends the connection once what stands before it is out.
        self.outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        #: Messages in the queue, and the one that is being sent.
        self.unsent = 0
        self.reader: asyncio.Task[None] | None = None
        self.writer: asyncio.Task[None] | None = None


class DoipNode:
    """Runs a `DoipEntity` for as long as its ECU is awake; made anew at every boot.

    `on_request` is called on the loop's thread; its answers go back through `respond`.
    """

    def __init__(
        self,
        entity: DoipEntity,
        on_request: OnRequest,
        *,
        announce: Callable[[bytes], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._entity = entity
        self._on_request = on_request
        self._announce = announce
        self._timer = Timer(self._loop, self._timeout)
        self._connections: dict[int, _Connection] = {}
        self._numbers = 0
        self._when_idle: list[Callable[[], None]] = []
        self._patience = Timer(self._loop, self._call_idle)

    def start(self, *, announce_wait_s: float) -> None:
        """Announce the vehicle after a random wait (0 to 0.5 s) that the caller draws."""
        self._entity.start_announcing(wait_s=announce_wait_s, now=self._loop.time())
        self._arm()

    def attach(self, stream: ByteStream) -> None:
        """Serve a new connection until either end closes it."""
        self._numbers += 1
        number, connection = self._numbers, _Connection(stream)
        self._connections[number] = connection
        connection.writer = self._loop.create_task(self._write(number, connection))
        connection.reader = self._loop.create_task(self._read(number, connection))
        self._handle(self._entity.connected(number, now=self._loop.time()))

    async def serve(self, stream: ByteStream) -> None:
        """The same, returning when the connection is over."""
        self.attach(stream)
        writer = self._connections[self._numbers].writer
        if writer is not None:
            await asyncio.wait([writer])

    def respond(self, payload: bytes, *, tester: int) -> None:
        """Send what the ECU answers; dropped if the tester has gone."""
        self._handle(self._entity.send(payload, tester=tester, now=self._loop.time()))

    def receive_datagram(self, data: bytes) -> list[bytes]:
        return self._entity.receive_datagram(data, now=self._loop.time())

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call back once everything to be sent is out (at once if nothing waits).

        A peer that takes nothing delays it by a second at most.
        """
        if self._is_idle():
            callback()
            return
        self._when_idle.append(callback)
        self._patience.set(self._loop.time() + _FLUSH_S)

    async def stop(self) -> None:
        """Close every connection, as an ECU that resets does."""
        self._when_idle.clear()
        self._patience.cancel()
        connections = list(self._connections.values())
        tasks = [task for its in connections for task in (its.reader, its.writer) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._timer.cancel()

    async def _read(self, number: int, connection: _Connection) -> None:
        """Feed the core until the peer closes or the writer has closed the stream."""
        with suppress(OSError):
            while data := await connection.stream.receive():
                now = self._loop.time()
                self._handle(self._entity.receive(number, data, now=now))
        self._handle(self._entity.disconnected(number, now=self._loop.time()))
        connection.outgoing.put_nowait(None)

    async def _write(self, number: int, connection: _Connection) -> None:
        try:
            with suppress(OSError):  # a peer that is gone is noticed by the reader too
                while (data := await connection.outgoing.get()) is not None:
                    await connection.stream.send(data)
                    connection.unsent -= 1
                    self._tell_idle()
        finally:
            # What was not sent to this peer never will be.
            del self._connections[number]
            self._tell_idle()
            if connection.reader is not None:
                connection.reader.cancel()
            self._handle(self._entity.disconnected(number, now=self._loop.time()))
            with suppress(OSError):
                await connection.stream.close()

    def _is_idle(self) -> bool:
        return not any(connection.unsent for connection in self._connections.values())

    def _tell_idle(self) -> None:
        if self._is_idle():
            self._call_idle()

    def _call_idle(self) -> None:
        self._patience.cancel()
        callbacks, self._when_idle = self._when_idle, []
        for callback in callbacks:
            callback()

    def _timeout(self) -> None:
        self._handle(self._entity.handle_timeout(now=self._loop.time()))

    def _handle(self, events: list[EntityEvent]) -> None:
        for event in events:
            match event:
                case Transmit(number, data):
                    self._queue(number, data)
                case Close(number):
                    if connection := self._connections.get(number):
                        connection.outgoing.put_nowait(None)
                case Request(payload=payload, source=source, functional=functional):
                    self._on_request(payload, source, functional)
                case Announce(data):
                    if self._announce is not None:
                        self._announce(data)
        self._arm()

    def _queue(self, number: int, data: bytes) -> None:
        connection = self._connections.get(number)
        if connection is None:
            return
        if connection.outgoing.qsize() >= _OUTGOING_LIMIT and connection.writer is not None:
            connection.writer.cancel()
            return
        connection.unsent += 1
        connection.outgoing.put_nowait(data)

    def _arm(self) -> None:
        self._timer.set(self._entity.next_deadline())


class TcpStream:
    """A `ByteStream` over an asyncio TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        raw = writer.get_extra_info("socket")
        # Acknowledgement and response are two small messages in a row.
        raw.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    async def receive(self) -> bytes:
        return await self._reader.read(_READ_SIZE)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class _Discovery(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], list[bytes]]) -> None:
        self._answer = answer
        #: Set once the endpoint stands (its class is the loop's own affair).
        self.transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.transport is None:
            return
        for answer in self._answer(data):
            self.transport.sendto(answer, addr)


class DoipServer:
    """TCP and UDP sockets that outlive their ECU's resets; made by `serve_doip`."""

    def __init__(
        self,
        server: asyncio.Server,
        discovery: asyncio.DatagramTransport,
        announce_to: tuple[str, int] | None,
    ) -> None:
        self._server = server
        self._discovery = discovery
        self._announce_to = announce_to
        self.tcp_port: int = server.sockets[0].getsockname()[1]
        self.udp_port: int = discovery.get_extra_info("sockname")[1]

    def announce(self, data: bytes) -> None:
        """Send a vehicle announcement to where announcements go, if anywhere."""
        if self._announce_to is not None:
            self._discovery.sendto(data, self._announce_to)

    async def stop(self) -> None:
        """Accept nothing more. Open connections are their `DoipNode`'s to close."""
        self._server.close()
        self._discovery.close()
        # One turn of the loop lets the transport close its socket.
        await asyncio.sleep(0)


async def serve_doip(
    accept: Callable[[ByteStream], Awaitable[None]],
    answer: Callable[[bytes], list[bytes]],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    announce_to: tuple[str, int] | None = None,
) -> DoipServer:
    """Listen on TCP and UDP of one port (0: any free one); `OSError` if it is taken.

    `accept` serves one connection until it is over (`DoipNode.serve` of the node that is awake);
    `answer` gives the answers to a datagram (`DoipNode.receive_datagram`).
    """
    loop = asyncio.get_running_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(TcpStream(reader, writer))

    server = await asyncio.start_server(serve, host, port)
    tcp_port = server.sockets[0].getsockname()[1]
    try:
        transport, discovery = await loop.create_datagram_endpoint(
            lambda: _Discovery(answer), local_addr=(host, tcp_port), allow_broadcast=True
        )
    except OSError:
        server.close()
        raise
    discovery.transport = transport
    return DoipServer(server, transport, announce_to)
