"""The server end of the bridge: ports of a simulated CAN wire for other processes, over TCP."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ecu_sim.bus.can import CanWire
from ecu_sim.bus.errors import WireError
from ecu_sim.bus.faults import ErrorFrame
from protocols.can import CanPort, FrameHeader
from protocols.can.bridge import (
    VERSION,
    BridgeDecoder,
    BridgeError,
    Error,
    Frames,
    Listen,
    Open,
    Opened,
    Record,
    Refused,
    Send,
    Sent,
    encode,
    split,
)

#: Bytes written and not taken by the client before it is dropped as too slow.
_BACKLOG: Final = 4 * 1024 * 1024


#: Identifier, extended: what a listener is asked for by.
_Key = tuple[int, bool]


def _key(header: FrameHeader) -> _Key:
    return header.identifier, header.extended


class BridgeServer:
    """Serves one wire until closed."""

    def __init__(self, wire: CanWire) -> None:
        self._wire = wire
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        wire.on_error_frame(self._tell_error)
        self.host = ""
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. `OSError` if the address is not to be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._wire, self._connections), host, port
        )
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.drop("the wire is closed")
        await self._server.wait_closed()
        self._server = None

    def _tell_error(self, error: ErrorFrame) -> None:
        for connection in tuple(self._connections):
            connection.tell_error(error)


async def serve_bridge(wire: CanWire, host: str, port: int) -> BridgeServer:
    """Start to serve `wire`; the server's `port` is the real one."""
    server = BridgeServer(wire)
    await server.start(host, port)
    return server


class _Connection(asyncio.Protocol):
    """One client: its port on the wire, or none yet."""

    def __init__(self, wire: CanWire, connections: "set[_Connection]") -> None:
        self._wire = wire
        self._connections = connections
        self._decoder = BridgeDecoder()
        self._transport: asyncio.Transport | None = None
        self._port: CanPort | None = None
        #: Keys of the identifiers that the client wants; None: all.
        self._wanted: frozenset[_Key] | None = frozenset()
        self._stops: dict[_Key, Callable[[], None]] = {}
        #: Once there, it stays, and what is wanted no longer is not told.
        self._stop_all: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # the peer is gone, for whatever reason
        self._transport = None
        self._connections.discard(self)
        for stop in self._stops.values():
            stop()
        if self._stop_all is not None:
            self._stop_all()

    def data_received(self, data: bytes) -> None:
        try:
            for record in self._decoder.receive(data):
                self._handle(record)
        except (BridgeError, WireError) as error:
            self.drop(str(error))

    def drop(self, reason: str) -> None:
        """Tell the client why, and close."""
        self._write(Refused(reason))
        if self._transport is not None:
            self._transport.close()

    def tell_error(self, error: ErrorFrame) -> None:
        """Who wants every frame hears of it."""
        if self._port is not None and self._wanted is None:
            self._write(Error(error.classes))

    def _handle(self, record: Record) -> None:
        match record, self._port:
            case Open(), None:
                self._open(record)
            case Listen(headers), port if port is not None:
                self._listen(port, headers)
            case Send(token, header, payloads), port if port is not None:
                port.send(header, payloads, lambda _: self._write(Sent(token)))
            case _:
                raise BridgeError(f"{type(record).__name__} is not due here")

    def _open(self, record: Open) -> None:
        if record.version != VERSION:
            raise BridgeError(f"bridge version {record.version}, {VERSION} is spoken here")
        if record.wire != self._wire.name:
            raise BridgeError(f"no wire {record.wire!r} here, but {self._wire.name!r}")
        self._port = self._wire.port(record.node)
        self._write(Opened(bit_rate=self._wire.bit_rate, data_bit_rate=self._wire.data_bit_rate))

    def _listen(self, port: CanPort, headers: tuple[FrameHeader, ...] | None) -> None:
        """What is wanted before and after is listened to throughout: no frame falls in between."""
        self._wanted = None if headers is None else frozenset(map(_key, headers))
        if headers is None and self._stop_all is None:
            self._stop_all = port.listen(self._other, receive_run=self._others)
        for header in headers or ():
            if self._stop_all is None and _key(header) not in self._stops:
                stop = port.listen(self._heard, header, receive_run=self._heard_run)
                self._stops[_key(header)] = stop
        if self._wanted is not None:
            for key in self._stops.keys() - self._wanted:
                self._stops.pop(key)()

    def _other(self, header: FrameHeader, data: bytes, _: float) -> None:
        if self._hears_otherwise(header):
            self._write(Frames(header, (data,)))

    def _others(
        self, header: FrameHeader, payloads: Sequence[bytes], times: Sequence[float]
    ) -> None:
        if self._hears_otherwise(header):
            self._heard_run(header, payloads, times)

    def _hears_otherwise(self, header: FrameHeader) -> bool:
        """Wanted, and no listener of its own tells it."""
        key = _key(header)
        return key not in self._stops and (self._wanted is None or key in self._wanted)

    def _heard(self, header: FrameHeader, data: bytes, _: float) -> None:
        self._write(Frames(header, (data,)))

    def _heard_run(
        self, header: FrameHeader, payloads: Sequence[bytes], _: Sequence[float]
    ) -> None:
        for part in split(payloads):
            self._write(Frames(header, part))

    def _write(self, record: Record) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(encode(record))
        if self._transport.get_write_buffer_size() > _BACKLOG:
            self._transport.abort()
