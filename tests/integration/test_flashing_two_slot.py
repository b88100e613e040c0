import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clock import run
from tests.support.flashing import NONCE, Bench, Line, bench, image, job
from vehicle_gateway.update import UpdateError
from vehicle_gateway.wires.tester import NegativeResponseError

CCU, CCU_ANSWERS = 0x7A0, 0x7A8


def on_bench(
    state: Path,
    ecu: str,
    main: Callable[[Bench], Awaitable[None]],
    *,
    line: Line | None = None,
) -> None:
    async def whole() -> None:
        wire = line or Line()
        async with bench(state, ecu, outgoing=wire.outgoing, incoming=wire.incoming) as found:
            await main(found)

    run(whole(), virtual=True)


@pytest.mark.parametrize("ecu", ["ccu", "ecomp", "ptc", "rear"])
def test_a_staged_image_is_tried_confirmed_and_runs(tmp_path: Path, ecu: str) -> None:
    async def main(on: Bench) -> None:
        updater, update = on.updaters[ecu], job(ecu)
        before = await updater.inventory(NONCE)
        staged = await updater.stage(update, resume_from=0, progress=on.progress)
        still = await updater.inventory(NONCE)
        await updater.activate(update, resume_from=0, progress=on.progress)
        trial = await updater.inventory(NONCE)
        await updater.confirm(update)
        await updater.confirm(update)

        assert before.software_version == still.software_version == "1.0.0"
        assert trial.software_version == "2.0.0"
        assert trial.read_back is not None
        assert trial.read_back.image_sha256 == update.image_sha256
        assert 0.97 * staged.transfer_s <= staged.bound_s <= staged.transfer_s < staged.staging_s

    on_bench(tmp_path, ecu, main)


@pytest.mark.parametrize("ecu", ["ccu", "blower", "rear"])
def test_an_ecu_that_is_only_coming_up_is_waited_for(tmp_path: Path, ecu: str) -> None:
    async def main(on: Bench) -> None:
        updater, update, node = on.updaters[ecu], job(ecu), on.vehicle.nodes[ecu]
        for act in (updater.stage, updater.activate):
            node.kill()
            node.power_on()
            await act(update, resume_from=0, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == "2.0.0"

    on_bench(tmp_path, ecu, main)


@pytest.mark.parametrize("ecu", ["ccu", "rear"])
def test_a_trial_is_reverted_and_the_old_image_runs(tmp_path: Path, ecu: str) -> None:
    async def main(on: Bench) -> None:
        updater, update = on.updaters[ecu], job(ecu)
        await updater.stage(update, resume_from=0, progress=on.progress)
        await updater.activate(update, resume_from=0, progress=on.progress)
        await updater.revert(update, progress=on.progress)
        after = await updater.inventory(NONCE)
        again = await updater.revert(update, progress=on.progress)

        assert after.software_version == "1.0.0"
        assert again.out_of_use_s == 0.0

    on_bench(tmp_path, ecu, main)


def test_the_sequence_is_that_of_an_application_that_programs_its_other_slot(
    tmp_path: Path,
) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        updater, update = on.updaters["ccu"], job("ccu")
        await updater.stage(update, resume_from=0, progress=on.progress)
        await updater.activate(update, resume_from=0, progress=on.progress)
        await updater.confirm(update)

    on_bench(tmp_path, "ccu", main, line=line)
    said = [one for one in line.sequence(CCU) if one != "3E 00"]
    assert said == [
        *("22 F1 8C", "10 03", "27 01", "27 02", "2E F1 5A", "31 01 FF 00"),
        *("34", "36", "37", "31 01 02 02"),
        *("31 01 02 14", "22 F1 8C", "10 03", "27 01", "27 02"),
        *("31 01 FF 01", "31 01 02 10", "11 01"),
        *("22 F1 8C", "10 03", "27 01", "27 02", "31 01 02 11"),
    ]


def test_activating_twice_does_not_go_back_to_the_old_slot(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        updater, update = on.updaters["ccu"], job("ccu")
        await updater.stage(update, resume_from=0, progress=on.progress)
        await updater.activate(update, resume_from=0, progress=on.progress)
        await updater.activate(update, resume_from=0, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == "2.0.0"

    on_bench(tmp_path, "ccu", main)


def test_a_lost_answer_is_asked_for_with_the_same_block_counter(tmp_path: Path) -> None:
    line = Line()
    lost: list[bytes] = []

    def lose_answer(identifier: int, frame: bytes) -> bool:
        if identifier != CCU_ANSWERS or frame[1:3] != b"\x76\x05" or lost:
            return False
        lost.append(frame)
        return True

    line.lose_answer = lose_answer

    async def main(on: Bench) -> None:
        update = job("ccu")
        await on.updaters["ccu"].stage(update, resume_from=0, progress=on.progress)

    on_bench(tmp_path, "ccu", main, line=line)
    counters = [begun[1] for _, begun in line.requests if begun[0] == 0x36]
    assert lost
    assert counters[:7] == [1, 2, 3, 4, 5, 5, 6]


def test_a_lost_request_is_sent_again(tmp_path: Path) -> None:
    line = Line()
    lost: list[bytes] = []

    def lose_request(_identifier: int, begun: bytes) -> bool:
        if begun[:2] != b"\x36\x03" or lost:
            return False
        lost.append(begun)
        return True

    line.lose_request = lose_request

    async def main(on: Bench) -> None:
        await on.updaters["ccu"].stage(job("ccu"), resume_from=0, progress=on.progress)

    on_bench(tmp_path, "ccu", main, line=line)
    assert lost


def test_the_delay_after_a_strangers_wrong_keys_is_waited_for(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        stranger = on.testers.tester("ccu")
        await stranger.request(b"\x10\x03")
        for _ in range(3):
            await stranger.request(b"\x27\x01")
            with pytest.raises(NegativeResponseError):
                await stranger.request(b"\x27\x02" + bytes(16))
        figures = await on.updaters["ccu"].stage(job("ccu"), resume_from=0, progress=on.progress)
        assert 10 < figures.staging_s - figures.transfer_s < 13

    on_bench(tmp_path, "ccu", main)


def test_an_ecu_that_goes_silent_is_a_clear_error_in_bounded_time(tmp_path: Path) -> None:
    line = Line()
    line.lose_answer = lambda identifier, frame: (
        identifier == CCU_ANSWERS and frame[:2] == b"\x02\x76" and frame[2] >= 0x09
    )

    async def main(on: Bench) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(UpdateError) as caught:
            await on.updaters["ccu"].stage(job("ccu"), resume_from=0, progress=on.progress)
        error = caught.value
        assert (error.ecu, error.step) == ("ccu", "transferring")
        assert "TRANSFER_DATA" in error.cause
        assert "asked 3 times" in error.cause
        assert loop.time() < 10

    on_bench(tmp_path, "ccu", main, line=line)


def test_an_ecu_that_is_not_there_is_a_clear_error_in_bounded_time(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        on.vehicle.nodes["ccu"].kill()
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        with pytest.raises(UpdateError, match="ccu: reading back: does not answer within 30 s"):
            await on.updaters["ccu"].inventory(NONCE)
        assert loop.time() - start_s < 35

    on_bench(tmp_path, "ccu", main)


def test_an_interrupted_download_goes_on_at_the_last_verified_sector(tmp_path: Path) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        updater, update = on.updaters["ccu"], job("ccu")
        staging = asyncio.create_task(updater.stage(update, resume_from=0, progress=on.progress))
        verified = await on.verified(0x10000)
        staging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staging
        await asyncio.sleep(6.0)  # the session runs out, and the download with it
        line.requests.clear()
        await updater.stage(update, resume_from=verified, progress=on.progress)
        blocks = [begun for _, begun in line.requests if begun[0] == 0x36]
        # Of what is left, compressed.
        assert 0 < len(blocks) < -(-(len(update.image) - verified) // 3840)
        await updater.activate(update, resume_from=0, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == "2.0.0"

    on_bench(tmp_path, "ccu", main, line=line)


def test_what_was_taken_for_verified_and_is_not_is_written_again(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        updater, update = on.updaters["ccu"], job("ccu")
        await updater.stage(update, resume_from=0x10000, progress=on.progress)
        await updater.activate(update, resume_from=0, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == "2.0.0"

    on_bench(tmp_path, "ccu", main)


def test_an_unsigned_image_is_refused_before_any_reset(tmp_path: Path) -> None:
    line = Line()

    async def main(on: Bench) -> None:
        updater, update = on.updaters["ccu"], replace(job("ccu"), image=bytes(range(256)) * 64)
        with pytest.raises(UpdateError, match="ccu: verifying: routine 0202: not a signed image"):
            await updater.stage(update, resume_from=0, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == "1.0.0"

    on_bench(tmp_path, "ccu", main, line=line)
    assert not [begun for _, begun in line.requests if begun[0] == 0x11]


def test_progress_only_grows_and_ends_at_the_whole_image(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        await on.updaters["ccu"].stage(job("ccu"), resume_from=0, progress=on.progress)
        done = [note for note in on.notes if note.step == "transferring"]
        assert [note.bytes_done for note in done] == sorted(note.bytes_done for note in done)
        assert done[-1].bytes_done == done[-1].bytes_total == len(image("ccu", "2.0.0"))
        assert all(note.verified % 0x2000 == 0 for note in done)
        assert done[0].remaining_s > done[-1].remaining_s
        assert [note.step for note in on.notes if note.step != "transferring"] == [
            "erasing",
            "verifying",
        ]

    on_bench(tmp_path, "ccu", main)
