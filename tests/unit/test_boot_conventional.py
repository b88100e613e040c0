import itertools
import zlib
from collections.abc import Callable

import pytest

from ecu_sim.boot import (
    Application,
    Boot,
    NotNowError,
    OptionError,
    ResetReason,
    StayInBootloader,
    Trust,
)
from ecu_sim.boot.conventional import PROFILE, TRANSITIONS, SlotRecord, State, Trigger
from ecu_sim.memory import Cut, MemoryFaultError, PowerBudget, PowerLossError, PowerSupply
from ecu_sim.memory.flash import finish, result_of
from protocols.uds.routine_status import CheckStatus
from tests.support.ecu import Cells, crc_image

TRUST = Trust(hardware_identifier="BLW-1", public_keys={})
IMAGE = crc_image()


def booted(cells: Cells, reset: ResetReason = ResetReason.POWER_ON) -> tuple[Boot, object]:
    boot = PROFILE.open(cells.memory(slots=1), TRUST)
    return boot, result_of(boot.boot(reset))


def programmed(image: bytes) -> Cells:
    """Through the boot loader, as a tester would."""
    cells = Cells()
    boot, decision = booted(cells)
    assert isinstance(decision, StayInBootloader)
    flash = cells.memory(slots=1).flash
    assert boot.begin_download() == 0
    finish(boot.preparing())
    finish(flash.program(0, image))
    finish(boot.finish_download(len(image)))
    assert result_of(boot.check(zlib.crc32(image).to_bytes(4))) is CheckStatus.CORRECT
    assert boot.check_dependencies() is CheckStatus.CORRECT
    return cells


def test_every_state_and_trigger_is_decided() -> None:
    assert TRANSITIONS.keys() == set(itertools.product(State, Trigger))


def test_a_programmed_application_runs() -> None:
    _, decision = booted(programmed(IMAGE))
    assert isinstance(decision, Application)
    assert decision.declared.software_version == "1.0.0"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"any bytes that are no image", "no application (written)"),
        (IMAGE[:-3], "CRC32"),
        (crc_image(hardware_id="FLP-1"), "FLP-1, not BLW-1"),
    ],
)
def test_what_is_written_and_does_not_run_stays_in_the_boot_loader(
    image: bytes, reason: str
) -> None:
    boot, decision = booted(programmed(image))
    assert isinstance(decision, StayInBootloader)
    assert reason in decision.reason
    assert boot.begin_download() == 0


def test_an_interrupted_download_is_named_as_the_reason() -> None:
    cells = programmed(IMAGE)
    boot, _ = booted(cells, ResetReason.PROGRAMMING)
    finish(boot.preparing())
    finish(cells.memory(slots=1).flash.erase(0, 0x100))
    _, decision = booted(cells)
    assert decision == StayInBootloader("no application (programming)")


def test_a_programming_request_keeps_a_good_application_from_starting() -> None:
    boot, decision = booted(programmed(IMAGE), ResetReason.PROGRAMMING)
    assert decision == StayInBootloader("programming requested")
    assert boot.running is None


def test_a_running_application_cannot_overwrite_itself() -> None:
    boot, _ = booted(programmed(IMAGE))
    with pytest.raises(NotNowError, match="boot loader"):
        boot.begin_download()


def test_a_wrong_checksum_is_told_and_a_missing_one_refused() -> None:
    boot, _ = booted(programmed(IMAGE))
    assert result_of(boot.check(bytes(4))) is CheckStatus.WRONG_CHECKSUM
    with pytest.raises(OptionError, match="CRC32"):
        result_of(boot.check(b""))


@pytest.mark.parametrize("step", ["activate", "confirm", "revert"])
def test_there_are_no_trials(step: str) -> None:
    boot, _ = booted(programmed(IMAGE))
    with pytest.raises(NotNowError, match="one slot"):
        getattr(boot, step)()


def reprogram(cells: Cells, image: bytes, power: PowerSupply | None = None) -> None:
    memory = cells.memory(slots=1, power=power)
    boot = PROFILE.open(memory, TRUST)
    result_of(boot.boot(ResetReason.PROGRAMMING))
    finish(boot.preparing())
    finish(memory.flash.erase(0, 0x400))
    finish(memory.flash.program(0, image))
    finish(boot.finish_download(len(image)))


@pytest.mark.parametrize("cut", Cut)
def test_power_loss_at_any_operation_leaves_a_boot_loader_that_finishes_the_job(cut: Cut) -> None:
    new = crc_image(version=(2, 0, 0))
    counting = PowerBudget(operations=1_000_000)
    reprogram(programmed(IMAGE), new, counting)
    unbootable = 0
    for budget in range(counting.drawn):
        cells = programmed(IMAGE)
        with pytest.raises(PowerLossError):
            reprogram(cells, new, PowerBudget(operations=budget, cut=cut))
        _, decision = booted(cells)
        unbootable += isinstance(decision, StayInBootloader)
        reprogram(cells, new)
        _, decision = booted(cells)
        assert isinstance(decision, Application)
        assert decision.declared.software_version == "2.0.0"
    # The profile's known weakness: while it is rewritten there is nothing to start.
    assert unbootable >= counting.drawn // 2


def test_an_image_that_is_shorter_than_the_one_before_it_runs() -> None:
    """Only what an image needs is erased: behind it stands what the longer one has left."""
    cells = programmed(crc_image(bytes(1500)))
    shorter = crc_image(bytes(300), version=(2, 0, 0))
    memory = cells.memory(slots=1)
    boot = PROFILE.open(memory, TRUST)
    result_of(boot.boot(ResetReason.PROGRAMMING))
    finish(boot.preparing())
    finish(memory.flash.erase(0, 0x200))
    finish(memory.flash.program(0, shorter))
    finish(boot.finish_download(len(shorter)))
    assert memory.flash.read(0x400, 4) == bytes(4)
    _, decision = booted(cells)
    assert isinstance(decision, Application)
    assert decision.declared.software_version == "2.0.0"


def test_dependencies_are_checked_of_a_finished_download_only() -> None:
    boot, _ = booted(programmed(IMAGE), ResetReason.PROGRAMMING)
    assert boot.check_dependencies() is CheckStatus.CORRECT
    finish(boot.preparing())
    with pytest.raises(NotNowError, match="no finished download"):
        boot.check_dependencies()


def test_an_empty_ecu_has_nothing_to_check() -> None:
    boot, _ = booted(Cells())
    assert boot.check_size() == 0
    with pytest.raises(NotNowError, match="no finished download"):
        boot.check_dependencies()


@pytest.mark.parametrize("content", [b"short", b"\x07" + bytes(7)])
def test_a_record_that_is_not_ours_is_refused(content: bytes) -> None:
    with pytest.raises(MemoryFaultError, match="boot record"):
        SlotRecord.decode(content)


# Every step in every state, by what the boot loader calls the state and whether there is something
# to check.

EMPTY = ("empty", False)
PROGRAMMING = ("programming", False)
WRITTEN = ("written", True)


def when_empty() -> Cells:
    return Cells()


def when_programming() -> Cells:
    cells = Cells()
    finish(booted(cells)[0].preparing())
    return cells


def when_written() -> Cells:
    cells = Cells()
    finish(booted(cells)[0].finish_download(100))
    return cells


@pytest.mark.parametrize("reach", [when_empty, when_programming, when_written])
def test_what_comes_of_a_step(reach: Callable[[], Cells]) -> None:
    cells = reach()
    finish(booted(cells)[0].preparing())
    assert seen(cells) == PROGRAMMING
    cells = reach()
    finish(booted(cells)[0].finish_download(200))
    assert seen(cells) == WRITTEN
    assert booted(cells)[0].check_size() == 200


def test_an_empty_ecu_is_told() -> None:
    assert seen(when_empty()) == EMPTY


def seen(cells: Cells) -> tuple[str, bool]:
    boot, decision = booted(cells)
    assert isinstance(decision, StayInBootloader)
    try:
        boot.check_dependencies()
    except NotNowError:
        return decision.reason.rpartition("(")[2].rstrip(")"), False
    return decision.reason.rpartition("(")[2].rstrip(")"), True
