"""A wireless link as a local TCP proxy: real sockets, in real time.

A shell around `protocols.link`, which says when bytes leave, when they arrive and when a connection
is reset. Nothing is read from a sender faster than the link carries it, so little is held and the
sender feels the link as it would feel a modem.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from protocols.link import Link, Way
from protocols.link.model import Connected

_LOG = logging.getLogger(__name__)

#: Bytes given to the link at once, and how many of such pieces of one stream may be on their way.
_PIECE: Final = 4096
_IN_FLIGHT: Final = 64
#: Connections at once; the next is reset.
MOST_CONNECTIONS: Final = 64
#: Closing such a socket sends RST: linger on, for no time.
_LINGER_NOT: Final = struct.pack("ii", 1, 0)


class LinkProxyError(Exception):
    """The proxy cannot listen; the message names the address."""


@dataclass(slots=True, kw_only=True)
class Passed:
    """What one direction has carried, in bytes."""

    #: Taken from senders.
    sent: int = 0
    #: With what had to be sent again on the air.
    on_air: int = 0
    #: Handed to receivers; what was on its way when a connection was reset is not.
    delivered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A proxy's account of itself."""

    seconds: float
    #: Outages that have begun, and the seconds of them that have passed.
    outages: int
    outage_seconds: float
    connections: int
    open: int
    #: Reset by the link, refused because there were too many, and not taken by the far end.
    resets: int
    too_many: int
    unreachable: int
    up: Passed
    down: Passed


class LinkProxy:
    """An async context: it listens inside, and all its connections end with it."""

    def __init__(
        self, link: Link, *, to: tuple[str, int], listen: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self._link = link
        self._to = to
        self._listen = listen
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._tasks: set[asyncio.Task[None]] = set()
        self._delivered = {"up": 0, "down": 0}
        self._resets = self._too_many = self._unreachable = self._connections = 0
        self._outages, self._outage_s = 0, 0.0

    async def __aenter__(self) -> Self:
        host, port = self._listen
        try:
            self._server = await asyncio.start_server(self._accept, host, port, limit=_PIECE)
        except OSError as error:
            raise LinkProxyError(f"{host}:{port}: cannot listen: {error.strerror}") from error
        self._watch = self._loop.create_task(self._watch_coverage(), name="coverage")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in (self._watch, *self._tasks):
            task.cancel()
        await asyncio.gather(self._watch, *self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    @property
    def target(self) -> str:
        """`HOST:PORT`, as clients write it."""
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def statistics(self) -> Statistics:
        now_s = self._now()
        outage = self._link.coverage.outage_at(now_s)
        return Statistics(
            seconds=now_s,
            outages=self._outages,
            outage_seconds=self._outage_s + (now_s - outage.start_s if outage else 0.0),
            connections=self._connections,
            open=len(self._tasks),
            resets=self._resets,
            too_many=self._too_many,
            unreachable=self._unreachable,
            up=self._passed("up", self._link.up),
            down=self._passed("down", self._link.down),
        )

    def _passed(self, name: str, way: Way) -> Passed:
        return Passed(
            sent=way.counts.sent, on_air=way.counts.on_air, delivered=self._delivered[name]
        )

    def _now(self) -> float:
        return self._loop.time() - self._began

    async def _until(self, then_s: float) -> None:
        if (left_s := then_s - self._now()) > 0:
            await asyncio.sleep(left_s)

    async def _watch_coverage(self) -> None:
        """Count outages and tell of them as they come."""
        now_s = 0.0
        while True:
            outage = next(self._link.coverage.outages(now_s))
            await self._until(outage.start_s)
            self._outages += 1
            _LOG.info("coverage_lost at_s=%.1f for_s=%.1f", outage.start_s, outage.duration_s)
            await self._until(outage.end_s)
            self._outage_s += outage.duration_s
            _LOG.info("coverage_back at_s=%.1f", outage.end_s)
            now_s = outage.end_s

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MOST_CONNECTIONS:
            self._too_many += 1
            _reset(writer)
            return
        self._connections += 1
        task = self._loop.create_task(self._serve(reader, writer), name="link connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected = self._link.connect(now_s=self._now())
        failure: BaseException | None = None
        far = None
        async with AsyncExitStack() as stack:
            stack.callback(_reset, writer)
            limit = asyncio.timeout_at(self._began + connected.reset_s)
            try:
                async with limit:
                    # The kernel has accepted; the handshake would not be done before.
                    await self._until(connected.open_s)
                    far = await stack.enter_async_context(self._far_end())
                    await self._carry_both(connected, (reader, writer), far)
            except* OSError as group:
                failure = group
            if failure is None:
                return
            if limit.expired():
                await self._broken(connected, writer)
            elif far is None:
                self._unreachable += 1
                _LOG.warning("far_end_unreachable to=%s:%d cause=%s", *self._to, failure)
            else:
                # One end has reset it or is gone: the other is told the same.
                _LOG.info("connection_lost number=%d", connected.number)

    async def _broken(self, connected: Connected, writer: asyncio.StreamWriter) -> None:
        """The near end learns of it now, the far end when the link is back."""
        self._resets += 1
        _LOG.info("connection_reset number=%d at_s=%.1f", connected.number, connected.reset_s)
        _reset(writer)
        if (outage := self._link.coverage.outage_at(connected.reset_s)) is not None:
            await self._until(outage.end_s)

    @asynccontextmanager
    async def _far_end(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(*self._to, limit=_PIECE)
        try:
            yield reader, writer
        finally:
            _reset(writer)

    async def _carry_both(
        self,
        connected: Connected,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry("up", self._link.up, connected, near[0], far[1]))
            group.create_task(self._carry("down", self._link.down, connected, far[0], near[1]))
        for _, writer in (near, far):
            writer.close()
            await writer.wait_closed()

    async def _carry(
        self,
        name: str,
        way: Way,
        connected: Connected,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """One direction of one connection, to its end."""
        flying: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        behind_s = connected.open_s
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver(name, flying, writer))
            while piece := await reader.read(_PIECE):
                sent = way.send(len(piece), now_s=self._now(), behind_s=behind_s)
                behind_s = sent.arrives_s
                await flying.put((behind_s, piece))
                await self._until(sent.leaves_s)
            await flying.put((behind_s, b""))

    async def _deliver(
        self, name: str, flying: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            arrives_s, piece = await flying.get()
            await self._until(arrives_s)
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()
            self._delivered[name] += len(piece)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once with RST; one that is closed stays so."""
    transport = writer.transport
    if transport.is_closing():
        return
    raw: socket.socket | None = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
