import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from clock import run
from dbc import load
from protocols.can import FrameHeader
from tests.support.flashing import NONCE, Bench, Line, bench, job
from vehicle_gateway.update import UpdateError

BLOWER, EVERYONE = 0x7A1, 0x7DF
OPENING = ["3E 80", "10 83", "31 01 02 03", "85 82", "28 83 01"]
CLOSING = ["28 80 01", "85 81", "10 81"]


def on_bench(
    state: Path, main: Callable[[Bench], Awaitable[None]], line: Line | None = None
) -> None:
    async def whole() -> None:
        wire = line or Line()
        async with bench(
            state, "ccu", "blower", outgoing=wire.outgoing, incoming=wire.incoming
        ) as found:
            await main(found)

    run(whole(), virtual=True)


def to_everyone(line: Line) -> list[str]:
    """Functional requests, the repeated 3E 80 only once."""
    said = line.sequence(EVERYONE)
    return [one for number, one in enumerate(said) if one != "3E 80" or number == 0]


async def messages_of_ccu(on: Bench, seconds: float) -> int:
    """Frames that the other ECU of the wire sends by itself."""
    heard: list[int] = []

    def hear(header: FrameHeader, _data: bytes, _at_s: float) -> None:
        heard.append(header.identifier)

    headers = [
        FrameHeader(message.frame_id)
        for message in load("hvac_comfort").messages
        if message.name.startswith("CCU_")
    ]
    stop = on.vehicle.can_port("comfort", "listener").listen(hear, *headers)
    await asyncio.sleep(seconds)
    stop()
    return len(heard)


def test_the_new_image_is_programmed_and_runs(tmp_path: Path) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        updater, update = on.updaters["blower"], job("blower")
        await updater.stage(update, resume_from=0, progress=on.progress)
        line.requests.clear()
        figures = await updater.activate(update, resume_from=0, progress=on.progress)
        after = await updater.inventory(NONCE)
        assert after.software_version == "2.0.0"
        assert after.read_back is not None
        assert after.read_back.image_sha256 == update.image_sha256
        assert 0.97 * figures.transfer_s <= figures.bound_s <= figures.transfer_s
        assert figures.transfer_s < figures.out_of_use_s < 6

    on_bench(tmp_path, main, line)
    assert to_everyone(line) == [*OPENING, *CLOSING]
    said = line.sequence(BLOWER)
    assert said[: said.index("11 01") + 1] == [
        *("3E 00", "22 F1 8C", "10 02", "27 01", "27 02", "2E F1 5A", "31 01 FF 00"),
        *("34", "36", "37", "31 01 02 02", "31 01 FF 01", "11 01"),
    ]


def test_tester_present_keeps_coming_while_the_download_fills_the_wire(tmp_path: Path) -> None:
    line = Line()
    times: list[float] = []

    def note(_identifier: int, begun: bytes) -> bool:
        if begun == b"\x3e\x80":
            times.append(asyncio.get_running_loop().time())
        return False

    line.lose_request = note

    async def main(on: Bench) -> None:
        await on.updaters["blower"].activate(job("blower"), resume_from=0, progress=on.progress)

    on_bench(tmp_path, main, line)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps
    assert max(gaps) < 2.05


def test_the_other_ecu_is_silent_meanwhile_and_speaks_again_after(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        before = await messages_of_ccu(on, 1.0)
        update = job("blower")
        work = asyncio.create_task(
            on.updaters["blower"].activate(update, resume_from=0, progress=on.progress)
        )
        await asyncio.sleep(1.0)
        during = await messages_of_ccu(on, 2.0)
        await work
        await asyncio.sleep(0.2)
        after = await messages_of_ccu(on, 1.0)
        assert during == 0
        assert min(before, after) > 15

    on_bench(tmp_path, main)


def test_a_failure_in_the_middle_still_releases_the_wire(tmp_path: Path) -> None:
    line = Line()
    line.lose_request = lambda identifier, begun: (
        identifier == BLOWER and begun[0] == 0x36 and begun[1] == 100
    )

    async def main(on: Bench) -> None:
        updater, update = on.updaters["blower"], job("blower")
        with pytest.raises(UpdateError) as caught:
            await updater.activate(update, resume_from=0, progress=on.progress)
        assert (caught.value.ecu, caught.value.step) == ("blower", "transferring")
        await asyncio.sleep(0.2)
        assert await messages_of_ccu(on, 1.0) > 0

    on_bench(tmp_path, main, line)
    assert to_everyone(line) == [*OPENING, *CLOSING]


def test_a_cancelled_programming_releases_the_wire_and_can_go_on_or_back(tmp_path: Path) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        updater, update = on.updaters["blower"], job("blower")
        work = asyncio.create_task(updater.activate(update, resume_from=0, progress=on.progress))
        verified = await on.verified(0x4000)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert to_everyone(line) == [*OPENING, *CLOSING]
        assert (await updater.inventory(NONCE)).software_version == ""

        await updater.activate(update, resume_from=verified, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == "2.0.0"
        await updater.revert(update, progress=on.progress)
        await updater.revert(update, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == "1.0.0"

    on_bench(tmp_path, main, line)


def test_an_ecu_that_does_not_agree_stops_the_programming_before_it_begins(
    tmp_path: Path,
) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        on.vehicle.rest_bus.set("Speed", 30.0)
        await asyncio.sleep(0.5)
        with pytest.raises(UpdateError, match="not met: vehicle moving"):
            await on.updaters["blower"].activate(job("blower"), resume_from=0, progress=on.progress)

    on_bench(tmp_path, main, line)
    assert to_everyone(line) == [*OPENING[:3], *CLOSING]
    assert "10 02" not in line.sequence(BLOWER)


@pytest.mark.parametrize("opening", OPENING[1:])
def test_another_ecu_of_the_wire_that_refuses_stops_the_programming_too(
    tmp_path: Path, opening: str
) -> None:
    asked = bytes.fromhex(opening)
    line = Line()
    line.lose_answer = lambda identifier, frame: (
        identifier == 0x7A8 and frame[1:5] == b"\x71\x01\x02\x03"
    )

    async def main(on: Bench) -> None:
        port = on.vehicle.can_port("comfort", "ccu")

        def refuse(_header: FrameHeader, data: bytes, _at_s: float) -> None:
            if data[1 : 1 + len(asked)] == asked:
                refusal = b"\x03\x7f" + asked[:1] + b"\x22\xcc\xcc\xcc\xcc"
                port.send(FrameHeader(0x7A8), (refusal,))

        port.listen(refuse, FrameHeader(EVERYONE))
        with pytest.raises(UpdateError, match=r"ccu: .*CONDITIONS_NOT_CORRECT"):
            await on.updaters["blower"].activate(job("blower"), resume_from=0, progress=on.progress)

    on_bench(tmp_path, main, line)
    assert [one for one in to_everyone(line) if one not in CLOSING][-1] == opening
    assert to_everyone(line)[-len(CLOSING) :] == list(CLOSING)
    assert "10 02" not in line.sequence(BLOWER)


def test_the_ecu_itself_is_asked_again_where_its_agreement_got_lost(tmp_path: Path) -> None:
    line = Line()
    lost: list[bytes] = []

    def lose_answer(identifier: int, frame: bytes) -> bool:
        if lost or identifier != BLOWER + 8 or frame[1:5] != b"\x71\x01\x02\x03":
            return False
        lost.append(frame)
        return True

    line.lose_answer = lose_answer

    async def main(on: Bench) -> None:
        await on.updaters["blower"].activate(job("blower"), resume_from=0, progress=on.progress)

    on_bench(tmp_path, main, line)
    assert lost
    assert "31 01 02 03" in line.sequence(BLOWER)


def test_a_foreign_image_is_written_does_not_run_and_the_old_one_is_put_back(
    tmp_path: Path,
) -> None:
    foreign = bytes(range(256)) * 40

    async def main(on: Bench) -> None:
        updater = on.updaters["blower"]
        update = replace(
            job("blower"), image=foreign, image_sha256=hashlib.sha256(foreign).digest()
        )
        await updater.stage(update, resume_from=0, progress=on.progress)
        await updater.activate(update, resume_from=0, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == ""
        await updater.revert(update, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == "1.0.0"

    on_bench(tmp_path, main)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"present": None}, "its present image is not at hand"),
        ({"image": bytes(0x2_0001)}, "new image: 131073 bytes at 0x00010000 are not within"),
        ({"image": b""}, "new image: 0 bytes"),
        ({"present_address": 0x8000}, "present image: .* are not within"),
    ],
)
def test_staging_refuses_what_could_not_be_undone(
    tmp_path: Path, change: dict[str, bytes | int | None], cause: str
) -> None:
    async def main(on: Bench) -> None:
        update = replace(job("blower"), **change)  # type: ignore[arg-type] # one field per case
        with pytest.raises(UpdateError, match=cause):
            await on.updaters["blower"].stage(update, resume_from=0, progress=on.progress)

    on_bench(tmp_path, main)
