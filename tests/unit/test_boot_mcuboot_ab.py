import itertools
from collections.abc import Callable

import pytest

from ecu_sim.boot import (
    Application,
    Boot,
    Decision,
    NotNowError,
    OptionError,
    ResetReason,
    StayInBootloader,
)
from ecu_sim.boot.mcuboot_ab import (
    MAX_TRIAL_BOOTS,
    PROFILE,
    TRANSITIONS,
    BootRecord,
    State,
    Trigger,
)
from ecu_sim.memory import Cut, MemoryFaultError, PowerBudget, PowerLossError, PowerSupply
from ecu_sim.memory.flash import finish, result_of
from protocols.uds.routine_status import CheckStatus
from tests.support.boot_steps import activates, confirms, downloads, reverts
from tests.support.ecu import FOREIGN_KEY, TRUST, Cells, signed_image

OLD = signed_image(version=(1, 0, 0), security_counter=1)
NEW = signed_image(version=(2, 0, 0), security_counter=2)


def cells_with(image: bytes = OLD) -> Cells:
    cells = Cells()
    memory = cells.memory()
    finish(memory.flash.program(0, image))
    finish(memory.record.write(PROFILE.factory_record(image, TRUST)))
    return cells


def opened(cells: Cells, power: PowerSupply | None = None) -> Boot:
    return PROFILE.open(cells.memory(power=power), TRUST)


def booted(
    cells: Cells, reset: ResetReason = ResetReason.POWER_ON, power: PowerSupply | None = None
) -> Boot:
    boot = opened(cells, power)
    assert isinstance(result_of(boot.boot(reset)), Application)
    return boot


def running_version(cells: Cells, reset: ResetReason = ResetReason.POWER_ON) -> str:
    decision = result_of(opened(cells).boot(reset))
    assert isinstance(decision, Application), decision
    return decision.declared.software_version


def download(boot: Boot, cells: Cells, image: bytes, power: PowerSupply | None = None) -> None:
    memory = cells.memory(power=power)
    slot = boot.begin_download()
    finish(boot.preparing())
    finish(memory.flash.erase(slot * memory.slot_size, memory.slot_size))
    finish(memory.flash.program(slot * memory.slot_size, image))
    finish(boot.finish_download(len(image)))


def staged(image: bytes = NEW) -> Cells:
    cells = cells_with()
    download(booted(cells), cells, image)
    return cells


def on_trial() -> Cells:
    cells = staged()
    finish(booted(cells).activate())
    assert running_version(cells, ResetReason.SOFTWARE) == "2.0.0"
    return cells


def test_every_state_and_trigger_is_decided() -> None:
    assert TRANSITIONS.keys() == set(itertools.product(State, Trigger))


def test_a_blank_ecu_stays_in_the_boot_loader_and_is_programmed_there() -> None:
    cells = Cells()
    boot = opened(cells)
    assert result_of(boot.boot(ResetReason.POWER_ON)) == StayInBootloader(
        "slot 0: not a signed image: no container of this ECU's format"
    )
    download(boot, cells, OLD)
    assert result_of(boot.check(b"")) is CheckStatus.CORRECT
    assert running_version(cells, ResetReason.SOFTWARE) == "1.0.0"


def test_staging_alone_changes_nothing_that_boots() -> None:
    assert running_version(staged()) == "1.0.0"


def test_a_confirmed_trial_stays_and_raises_the_security_counter() -> None:
    cells = on_trial()
    boot = booted(cells)
    assert BootRecord.decode(cells.memory().record.read()).security_counter == 0
    finish(boot.confirm())
    assert BootRecord.decode(cells.memory().record.read()).security_counter == 2
    assert running_version(cells, ResetReason.WATCHDOG) == "2.0.0"


def test_a_confirm_repeated_after_a_lost_answer_is_good() -> None:
    cells = on_trial()
    boot = booted(cells)
    finish(boot.confirm())
    before = bytes(cells.records)
    finish(boot.confirm())
    assert cells.records == before


def test_a_watchdog_reset_ends_a_trial() -> None:
    cells = on_trial()
    assert running_version(cells, ResetReason.WATCHDOG) == "1.0.0"
    assert running_version(cells) == "1.0.0"


def test_confirming_after_the_trial_has_reverted_is_refused() -> None:
    cells = on_trial()
    with pytest.raises(NotNowError, match="REVERTED"):
        finish(booted(cells, ResetReason.WATCHDOG).confirm())


def test_a_trial_survives_counted_power_cycles_and_then_reverts() -> None:
    cells = on_trial()
    versions = [running_version(cells) for _ in range(MAX_TRIAL_BOOTS)]
    assert versions == ["2.0.0"] * (MAX_TRIAL_BOOTS - 1) + ["1.0.0"]


def test_a_reverted_trial_erases_nothing_and_can_be_tried_again() -> None:
    cells = on_trial()
    slots = bytes(cells.slots)
    finish(booted(cells).revert())
    assert running_version(cells) == "1.0.0"
    assert cells.slots == slots
    finish(booted(cells).activate())
    assert running_version(cells) == "2.0.0"


def test_the_way_back_cannot_be_overwritten_during_a_trial() -> None:
    with pytest.raises(NotNowError, match="TRIAL"):
        booted(on_trial()).begin_download()


def test_after_a_revert_and_before_the_reset_nothing_can_be_written() -> None:
    boot = booted(on_trial())
    finish(boot.revert())
    with pytest.raises(NotNowError, match="way back"):
        boot.begin_download()


def test_a_new_download_withdraws_a_requested_trial() -> None:
    cells = staged()
    boot = booted(cells)
    finish(boot.activate())
    finish(boot.preparing())
    assert running_version(cells) == "1.0.0"


@pytest.mark.parametrize(
    ("image", "status"),
    [
        (b"\x7fELF" + bytes(500), CheckStatus.NOT_AN_IMAGE),
        (NEW[:-1], CheckStatus.DAMAGED),
        (NEW[:100] + bytes([NEW[100] ^ 1]) + NEW[101:], CheckStatus.DAMAGED),
        (signed_image(key=FOREIGN_KEY), CheckStatus.WRONG_SIGNATURE),
        (signed_image(hardware_id="ECP-3"), CheckStatus.WRONG_HARDWARE),
        (NEW, CheckStatus.CORRECT),
    ],
)
def test_the_check_before_any_reset_says_what_is_wrong(image: bytes, status: CheckStatus) -> None:
    boot = booted(staged(image))
    assert result_of(boot.check(b"")) is status
    assert boot.check_dependencies() is status
    if status is not CheckStatus.CORRECT:
        with pytest.raises(NotNowError):
            finish(boot.activate())


def test_an_image_below_the_security_counter_is_refused() -> None:
    cells = on_trial()
    finish(booted(cells).confirm())
    boot = booted(cells)
    download(boot, cells, OLD)
    assert result_of(boot.check(b"")) is CheckStatus.SECURITY_COUNTER_TOO_LOW


def test_the_check_takes_no_option_record() -> None:
    with pytest.raises(OptionError, match="4 bytes"):
        result_of(booted(staged()).check(bytes(4)))


def test_the_active_image_is_exactly_what_was_transferred() -> None:
    padded = NEW + b"\xff" * 7
    cells = staged(padded)
    finish(booted(cells).activate())
    assert booted(cells).active_image() == padded


def update(cells: Cells, power: PowerSupply) -> None:
    """Stage, activate, boot the trial, confirm: every flash operation of an update."""
    boot = booted(cells, power=power)
    download(boot, cells, NEW, power)
    finish(boot.activate())
    finish(booted(cells, ResetReason.SOFTWARE, power).confirm())
    booted(cells, power=power)


def operations_of_an_update() -> int:
    counting = PowerBudget(operations=1_000_000)
    update(cells_with(), counting)
    return counting.drawn


@pytest.mark.parametrize("cut", Cut)
def test_power_loss_at_any_operation_of_an_update_leaves_a_bootable_ecu(cut: Cut) -> None:
    operations = operations_of_an_update()
    assert operations > 20
    for budget in range(operations):
        cells = cells_with()
        with pytest.raises(PowerLossError):
            update(cells, PowerBudget(operations=budget, cut=cut))
        assert running_version(cells) in {"1.0.0", "2.0.0"}, f"{cut} at operation {budget}"
        # What was cut can be done again, to the end (a trial that is left must go first).
        finish(booted(cells).revert())
        if running_version(cells) == "1.0.0":
            update(cells, PowerBudget(operations=1_000_000))
        assert running_version(cells) == "2.0.0"


@pytest.mark.parametrize("cut", Cut)
def test_power_loss_at_any_operation_of_a_revert_leaves_a_bootable_ecu(cut: Cut) -> None:
    prepared = on_trial()

    def revert(cells: Cells, power: PowerSupply) -> None:
        finish(booted(cells, power=power).revert())
        booted(cells, ResetReason.SOFTWARE, power)

    def copy() -> Cells:
        return Cells(bytearray(prepared.slots), bytearray(prepared.records))

    counting = PowerBudget(operations=1_000_000)
    revert(copy(), counting)
    for budget in range(counting.drawn):
        cells = copy()
        with pytest.raises(PowerLossError):
            revert(cells, PowerBudget(operations=budget, cut=cut))
        assert running_version(cells) in {"1.0.0", "2.0.0"}


# The slot that a boot loader writes


def confirmed_in_the_second_slot() -> Cells:
    cells = on_trial()
    finish(booted(cells).confirm())
    return cells


@pytest.mark.parametrize(
    ("cells", "slot"), [(cells_with(), 1), (confirmed_in_the_second_slot(), 0)]
)
def test_a_boot_loader_spares_the_good_application(cells: Cells, slot: int) -> None:
    boot = opened(cells)
    result_of(boot.boot(ResetReason.PROGRAMMING))
    assert boot.begin_download() == slot


@pytest.mark.parametrize(
    ("cells", "slot"), [(cells_with(), 0), (confirmed_in_the_second_slot(), 1)]
)
def test_a_boot_loader_writes_the_confirmed_slot_again_if_it_is_not_good(
    cells: Cells, slot: int
) -> None:
    cells = cells.copy()
    cells.slots[slot * cells.memory().slot_size + 100] ^= 1
    boot = opened(cells)
    assert isinstance(result_of(boot.boot(ResetReason.POWER_ON)), StayInBootloader)
    download(boot, cells, NEW)
    assert result_of(boot.check(b"")) is CheckStatus.CORRECT
    decision = result_of(opened(cells).boot(ResetReason.SOFTWARE))
    assert isinstance(decision, Application)
    assert decision.slot == slot


# Steps out of their order


def test_after_a_revert_and_before_the_reset_nothing_can_be_activated() -> None:
    boot = booted(on_trial())
    finish(boot.revert())
    with pytest.raises(NotNowError, match="reset is due"):
        finish(boot.activate())


def test_a_boot_loader_does_not_confirm_a_trial() -> None:
    boot = opened(on_trial())
    result_of(boot.boot(ResetReason.PROGRAMMING))
    with pytest.raises(NotNowError, match="does not run"):
        finish(boot.confirm())


def test_a_trial_that_cannot_be_counted_does_not_run_and_is_not_confirmed() -> None:
    cells = on_trial()
    boot = PROFILE.open(cells.with_worn_record(), TRUST)
    decision = result_of(boot.boot(ResetReason.POWER_ON))
    assert isinstance(decision, Application)
    assert (decision.declared.software_version, decision.on_trial) == ("1.0.0", False)
    with pytest.raises(NotNowError, match="does not run"):
        finish(boot.confirm())


def a_confirm(cells: Cells) -> None:
    finish(booted(cells).confirm())


def a_revert(cells: Cells) -> None:
    finish(booted(cells).revert())


def a_watchdog_reset(cells: Cells) -> None:
    booted(cells, ResetReason.WATCHDOG)


def a_damaged_trial_image(cells: Cells) -> None:
    cells.slots[cells.memory().slot_size + 100] ^= 1
    booted(cells)


@pytest.mark.parametrize("end", [a_confirm, a_revert, a_watchdog_reset, a_damaged_trial_image])
def test_boots_after_the_end_of_a_trial_write_nothing(end: Callable[[Cells], None]) -> None:
    cells = on_trial()
    end(cells)
    power = PowerBudget(operations=0)
    booted(cells, power=power)
    assert power.drawn == 0


# The record


@pytest.mark.parametrize(
    "content",
    [
        b"short",
        b"\x00\xee" + bytes(14),
        b"\x02" + bytes(15),
        # A bit for a slot that there is not, with and without room for its MAC.
        b"\x00\x00\x00\x04" + bytes(12 + 32),
        b"\x00\x00\x00\x04" + bytes(12 + 48),
        # MACs that are promised and missing, and the other way round.
        b"\x00\x00\x00\x01" + bytes(12),
        bytes(16 + 32),
    ],
    ids=bytes.hex,
)
def test_a_record_that_is_not_ours_is_refused(content: bytes) -> None:
    with pytest.raises(MemoryFaultError, match="boot record"):
        BootRecord.decode(content)


ONE, TWO = bytes(range(16)), bytes(range(16, 32))


@pytest.mark.parametrize("macs", [(b"", b""), (ONE, b""), (b"", TWO), (ONE, TWO)])
def test_a_record_is_read_back(macs: tuple[bytes, bytes]) -> None:
    record = BootRecord(
        slot=1, state=State.TRIAL, trial_boots=3, security_counter=9, lengths=(5, 6), macs=macs
    )
    assert BootRecord.decode(record.encode()) == record
    assert BootRecord.decode(None) == BootRecord()


# Every step in every state, by what is seen of it: what runs after a reset, what after one by the
# watchdog, and whether a confirm is taken then.

OLD_KEPT = ("1.0.0", "1.0.0", "confirmed")
CAME_TO_NOTHING = ("1.0.0", "1.0.0", "refused")
TO_BE_TRIED = ("2.0.0 on trial", "2.0.0 on trial", "confirmed")
TRIED = ("2.0.0 on trial", "1.0.0", "confirmed")
NEW_KEPT = ("2.0.0", "2.0.0", "confirmed")
REFUSED = ("", "", "refused")

Reached = tuple[Cells, Boot]
Step = Callable[[Cells, Boot], object]


def when_confirmed() -> Reached:
    cells = staged()
    return cells, booted(cells)


def when_requested() -> Reached:
    cells, boot = when_confirmed()
    finish(boot.activate())
    return cells, boot


def when_on_trial() -> Reached:
    cells = on_trial()
    return cells, booted(cells)


def when_reverted() -> Reached:
    cells = on_trial()
    return cells, booted(cells, ResetReason.WATCHDOG)


def resets(cells: Cells, _: Boot) -> None:
    booted(cells, ResetReason.SOFTWARE)


def is_bitten(cells: Cells, _: Boot) -> None:
    booted(cells, ResetReason.WATCHDOG)


def loses_its_new_image(cells: Cells, _: Boot) -> None:
    """It is there again for those who look on."""
    cells.slots[cells.memory().slot_size + 100] ^= 1
    booted(cells)
    cells.slots[cells.memory().slot_size + 100] ^= 1


def seen(cells: Cells) -> tuple[str, str, str]:
    boot = opened(cells.copy())
    runs = told(result_of(boot.boot(ResetReason.POWER_ON)))
    try:
        finish(boot.confirm())
    except NotNowError:
        answer = "refused"
    else:
        answer = "confirmed"
    return runs, told(result_of(opened(cells.copy()).boot(ResetReason.WATCHDOG))), answer


def told(decision: Decision) -> str:
    assert isinstance(decision, Application), decision
    return decision.declared.software_version + (" on trial" if decision.on_trial else "")


@pytest.mark.parametrize(
    ("reach", "step", "outcome"),
    [
        (when_confirmed, downloads, OLD_KEPT),
        (when_confirmed, activates, TO_BE_TRIED),
        (when_confirmed, confirms, OLD_KEPT),
        (when_confirmed, reverts, OLD_KEPT),
        (when_confirmed, resets, OLD_KEPT),
        (when_confirmed, is_bitten, OLD_KEPT),
        (when_requested, downloads, CAME_TO_NOTHING),
        (when_requested, activates, TO_BE_TRIED),
        (when_requested, confirms, REFUSED),
        (when_requested, reverts, CAME_TO_NOTHING),
        (when_requested, resets, TRIED),
        (when_requested, is_bitten, TRIED),
        (when_requested, loses_its_new_image, CAME_TO_NOTHING),
        (when_on_trial, downloads, REFUSED),
        (when_on_trial, activates, REFUSED),
        (when_on_trial, confirms, NEW_KEPT),
        (when_on_trial, reverts, CAME_TO_NOTHING),
        (when_on_trial, resets, TRIED),
        (when_on_trial, is_bitten, CAME_TO_NOTHING),
        (when_on_trial, loses_its_new_image, CAME_TO_NOTHING),
        (when_reverted, downloads, CAME_TO_NOTHING),
        (when_reverted, activates, TO_BE_TRIED),
        (when_reverted, confirms, REFUSED),
        (when_reverted, reverts, CAME_TO_NOTHING),
        (when_reverted, resets, CAME_TO_NOTHING),
        (when_reverted, is_bitten, CAME_TO_NOTHING),
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
