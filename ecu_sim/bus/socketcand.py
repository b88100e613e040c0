"""A socketcand server: simulated CAN wires for tools and programs that know socketcand.

Every client is a node of the wire that it opens. It has the protocol's BCM and raw modes
(`protocols.can.socketcand`), with CAN FD and, in raw mode, error frames.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Final

from ecu_sim.bus.can import CanWire
from ecu_sim.bus.errors import WireError
from ecu_sim.bus.faults import ErrorFrame, ErrorState
from protocols.can import CanPort, FrameHeader
from protocols.can import socketcand as protocol

#: Bytes written and not taken by the client before it is dropped as too slow.
_BACKLOG: Final = 4 * 1024 * 1024
#: Frames of a client that wait for the wire: with so many it has to wait, with so few it goes on.
_WAITING_MOST: Final = 256
_WAITING_FEW: Final = 64
_CLIENTS: Final = 64
#: Cycles, and subscriptions, of one client.
_JOBS: Final = 256
#: Shortest cycle in seconds.
_SHORTEST_S: Final = 0.001


class SocketcandServer:
    """Serves these wires, each a bus of its name, until closed."""

    def __init__(self, wires: Mapping[str, CanWire], *, epoch_s: float) -> None:
        """`epoch_s`: seconds since 1970 at loop time 0, for the stamps of frames."""
        self.wires = wires
        self.epoch_s = epoch_s
        self.clients: set[_Client] = set()
        self.numbers = count(1)
        self._server: asyncio.Server | None = None
        self.host = ""
        self.port = 0
        for wire in wires.values():
            wire.on_error_frame(self._teller(wire))
            wire.on_error_state(self._changed)

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. `OSError` if the address is not to be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), host, port)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for client in list(self.clients):
            client.drop("the wire is closed")
        await self._server.wait_closed()
        self._server = None

    def _teller(self, wire: CanWire) -> Callable[[ErrorFrame], None]:
        def tell(error: ErrorFrame) -> None:
            for client in tuple(self.clients):
                client.tell_error(wire, error)

        return tell

    def _changed(self, node: str, state: ErrorState) -> None:
        if state is ErrorState.BUS_OFF:
            for client in tuple(self.clients):
                if client.node == node:
                    client.lost_all()


class _Job:
    """A frame that is sent in cycles; one that is still on its way is not sent again."""

    def __init__(self, client: "_Client", command: protocol.Add) -> None:
        self._client = client
        self._header = command.header
        self._every_s = max(command.every_s, _SHORTEST_S)
        self._loop = asyncio.get_running_loop()
        self._due_s = self._loop.time()
        self.data = command.data
        self._on_its_way = False
        self._handle = self._loop.call_soon(self._send)

    def stop(self) -> None:
        self._handle.cancel()

    def _send(self) -> None:
        # Missed cycles are not made up for.
        self._due_s = max(self._due_s + self._every_s, self._loop.time())
        self._handle = self._loop.call_at(self._due_s, self._send)
        if not self._on_its_way:
            self._on_its_way = self._client.send(self._header, self.data, self._sent)

    def _sent(self) -> None:
        self._on_its_way = False


class _Subscription:
    """What a client hears of one identifier: each frame or each change, and not too often."""

    def __init__(self, client: "_Client", port: CanPort, command: protocol.Subscribe) -> None:
        self._client = client
        self._mask = command.mask
        self._every_s = command.every_s
        self._loop = asyncio.get_running_loop()
        self._told: bytes | None = None
        self._free_s = 0.0
        #: The newest frame that has to wait for its time.
        self._waiting: tuple[FrameHeader, bytes] | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._stop = port.listen(self._hear, command.header)

    def stop(self) -> None:
        self._stop()
        if self._handle is not None:
            self._handle.cancel()

    def _hear(self, header: FrameHeader, data: bytes, at_s: float) -> None:
        if self._mask is not None and self._masked(data) == self._told:
            self._waiting = None  # as it was
            return
        if at_s >= self._free_s:
            self._tell(header, data, at_s)
            return
        self._waiting = (header, data)
        if self._handle is None:
            self._handle = self._loop.call_at(self._free_s, self._now)

    def _now(self) -> None:
        self._handle = None
        if self._waiting is not None:
            self._tell(*self._waiting, self._loop.time())

    def _tell(self, header: FrameHeader, data: bytes, at_s: float) -> None:
        self._waiting = None
        self._told = self._masked(data)
        self._free_s = at_s + self._every_s
        self._client.tell(header, data, at_s, spaced=True)

    def _masked(self, data: bytes) -> bytes:
        mask = (self._mask or b"").ljust(len(data), b"\0")
        return bytes(one & other for one, other in zip(data, mask, strict=False))


class _Client(asyncio.Protocol):
    """One connection: no bus yet, or a node of one in BCM or raw mode."""

    def __init__(self, server: SocketcandServer) -> None:
        self._server = server
        self._decoder = protocol.SocketcandDecoder()
        self._transport: asyncio.Transport | None = None
        self._wire: CanWire | None = None
        self._port: CanPort | None = None
        self._raw: Callable[[], None] | None = None
        self._jobs: dict[FrameHeader, _Job] = {}
        self._subscriptions: dict[FrameHeader, _Subscription] = {}
        #: What the client has said and we have not done: no more than one read brings.
        self._commands: deque[protocol.Command] = deque()
        #: Frames that the wire has not carried yet.
        self._waiting = 0
        self._generation = 0
        self.node = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        if len(self._server.clients) >= _CLIENTS:
            self.drop(f"{_CLIENTS} clients are here already")
            return
        self._server.clients.add(self)
        self.node = f"socketcand {next(self._server.numbers)}"
        self._write(protocol.HI)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # the peer is gone, for whatever reason
        self._transport = None
        self._commands.clear()
        self._server.clients.discard(self)
        self._forget()

    def data_received(self, data: bytes) -> None:
        try:
            self._commands += self._decoder.receive(data)
        except protocol.SocketcandError as error:
            self.drop(str(error))
            return
        self._go_on()

    def _go_on(self) -> None:
        """Carry out what the client has said, as far as the wire keeps up with it."""
        while self._commands and self._waiting < _WAITING_MOST:
            self._handle(self._commands.popleft())
        if self._transport is not None:
            if self._commands:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def drop(self, reason: str) -> None:
        """Tell the client why, and close."""
        self._write(protocol.refusal(reason))
        if self._transport is not None:
            self._transport.close()

    def tell(self, header: FrameHeader, data: bytes, at_s: float, *, spaced: bool = False) -> None:
        self._write(protocol.frame(header, data, self._server.epoch_s + at_s, spaced=spaced))

    def tell_error(self, wire: CanWire, error: ErrorFrame) -> None:
        if wire is self._wire and self._raw is not None:
            self._write(protocol.error_frame(error.classes, self._server.epoch_s + error.at_s))

    def send(
        self, header: FrameHeader, data: bytes, sent: Callable[[], None] = lambda: None
    ) -> bool:
        """Queue a frame; False if the wire cannot have it, which the client is told."""
        generation = self._generation

        def over(_: float) -> None:
            if generation == self._generation:
                self._waiting -= 1
                if self._commands and self._waiting <= _WAITING_FEW:
                    self._go_on()
            sent()

        if self._port is None:
            return False
        try:
            self._port.send(header, (data,), over)
        except WireError as error:
            self._write(protocol.refusal(f"not sent: {error}"))
            return False
        self._waiting += 1
        return True

    def lost_all(self) -> None:
        """Our node is bus-off: what it had queued is lost."""
        self._generation += 1
        self._waiting = 0
        self._go_on()

    def _handle(self, command: protocol.Command) -> None:
        match command:
            case protocol.Malformed(reason):
                self._write(protocol.refusal(reason))
            case protocol.Open(bus) if self._port is None:
                self._open(bus)
            case protocol.Echo() if self._port is not None:
                self._write(protocol.ECHO)
            case protocol.SetMode(mode) if self._port is not None:
                self._forget()
                if mode == "raw":
                    self._raw = self._port.listen(self._hear, receive_run=self._hear_run)
                self._write(protocol.OK)
            case protocol.Send(header, data) if self._port is not None:
                self.send(header, data)
            case _ if self._port is not None and self._raw is None:
                self._handle_bcm(self._port, command)
            case _:
                self._write(protocol.refusal("unknown command"))

    def _open(self, bus: str) -> None:
        wire = self._server.wires.get(bus)
        if wire is None:
            known = ", ".join(self._server.wires)
            self.drop(f"no bus {bus!r} here, but {known}")
            return
        self._wire = wire
        self._port = wire.port(self.node)
        self._write(protocol.OK)

    def _handle_bcm(self, port: CanPort, command: protocol.Command) -> None:
        match command:
            case protocol.Add(0.0, header, data):
                self.send(header, data)
            case protocol.Add(header=header):
                if self._room(self._jobs, header):
                    self._jobs[header] = _Job(self, command)
            case protocol.Update(header, data) if header in self._jobs:
                self._jobs[header].data = data
            case protocol.Delete(header) if header in self._jobs:
                self._jobs.pop(header).stop()
            case protocol.Subscribe(header=header):
                if self._room(self._subscriptions, header):
                    self._subscriptions[header] = _Subscription(self, port, command)
            case protocol.Unsubscribe(header) if header in self._subscriptions:
                self._subscriptions.pop(header).stop()
            case _:
                self._write(protocol.refusal("unknown command, or nothing of the kind is set up"))

    def _room(
        self, kind: "dict[FrameHeader, _Job] | dict[FrameHeader, _Subscription]", of: FrameHeader
    ) -> bool:
        """Ends the one that is there; whether there may be another."""
        before = kind.pop(of, None)
        if before is not None:
            before.stop()
        if len(kind) >= _JOBS:
            self._write(protocol.refusal(f"{_JOBS} are set up already"))
            return False
        return True

    def _forget(self) -> None:
        """What a mode has set up ends with it."""
        if self._raw is not None:
            self._raw()
            self._raw = None
        for job in self._jobs.values():
            job.stop()
        for subscription in self._subscriptions.values():
            subscription.stop()
        self._jobs.clear()
        self._subscriptions.clear()

    def _hear(self, header: FrameHeader, data: bytes, at_s: float) -> None:
        self.tell(header, data, at_s)

    def _hear_run(
        self, header: FrameHeader, payloads: Sequence[bytes], times: Sequence[float]
    ) -> None:
        for data, at_s in zip(payloads, times, strict=True):
            self.tell(header, data, at_s)

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _BACKLOG:
            self._transport.abort()
