"""The client end of the CAN bridge: a port on a wire that lives in another process.

A connection that breaks is opened again in the background, with everything that was listened to;
until then `send` raises `LinkError`.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Final

from protocols.can import FrameHeader, Receive, ReceiveRun, Sent
from protocols.can import bridge as records
from protocols.can.bits import FrameError, check
from vehicle_gateway.wires import LinkAwayError, LinkError
from vehicle_gateway.wires.tcp import told

_RETRY_S: Final = 0.5
#: Connecting and the bridge's answer together.
_OPEN_S: Final = 5.0
_TOKENS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class _Listener:
    receive: Receive
    receive_run: ReceiveRun | None
    #: None hears every frame.
    keys: frozenset[tuple[int, bool]] | None
    headers: tuple[FrameHeader, ...]


class BridgePort:
    """One node's port (`CanPort`) behind `can://bridge/HOST:PORT/WIRE`."""

    def __init__(self, uri: str, *, host: str, port: int, wire: str, node: str) -> None:
        self._uri = uri
        self._address = (host, port)
        self._open_record = records.Open(wire=wire, node=node)
        self._connection: _Connection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._listeners: dict[int, _Listener] = {}
        self._numbers = count()

    async def open(self) -> None:
        """Connect for the first time; `LinkError` names the URI and the reason.

        `LinkAwayError` while nobody is there; another one if the bridge refuses.
        """
        await self._connect()
        self._keeping = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        if self._connection is not None:
            self._connection.close()
            await self._connection.lost.wait()

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        if self._connection is None or self._connection.lost.is_set():
            raise LinkError(f"{self._uri}: not connected")
        try:
            self._connection.check(header, payloads)
        except FrameError as error:
            # The bridge would close the connection for it, and other senders would suffer.
            raise LinkError(f"{self._uri}: {error}") from error
        self._connection.queue(header, payloads, sent)

    def listen(
        self, receive: Receive, *headers: FrameHeader, receive_run: ReceiveRun | None = None
    ) -> Callable[[], None]:
        number = next(self._numbers)
        keys = frozenset((one.identifier, one.extended) for one in headers) if headers else None
        self._listeners[number] = _Listener(receive, receive_run, keys, headers)
        self._tell_what_is_heard()

        def stop() -> None:
            if self._listeners.pop(number, None) is not None:
                self._tell_what_is_heard()

        return stop

    async def _keep(self) -> None:
        while True:
            if self._connection is not None:
                await self._connection.lost.wait()
            with suppress(LinkError):
                await self._connect()
                continue
            await asyncio.sleep(_RETRY_S)

    async def _connect(self) -> None:
        connection = _Connection(self._open_record, self._hear)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_OPEN_S):
                await loop.create_connection(lambda: connection, *self._address)
                await connection.opened
        except records.BridgeError as error:
            connection.close()
            raise LinkError(f"{self._uri}: {error}") from error
        except (OSError, TimeoutError) as error:
            connection.close()
            raise LinkAwayError(f"{self._uri}: {told(error)}") from error
        self._connection = connection
        self._tell_what_is_heard()

    def _tell_what_is_heard(self) -> None:
        if self._connection is None or self._connection.lost.is_set():
            return
        listeners = self._listeners.values()
        if any(one.keys is None for one in listeners):
            self._connection.write(records.Listen(None))
        else:
            wanted = {header for one in listeners for header in one.headers}
            ordered = sorted(wanted, key=lambda one: (one.identifier, one.extended, one.fd))
            self._connection.write(records.Listen(tuple(ordered)))

    def _hear(self, frames: records.Frames, at_s: float) -> None:
        key = (frames.header.identifier, frames.header.extended)
        for listener in tuple(self._listeners.values()):
            if listener.keys is not None and key not in listener.keys:
                continue
            if listener.receive_run is not None and len(frames.payloads) > 1:
                times = [at_s] * len(frames.payloads)
                listener.receive_run(frames.header, frames.payloads, times)
                continue
            for payload in frames.payloads:
                listener.receive(frames.header, payload, at_s)


class _Connection(asyncio.Protocol):
    """One TCP connection to a bridge."""

    def __init__(
        self, open_record: records.Open, hear: Callable[[records.Frames, float], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._open_record = open_record
        self._hear = hear
        self._decoder = records.BridgeDecoder()
        self._transport: asyncio.Transport | None = None
        self._confirmations: dict[int, Sent] = {}
        self._tokens = count()
        self.opened: asyncio.Future[records.Opened] = self._loop.create_future()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self.write(self._open_record)

    def data_received(self, data: bytes) -> None:
        try:
            for record in self._decoder.receive(data):
                self._take(record)
        except records.BridgeError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionError(f"connection lost: {exc or 'closed by the bridge'}"))
        self.lost.set()

    def check(self, header: FrameHeader, payloads: Sequence[bytes]) -> None:
        """Raise `FrameError` for what the wire behind the bridge cannot carry."""
        if not payloads:
            raise FrameError(f"0x{header.identifier:X}: a burst without frames")
        if header.fd and not self.opened.result().data_bit_rate:
            raise FrameError(f"0x{header.identifier:X}: an FD frame on a classic wire")
        for length in set(map(len, payloads)):
            check(header, bytes(length))

    def queue(self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None) -> None:
        """One burst, in as many records as it needs; `sent` belongs to the last one."""
        pieces = list(records.split(payloads))
        for number, piece in enumerate(pieces, start=1):
            token = next(self._tokens) % _TOKENS
            if sent is not None and number == len(pieces):
                self._confirmations[token] = sent
            self.write(records.Send(token, header, piece))

    def write(self, record: records.Record) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(records.encode(record))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _take(self, record: records.Record) -> None:
        match record:
            case records.Opened():
                if not self.opened.done():
                    self.opened.set_result(record)
            case records.Refused(reason):
                self._fail(records.BridgeError(reason))
            case records.Sent(token):
                if (sent := self._confirmations.pop(token, None)) is not None:
                    sent(self._loop.time())
            case records.Frames():
                self._hear(record, self._loop.time())
            case records.Error():
                pass  # the sender tries again; who wants to see it joins by python-can
            case _:
                self._fail(records.BridgeError(f"{type(record).__name__} is not for a client"))

    def _fail(self, error: records.BridgeError | ConnectionError) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
        elif not self.opened.cancelled():
            self.opened.exception()  # told to nobody: the next `send` says that it is not connected
        self._confirmations.clear()
        self.close()
