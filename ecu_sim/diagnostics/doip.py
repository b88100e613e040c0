"""The DoIP entity on real streams: one shell for the simulated wire and for TCP and TLS."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from clock import Timer
from ecu_sim.diagnostics.doip_server import TcpStream
from protocols.doip.entity import (
    Announce,
    Close,
    DoipEntity,
    EntityEvent,
    Request,
    Transmit,
)
from protocols.doip.messages import DiagnosticNack
from protocols.doip.settings import PLAIN, Peer
from protocols.stream import ByteStream

#: A request for an ECU behind the entity.
OnRequest = Callable[[Request], None]

#: Messages that may wait for a peer that does not read; one more and it is cut off.
_OUTGOING_LIMIT: Final = 64
#: A connection that ends, and an ECU that is to reset, wait so long for what was sent to be taken.
_FLUSH_S: Final = 1.0


def _nobody_asks() -> None:
    """Nothing depends on it."""


class _Connection:
    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        #: `None` ends the connection once what stands before it is out.
        self.outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        #: What to call when each message in the queue, and the one that is being sent, is out.
        self.unsent: deque[Callable[[], None]] = deque()
        self.reader: asyncio.Task[None] | None = None
        self.writer: asyncio.Task[None] | None = None
        #: Ends the connection even if the peer does not take what is left.
        self.patience: asyncio.TimerHandle | None = None


class DoipNode:
    """Runs a `DoipEntity` for as long as its ECU is awake; made anew at every boot.

    `on_request` is called on the loop's thread; its answers go back through `respond`.
    `disconnected` is told the number of every connection that is over.
    """

    def __init__(
        self,
        entity: DoipEntity,
        on_request: OnRequest,
        *,
        announce: Callable[[bytes], None] | None = None,
        disconnected: Callable[[int], None] = lambda _connection: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._entity = entity
        self._on_request = on_request
        self._announce = announce
        self._disconnected = disconnected
        self._timer = Timer(self._loop, self._timeout)
        self._connections: dict[int, _Connection] = {}
        self._numbers = 0
        self._when_idle: list[Callable[[], None]] = []
        self._patience = Timer(self._loop, self._call_idle)

    def start(self, *, announce_wait_s: float) -> None:
        """Announce the vehicle after a random wait (0 to 0.5 s) that the caller draws."""
        self._entity.start_announcing(wait_s=announce_wait_s, now=self._loop.time())
        self._arm()

    def attach(self, stream: ByteStream, peer: Peer = PLAIN) -> None:
        """Serve a new connection until either end closes it."""
        self._numbers += 1
        number, connection = self._numbers, _Connection(stream)
        self._connections[number] = connection
        connection.writer = self._loop.create_task(self._write(number, connection))
        connection.reader = self._loop.create_task(self._read(number, connection))
        self._handle(self._entity.connected(number, peer=peer, now=self._loop.time()))

    async def serve(self, stream: ByteStream) -> None:
        """The same, returning when the connection is over."""
        self.attach(stream, stream.peer if isinstance(stream, TcpStream) else PLAIN)
        writer = self._connections[self._numbers].writer
        if writer is not None:
            await asyncio.wait([writer])

    def respond(
        self,
        payload: bytes,
        *,
        tester: int,
        source: int | None = None,
        connection: int | None = None,
        sent: Callable[[], None] = _nobody_asks,
    ) -> None:
        """Send what an ECU answers (by default the entity's own).

        Dropped if the tester is gone, or on another connection than the one that is given. `sent`
        is called when its connection has taken it, or it has been dropped.
        """
        events = self._entity.send(
            payload,
            tester=tester,
            source=source,
            connection=connection,
            now=self._loop.time(),
        )
        last = max((at for at, one in enumerate(events) if isinstance(one, Transmit)), default=-1)
        for at, event in enumerate(events):
            self._handle([event], sent if at == last else _nobody_asks)
        if last < 0:
            sent()

    def delivered(self, request: Request, nack: DiagnosticNack | None = None) -> None:
        """A request is on its network, or failed there (`Acknowledge.ON_DELIVERY`)."""
        self._handle(self._entity.delivered(request, nack))

    def confirm(self, tester: int, *, granted: bool) -> None:
        """A person in the vehicle answers a routing activation."""
        self._handle(self._entity.confirm(tester, granted=granted, now=self._loop.time()))

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

    def hang_up(self) -> None:
        """Close every connection; new ones are served."""
        for number, connection in list(self._connections.items()):
            self._handle(self._entity.disconnected(number, now=self._loop.time()))
            connection.outgoing.put_nowait(None)

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
        self._end(connection)

    async def _write(self, number: int, connection: _Connection) -> None:
        try:
            with suppress(OSError):  # a peer that is gone is noticed by the reader too
                while (data := await connection.outgoing.get()) is not None:
                    await connection.stream.send(data)
                    connection.unsent.popleft()()
                    self._tell_idle()
        finally:
            # What was not sent to this peer never will be.
            del self._connections[number]
            if connection.patience is not None:
                connection.patience.cancel()
            while connection.unsent:
                connection.unsent.popleft()()
            self._tell_idle()
            if connection.reader is not None:
                connection.reader.cancel()
            self._handle(self._entity.disconnected(number, now=self._loop.time()))
            self._disconnected(number)
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

    def _handle(self, events: list[EntityEvent], sent: Callable[[], None] = _nobody_asks) -> None:
        for event in events:
            match event:
                case Transmit(number, data):
                    self._queue(number, data, sent)
                case Close(number):
                    if connection := self._connections.get(number):
                        self._end(connection)
                case Request():
                    self._on_request(event)
                case Announce(data):
                    if self._announce is not None:
                        self._announce(data)
        self._arm()

    def _end(self, connection: _Connection) -> None:
        """Once what was sent is out, or the peer has had its time to take it."""
        connection.outgoing.put_nowait(None)
        if connection.patience is None and connection.writer is not None:
            connection.patience = self._loop.call_later(_FLUSH_S, connection.writer.cancel)

    def _queue(self, number: int, data: bytes, sent: Callable[[], None]) -> None:
        connection = self._connections.get(number)
        if connection is None:
            sent()
            return
        if connection.outgoing.qsize() >= _OUTGOING_LIMIT and connection.writer is not None:
            connection.writer.cancel()
            sent()
            return
        connection.unsent.append(sent)
        connection.outgoing.put_nowait(data)

    def _arm(self) -> None:
        self._timer.set(self._entity.next_deadline())
