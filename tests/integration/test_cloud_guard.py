"""The guard around every call: deadlines, faults of our own, and the table of errors."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode, aio

from cloud.api.errors import TABLE, to_status
from cloud.api.guard import Guard
from cloud.fleet import errors as fleet
from cloud.store import errors as store
from cloud.store.now import VirtualClock
from tests.support.cloud import on_a_loop, refusal

_Context = aio.ServicerContext[bytes, bytes]


async def _sleepy(_request: bytes, _context: _Context) -> bytes:
    await asyncio.Event().wait()
    return b"never"


async def _broken(_request: bytes, _context: _Context) -> bytes:
    raise KeyError("a secret of the inside")


async def _echo(request: bytes, _context: _Context) -> bytes:
    return request


async def _drip(_request: bytes, _context: _Context) -> AsyncIterator[bytes]:
    yield b"first"
    await asyncio.Event().wait()


@asynccontextmanager
async def _server() -> AsyncIterator[aio.Channel]:
    guard = Guard(VirtualClock(datetime(2026, 6, 1, tzinfo=UTC)), unary_s=0.1, stream_s=0.1)
    server = aio.server(interceptors=[guard])
    handlers = {
        "Sleepy": grpc.unary_unary_rpc_method_handler(_sleepy),
        "Broken": grpc.unary_unary_rpc_method_handler(_broken),
        "Echo": grpc.unary_unary_rpc_method_handler(_echo),
        "Drip": grpc.unary_stream_rpc_method_handler(_drip),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("fleet.v1.Test", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


def _call(channel: aio.Channel, method: str) -> "aio.UnaryUnaryCall[bytes, bytes]":
    callable_: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        f"/fleet.v1.Test/{method}", request_serializer=bytes, response_deserializer=bytes
    )
    return callable_(b"hello")


@on_a_loop
async def test_a_call_without_a_deadline_gets_one() -> None:
    async with _server() as channel:
        assert await _call(channel, "Echo") == b"hello"
        refused = await refusal(_call(channel, "Sleepy"))
        assert refused.code is StatusCode.DEADLINE_EXCEEDED
        assert "0.1 s" in refused.message


@on_a_loop
async def test_a_stream_without_a_deadline_gets_one() -> None:
    async with _server() as channel:
        call = channel.unary_stream(
            "/fleet.v1.Test/Drip", request_serializer=bytes, response_deserializer=bytes
        )(b"")
        stream = aiter(call)
        assert await anext(stream) == b"first"
        assert (await refusal(anext(stream))).code is StatusCode.DEADLINE_EXCEEDED


@on_a_loop
async def test_a_fault_of_our_own_is_logged_and_told_by_its_incident_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, logger="cloud.api.guard"):
        async with _server() as channel:
            refused = await refusal(_call(channel, "Broken"))
    assert refused.code is StatusCode.INTERNAL
    assert "secret" not in str(refused.status)
    info = error_details_pb2.ErrorInfo()
    assert refused.status.details[0].Unpack(info)
    (record,) = caplog.records
    assert info.metadata["incident"] in record.getMessage()
    assert record.exc_info is not None


def _subclasses(root: type[Exception]) -> list[type[Exception]]:
    return [root, *(found for one in root.__subclasses__() for found in _subclasses(one))]


@pytest.mark.parametrize(
    "error",
    [
        fleet.InvalidFieldError("f", "d"),
        fleet.NotFoundError("vehicle", "vehicles/x"),
        fleet.AlreadyExistsError("vehicle", "vehicles/x", "d"),
        fleet.NotOfferedError("file", "x", "d"),
        fleet.PreconditionError("RULE", "x", "d"),
        fleet.DamagedError("x", "d"),
        fleet.LimitError("x", "d"),
        fleet.OffsetError(offset=2, size=1),
        store.StoreError("x"),
        store.StoreFullError("x"),
        store.StoreDamagedError("x"),
        store.ClosingError("x"),
    ],
)
def test_every_error_has_a_status_with_a_word_for_programs(error: Exception) -> None:
    code, status = to_status(error)
    assert code not in {StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.OK}
    assert status.message == str(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, bool(info.reason)) == ("canota", True)


def test_no_error_of_the_rules_or_the_store_is_missing_in_the_table() -> None:
    # These two are only roots: nobody raises them.
    roots = {fleet.FleetError, fleet.ResourceError}
    for kind in {*_subclasses(fleet.FleetError), *_subclasses(store.StoreError)} - roots:
        assert any(base in TABLE for base in kind.__mro__), kind


@pytest.mark.parametrize("character", ["x", "\u00e9", "\u20ac", "\U0001f697"])
def test_a_long_message_is_cut_so_that_it_fits_the_headers(character: str) -> None:
    _, status = to_status(fleet.InvalidFieldError("vins", character * 100_000))
    # The message is percent-encoded, the details travel in base64; grpc takes 8 KiB of both.
    details = base64.b64encode(status.SerializeToString())
    assert len(quote(status.message)) + len(details) < 7000
    assert status.message.startswith(f"vins: {character}")
