"""DoIP over a byte stream: the asyncio shell of `protocols.doip`'s tester end.

One connection per wire, opened when it is first needed and again after it broke (an ECU that
resets closes it). P2 starts at the entity's acknowledgement.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from clock import Timer
from dbc import EcuDescription, WireDescription
from protocols.doip.client import (
    Acknowledged,
    Activated,
    ActivationRefused,
    ClientEvent,
    DoipClient,
    HeaderRefused,
    PeerBroken,
    Refused,
    Response,
    Transmit,
)
from protocols.doip.errors import DoipError
from protocols.stream import ByteStream
from vehicle_gateway.wires import (
    AnswerBroken,
    AnswerReceived,
    Channel,
    ChannelEvent,
    LinkError,
    NoAnswerError,
)
from vehicle_gateway.wires.mailbox import Mailbox


class DoipChannel:
    """One ECU's messages, by its logical address."""

    #: An entity that has no room for a request says so (diagnostic message NACK 04).
    longest_request: int | None = None

    def __init__(self, wire: "DoipWire", logical_address: int) -> None:
        self._wire = wire
        self._logical_address = logical_address
        self.mailbox = Mailbox()

    async def send(self, request: bytes) -> float:
        return await self._wire.send(request, target=self._logical_address)

    async def receive(self) -> ChannelEvent:
        return await self.mailbox.get()

    def discard(self) -> None:
        self.mailbox.clear()


class DoipWire:
    """A DoIP entity with the ECUs behind it (`Wire`)."""

    def __init__(
        self,
        open_stream: Callable[[], Awaitable[ByteStream]],
        description: WireDescription,
        *,
        tester_address: int,
    ) -> None:
        self._open_stream = open_stream
        self._description = description
        self._tester_address = tester_address
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None
        self._channels: dict[int, DoipChannel] = {}

    def channel(self, ecu: EcuDescription) -> Channel:
        if ecu.logical_address not in self._channels:
            self._channels[ecu.logical_address] = DoipChannel(self, ecu.logical_address)
        return self._channels[ecu.logical_address]

    async def send(self, request: bytes, *, target: int) -> float:
        """Send to a logical address; returns at the acknowledgement, with its loop time."""
        connection = await self._connected()
        return await connection.send(request, target=target)

    def wake(self) -> None:
        """Nothing: whoever is on Ethernet does not sleep."""

    async def broadcast(self, request: bytes) -> float:
        return await self.send(request, target=self._description.functional_id)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _connected(self) -> "_Connection":
        async with self._connecting:
            if self._connection is not None:
                if self._connection.broken is None:
                    return self._connection
                await self.close()
            try:
                stream = await self._open_stream()
            except OSError as error:
                raise LinkError(f"{self._description.name}: {error}") from error
            connection = _Connection(
                stream,
                name=self._description.name,
                tester_address=self._tester_address,
                channels=self._channels,
            )
            try:
                await connection.activate()
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
            return connection


class _Connection:
    """One TCP connection, from routing activation until it breaks or is closed."""

    def __init__(
        self,
        stream: ByteStream,
        *,
        name: str,
        tester_address: int,
        channels: dict[int, DoipChannel],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._stream = stream
        self._channels = channels
        self._core = DoipClient(source_address=tester_address)
        self._timer = Timer(self._loop, self._time_out)
        self._activated: asyncio.Future[None] = self._loop.create_future()
        #: Who waits for an acknowledgement, by target address.
        self._acknowledged: dict[int, asyncio.Future[float]] = {}
        self._reading: asyncio.Task[None] | None = None
        #: Why nothing more comes, None while it stands.
        self.broken: str | None = None

    async def activate(self) -> None:
        """Routing activation; `LinkError` if the entity refuses or stays silent."""
        self._reading = asyncio.create_task(self._read())
        await self._act(self._core.connect(now=self._loop.time()))
        try:
            await self._activated
        except NoAnswerError as error:
            raise LinkError(f"{self._name}: no routing activation: {error}") from error

    async def send(self, request: bytes, *, target: int) -> float:
        if self.broken is not None:
            raise NoAnswerError(f"{self._name}: {self.broken}")
        if target in self._acknowledged:
            raise LinkError(f"{self._name}: a request to 0x{target:04X} is being sent already")
        acknowledged: asyncio.Future[float] = self._loop.create_future()
        self._acknowledged[target] = acknowledged
        try:
            await self._act(self._core.send(request, target=target, now=self._loop.time()))
            return await acknowledged
        except DoipError as error:
            raise NoAnswerError(f"{self._name}: {error}") from error
        finally:
            del self._acknowledged[target]

    async def close(self) -> None:
        self._break("connection closed")
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        await self._stream.close()

    async def _read(self) -> None:
        try:
            while data := await self._stream.receive():
                await self._act(self._core.receive(data, now=self._loop.time()))
        except (LinkError, OSError) as error:
            self._break(f"connection broken: {error}")
        else:
            self._break("connection closed by the entity")

    def _time_out(self) -> None:
        try:
            self._core.handle_timeout(now=self._loop.time())
        except DoipError as error:
            self._break(str(error))
        else:
            self._timer.set(self._core.next_deadline())

    async def _act(self, events: Sequence[ClientEvent]) -> None:
        self._timer.set(self._core.next_deadline())
        for event in events:
            match event:
                case Transmit(data):
                    try:
                        await self._stream.send(data)
                    except (LinkError, OSError) as error:
                        self._break(f"connection broken: {error}")
                case Activated():
                    if not self._activated.done():
                        self._activated.set_result(None)
                case ActivationRefused(code):
                    self._break(f"routing activation refused (0x{code:02X})")
                case Acknowledged(target):
                    if (waiting := self._waiting(target)) is not None:
                        waiting.set_result(self._loop.time())
                case Refused(target, code):
                    if (waiting := self._waiting(target)) is not None:
                        cause = f"0x{target:04X}: message not taken (DoIP code 0x{code:02X})"
                        waiting.set_exception(NoAnswerError(f"{self._name}: {cause}"))
                case Response(source, payload):
                    if (channel := self._channels.get(source)) is not None:
                        channel.mailbox.put(AnswerReceived(payload, self._loop.time()))
                case HeaderRefused(code):
                    self._break(f"message header refused (DoIP code 0x{code:02X})")
                case PeerBroken(reason):
                    self._break(reason)

    def _waiting(self, target: int) -> asyncio.Future[float] | None:
        found = self._acknowledged.get(target)
        return None if found is None or found.done() else found

    def _break(self, reason: str) -> None:
        """End it for all who wait; the next request opens a new connection."""
        if self.broken is not None:
            return
        self.broken = reason
        self._timer.cancel()
        error = NoAnswerError(f"{self._name}: {reason}")
        if not self._activated.done():
            self._activated.set_exception(error)
        for waiting in self._acknowledged.values():
            if not waiting.done():
                waiting.set_exception(error)
        # Nobody may be there to hear of the activation: that is no error of its own.
        if self._activated.done() and not self._activated.cancelled():
            self._activated.exception()
        for channel in self._channels.values():
            channel.mailbox.put(AnswerBroken(reason))
