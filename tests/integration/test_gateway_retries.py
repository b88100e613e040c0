"""Downloads from a real cloud that fails, by real sockets through a link that breaks."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

import clock
from canota.link_proxy import LinkProxy, Statistics
from protocols.link import PROFILES, Link, Radio
from tests.support.gateway_cloud import ScriptedCloud, scripted
from vehicle_gateway.calls import Caller, RefusedError, TransportError, UnavailableError
from vehicle_gateway.calls.budget import UNLIMITED, DataBudget, DataLimits
from vehicle_gateway.calls.channel import open_channel
from vehicle_gateway.calls.policy import Remedy, RetryPolicy
from vehicle_gateway.transfer import Artifacts
from vehicle_gateway.transfer.grpc import GrpcImages
from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.images import NotNowError
from vehicle_gateway.update.offer import ImageFormat, PublishedImage

CONTENT = random.Random(1).randbytes(1_000_000)  # noqa: S311 repeats
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
_RADIO = Radio(bytes_per_s=1_000_000, delay_s=0.004, jitter_s=0.002, loss=0.0)
#: A tunnel in which a second is short, for tests.
TUNNEL = replace(
    PROFILES["tunnel"],
    up=_RADIO,
    down=_RADIO,
    covered_s=(0.2, 0.4),
    outage_s=(0.05, 0.3),
    reset_after_s=0.1,
    life_s=1e9,
)
#: Tries follow each other at once.
QUICK = RetryPolicy(first_s=0.01, longest_s=0.3, tries=20)

T = TypeVar("T")


def in_real_time(
    cloud: ScriptedCloud, test: Callable[[str], Awaitable[T]], *, limit_s: float = 60.0
) -> T:
    async def main() -> T:
        async with asyncio.timeout(limit_s):
            return await test(target)

    with scripted(cloud) as target:
        return clock.run(main(), virtual=False)


def caller_with(budget: DataBudget | None = None, policy: RetryPolicy = QUICK) -> Caller:
    rng = random.Random(2)  # noqa: S311 repeats
    return Caller(vin="V", now_us=lambda: 42, rng=rng, policy=policy, budget=budget)


def test_a_download_through_a_tunnel_comes_whole_and_little_comes_twice(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT}, chunk=16 * 1024)
    budget = DataBudget(tmp_path / "data.json", UNLIMITED, now_us=lambda: 42)

    async def test(target: str) -> Statistics:
        host, port = target.split(":")
        async with LinkProxy(Link(TUNNEL, 3), to=(host, int(port))) as proxy:
            async with open_channel(proxy.target, vin="V", budget=budget) as channel:
                images = GrpcImages(channel, caller_with(budget), Artifacts(tmp_path))
                assert await images.fetch(IMAGE, lambda _: None) == CONTENT
            return proxy.statistics()

    budget.campaign = "campaigns/a"
    passed = in_real_time(cloud, test)
    assert passed.resets >= 2
    assert 3 <= len(cloud.offsets) <= 2 * passed.resets + 5
    assert cloud.offsets == sorted(cloud.offsets)
    # What was on its way at a reset: a chunk begun, and what lay in the sockets in between.
    assert passed.down.sent <= len(CONTENT) * 1.02 + (passed.resets + 1) * 100_000
    assert passed.down.delivered <= len(CONTENT) * 1.02 + (passed.resets + 1) * 40_000
    counted = budget.used("campaigns/a")
    assert len(CONTENT) < counted.received <= len(CONTENT) * 1.02 + len(cloud.offsets) * 40_000


def test_what_is_counted_is_what_goes_over_the_wire(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT}, chunk=16 * 1024)
    budget = DataBudget(tmp_path / "data.json", UNLIMITED, now_us=lambda: 42)
    always = replace(TUNNEL, covered_s=(1e9, 1e9))
    fast = replace(always, down=replace(_RADIO, bytes_per_s=50_000_000))

    async def test(target: str) -> Statistics:
        host, port = target.split(":")
        async with LinkProxy(Link(fast, 3), to=(host, int(port))) as proxy:
            async with open_channel(proxy.target, vin="V", budget=budget) as channel:
                images = GrpcImages(channel, caller_with(budget), Artifacts(tmp_path))
                await images.fetch(IMAGE, lambda _: None)
            return proxy.statistics()

    budget.campaign = "campaigns/a"
    passed = in_real_time(cloud, test)
    counted = budget.used("campaigns/a")
    assert counted.received == pytest.approx(passed.down.delivered, rel=0.005)
    # Acknowledgements of windows go up as well: some hundred bytes for a megabyte.
    assert 100 < counted.sent <= passed.up.sent


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    ],
)
def test_a_cloud_that_refuses_for_good_is_asked_once_and_its_words_are_told(
    code: grpc.StatusCode, tmp_path: Path
) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT}, failures=[code] * 9)

    async def test(target: str) -> None:
        async with open_channel(target, vin="V") as channel:
            images = GrpcImages(channel, caller_with(), Artifacts(tmp_path))
            with pytest.raises(UpdateError, match=f"download ccu.bin: {code.name}: as told"):
                await images.fetch(IMAGE, lambda _: None)

    in_real_time(cloud, test)
    assert len(cloud.failures) == 8


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
def test_a_cloud_that_goes_on_failing_is_asked_so_often_and_then_left_for_later(
    code: grpc.StatusCode, tmp_path: Path
) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT}, failures=[code] * 99)

    async def test(target: str) -> None:
        async with open_channel(target, vin="V") as channel:
            policy = replace(QUICK, tries=4)
            images = GrpcImages(channel, caller_with(policy=policy), Artifacts(tmp_path))
            with pytest.raises(NotNowError, match=rf"{code.name}: as told \(4 tries\)"):
                await images.fetch(IMAGE, lambda _: None)

    in_real_time(cloud, test)
    assert len(cloud.failures) == 95


def test_a_cloud_that_asks_to_be_left_alone_is(tmp_path: Path) -> None:
    cloud = ScriptedCloud(failures=[grpc.StatusCode.RESOURCE_EXHAUSTED] * 9)

    async def test(target: str) -> None:
        async with open_channel(target, vin="V") as channel:
            images = GrpcImages(channel, caller_with(), Artifacts(tmp_path))
            with pytest.raises(NotNowError, match="RESOURCE_EXHAUSTED"):
                await images.fetch(IMAGE, lambda _: None)

    in_real_time(cloud, test)
    assert len(cloud.failures) == 8


def test_a_cloud_that_has_another_length_is_asked_from_the_first_byte(tmp_path: Path) -> None:
    cloud = ScriptedCloud(
        files={SHA256: CONTENT}, failures=[grpc.StatusCode.OUT_OF_RANGE], chunk=256 * 1024
    )
    with Artifacts(tmp_path).part(SHA256, len(CONTENT)) as part:
        part.append(CONTENT[:6000])

    async def test(target: str) -> None:
        async with open_channel(target, vin="V") as channel:
            images = GrpcImages(channel, caller_with(), Artifacts(tmp_path))
            assert await images.fetch(IMAGE, lambda _: None) == CONTENT

    in_real_time(cloud, test)
    assert cloud.offsets == [0]


def test_a_file_that_the_campaigns_budget_has_no_room_for_is_not_begun(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT})
    limits = DataLimits(campaign=999_999)
    budget = DataBudget(tmp_path / "data.json", limits, now_us=lambda: 42)
    budget.campaign = "campaigns/a"

    async def test(target: str) -> None:
        async with open_channel(target, vin="V", budget=budget) as channel:
            images = GrpcImages(channel, caller_with(budget), Artifacts(tmp_path / "files"))
            with pytest.raises(
                UpdateError, match=r"ccu\.bin: data budget of campaigns/a: 0 of 99999"
            ):
                await images.fetch(IMAGE, lambda _: None)

    in_real_time(cloud, test)
    assert cloud.offsets == []


def test_a_file_goes_on_with_the_next_day_when_the_days_budget_is_used_up(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT}, chunk=50_000)
    day = 0
    limits = DataLimits(day=400_000)
    budget = DataBudget(
        tmp_path / "data.json", limits, now_us=lambda: day * 86_400_000_000 + 1_000_000
    )
    spent = 0

    async def test(target: str) -> None:
        nonlocal day, spent
        async with open_channel(target, vin="V", budget=budget) as channel:
            images = GrpcImages(channel, caller_with(budget), Artifacts(tmp_path / "files"))
            while True:
                try:
                    assert await images.fetch(IMAGE, lambda _: None) == CONTENT
                except NotNowError as error:
                    assert "400000 bytes are used" in str(error)  # noqa: PT017 each day's
                    day, spent = day + 1, spent + 1
                else:
                    return

    in_real_time(cloud, test)
    assert spent == 2
    assert cloud.offsets == [0, 400_000, 800_000]


def test_other_clients_have_the_same_policy_by_the_remedies_of_their_own_tables() -> None:
    tried: list[Remedy] = []

    def failing(remedy: Remedy) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            tried.append(remedy)
            raise TransportError(f"status {len(tried)}", remedy)

        return act

    async def main() -> None:
        caller = caller_with(policy=RetryPolicy(tries=3))
        with pytest.raises(UnavailableError, match=r"fetch: status 3 \(3 tries\)"):
            await caller.call("fetch", failing(Remedy.AGAIN))
        with pytest.raises(RefusedError, match="fetch: status 4"):
            await caller.call("fetch", failing(Remedy.GIVE_UP))

    clock.run(main(), virtual=True)
    assert tried == [Remedy.AGAIN] * 3 + [Remedy.GIVE_UP]
