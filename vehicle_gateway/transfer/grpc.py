"""Files over fleet.v1's `Download` stream, resumed by offset."""

import logging
from collections.abc import Callable
from typing import Final

import grpc

from protocols.fleet.v1 import gateway_pb2, gateway_pb2_grpc
from vehicle_gateway.calls import Caller, RefusedError, StartAgainError, UnavailableError
from vehicle_gateway.calls.budget import DataSpentError, DayOrMonthSpentError
from vehicle_gateway.transfer import STEP, Artifacts, Part
from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.images import NotNowError
from vehicle_gateway.update.offer import PublishedImage

_LOG = logging.getLogger(__name__)
#: So often is a file with wrong content fetched anew.
WRONG_CONTENT_TRIES: Final = 3
#: Asked for once a stream has broken: what is lost of a chunk has to come again.
_SMALL_CHUNK: Final = 16 * 1024
#: Wall-clock bound of one stream: a fixed part, and the slowest line worth waiting for.
_STREAM_S: Final = 60.0
_SLOWEST_BYTES_PER_S: Final = 16 * 1024


class GrpcImages:
    """`Images` over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller, artifacts: Artifacts) -> None:
        # The stub is typed for both kinds of channel.
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._caller = caller
        self._artifacts = artifacts

    async def fetch(self, image: PublishedImage, progress: Callable[[int], None]) -> bytes:
        """The file; see `Images.fetch`."""
        for _ in range(WRONG_CONTENT_TRIES):
            if (content := self._at_hand(image)) is not None:
                progress(image.file_size)
                return content
            with self._artifacts.part(image.file_sha256, image.file_size) as part:
                await self._fill(part, image, progress)
                if part.is_sound():
                    part.finish()
                    if (content := self._at_hand(image)) is not None:
                        return content
                _LOG.warning("download_wrong file=%s bytes=%d", image.file_name, part.length)
                part.discard()
        raise UpdateError(
            ecu="",
            step=STEP,
            cause=f"{image.file_name}: wrong length or SHA-256, {WRONG_CONTENT_TRIES} times",
        )

    def discard(self, file_sha256: bytes) -> None:
        """See `Images.discard`."""
        self._artifacts.discard(file_sha256)

    def _at_hand(self, image: PublishedImage) -> bytes | None:
        content = self._artifacts.load(image.file_sha256)
        return content if content is not None and len(content) == image.file_size else None

    async def _fill(
        self, part: Part, image: PublishedImage, progress: Callable[[int], None]
    ) -> None:
        """Append until all is here or the content is clearly wrong."""
        if part.length >= image.file_size:
            return
        streams = 0

        async def act() -> None:
            nonlocal streams
            streams += 1
            await self._stream(part, image, progress, _SMALL_CHUNK if streams > 1 else 0)

        name = f"download {image.file_name}"
        try:
            self._caller.admit(image.file_size - part.length)
            await self._caller.call(name, act, position=lambda: part.length)
        except StartAgainError as error:
            _LOG.warning("download_starts_again cause=%s", error)
            part.clear()
        except RefusedError as error:
            raise UpdateError(ecu="", step=STEP, cause=str(error)) from error
        except (UnavailableError, DayOrMonthSpentError) as error:
            raise NotNowError(str(error)) from error
        except DataSpentError as error:
            raise UpdateError(ecu="", step=STEP, cause=f"{image.file_name}: {error}") from error

    async def _stream(
        self,
        part: Part,
        image: PublishedImage,
        progress: Callable[[int], None],
        chunk_bytes: int,
    ) -> None:
        request = gateway_pb2.DownloadRequest(
            vin=self._caller.vin,
            file_sha256=image.file_sha256,
            offset=part.length,
            chunk_bytes=chunk_bytes,
        )
        timeout_s = _STREAM_S + (image.file_size - part.length) / _SLOWEST_BYTES_PER_S
        stream = self._stub.Download(request, timeout=timeout_s, metadata=self._caller.metadata())
        try:
            async for chunk in stream:
                if chunk.offset != part.length or part.length + len(chunk.data) > image.file_size:
                    part.clear()  # Not this file: judged, and fetched anew, by the caller.
                    return
                part.append(chunk.data)
                progress(part.length)
                if part.length < image.file_size:
                    self._caller.admit(0)
        finally:
            stream.cancel()
