"""A TCP connection as a `ByteStream`."""

import asyncio
from contextlib import suppress

from vehicle_gateway.wires import LinkError

_CHUNK = 1 << 18


class TcpStream:
    """Safe to cancel in `receive`: the reader keeps what it has."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        return await self._reader.read(_CHUNK)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def told(error: OSError) -> str:
    """Why there is no connection, for people: asyncio's own words are about its call."""
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return error.strerror or str(error) or "no answer"


async def connect(uri: str, host: str, port: int) -> TcpStream:
    """Open a connection (asyncio sets TCP_NODELAY by itself); `LinkError` names the URI."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        raise LinkError(f"{uri}: {told(error)}") from error
    return TcpStream(reader, writer)
