"""The simulated Ethernet wire: pace, order, back pressure and the end of a connection."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import pytest

from clock import run
from ecu_sim.bus.ethernet import EthernetWire, wire_bytes
from protocols.tcp_frames import HANDSHAKE
from tests.support.can import seeded

T = TypeVar("T")


def virtually(main: Coroutine[object, object, T]) -> T:
    return run(main, virtual=True)


def new_wire() -> EthernetWire:
    return EthernetWire(loop=asyncio.get_running_loop())


@pytest.mark.parametrize(
    ("payload", "expected"),
    [(0, 0), (1, 84), (6, 84), (7, 85), (1460, 1538), (1461, 1538 + 84), (2920, 3076)],
)
def test_a_segment_of_1460_bytes_takes_1538_on_the_wire(payload: int, expected: int) -> None:
    assert wire_bytes(payload) == expected


def test_a_mebibyte_arrives_whole_and_at_the_pace_of_the_wire() -> None:
    data = seeded("ethernet").randbytes(1 << 20)

    async def main() -> tuple[bytes, float]:
        ours, theirs = new_wire().connect()

        async def write() -> None:
            await ours.send(data)
            await ours.close()

        writer = asyncio.create_task(write())
        received = b""
        while chunk := await theirs.receive():
            received += chunk
            last = asyncio.get_running_loop().time()
        await writer
        return received, last

    received, last = virtually(main())
    assert received == data
    assert last == pytest.approx(wire_bytes(len(data)) * 8 / 100e6, rel=1e-3)


def test_the_two_directions_do_not_share_their_time() -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        ours, theirs = new_wire().connect()

        async def one_way(sender: object, receiver: object) -> float:
            assert sender is not receiver
            await ours.send(bytes(14600)) if sender is ours else await theirs.send(bytes(14600))
            await (theirs.receive() if sender is ours else ours.receive())
            return loop.time()

        forth, back = await asyncio.gather(one_way(ours, theirs), one_way(theirs, ours))
        return forth, back

    forth, back = virtually(main())
    assert forth == back == pytest.approx((sum(HANDSHAKE) + 15380) * 8 / 100e6)


def test_connections_share_the_wire() -> None:
    async def main() -> float:
        wire = new_wire()
        pairs = [wire.connect() for _ in range(4)]
        for ours, _ in pairs:
            await ours.send(bytes(1460))
        for _, theirs in pairs:
            await theirs.receive()
        return asyncio.get_running_loop().time()

    assert virtually(main()) == pytest.approx(4 * (sum(HANDSHAKE) + 1538) * 8 / 100e6)


def test_a_sender_waits_while_nobody_reads() -> None:
    async def main() -> int:
        ours, theirs = new_wire().connect()
        writer = asyncio.create_task(ours.send(bytes(1 << 20)))
        await asyncio.sleep(3600)
        assert not writer.done()
        taken = len(await theirs.receive())
        while not writer.done():
            await theirs.receive()
        await writer
        return taken

    assert virtually(main()) <= 300_000


def test_a_receive_that_is_cancelled_loses_nothing() -> None:
    async def main() -> bytes:
        ours, theirs = new_wire().connect()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await theirs.receive()
        await ours.send(b"kept")
        return await theirs.receive()

    assert virtually(main()) == b"kept"


def test_the_other_end_sees_the_close_after_the_last_byte() -> None:
    async def main() -> list[bytes]:
        ours, theirs = new_wire().connect()
        await ours.send(b"last")
        await ours.close()
        await ours.close()
        return [await theirs.receive(), await theirs.receive(), await ours.receive()]

    assert virtually(main()) == [b"last", b"", b""]


def test_sending_on_a_closed_connection_is_an_error_at_either_end() -> None:
    async def main() -> None:
        ours, theirs = new_wire().connect()
        await ours.close()
        for end in (ours, theirs):
            with pytest.raises(ConnectionResetError):
                await end.send(b"x")

    virtually(main())


def test_on_the_real_loop_requests_and_answers_keep_the_pace() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        ours, theirs = new_wire().connect()

        async def answer() -> None:
            while await theirs.receive():
                await theirs.send(b"ok")

        task = asyncio.create_task(answer())
        start = loop.time()
        for _ in range(100):
            await ours.send(bytes(1460))
            await ours.receive()
        took = loop.time() - start
        await ours.close()
        await task
        return took

    ideal = 100 * (1538 + 84) * 8 / 100e6
    assert ideal - 0.002 <= run(main(), virtual=False) < ideal + 0.25
