"""A channel to the cloud whose every call goes over the link, where there is one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import grpc

from clock import held
from vehicle_gateway.calls.line import Line, LineError, Passage

#: gRPC reconnects by the wall clock; its own default pause grows to two minutes. A connection on
#: which nothing comes is asked whether it is still there: after an outage it may not be.
CHANNEL_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
#: What goes with a message: the compressed header blocks of a call and of its end, a frame's
#: header for each 16 KiB (RFC 9113, 4.1), gRPC's own prefix.
HEADERS: Final = 120
TRAILERS: Final = 60
_FRAME: Final = 16 * 1024
_FRAME_HEADER: Final = 9
_PREFIX: Final = 5
#: What a stream's `read` answers at its end; the stubs leave it out.
_EOF: Final = grpc.aio.EOF  # type: ignore[attr-defined]  # see above


class Message(Protocol):
    """What is sent and comes: a protobuf message."""

    def ByteSize(self) -> int: ...  # noqa: N802 protobuf's word


def size_on_line(message: Message) -> int:
    """Bytes that a message takes on its connection, without TCP and what is below it."""
    length = message.ByteSize() + _PREFIX
    return length + _FRAME_HEADER * -(-length // _FRAME)


def open_channel(
    target: str,
    *,
    vin: str,
    line: Line | None,
    interceptors: Iterable[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """A channel to `host:port`; over a line each call holds the clock only for what is real.

    `interceptors` stand next to the cloud.
    """
    # The stubs have a placeholder for an interceptor's type.
    ours: list[Any] = [] if line is None else [_Unary(vin, line), _Stream(vin, line)]
    return grpc.aio.insecure_channel(
        target, options=CHANNEL_OPTIONS, interceptors=[*ours, *interceptors]
    )


class _OverLine:
    def __init__(self, vin: str, line: Line) -> None:
        self._vin = vin
        self._line = line

    def _name(self, details: grpc.aio.ClientCallDetails) -> str:
        method: object = details.method  # bytes, where the stubs say str
        return f"{self._vin} {str(method, 'ascii') if isinstance(method, bytes) else method}"


class _Unary(_OverLine, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # noqa: ANN401 any message of any service
    ) -> Any:  # noqa: ANN401 the message that answers it
        async with _in_words(_ends_s(client_call_details)):
            passage = await self._line.open()
            await passage.send(HEADERS + size_on_line(request))
            try:
                async with held(self._name(client_call_details)):
                    response = await (await continuation(client_call_details, request))
            except grpc.aio.AioRpcError:
                await passage.receive(TRAILERS)
                raise
            await passage.receive(size_on_line(response) + TRAILERS)
            return response


class _Stream(_OverLine, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    async def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # noqa: ANN401 any message of any service
    ) -> AsyncIterator[Any]:
        ends_s, name = _ends_s(client_call_details), self._name(client_call_details)
        async with _in_words(ends_s):
            passage = await self._line.open()
            await passage.send(HEADERS + size_on_line(request))
        async with held(name):
            call = await continuation(client_call_details, request)
        return self._responses(call, passage, ends_s, name)

    async def _responses(
        self,
        call: Any,  # noqa: ANN401 its messages are of any type
        passage: Passage,
        ends_s: float | None,
        name: str,
    ) -> AsyncIterator[Any]:
        streamed = False
        try:
            while True:
                async with held(name):
                    response = await call.read()
                last = response is _EOF
                async with _in_words(ends_s):
                    length = TRAILERS if last else size_on_line(response)
                    await passage.receive(length, streamed=streamed)
                streamed = True
                if last:
                    return
                yield response
        finally:
            call.cancel()


@asynccontextmanager
async def _in_words(ends_s: float | None) -> AsyncIterator[None]:
    """Until loop time `ends_s`; what becomes of a call on the line is said as gRPC says it."""
    try:
        async with asyncio.timeout_at(ends_s):
            yield
    except LineError as error:
        raise _rpc_error(grpc.StatusCode.UNAVAILABLE, str(error)) from error
    except TimeoutError as error:
        words = "nothing came over the link in time"
        raise _rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED, words) from error


def _ends_s(details: grpc.aio.ClientCallDetails) -> float | None:
    if details.timeout is None:
        return None
    return asyncio.get_running_loop().time() + details.timeout


def _rpc_error(code: grpc.StatusCode, words: str) -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, words, None)
