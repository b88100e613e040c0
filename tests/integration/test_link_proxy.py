"""The link as a proxy: real sockets on loopback, and a link whose seconds are short."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from canota.link_proxy import MOST_CONNECTIONS, LinkProxy, LinkProxyError
from protocols.link import PROFILES, Link, Profile, Radio
from tests.support.cloud import on_a_loop

FAST = Radio(bytes_per_s=2_000_000, delay_s=0.005, jitter_s=0.002, loss=0.0)
#: Coverage all along, no resets.
OPEN = replace(
    PROFILES["lte"], up=FAST, down=FAST, covered_s=(1e9, 1e9), reset_after_s=1e9, life_s=1e12
)
CONTENT = random.Random(1).randbytes(60_000)  # noqa: S311 repeats


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except ConnectionError:
        return
    finally:
        writer.close()


@asynccontextmanager
async def linked(
    profile: Profile,
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = echo,
) -> AsyncIterator[LinkProxy]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    far = server.sockets[0].getsockname()[:2]
    async with server, LinkProxy(Link(profile, 1), to=far) as proxy:
        yield proxy


async def said_back(proxy: LinkProxy, content: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*proxy.address)
    try:
        writer.write(content)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


@on_a_loop
async def test_bytes_pass_unchanged_both_ways_on_several_connections_and_are_counted() -> None:
    async with linked(OPEN) as proxy:
        parts = [CONTENT[at::3] for at in range(3)]
        assert await asyncio.gather(*(said_back(proxy, part) for part in parts)) == parts
        passed = proxy.statistics()
    assert passed.connections == 3
    assert passed.up.sent == passed.up.delivered == passed.up.on_air == len(CONTENT)
    assert passed.down.delivered == len(CONTENT)
    assert passed.resets == passed.unreachable == passed.outages == 0


@on_a_loop
async def test_a_slow_link_takes_as_long_as_its_rate_says() -> None:
    slow = Radio(bytes_per_s=100_000, delay_s=0.02, jitter_s=0.0, loss=0.0)
    loop = asyncio.get_running_loop()
    async with linked(replace(OPEN, down=slow)) as proxy:
        begin = loop.time()
        assert await said_back(proxy, CONTENT) == CONTENT
        took = loop.time() - begin
    assert took >= len(CONTENT) / 100_000 + 0.02


@on_a_loop
async def test_a_sender_is_held_to_the_links_pace_and_little_lies_in_between() -> None:
    """The far end takes nothing more than the link carries, however much the near end has."""
    slow = Radio(bytes_per_s=50_000, delay_s=0.01, jitter_s=0.0, loss=0.0)
    async with linked(replace(OPEN, up=slow)) as proxy:
        _, writer = await asyncio.open_connection(*proxy.address)
        writer.transport.set_write_buffer_limits(high=1 << 16)

        async def send_without_end() -> None:
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send_without_end(), 0.3)
        assert 0 < proxy.statistics().up.sent < 50_000 * 0.5 + 2 * 4096
        writer.transport.abort()


@on_a_loop
async def test_an_outage_holds_bytes_and_a_short_one_loses_none() -> None:
    profile = replace(OPEN, covered_s=(0.15, 0.15), outage_s=(0.2, 0.2))
    slow = Radio(bytes_per_s=200_000, delay_s=0.005, jitter_s=0.0, loss=0.0)
    loop = asyncio.get_running_loop()
    async with linked(replace(profile, down=slow)) as proxy:
        begin = loop.time()
        assert await said_back(proxy, CONTENT) == CONTENT
        took = loop.time() - begin
        passed = proxy.statistics()
    assert took >= len(CONTENT) / 200_000 + 0.2
    assert passed.outages >= 1
    assert passed.outage_seconds >= 0.2
    assert passed.resets == 0


@on_a_loop
async def test_a_long_outage_resets_the_near_end_and_the_far_end_when_it_is_over() -> None:
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(100):
                pass
        except ConnectionResetError:
            ended.set_result(asyncio.get_running_loop().time())
        finally:
            writer.close()

    profile = replace(OPEN, covered_s=(0.1, 0.1), outage_s=(0.4, 0.4), reset_after_s=0.1)
    async with linked(profile, wait_for_the_end) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"hello")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        near_s = asyncio.get_running_loop().time()
        far_s = await ended
        writer.close()
        assert far_s - near_s > 0.2
        assert proxy.statistics().resets == 1


@on_a_loop
async def test_a_far_end_that_is_not_there_is_a_reset_and_counted() -> None:
    async with linked(OPEN) as other:
        gone = other.address
    async with LinkProxy(Link(OPEN, 1), to=gone) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        assert proxy.statistics().unreachable == 1


@on_a_loop
async def test_too_many_connections_are_turned_away_and_the_others_go_on() -> None:
    async with linked(OPEN) as proxy:
        several = [await asyncio.open_connection(*proxy.address) for _ in range(MOST_CONNECTIONS)]
        reader, writer = await asyncio.open_connection(*proxy.address)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        several[0][1].write(b"x")
        assert await several[0][0].readexactly(1) == b"x"
        assert proxy.statistics().too_many == 1
        for _, open_writer in (*several, (reader, writer)):
            open_writer.transport.abort()


@on_a_loop
async def test_a_reset_by_one_end_reaches_the_other() -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    async with linked(OPEN, slam) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"x")
        assert await reader.read() == b""
        writer.close()


@on_a_loop
async def test_an_address_that_is_taken_is_named() -> None:
    async with linked(OPEN) as proxy:
        with pytest.raises(LinkProxyError, match=f"127.0.0.1:{proxy.address[1]}: cannot listen"):
            async with LinkProxy(Link(OPEN, 1), to=proxy.address, listen=proxy.address):
                pass
