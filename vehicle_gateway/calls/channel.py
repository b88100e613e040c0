"""A channel to the cloud: its bytes are counted, and go over the link where there is one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, Protocol

import grpc

from clock import held
from vehicle_gateway.calls.budget import DataBudget
from vehicle_gateway.calls.line import Line, LineError, Passage

#: gRPC reconnects by the wall clock; its own default pause grows to two minutes. A connection on
#: which nothing comes is asked whether it is still there: after an outage it may not be.
CHANNEL_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    # Also the time that one try to connect has: a slow line needs seconds.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # A gateway that is made anew connects anew, though another of this process waits to try again.
    ("grpc.use_local_subchannel_pool", 1),
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
#: After the last message of a stream.
_END: Final[Any] = object()


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
    line: Line | None = None,
    budget: DataBudget | None = None,
    interceptors: Iterable[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """A channel to `host:port` whose bytes count for the budget.

    Over a line each call holds the clock only for what is real of it. `interceptors` stand next
    to the cloud.
    """
    # The stubs have a placeholder for an interceptor's type.
    ours: list[Any] = [_Unary(vin, line, budget), _Stream(vin, line, budget)]
    return grpc.aio.insecure_channel(
        target, options=CHANNEL_OPTIONS, interceptors=[*ours, *interceptors]
    )


class _Exchange:
    """One call: its bytes pass over the line, where there is one, and are counted."""

    def __init__(self, passage: Passage | None, budget: DataBudget | None, name: str) -> None:
        self._passage = passage
        self._budget = budget
        self._name = name

    async def send(self, length: int) -> None:
        if self._budget is not None:
            self._budget.charge(sent=length)
        if self._passage is not None:
            await self._passage.send(length)

    async def receive(self, length: int, *, streamed: bool = False) -> None:
        """What breaks off is counted as if it had come whole."""
        self.count(length)
        if self._passage is not None:
            await self._passage.receive(length, streamed=streamed)

    def count(self, received: int) -> None:
        if self._budget is not None:
            self._budget.charge(received=received)

    def real(self) -> AbstractAsyncContextManager[None]:
        """Around what is real: over a line nobody else holds the clock."""
        return nullcontext() if self._passage is None else held(self._name)


class _Interceptor:
    def __init__(self, vin: str, line: Line | None, budget: DataBudget | None) -> None:
        self._vin = vin
        self._line = line
        self._budget = budget

    async def _exchange(self, details: grpc.aio.ClientCallDetails) -> _Exchange:
        method: object = details.method  # bytes, where the stubs say str
        name = str(method, "ascii") if isinstance(method, bytes) else method
        passage = None if self._line is None else await self._line.open()
        return _Exchange(passage, self._budget, f"{self._vin} {name}")


class _Unary(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # noqa: ANN401 any message of any service
    ) -> Any:  # noqa: ANN401 the message that answers it
        async with _in_words(_ends_s(client_call_details, self._line)):
            exchange = await self._exchange(client_call_details)
            await exchange.send(HEADERS + size_on_line(request))
            try:
                async with exchange.real():
                    response = await (await continuation(client_call_details, request))
            except grpc.aio.AioRpcError:
                await exchange.receive(TRAILERS)
                raise
            await exchange.receive(size_on_line(response) + TRAILERS)
            return response


class _Stream(_Interceptor, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    async def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # noqa: ANN401 any message of any service
    ) -> AsyncIterator[Any]:
        ends_s = _ends_s(client_call_details, self._line)
        async with _in_words(ends_s):
            exchange = await self._exchange(client_call_details)
            await exchange.send(HEADERS + size_on_line(request))
        async with exchange.real():
            call = await continuation(client_call_details, request)
        return self._responses(call, exchange, ends_s)

    async def _responses(
        self,
        call: Any,  # noqa: ANN401 its messages are of any type
        exchange: _Exchange,
        ends_s: float | None,
    ) -> AsyncIterator[Any]:
        before, responses = 0, aiter(call)
        try:
            while True:
                try:
                    async with exchange.real():
                        response = await anext(responses, _END)
                except grpc.aio.AioRpcError:
                    # Of the next message some may have come, nobody knows how much.
                    exchange.count(before + TRAILERS)
                    raise
                last = response is _END
                async with _in_words(ends_s):
                    length = TRAILERS if last else size_on_line(response)
                    await exchange.receive(length, streamed=before > 0)
                before = length
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


def _ends_s(details: grpc.aio.ClientCallDetails, line: Line | None) -> float | None:
    """The loop time of a call's deadline over a line; without one gRPC's own is enough."""
    if line is None or details.timeout is None:
        return None
    return asyncio.get_running_loop().time() + details.timeout


def _rpc_error(code: grpc.StatusCode, words: str) -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, words, None)
