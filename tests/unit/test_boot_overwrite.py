import hashlib
import itertools
import zlib
from collections.abc import Callable

import pytest

from ecu_sim.boot import Application, Boot, NotNowError, OptionError, ResetReason, StayInBootloader
from ecu_sim.boot.overwrite import PROFILE, TRANSITIONS, BootRecord, Overwrite, State, Trigger
from ecu_sim.memory import Cut, MemoryFaultError, PowerBudget, PowerLossError, Tear, Torn
from ecu_sim.memory.flash import finish, result_of
from protocols.uds.routine_status import CheckStatus
from tests.support.boot_steps import activates, confirms, downloads, reverts
from tests.support.ecu import SLOTS, TRUST, Cells, signed_image

OLD = signed_image(bytes(700), version=(1, 0, 0), security_counter=1)
NEW = signed_image(bytes(500), version=(2, 0, 0), security_counter=1)
SECOND = SLOTS.size // 2


def cells_with(image: bytes = OLD) -> Cells:
    cells = Cells()
    memory = cells.memory()
    finish(memory.flash.program(0, image))
    finish(memory.record.write(PROFILE.factory_record(image, TRUST)))
    return cells


def booted(cells: Cells, reset: ResetReason = ResetReason.POWER_ON) -> Overwrite:
    boot = PROFILE.open(cells.memory(), TRUST)
    assert isinstance(result_of(boot.boot(reset)), Application)
    return boot


def running(cells: Cells, reset: ResetReason = ResetReason.POWER_ON) -> str:
    decision = result_of(PROFILE.open(cells.memory(), TRUST).boot(reset))
    assert isinstance(decision, Application), decision
    return decision.declared.software_version


def download(boot: Boot, cells: Cells, image: bytes) -> None:
    memory = cells.memory()
    start = boot.begin_download() * memory.slot_size
    finish(boot.preparing())
    finish(memory.flash.erase(start, memory.slot_size))
    finish(memory.flash.program(start, image))
    finish(boot.finish_download(len(image)))


def staged(image: bytes = NEW) -> Cells:
    cells = cells_with()
    download(booted(cells), cells, image)
    return cells


def requested() -> Cells:
    cells = staged()
    finish(booted(cells).activate())
    return cells


def copied() -> Cells:
    cells = requested()
    assert running(cells, ResetReason.SOFTWARE) == "2.0.0"
    return cells


def record_of(cells: Cells) -> BootRecord:
    return BootRecord.decode(cells.memory().record.read())


def test_every_state_and_trigger_is_decided() -> None:
    assert TRANSITIONS.keys() == set(itertools.product(State, Trigger))


def test_staging_alone_changes_nothing_that_boots() -> None:
    assert running(staged()) == "1.0.0"


def test_a_copy_replaces_the_first_slot_and_there_is_no_way_back() -> None:
    cells = copied()
    assert cells.slots[: len(NEW)] == NEW
    assert record_of(cells).lengths == (len(NEW), len(NEW))
    finish(booted(cells).revert())
    assert running(cells) == "2.0.0"


def test_the_old_image_can_be_written_again_until_the_new_one_is_confirmed() -> None:
    cells = copied()
    boot = booted(cells)
    download(boot, cells, OLD)
    assert result_of(boot.check(b"")) is CheckStatus.CORRECT
    finish(boot.activate())
    assert running(cells) == "1.0.0"


def test_after_the_confirmation_nothing_older_is_taken() -> None:
    cells = copied()
    finish(booted(cells).confirm())
    before = bytes(cells.records)
    finish(booted(cells).confirm())
    assert cells.records == before
    boot = booted(cells)
    download(boot, cells, OLD)
    assert result_of(boot.check(b"")) is boot.check_dependencies() is CheckStatus.VERSION_TOO_LOW
    with pytest.raises(NotNowError, match="older than the version"):
        finish(boot.activate())
    download(boot, cells, NEW)
    assert result_of(boot.check(b"")) is CheckStatus.CORRECT


def test_the_security_counter_rises_with_the_confirmation_only() -> None:
    cells = cells_with()
    boot = booted(cells)
    download(boot, cells, signed_image(version=(2, 0, 0), security_counter=9))
    finish(boot.activate())
    boot = booted(cells)
    assert record_of(cells).security_counter == 0
    finish(boot.confirm())
    assert record_of(cells).security_counter == 9
    download(boot, cells, signed_image(version=(3, 0, 0), security_counter=8))
    assert result_of(boot.check(b"")) is CheckStatus.SECURITY_COUNTER_TOO_LOW


@pytest.mark.parametrize("withdraw", [Overwrite.revert, Overwrite.preparing])
def test_a_request_is_withdrawn_by_a_revert_and_by_a_new_download(withdraw: object) -> None:
    assert callable(withdraw)
    cells = staged()
    boot = booted(cells)
    finish(boot.activate())
    finish(boot.activate())
    with pytest.raises(NotNowError, match="REQUESTED"):
        finish(boot.confirm())
    finish(withdraw(boot))
    assert running(cells) == "1.0.0"
    assert record_of(cells).state is State.REFUSED
    with pytest.raises(NotNowError, match="REFUSED"):
        finish(booted(cells).confirm())


def test_an_image_that_goes_bad_after_the_request_is_not_copied() -> None:
    cells = requested()
    cells.slots[SECOND + 300] ^= 0x01
    assert running(cells) == "1.0.0"
    assert cells.slots[: len(OLD)] == OLD
    assert record_of(cells).state is State.REFUSED


def test_a_boot_loader_requests_the_copy_of_what_it_has_taken() -> None:
    for cells in (Cells(), cells_with()):
        boot = PROFILE.open(cells.memory(), TRUST)
        assert isinstance(result_of(boot.boot(ResetReason.PROGRAMMING)), StayInBootloader)
        download(boot, cells, NEW)
        assert boot.check_size() == len(NEW)
        # Once more, after a lost answer.
        download(boot, cells, NEW)
        assert running(cells) == "2.0.0"


def test_what_a_tester_says_of_the_image_is_compared() -> None:
    boot = booted(staged())
    crc = zlib.crc32(NEW).to_bytes(4)
    whole = len(NEW).to_bytes(4) + crc + hashlib.sha512(NEW).digest()
    for right in (b"", crc, whole):
        assert result_of(boot.check(right)) is CheckStatus.CORRECT
    for wrong in (bytes(4), whole[:-1] + bytes(1)):
        assert result_of(boot.check(wrong)) is CheckStatus.WRONG_CHECKSUM
    with pytest.raises(OptionError, match="SHA-512"):
        result_of(boot.check(bytes(5)))


def test_an_empty_ecu_has_no_active_image() -> None:
    with pytest.raises(NotNowError, match="no image"):
        PROFILE.open(Cells().memory(), TRUST).active_image()


def test_a_record_that_is_not_ours_is_refused() -> None:
    for content in (b"short", b"\xee" + bytes(27)):
        with pytest.raises(MemoryFaultError, match="boot record"):
            BootRecord.decode(content)


CUTS = (
    *Cut,
    Tear(done=0.25),
    Tear(how=Torn.HALFWAY, done=0.0, seed=5),
    Tear(how=Torn.DRAINED),
)


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_copy_is_complete_after_any_cut(cut: Cut | Tear) -> None:
    prepared = requested()
    counting = PowerBudget(operations=1_000_000)
    result_of(
        PROFILE.open(prepared.copy().memory(power=counting), TRUST).boot(ResetReason.SOFTWARE)
    )
    assert counting.drawn > 10
    for operations in range(counting.drawn):
        cells = prepared.copy()
        memory = cells.memory(power=PowerBudget(operations=operations, cut=cut))
        with pytest.raises(PowerLossError):
            result_of(PROFILE.open(memory, TRUST).boot(ResetReason.SOFTWARE))
        assert running(cells) == "2.0.0"
        assert record_of(cells).lengths == (len(NEW), len(NEW))


@pytest.mark.parametrize("sector_at", [0, SLOTS.sector_size])
def test_where_the_first_slot_goes_bad_the_second_one_is_started(sector_at: int) -> None:
    cells = requested()
    memory = cells.memory()
    memory.flash.spoil(sector_at)
    boot = PROFILE.open(memory, TRUST)
    decision = result_of(boot.boot(ResetReason.POWER_ON))
    assert isinstance(decision, Application)
    assert (decision.slot, decision.declared.software_version) == (1, "2.0.0")
    assert boot.active_image() == NEW
    with pytest.raises(NotNowError, match=f"0x{sector_at:X} is bad"):
        boot.begin_download()
    with pytest.raises(NotNowError, match=f"0x{sector_at:X} is bad"):
        finish(boot.activate())
    with pytest.raises(NotNowError, match="old image is gone"):
        finish(boot.revert())


def test_a_boot_loader_says_what_is_wrong_with_the_first_slot() -> None:
    decision = result_of(PROFILE.open(Cells().memory(), TRUST).boot(ResetReason.POWER_ON))
    assert decision == StayInBootloader(
        "slot 0: not a signed image: no container of this ECU's format"
    )


def test_a_boot_loader_says_first_why_a_copy_is_stuck() -> None:
    cells = requested()
    for slot in (0, SECOND):
        cells.slots[slot + 300] ^= 0x01
    decision = result_of(PROFILE.open(cells.with_worn_record(), TRUST).boot(ResetReason.POWER_ON))
    assert isinstance(decision, StayInBootloader)
    stuck, _, reason = decision.reason.partition("; ")
    assert stuck.endswith("is bad: it is not erased")
    assert reason.startswith("slot 0: ")


# Every step in every state, by what is seen of it: what runs after a reset, whether a confirm is
# taken then, and whether the old image can be written again after that.

OLD_KEPT = ("1.0.0", "confirmed", "old one taken")
CAME_TO_NOTHING = ("1.0.0", "refused", "old one taken")
COPIED = ("2.0.0", "confirmed", "old one refused")
NEW_KEPT = ("2.0.0", "nothing to confirm", "old one refused")
REFUSED = ("", "refused", "")

Reached = tuple[Cells, Overwrite]
Step = Callable[[Cells, Overwrite], object]


def when_confirmed() -> Reached:
    cells = staged()
    return cells, booted(cells)


def when_requested() -> Reached:
    cells, boot = when_confirmed()
    finish(boot.activate())
    return cells, boot


def when_copied() -> Reached:
    cells = copied()
    return cells, booted(cells)


def when_refused() -> Reached:
    cells, boot = when_requested()
    finish(boot.revert())
    return cells, boot


def loses_its_new_image(cells: Cells, _: Overwrite) -> None:
    cells.slots[SECOND + 100] ^= 1
    booted(cells)


def seen(cells: Cells) -> tuple[str, str, str]:
    boot = PROFILE.open(cells.memory(), TRUST)
    decision = result_of(boot.boot(ResetReason.POWER_ON))
    assert isinstance(decision, Application), decision
    before = bytes(cells.records)
    try:
        finish(boot.confirm())
    except NotNowError:
        answer = "refused"
    else:
        unchanged = decision.declared.software_version == "2.0.0" and cells.records == before
        answer = "nothing to confirm" if unchanged else "confirmed"
    download(boot, cells, OLD)
    taken = result_of(boot.check(b"")) is CheckStatus.CORRECT
    return decision.declared.software_version, answer, f"old one {'taken' if taken else 'refused'}"


@pytest.mark.parametrize(
    ("reach", "step", "outcome"),
    [
        (when_confirmed, downloads, OLD_KEPT),
        (when_confirmed, activates, COPIED),
        (when_confirmed, confirms, OLD_KEPT),
        (when_confirmed, reverts, OLD_KEPT),
        (when_requested, downloads, CAME_TO_NOTHING),
        (when_requested, activates, COPIED),
        (when_requested, confirms, REFUSED),
        (when_requested, reverts, CAME_TO_NOTHING),
        (when_requested, loses_its_new_image, CAME_TO_NOTHING),
        (when_copied, downloads, COPIED),
        (when_copied, activates, COPIED),
        (when_copied, confirms, NEW_KEPT),
        (when_copied, reverts, COPIED),
        (when_refused, downloads, CAME_TO_NOTHING),
        (when_refused, activates, COPIED),
        (when_refused, confirms, REFUSED),
        (when_refused, reverts, CAME_TO_NOTHING),
    ],
)
def test_what_comes_of_a_step(
    reach: Callable[[], Reached], step: Step, outcome: tuple[str, str, str]
) -> None:
    cells, boot = reach()
    if outcome == REFUSED:
        before = bytes(cells.records)
        with pytest.raises(NotNowError, match="is refused in state"):
            step(cells, boot)
        assert cells.records == before
    else:
        step(cells, boot)
        assert seen(cells) == outcome
