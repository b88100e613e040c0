"""The gateway's end of a remote session: from the cloud's stream to the vehicle's DoIP edge node.

A session lives on one connection to the cloud and ends with it. Nothing is read from one side
before the other has taken what came, so little is held in between.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc

from protocols.doip.gate import Answer, Broken, Pass, ReadGate
from protocols.fleet.v1 import remote_access_pb2, remote_access_pb2_grpc
from protocols.fleet.v1.remote_access_pb2 import (
    ConnectVehicleRequest,
    TunnelEnd,
    TunnelFrame,
    TunnelHello,
)
from protocols.stream import ByteStream
from vehicle_gateway.calls import Caller
from vehicle_gateway.management import RemoteOffer, RemoteScope
from vehicle_gateway.wires import WireError

_LOG = logging.getLogger(__name__)

_PIECE: Final = 32 * 1024
_MOST_CONNECTIONS: Final = 4
#: More than a session may last: a gateway does not trust the cloud with more.
_LONGEST_S: Final = 4 * 3600.0
#: What `read` answers at the end of a stream; the stubs leave it out.
_EOF: Final = grpc.aio.EOF  # type: ignore[attr-defined]  # see above
#: Seconds in which the cloud takes note of an end.
_GOODBYE_S: Final = 2.0
#: Seconds between two looks at whether the session is still allowed.
_LOOK_S: Final = 0.5


@dataclass(slots=True)
class _Connection:
    """One of the tester's connections, with ours to the edge node."""

    stream: ByteStream
    gate: ReadGate | None
    reading: asyncio.Task[None]


class RemoteAccess:
    """Runs one session at a time. In real time alone: it is a live stream."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        caller: Caller,
        *,
        edge: Callable[[], Awaitable[ByteStream]] | None,
        forbidden: Callable[[RemoteScope], Awaitable[str]],
        begins: Callable[[], None],
        ends: Callable[[], None],
    ) -> None:
        """`edge` connects to the edge node; `forbidden` says what stands against a session now.

        From `begins` to `ends` the tester has the ECUs to itself: its requests have the same
        identifiers as ours.
        """
        self._begins, self._ends = begins, ends
        self._stub = remote_access_pb2_grpc.RemoteAccessServiceStub(channel)
        self._caller = caller
        self._edge = edge
        self._forbidden = forbidden
        self._running: asyncio.Task[None] | None = None

    @property
    def active(self) -> bool:
        """Whether a tester may be at work in the vehicle."""
        return self._running is not None and not self._running.done()

    def begin(self, offer: RemoteOffer) -> None:
        """Start a session that the cloud has told of; one that runs goes on."""
        if self.active:
            return
        self._begins()
        self._running = asyncio.create_task(self._run(offer), name=f"remote session {offer.name}")

    async def close(self) -> None:
        """End the session that runs."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _run(self, offer: RemoteOffer) -> None:
        _LOG.info("remote_session_begins name=%s scope=%s", offer.name, offer.scope.value)
        connect: Any = self._stub.ConnectVehicle  # a call that writes, which the stubs do not know
        call = connect(timeout=offer.remaining_s, metadata=self._caller.metadata())
        session = _Session(call, offer, self._edge, self._forbidden, self._caller)
        try:
            reason = await session.run()
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name}: {error.details()}"
        finally:
            self._ends()
            await session.close()
            call.cancel()
        _LOG.info("remote_session_ends name=%s reason=%s", offer.name, reason)


class _Session:
    def __init__(
        self,
        call: Any,  # noqa: ANN401 the stubs know no aio call that writes
        offer: RemoteOffer,
        edge: Callable[[], Awaitable[ByteStream]] | None,
        forbidden: Callable[[RemoteScope], Awaitable[str]],
        caller: Caller,
    ) -> None:
        self._call = call
        self._offer = offer
        self._edge = edge
        self._forbidden = forbidden
        self._caller = caller
        self._connections: dict[int, _Connection] = {}
        # A call takes one message at a time.
        self._writing = asyncio.Lock()

    async def run(self) -> str:
        """Serve to the end; why it ended."""
        hello = TunnelHello(name=self._offer.name, token=self._offer.token)
        await self._call.write(ConnectVehicleRequest(hello=hello))
        # Whoever cancels a read or a write of a call cancels the call: neither is, until its end.
        serving = asyncio.create_task(self._serve(), name="remote session, from the cloud")
        watching = asyncio.create_task(self._watch(), name="remote session, conditions")
        try:
            await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                return serving.result()
            reason = watching.result()
            await self._send(TunnelFrame(connection=0, end=TunnelEnd(reason=reason)))
            await self._call.done_writing()
            await asyncio.wait({serving}, timeout=_GOODBYE_S)
            return reason
        finally:
            for task in (serving, watching):
                task.cancel()
            await asyncio.gather(serving, watching, return_exceptions=True)

    async def close(self) -> None:
        """Leave nothing behind; the call is over."""
        for number, connection in list(self._connections.items()):
            connection.reading.cancel()
            await asyncio.gather(connection.reading, return_exceptions=True)
            await self._drop(number)

    async def _watch(self) -> str:
        """Look whether the session is allowed, at its beginning and all along; why it is not."""
        if self._edge is None:
            return "this gateway knows no DoIP edge node of its vehicle"
        while True:
            if cause := await self._forbidden(self._offer.scope):
                return cause
            await asyncio.sleep(_LOOK_S)

    async def _serve(self) -> str:
        """Do what the cloud says, to the session's end; why it ended."""
        while (response := await self._call.read()) is not _EOF:
            if response.WhichOneof("content") != "frame":
                continue
            if response.frame.connection == 0:
                return str(response.frame.end.reason)
            await self._take(response.frame)
        return "the cloud has ended it"

    async def _take(self, frame: TunnelFrame) -> None:
        number = frame.connection
        match frame.WhichOneof("content"):
            case "begin":
                await self._connect(number)
            case "data" if number in self._connections:
                self._caller.count(received=len(frame.data))
                await self._to_edge(number, frame.data)
            case "end":
                await self._drop(number)
            case _:
                pass  # of a connection that has just ended at our side

    async def _connect(self, number: int) -> None:
        if self._edge is None or len(self._connections) >= _MOST_CONNECTIONS:
            await self._end(number, "no room for another connection")
            return
        try:
            stream = await self._edge()
        except WireError as error:
            await self._end(number, str(error))
            return
        gate = ReadGate() if self._offer.scope is RemoteScope.READ else None
        reading = asyncio.create_task(self._from_edge(number, stream), name="from the edge node")
        self._connections[number] = _Connection(stream, gate, reading)

    async def _to_edge(self, number: int, data: bytes) -> None:
        connection = self._connections[number]
        try:
            if connection.gate is None:
                await connection.stream.send(data)
                return
            for made in connection.gate.receive(data):
                match made:
                    case Pass(passed):
                        await connection.stream.send(passed)
                    case Answer(answered):
                        await self._data(number, answered)
                    case Broken(reason):
                        await self._drop(number)
                        await self._end(number, f"not DoIP: {reason}")
                        return
        except (OSError, WireError) as error:
            await self._drop(number)
            await self._end(number, f"the edge node: {error}")

    async def _from_edge(self, number: int, stream: ByteStream) -> None:
        reason = ""
        try:
            while data := await stream.receive():
                await self._data(number, data)
        except (OSError, WireError) as error:
            reason = f"the edge node: {error}"
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the session is over
        if self._connections.pop(number, None) is None:
            return  # closed at the tester's end
        await stream.close()
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._end(number, reason)

    async def _data(self, number: int, data: bytes) -> None:
        for at in range(0, len(data), _PIECE):
            piece = data[at : at + _PIECE]
            self._caller.count(sent=len(piece))
            await self._send(TunnelFrame(connection=number, data=piece))

    async def _end(self, number: int, reason: str) -> None:
        await self._send(TunnelFrame(connection=number, end=TunnelEnd(reason=reason)))

    async def _send(self, frame: TunnelFrame) -> None:
        async with self._writing:
            await self._call.write(ConnectVehicleRequest(frame=frame))

    async def _drop(self, number: int) -> None:
        """Close our end; what reads from it ends by that."""
        connection = self._connections.pop(number, None)
        if connection is None:
            return
        await connection.stream.close()


def remote_offer_of(message: remote_access_pb2.RemoteSessionOffer) -> RemoteOffer | None:
    """What a check-in tells of a session; None if it has no scope that we know, or no time."""
    scopes = {
        remote_access_pb2.REMOTE_SCOPE_READ: RemoteScope.READ,
        remote_access_pb2.REMOTE_SCOPE_FULL: RemoteScope.FULL,
    }
    remaining_s = message.remaining.seconds + message.remaining.nanos / 1e9
    if message.scope not in scopes or not 0 < remaining_s <= _LONGEST_S:
        return None
    return RemoteOffer(
        name=message.name,
        scope=scopes[message.scope],
        token=message.vehicle_token,
        remaining_s=remaining_s,
    )
