"""GatewayService, the transferring half: published files as a stream from any offset."""

from collections.abc import AsyncIterator
from typing import Final

from grpc import aio
from sqlalchemy import Connection

from cloud.fleet.errors import InvalidFieldError, NotOfferedError, OffsetError
from cloud.fleet.names import check_vin
from cloud.fleet.releases import SHA256_LENGTH
from cloud.store import campaigns, vehicles
from cloud.store.store import Store
from protocols.fleet.v1 import gateway_pb2

#: Bytes in one message: the cheapest per byte that still resumes finely.
CHUNK_SIZE: Final = 256 * 1024
#: A vehicle that asks for less is given this.
LEAST_CHUNK_SIZE: Final = 4 * 1024


class GatewayTransfer:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def Download(  # noqa: N802 the service's word
        self,
        request: gateway_pb2.DownloadRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> AsyncIterator[gateway_pb2.DownloadResponse]:
        vin = check_vin(request.vin, field="vin")
        if len(request.file_sha256) != SHA256_LENGTH:
            raise InvalidFieldError(
                "file_sha256", f"{len(request.file_sha256)} bytes; SHA-256 has {SHA256_LENGTH}"
            )
        size = await self._store.database.read(_offered_size, vin, request.file_sha256)
        if request.offset > size:
            raise OffsetError(offset=request.offset, size=size)
        offset = request.offset
        wanted = request.chunk_bytes or CHUNK_SIZE
        async for chunk in self._store.files.read(
            request.file_sha256,
            size=size,
            offset=offset,
            chunk_size=max(LEAST_CHUNK_SIZE, min(wanted, CHUNK_SIZE)),
        ):
            yield gateway_pb2.DownloadResponse(offset=offset, data=chunk)
            offset += len(chunk)


def _offered_size(connection: Connection, vin: str, file_sha256: bytes) -> int:
    vehicles.get(connection, vin)
    size = campaigns.offers_file(connection, vin, file_sha256)
    if size is None:
        raise NotOfferedError(
            "file", file_sha256.hex(), f"no running campaign offers this file to {vin}"
        )
    return size
