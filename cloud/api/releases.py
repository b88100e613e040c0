"""ReleaseService."""

from collections.abc import AsyncIterator, Mapping
from functools import cache

from grpc import aio

from cloud.api.pages import page_request, page_token
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import release_id_of
from cloud.fleet.releases import check_announcement
from cloud.messages.releases import from_header, to_release
from cloud.store import releases
from cloud.store.publish import Publisher
from cloud.store.store import Store
from dbc import database_names, load
from protocols.fleet.v1 import releases_pb2
from protocols.fleet.v1.releases_pb2_grpc import ReleaseServiceServicer
from protocols.preconditions import SignalDefinition
from protocols.preconditions.databases import definitions

_LISTING = "releases"
#: Bytes in one message of an upload.
CHUNK_LIMIT = 1024 * 1024


class ReleaseService(ReleaseServiceServicer):
    def __init__(self, store: Store) -> None:
        self._store = store
        self._publisher = Publisher(store.database, store.files, clock=store.clock)

    async def CreateRelease(  # noqa: N802 the service's word
        self,
        request_iterator: AsyncIterator[releases_pb2.CreateReleaseRequest],
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> releases_pb2.Release:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidFieldError("part", "an upload begins with its header")
        announcement = check_announcement(from_header(first.header), signals=_known_signals())
        release = await self._publisher.publish(announcement, _chunks(request_iterator))
        return to_release(release)

    async def GetRelease(  # noqa: N802 the service's word
        self,
        request: releases_pb2.GetReleaseRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> releases_pb2.Release:
        release_id = release_id_of(request.name, field="name")
        return to_release(await self._store.database.read(releases.get, release_id))

    async def ListReleases(  # noqa: N802 the service's word
        self,
        request: releases_pb2.ListReleasesRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> releases_pb2.ListReleasesResponse:
        wanted = page_request(request.page_size, request.page_token, listing=_LISTING)
        page = await self._store.database.read(
            releases.list_page, after=wanted.after, size=wanted.size
        )
        return releases_pb2.ListReleasesResponse(
            releases=[to_release(release) for release in page.items],
            next_page_token=page_token(page.next_key, listing=_LISTING),
        )


@cache
def _known_signals() -> Mapping[str, SignalDefinition]:
    """The signals of every database in `dbc/`."""
    return definitions(message for name in database_names() for message in load(name).messages)


async def _chunks(
    requests: AsyncIterator[releases_pb2.CreateReleaseRequest],
) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidFieldError("part", "after the header only chunks may come")
        if len(request.chunk) > CHUNK_LIMIT:
            raise InvalidFieldError(
                "chunk", f"{len(request.chunk)} bytes; a chunk has at most {CHUNK_LIMIT}"
            )
        if request.chunk:
            yield request.chunk
