"""A gateway's real calls over a simulated link, in virtual time."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

import clock
from protocols.link import PROFILES, Link, Profile, Radio
from tests.support.gateway_cloud import ScriptedCloud, scripted
from vehicle_gateway.calls import Caller
from vehicle_gateway.calls.channel import open_channel
from vehicle_gateway.calls.line import Line
from vehicle_gateway.management import UnreachableError
from vehicle_gateway.management.grpc import GrpcManagement
from vehicle_gateway.outbox import Outbox
from vehicle_gateway.transfer import Artifacts
from vehicle_gateway.transfer.grpc import GrpcImages
from vehicle_gateway.update.offer import ImageFormat, PublishedImage

CONTENT = random.Random(1).randbytes(200_000)  # noqa: S311 repeats
SHA256 = hashlib.sha256(CONTENT).digest()
IMAGE = PublishedImage(
    hardware_id="CCU-2",
    file_name="ccu.bin",
    format=ImageFormat.RAW,
    file_size=len(CONTENT),
    file_sha256=SHA256,
    address=0,
    image_size=len(CONTENT),
    image_sha256=SHA256,
)
SLOW = Radio(bytes_per_s=10_000, delay_s=0.5, jitter_s=0.0, loss=0.0)
#: 30 s of coverage, then 12 s without: nothing is reset.
PATIENT = replace(
    PROFILES["edge"],
    up=SLOW,
    down=SLOW,
    covered_s=(30.0, 30.0),
    outage_s=(12.0, 12.0),
    reset_after_s=60.0,
    life_s=1e12,
)

T = TypeVar("T")
Test = Callable[[grpc.aio.Channel, Caller, Link], Awaitable[T]]


def over(profile: Profile, cloud: ScriptedCloud, test: "Test[T]") -> T:
    async def main() -> T:
        link = Link(profile, 1)
        line = Line(link)
        rng = random.Random(2)  # noqa: S311 repeats
        caller = Caller(vin="V", now_us=lambda: 42, rng=rng, line=line)
        async with open_channel(target, vin="V", line=line) as channel:
            return await test(channel, caller, link)

    with scripted(cloud) as target:
        return clock.run(main(), virtual=True)


def fetched(folder: Path, profile: Profile, cloud: ScriptedCloud) -> tuple[float, int, list[float]]:
    """When the file was there, the bytes that came down for it, and when each piece had come."""
    loop_times: list[float] = []

    async def test(channel: grpc.aio.Channel, caller: Caller, link: Link) -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        images = GrpcImages(channel, caller, Artifacts(folder))
        content = await images.fetch(IMAGE, lambda _: loop_times.append(loop.time()))
        assert content == CONTENT
        return loop.time(), link.down.counts.sent

    ended_s, came = over(profile, cloud, test)
    return ended_s, came, loop_times


def test_a_download_takes_the_links_time_and_waits_through_an_outage(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT})
    ended_s, came, times = fetched(tmp_path, PATIENT, cloud)
    assert cloud.offsets == [0]
    # 20 s for the bytes, 0.5 s there and back and for the handshake: within the first coverage.
    assert ended_s == pytest.approx(came / 10_000 + 2.0, abs=0.2)
    assert not [at for at in times if at > ended_s]
    late = replace(PATIENT, covered_s=(15.0, 15.0))
    ended_s, came, times = fetched(tmp_path / "late", late, cloud)
    assert ended_s == pytest.approx(came / 10_000 + 12.0 + 2.0, abs=0.2)
    assert not [at for at in times if 15.6 < at < 27.0]


def test_a_reset_loses_no_more_than_what_was_on_its_way_and_the_rest_is_not_sent_again(
    tmp_path: Path,
) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT})
    broken = replace(PATIENT, covered_s=(6.0, 6.0), reset_after_s=3.0)
    ended_s, came, times = fetched(tmp_path, broken, cloud)
    assert len(cloud.offsets) > 3
    assert cloud.offsets == sorted(cloud.offsets)
    assert came <= len(CONTENT) * 1.1
    assert 3 * 12.0 < ended_s < 20 * 12.0
    # The same seed: every piece comes at the same virtual moment.
    again = fetched(tmp_path / "again", broken, ScriptedCloud(files={SHA256: CONTENT}))
    assert again == (ended_s, came, times)


def test_outages_come_at_the_moments_that_the_model_says(tmp_path: Path) -> None:
    """Asked every second, the cloud is away exactly while the link is."""
    tunnel = replace(PROFILES["tunnel"], reset_after_s=1e9, life_s=1e12)
    stalled: list[tuple[float, float]] = []

    async def test(channel: grpc.aio.Channel, caller: Caller, _: Link) -> None:
        loop = asyncio.get_running_loop()
        management = GrpcManagement(channel, caller, Outbox(tmp_path))
        while loop.time() < 600.0:
            begin = loop.time()
            try:
                async with asyncio.timeout(200.0):
                    await management.check_in((), unfinished_campaign="")
            except UnreachableError:
                pytest.fail("an outage of the tunnel is shorter than the tries take")
            if loop.time() - begin > 2.0:
                stalled.append((begin, loop.time()))
            await asyncio.sleep(1.0)

    over(tunnel, ScriptedCloud(), test)
    expected = [one for one in _outages(tunnel, 600.0) if one[1] - one[0] > 3.5]
    assert len(stalled) == len(expected) > 5
    for (begin, end), (outage_begin, outage_end) in zip(stalled, expected, strict=True):
        assert outage_begin - 1.5 < begin < outage_begin + 2.0
        assert outage_end < end < outage_end + 40.0


def test_a_call_that_an_outage_outlasts_ends_at_its_deadline_and_is_made_again(
    tmp_path: Path,
) -> None:
    away = replace(PATIENT, covered_s=(0.1, 0.1), outage_s=(500.0, 500.0), reset_after_s=1e9)

    async def test(channel: grpc.aio.Channel, caller: Caller, _: Link) -> float:
        management = GrpcManagement(channel, caller, Outbox(tmp_path))
        with pytest.raises(UnreachableError, match=r"DEADLINE_EXCEEDED.*\(5 tries\)"):
            await management.check_in((), unfinished_campaign="")
        return asyncio.get_running_loop().time()

    cloud = ScriptedCloud()
    ended_s = over(away, cloud, test)
    assert cloud.received == []
    assert 5 * 20.0 < ended_s < 5 * 20.0 + 20.0


def test_a_refusal_comes_over_the_link_too(tmp_path: Path) -> None:
    cloud = ScriptedCloud(failures=[grpc.StatusCode.UNAVAILABLE])

    async def test(channel: grpc.aio.Channel, caller: Caller, _: Link) -> float:
        management = GrpcManagement(channel, caller, Outbox(tmp_path))
        await management.check_in((), unfinished_campaign="")
        return asyncio.get_running_loop().time()

    # Handshake 1 s, two exchanges of 1 s, the pause between them at most 0.5 s.
    assert 3.25 < over(PATIENT, cloud, test) < 4.0


def _outages(profile: Profile, until_s: float) -> list[tuple[float, float]]:
    coming = Link(profile, 1).coverage.outages(0.0)
    begun = takewhile(lambda outage: outage.start_s < until_s, coming)
    return [(outage.start_s, outage.end_s) for outage in begun]
