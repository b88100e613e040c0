"""The tester's end of a remote session: a DoIP entity's port on the engineer's own machine.

An unmodified tester connects here as it would to the vehicle. Its byte stream goes to the cloud
and on to the vehicle; vehicle identification (UDP) is answered here, in the vehicle's name.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

import grpc

from protocols.doip.decoder import HeaderFault, decode_datagram
from protocols.doip.messages import VERSION_2012, VehicleAnnouncement, encode
from protocols.doip.messages import VehicleIdentificationRequest as Identification
from protocols.fleet.v1 import remote_access_pb2_grpc
from protocols.fleet.v1.remote_access_pb2 import (
    ConnectTesterRequest,
    TunnelBegin,
    TunnelEnd,
    TunnelFrame,
    TunnelHello,
)

_PIECE: Final = 32 * 1024
#: What `read` answers at the end of a stream; the stubs leave it out.
_EOF: Final = grpc.aio.EOF  # type: ignore[attr-defined]  # see above
#: Seconds in which a tester takes what it still gets when its connection is closed.
_CLOSE_S: Final = 1.0
#: Not known here: ISO 13400-2 has this for an EID or GID that is not set.
_UNSET: Final = bytes(6)


class RemoteSessionOverError(Exception):
    """The session has ended; the message says why."""


class RemoteTester:
    """One session's end; `run` serves until it is over."""

    def __init__(
        self, target: str, *, name: str, token: bytes, vin: str, entity_address: int
    ) -> None:
        self._target = target
        self._name = name
        self._token = token
        self._vin = vin
        self._entity_address = entity_address
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._numbers = 0
        self._writing = asyncio.Lock()
        self._call: Any = None
        #: Where testers connect.
        self.address: tuple[str, int] | None = None
        #: The vehicle is there, and testers may connect.
        self.ready = asyncio.Event()

    async def run(self, host: str, port: int) -> None:
        """Listen on `host` and `port` (0: a free one) once the vehicle is there.

        Ends with `RemoteSessionOverError`; `OSError` if nobody can listen there.
        """
        async with grpc.aio.insecure_channel(self._target) as channel:
            # The stubs do not know a call that writes.
            connect: Any = remote_access_pb2_grpc.RemoteAccessServiceStub(channel).ConnectTester
            self._call = connect()
            try:
                hello = TunnelHello(name=self._name, token=self._token)
                await self._call.write(ConnectTesterRequest(hello=hello))
                await self._wait_for_vehicle()
                async with self._listening(host, port):
                    self.ready.set()
                    await self._serve()
            except grpc.aio.AioRpcError as error:
                raise RemoteSessionOverError(error.details() or error.code().name) from error
            finally:
                self._call.cancel()

    async def _wait_for_vehicle(self) -> None:
        response = await self._call.read()
        if response is _EOF or response.WhichOneof("content") != "ready":
            raise RemoteSessionOverError(
                response.frame.end.reason if response is not _EOF else "the cloud has ended it"
            )

    @asynccontextmanager
    async def _listening(self, host: str, port: int) -> AsyncIterator[None]:
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._read(reader, writer), name="tester")
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, host, port, limit=_PIECE)
        self.address = server.sockets[0].getsockname()[:2]
        loop = asyncio.get_running_loop()
        announcement = encode(
            VehicleAnnouncement(
                vin=self._vin.encode("ascii"),
                logical_address=self._entity_address,
                eid=_UNSET,
                gid=_UNSET,
            ),
            version=VERSION_2012,
        )
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Identity(self._vin, announcement), local_addr=self.address
        )
        try:
            yield
        finally:
            transport.close()
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the tester, from it to the cloud."""
        self._numbers += 1
        number = self._numbers
        self._writers[number] = writer
        reason = ""
        try:
            await self._send(TunnelFrame(connection=number, begin=TunnelBegin()))
            while data := await reader.read(_PIECE):
                await self._send(TunnelFrame(connection=number, data=data))
        except OSError as error:
            reason = str(error)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the session is over, which `run` tells
        finally:
            mine = self._writers.pop(number, None) is not None
            await _closed(writer)
        if mine:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._send(TunnelFrame(connection=number, end=TunnelEnd(reason=reason)))

    async def _serve(self) -> None:
        """From the cloud to the tester's connections, no faster than they take it."""
        while (response := await self._call.read()) is not _EOF:
            frame = response.frame
            if frame.connection == 0:
                raise RemoteSessionOverError(frame.end.reason)
            writer = self._writers.get(frame.connection)
            if writer is None:
                continue  # it has just closed
            if frame.WhichOneof("content") == "end":
                del self._writers[frame.connection]
                writer.close()
                continue
            writer.write(frame.data)
            with suppress(OSError):  # its reader says so to the cloud
                await writer.drain()
        raise RemoteSessionOverError("the cloud has ended it")

    async def _send(self, frame: TunnelFrame) -> None:
        async with self._writing:
            await self._call.write(ConnectTesterRequest(frame=frame))


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close it, with what is still to go out where the tester takes it."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), _CLOSE_S)
    except OSError:  # a TimeoutError is one, too
        writer.transport.abort()


class _Identity(asyncio.DatagramProtocol):
    """Answers vehicle identification requests (ISO 13400-2) that are for this vehicle."""

    def __init__(self, vin: str, announcement: bytes) -> None:
        self._vin = vin.encode("ascii")
        self._announcement = announcement
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Up to Python 3.11 the loop's own is none by its class.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        found = decode_datagram(data)
        if isinstance(found, HeaderFault) or not isinstance(found, Identification):
            return
        wanted = self._vin if found.vin is None else found.vin
        if found.eid is None and wanted == self._vin and self._transport is not None:
            self._transport.sendto(self._announcement, addr)
