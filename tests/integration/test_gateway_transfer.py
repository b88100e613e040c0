"""Downloads and deliveries over real gRPC from a cloud that fails."""

import hashlib
import random
import resource
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest

import clock
from tests.support.gateway_cloud import ScriptedCloud, scripted
from vehicle_gateway.calls import Caller
from vehicle_gateway.calls.policy import RetryPolicy
from vehicle_gateway.diagnostics.orders import SignalBatch
from vehicle_gateway.management import Snapshot, UnreachableError
from vehicle_gateway.management.grpc import GrpcManagement
from vehicle_gateway.outbox import Outbox
from vehicle_gateway.transfer import Artifacts
from vehicle_gateway.transfer.grpc import WRONG_CONTENT_TRIES, GrpcImages
from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.images import NotNowError
from vehicle_gateway.update.offer import ImageFormat, PublishedImage

CONTENT = random.Random(1).randbytes(10_500)  # noqa: S311 repeats
SHA256 = hashlib.sha256(CONTENT).digest()
IMAGE = PublishedImage(
    hardware_id="CCU-2",
    file_name="ccu.hex",
    format=ImageFormat.RAW,
    file_size=len(CONTENT),
    file_sha256=SHA256,
    address=0,
    image_size=len(CONTENT),
    image_sha256=SHA256,
)


def run(
    cloud: ScriptedCloud, test: Callable[[grpc.aio.Channel, Caller], Awaitable[object]]
) -> object:
    async def main() -> object:
        rng = random.Random(2)  # noqa: S311 repeats
        caller = Caller(vin="V", now_us=lambda: 42, rng=rng, policy=RetryPolicy(tries=3))
        async with grpc.aio.insecure_channel(target) as channel:
            return await test(channel, caller)

    with scripted(cloud) as target:
        return clock.run(main(), virtual=True)


def fetch(folder: Path, cloud: ScriptedCloud, image: PublishedImage = IMAGE) -> object:
    async def test(channel: grpc.aio.Channel, caller: Caller) -> bytes:
        return await GrpcImages(channel, caller, Artifacts(folder)).fetch(image, seen.append)

    seen: list[int] = []
    content = run(cloud, test)
    assert seen[-1] == len(CONTENT)
    return content


def test_a_file_comes_whole_and_is_kept_by_its_hash(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT})
    assert fetch(tmp_path, cloud) == CONTENT
    assert (tmp_path / SHA256.hex()).read_bytes() == CONTENT
    assert fetch(tmp_path, cloud) == CONTENT
    assert cloud.offsets == [0]
    assert cloud.metadata == ["42"]


def test_a_broken_connection_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT}, break_after=[3000, 4000, 2000])
    assert fetch(tmp_path, cloud) == CONTENT
    assert cloud.offsets == [0, 3000, 7000, 9000]


def test_a_restarted_gateway_goes_on_behind_what_it_has(tmp_path: Path) -> None:
    with Artifacts(tmp_path).part(SHA256, len(CONTENT)) as part:
        part.append(CONTENT[:6000])
    cloud = ScriptedCloud(files={SHA256: CONTENT})
    assert fetch(tmp_path, cloud) == CONTENT
    assert cloud.offsets == [6000]


def test_a_part_that_was_damaged_is_fetched_anew(tmp_path: Path) -> None:
    with Artifacts(tmp_path).part(SHA256, len(CONTENT)) as part:
        part.append(bytes(6000))
    cloud = ScriptedCloud(files={SHA256: CONTENT})
    assert fetch(tmp_path, cloud) == CONTENT
    assert cloud.offsets == [6000, 0]


def test_a_part_that_is_too_long_is_fetched_anew(tmp_path: Path) -> None:
    (tmp_path / f"{SHA256.hex()}.part").write_bytes(CONTENT + b"more")
    cloud = ScriptedCloud(files={SHA256: CONTENT})
    assert fetch(tmp_path, cloud) == CONTENT
    assert cloud.offsets == [0]


def test_wrong_content_is_fetched_again_and_then_right(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT}, corrupt=1)
    assert fetch(tmp_path, cloud) == CONTENT
    assert cloud.offsets == [0, 0]


def test_wrong_content_is_given_up_after_some_tries_and_nothing_is_kept(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT}, corrupt=100)
    with pytest.raises(UpdateError, match=r"ccu.hex: wrong length or SHA-256"):
        fetch(tmp_path, cloud)
    assert cloud.offsets == [0] * WRONG_CONTENT_TRIES
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("served", [CONTENT + b"more", CONTENT[:-1]], ids=["longer", "shorter"])
def test_a_file_of_another_length_is_refused(tmp_path: Path, served: bytes) -> None:
    with pytest.raises(UpdateError, match=r"ccu.hex: wrong length or SHA-256"):
        fetch(tmp_path, ScriptedCloud(files={SHA256: served}))


def test_a_refused_download_is_final_and_says_the_clouds_words(tmp_path: Path) -> None:
    cloud = ScriptedCloud()
    with pytest.raises(UpdateError, match="PERMISSION_DENIED: not offered to this vehicle"):
        fetch(tmp_path, cloud)
    assert cloud.offsets == [0]


def test_a_cloud_that_stays_away_leaves_what_has_come_for_later(tmp_path: Path) -> None:
    cloud = ScriptedCloud(files={SHA256: CONTENT}, break_after=[3000] + [0] * 20)
    with pytest.raises(NotNowError, match="UNAVAILABLE"):
        fetch(tmp_path, cloud)
    cloud.break_after.clear()
    cloud.offsets.clear()
    assert fetch(tmp_path, cloud) == CONTENT
    assert cloud.offsets == [3000]


@pytest.fixture
def room_for_5000_bytes() -> Iterator[None]:
    """The process may write no file beyond this: the same error path as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("room_for_5000_bytes")
def test_a_full_disk_is_named_with_the_file_and_makes_room(tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match=rf"{SHA256.hex()}.part: the disk is full"):
        fetch(tmp_path, ScriptedCloud(files={SHA256: CONTENT}))
    assert list(tmp_path.iterdir()) == []


def snapshot(name: str) -> Snapshot:
    return Snapshot(
        id=name,
        occasion="on_request",
        campaign="",
        time_us=0,
        loop_time_s=0.0,
        ecus=(),
        signals=(),
    )


def test_what_is_kept_is_delivered_in_order_once_the_cloud_takes_it(tmp_path: Path) -> None:
    cloud = ScriptedCloud(failures=[grpc.StatusCode.UNAVAILABLE] * 3)

    async def test(channel: grpc.aio.Channel, caller: Caller) -> None:
        management = GrpcManagement(channel, caller, Outbox(tmp_path))
        management.keep_snapshot(snapshot("a"))
        management.keep_snapshot(snapshot("b"))
        assert [parcel.key for parcel in await management.deliver()] == ["a", "b"]
        assert await management.deliver() == ()

    run(cloud, test)
    assert cloud.received == ["vehicles/V/snapshots/a", "vehicles/V/snapshots/b"]


def test_what_had_to_go_while_the_cloud_was_away_is_told_before_the_newest_signals(
    tmp_path: Path,
) -> None:
    cloud = ScriptedCloud()

    async def test(channel: grpc.aio.Channel, caller: Caller) -> None:
        management = GrpcManagement(channel, caller, Outbox(tmp_path, capacity=2))
        for second in range(4):
            management.keep_batch(
                SignalBatch(
                    subscription="vehicles/V/signalSubscriptions/s",
                    time_us=second * 1_000_000,
                    loop_time_s=float(second),
                    series=(),
                    errors=(),
                    last=False,
                )
            )
        management.keep_snapshot(snapshot("a"))
        assert await management.deliver() == ()

    run(cloud, test)
    # Of four batches three went, in one account; it has the number that came after the first.
    (told,) = cloud.gaps
    assert (told.kind, told.count) == ("live", 3)
    assert cloud.received == [
        told.name,
        "vehicles/V/snapshots/a",
        "vehicles/V/signalSubscriptions/s",
    ]


def test_what_the_cloud_refuses_for_good_is_kept_apart_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    cloud = ScriptedCloud(failures=[grpc.StatusCode.INVALID_ARGUMENT])

    async def test(channel: grpc.aio.Channel, caller: Caller) -> None:
        management = GrpcManagement(channel, caller, Outbox(tmp_path))
        management.keep_snapshot(snapshot("a"))
        management.keep_snapshot(snapshot("b"))
        assert await management.deliver() == ()

    run(cloud, test)
    assert cloud.received == ["vehicles/V/snapshots/b"]
    assert [parcel.key for parcel in Outbox(tmp_path).rejected("snapshot")] == ["a"]


def test_a_check_in_is_repeated_and_then_left_for_later(tmp_path: Path) -> None:
    cloud = ScriptedCloud(failures=[grpc.StatusCode.ABORTED] * 2)

    async def test(channel: grpc.aio.Channel, caller: Caller) -> None:
        management = GrpcManagement(channel, caller, Outbox(tmp_path))
        assert (await management.check_in((), unfinished_campaign="")).offer is None
        cloud.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3
        with pytest.raises(UnreachableError, match="RESOURCE_EXHAUSTED"):
            await management.check_in((), unfinished_campaign="")

    run(cloud, test)
    assert cloud.received == ["V"]
