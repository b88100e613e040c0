"""What every call passes: deadline, clock, malformed requests, errors as status.

One interceptor for all services of `fleet.v1`; health and reflection pass untouched.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc import StatusCode, aio

from cloud.api.errors import DOMAIN, KNOWN, status_of, to_status
from cloud.fleet.errors import InvalidFieldError
from cloud.store.now import Clock, from_microseconds

_log = logging.getLogger(__name__)

#: Metadata key: unix microseconds by the caller's clock.
TIME_KEY: Final = "canota-time-us"
_OURS: Final = "/fleet.v1."
#: Seconds that a call may take if its caller set no deadline.
UNARY_S: Final = 30.0
STREAM_S: Final = 15 * 60.0
#: Calls that last as long as somebody watches or is connected.
_ENDLESS: Final = frozenset(
    {
        "/fleet.v1.CampaignService/WatchCampaign",
        "/fleet.v1.DiagnosticsService/WatchSignals",
        # They end with their session.
        "/fleet.v1.RemoteAccessService/ConnectTester",
        "/fleet.v1.RemoteAccessService/ConnectVehicle",
    }
)

_Context: TypeAlias = "aio.ServicerContext[Any, Any]"  # Any: all messages pass here
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # Any: all messages pass here
_Behaviour: TypeAlias = "Callable[[Any, _Context], Any]"  # Any: all messages pass here

if TYPE_CHECKING:
    _Interceptor = aio.ServerInterceptor[Any, Any]  # Any: all messages pass here
else:
    _Interceptor = aio.ServerInterceptor


class _Malformed:
    """Stands in for a request that could not be decoded."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Guard(_Interceptor):
    """Lets a call through to its service and turns what goes wrong into a status."""

    def __init__(
        self, clock: Clock, *, unary_s: float = UNARY_S, stream_s: float = STREAM_S
    ) -> None:
        self._clock = clock
        self._unary_s = unary_s
        self._stream_s = stream_s

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        handler: _Handler | None = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_OURS):
            return cast("_Handler", handler)  # None says "unimplemented", whatever the types say
        limit_s = None if method in _ENDLESS else self._stream_s
        codec: dict[str, Any] = {  # Any: two callables of different types
            "request_deserializer": _tolerant(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        # The types know only the handlers of the threaded server: hence `_aio`.
        if handler.unary_unary:
            guarded = self._answer(_aio(handler.unary_unary), method, limit_s=self._unary_s)
            return grpc.unary_unary_rpc_method_handler(guarded, **codec)
        if handler.stream_unary:
            guarded = self._answer(_aio(handler.stream_unary), method, limit_s=limit_s)
            return grpc.stream_unary_rpc_method_handler(guarded, **codec)
        if handler.unary_stream:
            guarded = self._stream(_aio(handler.unary_stream), method, limit_s=limit_s)
            return grpc.unary_stream_rpc_method_handler(guarded, **codec)
        guarded = self._stream(_aio(handler.stream_stream), method, limit_s=limit_s)
        return grpc.stream_stream_rpc_method_handler(guarded, **codec)

    def _answer(self, behaviour: _Behaviour, method: str, *, limit_s: float | None) -> _Behaviour:
        async def guarded(request: object, context: _Context) -> object:
            async def call() -> object:
                return await behaviour(_checked(request), context)

            return await self._run(call, method, context, limit_s=limit_s)

        return guarded

    def _stream(self, behaviour: _Behaviour, method: str, *, limit_s: float | None) -> _Behaviour:
        async def guarded(request: object, context: _Context) -> None:
            async def call() -> None:
                # Written here and not yielded on, so that the deadline also ends a slow write.
                async for response in behaviour(_checked(request), context):
                    await context.write(response)

            await self._run(call, method, context, limit_s=limit_s)

        return guarded

    async def _run(
        self,
        call: Callable[[], Awaitable[Any]],  # Any: all messages pass here
        method: str,
        context: _Context,
        *,
        limit_s: float | None,
    ) -> object:
        try:
            self._note_time(context)
            # grpc answers None for a call without a deadline, whatever its types say.
            has_deadline: bool = context.time_remaining() is not None
            async with asyncio.timeout(None if has_deadline else limit_s):
                return await call()
        except KNOWN as error:
            code, status = to_status(error)
            await _abort(context, code, status)
        except TimeoutError:
            message = f"not done within {limit_s} s; set a deadline to allow more or less"
            status = status_of(StatusCode.DEADLINE_EXCEEDED, message, [])
            await _abort(context, StatusCode.DEADLINE_EXCEEDED, status)
        except aio.AbortError:
            raise
        except Exception:  # noqa: BLE001 a server's last resort: logged in full, told in short
            incident = uuid.uuid4().hex[:12]
            _log.exception("call-failed method=%s incident=%s", method, incident)
            info = error_details_pb2.ErrorInfo(
                reason="INTERNAL", domain=DOMAIN, metadata={"incident": incident}
            )
            message = f"the cloud failed; its log tells more under incident {incident}"
            await _abort(
                context, StatusCode.INTERNAL, status_of(StatusCode.INTERNAL, message, [info])
            )

    def _note_time(self, context: _Context) -> None:
        for key, value in _metadata(context):
            if key != TIME_KEY:
                continue
            try:
                self._clock.seen(from_microseconds(int(value)))
            except (ValueError, OverflowError) as error:
                raise InvalidFieldError(TIME_KEY, f"{value!r} is no date") from error


def _metadata(context: _Context) -> Iterable[tuple[str, str | bytes]]:
    return context.invocation_metadata() or ()


async def _abort(context: _Context, code: StatusCode, status: Any) -> NoReturn:  # noqa: ANN401 the library's message
    await context.abort(
        code, status.message, (("grpc-status-details-bin", status.SerializeToString()),)
    )


def _aio(behaviour: object) -> _Behaviour:
    return cast("_Behaviour", behaviour)  # what an asyncio server registers


def _tolerant(deserialize: Callable[[bytes], object] | None) -> Callable[[bytes], object]:
    """Keep a malformed request from becoming grpc's own INTERNAL."""

    def tolerant(data: bytes) -> object:
        if deserialize is None:
            return data
        try:
            return deserialize(data)
        except DecodeError as error:
            return _Malformed(str(error))

    return tolerant


def _checked(request: object) -> object:
    if isinstance(request, _Malformed):
        raise InvalidFieldError("request", f"not a message of this method: {request.reason}")
    if isinstance(request, AsyncIterator):
        return _checked_stream(request)
    return request


async def _checked_stream(requests: AsyncIterator[object]) -> AsyncIterator[object]:
    async for request in requests:
        yield _checked(request)
