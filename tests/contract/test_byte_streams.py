"""`protocols.stream.ByteStream`: the same promises on a simulated wire and over TCP, both ends.

A connection is a pair: what one end sends, the other receives.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from clock import run
from ecu_sim.bus import EthernetWire
from ecu_sim.diagnostics.doip_server import serve_doip
from protocols.stream import ByteStream
from vehicle_gateway.wires import tcp

#: Longest that a test on real sockets may take, in seconds.
BOUND_S: Final = 10.0

Pair = tuple[ByteStream, ByteStream]


@asynccontextmanager
async def on_the_simulated_wire() -> AsyncIterator[Pair]:
    wire = EthernetWire(loop=asyncio.get_running_loop())
    ends = wire.connect()
    try:
        yield ends
    finally:
        for end in ends:
            await end.close()


@asynccontextmanager
async def over_tcp() -> AsyncIterator[Pair]:
    """The gateway's end and the ECU's."""
    accepted: asyncio.Queue[ByteStream] = asyncio.Queue()
    over = asyncio.Event()

    async def accept(stream: ByteStream) -> None:
        accepted.put_nowait(stream)
        await over.wait()

    server = await serve_doip(accept, lambda _: [])
    near = await tcp.connect("doip://test", "127.0.0.1", server.tcp_port)
    far = await accepted.get()
    try:
        yield near, far
    finally:
        over.set()
        await near.close()
        await far.close()
        await server.stop()


@asynccontextmanager
async def turned(connection: AbstractAsyncContextManager[Pair]) -> AsyncIterator[Pair]:
    async with connection as (near, far):
        yield far, near


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A kind of connection; the first end of its pair is the one that is put to the test."""

    connect: Callable[[], AbstractAsyncContextManager[Pair]]
    virtual: bool

    def __call__(self, use: Callable[[ByteStream, ByteStream], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(BOUND_S), self.connect() as (near, far):
                await use(near, far)

        run(main(), virtual=self.virtual)


LINES = {
    "simulated": Line(connect=on_the_simulated_wire, virtual=True),
    "simulated, far end": Line(connect=lambda: turned(on_the_simulated_wire()), virtual=True),
    "tcp, gateway": Line(connect=over_tcp, virtual=False),
    "tcp, ecu": Line(connect=lambda: turned(over_tcp()), virtual=False),
}


@pytest.fixture(params=list(LINES.values()), ids=list(LINES))
def line(request: pytest.FixtureRequest) -> Line:
    found = request.param
    assert isinstance(found, Line)
    return found


def content(size: int) -> bytes:
    return bytes(number * number & 0xFF for number in range(size))


async def received(stream: ByteStream, size: int) -> bytes:
    """At least `size` bytes, or all there are."""
    found = b""
    while len(found) < size and (more := await stream.receive()):
        found += more
    return found


async def sent_for_ever(stream: ByteStream) -> None:
    while True:
        await stream.send(content(65_536))


async def waiting(task: "asyncio.Task[bytes]") -> None:
    """Until `task` has run as far as it gets by itself."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()


def test_bytes_come_in_the_order_in_which_they_were_sent(line: Line) -> None:
    parts = [content(size) for size in (1, 2, 1459, 1460, 1461, 7, 65_536)]
    whole = b"".join(parts)

    async def use(near: ByteStream, far: ByteStream) -> None:
        for part in parts:
            await near.send(part)
        assert await received(far, len(whole)) == whole

    line(use)


def test_more_than_any_buffer_holds_arrives_while_it_is_read(line: Line) -> None:
    whole = content(3_000_000)

    async def use(near: ByteStream, far: ByteStream) -> None:
        sending = asyncio.create_task(near.send(whole))
        assert await received(far, len(whole)) == whole
        await sending

    line(use)


def test_both_directions_are_used_at_once(line: Line) -> None:
    there, back = content(200_000), content(150_000)[::-1]

    async def use(near: ByteStream, far: ByteStream) -> None:
        sending = [asyncio.create_task(near.send(there)), asyncio.create_task(far.send(back))]
        got = tuple(await asyncio.gather(received(far, len(there)), received(near, len(back))))
        assert got == (there, back)
        await asyncio.gather(*sending)

    line(use)


def test_nothing_is_received_before_something_is_sent(line: Line) -> None:
    async def use(near: ByteStream, far: ByteStream) -> None:
        receiving = asyncio.create_task(near.receive())
        await waiting(receiving)
        await far.send(b"now")
        assert (await receiving)[:1] == b"n"

    line(use)


def test_what_was_sent_before_the_end_is_received_and_then_the_end_for_ever(line: Line) -> None:
    whole = content(5000)

    async def use(near: ByteStream, far: ByteStream) -> None:
        await far.send(whole)
        await far.close()
        assert await received(near, len(whole) + 1) == whole
        assert [await near.receive() for _ in range(3)] == [b"", b"", b""]

    line(use)


def test_a_receive_that_waits_is_woken_by_the_peer_s_end(line: Line) -> None:
    async def use(near: ByteStream, far: ByteStream) -> None:
        receiving = asyncio.create_task(near.receive())
        await waiting(receiving)
        await far.close()
        assert await receiving == b""

    line(use)


def test_a_receive_that_waits_is_woken_by_its_own_end(line: Line) -> None:
    async def use(near: ByteStream, _far: ByteStream) -> None:
        receiving = asyncio.create_task(near.receive())
        await waiting(receiving)
        await near.close()
        assert await receiving == b""

    line(use)


def test_a_cancelled_receive_loses_nothing(line: Line) -> None:
    whole = content(2000)

    async def use(near: ByteStream, far: ByteStream) -> None:
        for start in range(0, len(whole), 500):
            part = whole[start : start + 500]
            receiving = asyncio.create_task(near.receive())
            await waiting(receiving)
            receiving.cancel()
            await far.send(part)
            with pytest.raises(asyncio.CancelledError):
                await receiving
            assert await received(near, len(part)) == part

    line(use)


def test_a_receive_cancelled_as_the_bytes_arrive_loses_nothing(line: Line) -> None:
    async def use(near: ByteStream, far: ByteStream) -> None:
        expected, got = b"", b""
        for number in range(50):
            part = bytes((number,)) * 3
            expected += part
            receiving = asyncio.create_task(near.receive())
            await asyncio.sleep(0)
            await far.send(part)
            for _ in range(number % 5):
                await asyncio.sleep(0)
            receiving.cancel()
            try:
                got += await receiving
            except asyncio.CancelledError:
                continue
        got += await received(near, len(expected) - len(got))
        assert got == expected

    line(use)


@pytest.mark.parametrize("peer_first", [False, True])
def test_closing_twice_is_closing_once(line: Line, peer_first: bool) -> None:  # noqa: FBT001 a parameter of the table
    async def use(near: ByteStream, far: ByteStream) -> None:
        if peer_first:
            await far.close()
        await near.close()
        await near.close()
        assert await far.receive() == b""
        await far.close()

    line(use)


def test_what_is_sent_to_a_peer_that_has_closed_ends_in_a_connection_error(line: Line) -> None:
    async def use(near: ByteStream, far: ByteStream) -> None:
        await far.close()
        assert await near.receive() == b""
        with pytest.raises(ConnectionError):
            await sent_for_ever(near)

    line(use)


def test_nothing_is_sent_after_the_own_end(line: Line) -> None:
    async def use(near: ByteStream, far: ByteStream) -> None:
        await near.close()
        with pytest.raises(ConnectionError):
            await near.send(b"too late")
        assert await far.receive() == b""

    line(use)
