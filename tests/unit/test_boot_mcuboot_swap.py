import itertools
from collections.abc import Callable

import pytest

from ecu_sim.boot import (
    Application,
    Boot,
    NotNowError,
    OptionError,
    ResetReason,
    StayInBootloader,
)
from ecu_sim.boot.mcuboot_swap import (
    MAX_TRIAL_BOOTS,
    PROFILE,
    TRANSITIONS,
    BootRecord,
    McubootSwap,
    Request,
    State,
    Status,
    Swap,
    Trigger,
    status_size,
)
from ecu_sim.memory import (
    Cut,
    MemoryFaultError,
    PowerBudget,
    PowerLossError,
    PowerSupply,
    Tear,
    Torn,
)
from ecu_sim.memory.flash import finish, result_of
from protocols.uds.routine_status import CheckStatus
from tests.support.boot_steps import activates, confirms, downloads, reverts
from tests.support.ecu import SCRATCH_SIZE, SLOTS, TRUST, Cells, signed_image

OLD = signed_image(bytes(700), version=(1, 0, 0), security_counter=1)
NEW = signed_image(bytes(500), version=(2, 0, 0), security_counter=2)
#: Where the second slot, the scratch and the status area begin.
SECOND = SLOTS.size // 2
SCRATCH = SLOTS.size
STATUS = SCRATCH + SLOTS.sector_size

TEARS = (
    Tear(done=0.25),
    Tear(done=0.75),
    Tear(how=Torn.HALFWAY, done=0.0, seed=5),
    Tear(how=Torn.DRAINED, done=0.5),
)


def cells_with(image: bytes = OLD) -> Cells:
    cells = Cells.with_scratch()
    memory = cells.memory()
    finish(memory.flash.program(0, image))
    finish(memory.record.write(PROFILE.factory_record(image, TRUST)))
    return cells


def opened(cells: Cells, power: PowerSupply | None = None, *, guarded: bool = True) -> McubootSwap:
    return McubootSwap(cells.memory(power=power), TRUST, guarded=guarded)


def booted(
    cells: Cells, reset: ResetReason = ResetReason.POWER_ON, power: PowerSupply | None = None
) -> McubootSwap:
    boot = opened(cells, power)
    assert isinstance(result_of(boot.boot(reset)), Application)
    return boot


def running(cells: Cells, reset: ResetReason = ResetReason.POWER_ON) -> tuple[str, bool]:
    """Version, and whether it is on trial."""
    decision = result_of(opened(cells).boot(reset))
    assert isinstance(decision, Application), decision
    return decision.declared.software_version, decision.on_trial


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


def on_trial() -> Cells:
    cells = requested()
    assert running(cells, ResetReason.SOFTWARE) == ("2.0.0", True)
    return cells


def record_of(cells: Cells) -> BootRecord:
    return BootRecord.decode(cells.memory().record.read())


def status_of(cells: Cells, power: PowerSupply | None = None) -> Status:
    size = len(cells.slots) - STATUS
    return Status(cells.memory(power=power).flash, address=STATUS, size=size)


def test_every_state_and_trigger_is_decided() -> None:
    assert TRANSITIONS.keys() == set(itertools.product(State, Trigger))


def test_staging_alone_changes_nothing_that_boots() -> None:
    assert running(staged()) == ("1.0.0", False)


def test_a_swap_exchanges_the_slots_and_leaves_no_mark() -> None:
    cells = on_trial()
    assert cells.slots[: len(NEW)] == NEW
    assert cells.slots[SECOND : SECOND + len(OLD)] == OLD
    assert status_of(cells).blank
    assert record_of(cells).lengths == (len(NEW), len(OLD))


def test_a_confirmed_trial_stays_and_only_then_raises_the_security_counter() -> None:
    cells = on_trial()
    assert record_of(cells).security_counter == 0
    finish(booted(cells).confirm())
    assert record_of(cells).security_counter == 2
    assert running(cells, ResetReason.WATCHDOG) == ("2.0.0", False)
    before = bytes(cells.records)
    finish(booted(cells).confirm())
    assert cells.records == before


def test_an_image_below_the_security_counter_is_refused() -> None:
    cells = on_trial()
    finish(booted(cells).confirm())
    boot = booted(cells)
    download(boot, cells, OLD)
    assert result_of(boot.check(b"")) is CheckStatus.SECURITY_COUNTER_TOO_LOW
    with pytest.raises(NotNowError, match="security counter"):
        finish(boot.activate())


def test_a_watchdog_reset_swaps_back() -> None:
    cells = on_trial()
    assert running(cells, ResetReason.WATCHDOG) == ("1.0.0", False)
    assert cells.slots[SECOND : SECOND + len(NEW)] == NEW
    assert record_of(cells).state is State.REVERTED
    with pytest.raises(NotNowError, match="REVERTED"):
        finish(booted(cells).confirm())


def test_a_trial_survives_counted_power_cycles_and_is_then_swapped_back() -> None:
    cells = on_trial()
    seen = [running(cells) for _ in range(MAX_TRIAL_BOOTS)]
    assert seen == [("2.0.0", True)] * (MAX_TRIAL_BOOTS - 1) + [("1.0.0", False)]


def test_a_trial_that_is_taken_back_can_be_tried_again() -> None:
    cells = on_trial()
    boot = booted(cells)
    finish(boot.revert())
    assert boot.state is State.REVERTING
    with pytest.raises(NotNowError, match="REVERTING"):
        finish(boot.confirm())
    finish(boot.revert())
    assert running(cells) == ("1.0.0", False)
    finish(booted(cells).revert())
    finish(booted(cells).activate())
    assert running(cells) == ("2.0.0", True)


def test_a_request_is_withdrawn_by_a_revert_and_by_a_new_download() -> None:
    for withdraw in (McubootSwap.revert, McubootSwap.preparing):
        cells = requested()
        finish(withdraw(booted_without_reset(cells)))
        assert running(cells) == ("1.0.0", False)
        assert record_of(cells).state is State.REVERTED


def booted_without_reset(cells: Cells) -> McubootSwap:
    """The application that has just asked for the swap."""
    boot = opened(cells)
    boot._running = 0  # noqa: SLF001  # a boot would carry the request out
    return boot


def test_the_way_back_cannot_be_overwritten_during_a_trial() -> None:
    with pytest.raises(NotNowError, match="TRIAL"):
        booted(on_trial()).begin_download()


def test_an_image_that_goes_bad_after_the_request_is_not_swapped_in() -> None:
    cells = requested()
    cells.slots[SECOND + 300] ^= 0x01
    assert running(cells) == ("1.0.0", False)
    assert record_of(cells).state is State.REVERTED
    assert cells.slots[: len(OLD)] == OLD


def test_a_trial_image_that_goes_bad_is_swapped_out() -> None:
    cells = on_trial()
    cells.slots[300] ^= 0x01
    assert running(cells) == ("1.0.0", False)


def test_a_trial_without_a_good_way_back_goes_on() -> None:
    cells = on_trial()
    cells.slots[SECOND + 300] ^= 0x01
    assert running(cells, ResetReason.WATCHDOG) == ("2.0.0", True)
    with pytest.raises(NotNowError, match="slot 1"):
        finish(booted(cells).revert())
    finish(booted(cells).confirm())
    assert running(cells) == ("2.0.0", False)


def test_with_both_images_bad_the_boot_loader_takes_a_new_one() -> None:
    cells = on_trial()
    cells.slots[300] ^= 0x01
    cells.slots[SECOND + 300] ^= 0x01
    boot = opened(cells)
    decision = result_of(boot.boot(ResetReason.POWER_ON))
    assert isinstance(decision, StayInBootloader)
    assert "slot 0" in decision.reason
    download(boot, cells, NEW)
    assert result_of(boot.check(b"")) is CheckStatus.CORRECT
    assert boot.check_size() == len(NEW)
    assert running(cells) == ("2.0.0", False)


def test_a_boot_loader_with_a_good_application_writes_the_second_slot() -> None:
    cells = cells_with()
    boot = opened(cells)
    assert result_of(boot.boot(ResetReason.PROGRAMMING)) == StayInBootloader(
        "programming requested"
    )
    download(boot, cells, NEW)
    with pytest.raises(NotNowError, match="no application"):
        finish(boot.activate())
    assert running(cells) == ("1.0.0", False)


def test_the_check_takes_no_option_record() -> None:
    with pytest.raises(OptionError, match="4 bytes"):
        result_of(booted(staged()).check(bytes(4)))


def test_an_empty_ecu_has_no_active_image() -> None:
    with pytest.raises(NotNowError, match="no image"):
        opened(Cells.with_scratch()).active_image()


def test_a_record_that_is_not_ours_is_refused() -> None:
    for content in (b"short", b"\xee" + bytes(15)):
        with pytest.raises(MemoryFaultError, match="boot record"):
            BootRecord.decode(content)


# Power


def power_cuts(
    prepared: Cells, work: Callable[[Cells, PowerSupply], None], cuts: tuple[Cut | Tear, ...]
) -> list[Cells]:
    """The cells after each cut of each kind at each operation of some work."""
    counting = PowerBudget(operations=1_000_000)
    work(prepared.copy(), counting)
    found: list[Cells] = []
    for operations, cut in itertools.product(range(counting.drawn), cuts):
        cells = prepared.copy()
        with pytest.raises(PowerLossError):
            work(cells, PowerBudget(operations=operations, cut=cut))
        found.append(cells)
    return found


def boot_once(cells: Cells, power: PowerSupply) -> None:
    result_of(opened(cells, power).boot(ResetReason.SOFTWARE))


def test_a_swap_goes_on_after_any_cut() -> None:
    cut = power_cuts(requested(), boot_once, (*Cut, *TEARS))
    assert len(cut) > 100
    for cells in cut:
        assert running(cells) == ("2.0.0", True)
        assert running(cells, ResetReason.WATCHDOG) == ("1.0.0", False)


def test_a_swap_back_goes_on_after_any_cut() -> None:
    prepared = on_trial()
    finish(booted(prepared).revert())
    for cells in power_cuts(prepared, boot_once, (*Cut, *TEARS)):
        assert running(cells) == ("1.0.0", False)
        assert record_of(cells).state is State.REVERTED


def test_a_request_is_made_or_not_wherever_it_is_cut() -> None:
    def activate(cells: Cells, power: PowerSupply) -> None:
        finish(booted(cells, power=power).activate())

    seen = {running(cells) for cells in power_cuts(staged(), activate, (*Cut, *TEARS))}
    assert seen == {("1.0.0", False), ("2.0.0", True)}


def test_without_its_guard_a_torn_erase_swaps_again() -> None:
    """What the guard is for: the request outlives the marks."""

    def boot_unguarded(cells: Cells, power: PowerSupply | None = None) -> None:
        result_of(opened(cells, power, guarded=False).boot(ResetReason.SOFTWARE))

    wrong = 0
    for cells in power_cuts(requested(), boot_unguarded, tuple(TEARS)):
        decision = result_of(opened(cells, guarded=False).boot(ResetReason.POWER_ON))
        wrong += not isinstance(decision, Application) or (
            decision.declared.software_version != "2.0.0"
        )
    assert wrong > 0


def test_a_killed_request_stays_killed_however_its_area_is_torn() -> None:
    cells = Cells.with_scratch()
    status = status_of(cells)
    finish(status.write_request(Request(swap=Swap.TRIAL, sectors=3, lengths=(1, 2))))
    assert status.request == Request(swap=Swap.TRIAL, sectors=3, lengths=(1, 2))
    finish(status.kill_request())
    assert status_of(cells).request is None
    for seed in range(200):
        torn = cells.copy()
        tear = Tear(how=Torn.HALFWAY, done=0.0, seed=seed)
        operations = len(torn.slots) // SLOTS.sector_size - STATUS // SLOTS.sector_size - 1
        with pytest.raises(PowerLossError):
            finish(status_of(torn, PowerBudget(operations=operations, cut=tear)).erase())
        assert status_of(torn).request is None


# Bad sectors


def worn(cells: Cells, sector_at: int) -> tuple[McubootSwap, object]:
    """A boot with one sector bad from the start of it on."""
    memory = cells.memory()
    memory.flash.spoil(sector_at)
    boot = McubootSwap(memory, TRUST)
    return boot, result_of(boot.boot(ResetReason.POWER_ON))


@pytest.mark.parametrize(
    "sector_at",
    [0, SLOTS.sector_size, 2 * SLOTS.sector_size, SECOND, SECOND + SLOTS.sector_size, SCRATCH],
)
def test_a_sector_that_goes_bad_under_a_swap_leaves_the_old_image_running(sector_at: int) -> None:
    boot, decision = worn(requested(), sector_at)
    assert isinstance(decision, Application)
    assert decision.declared.software_version == "1.0.0"
    assert not decision.on_trial
    assert boot.active_image() == OLD
    for refused in (boot.confirm, boot.activate):
        with pytest.raises(NotNowError):
            finish(refused())
    with pytest.raises(NotNowError, match=f"0x{sector_at:X} is bad"):
        boot.begin_download()
    finish(boot.revert())


@pytest.mark.parametrize("sector_at", [0, SLOTS.sector_size, SECOND, SCRATCH])
def test_a_sector_that_goes_bad_on_the_way_back_leaves_the_old_image_running(
    sector_at: int,
) -> None:
    cells = on_trial()
    finish(booted(cells).revert())
    boot, decision = worn(cells, sector_at)
    assert isinstance(decision, Application)
    assert decision.declared.software_version == "1.0.0"
    assert boot.active_image() == OLD


@pytest.mark.parametrize("sector_at", [SCRATCH, STATUS])
def test_a_bad_scratch_or_status_is_found_before_anything_is_at_stake(sector_at: int) -> None:
    cells = staged()
    memory = cells.memory()
    memory.flash.spoil(sector_at)
    boot = McubootSwap(memory, TRUST)
    result_of(boot.boot(ResetReason.POWER_ON))
    with pytest.raises(MemoryFaultError, match=f"0x{sector_at:X} is bad"):
        finish(boot.activate())
    assert running(cells) == ("1.0.0", False)


def swapped_over_a_bad_status() -> tuple[Cells, McubootSwap]:
    """A trial has begun as the marks of its swap could not be erased."""
    cells = requested()
    memory = cells.memory()
    boot = McubootSwap(memory, TRUST)
    boots = boot.boot(ResetReason.SOFTWARE)
    while not status_of(cells).done:
        next(boots)
    memory.flash.spoil(STATUS)
    decision = result_of(boots)
    assert isinstance(decision, Application)
    assert (decision.declared.software_version, decision.on_trial) == ("2.0.0", True)
    return cells, boot


def with_bad_status(cells: Cells, at: int = STATUS) -> McubootSwap:
    memory = cells.memory()
    memory.flash.spoil(at)
    return McubootSwap(memory, TRUST)


#: The sector of the request, behind that of the marks.
REQUEST = SCRATCH + SCRATCH_SIZE - SLOTS.sector_size
BAD_STATUS = pytest.mark.parametrize("bad_at", [STATUS, REQUEST])


def test_a_status_area_that_goes_bad_at_the_end_of_a_swap_leaves_the_trial_running() -> None:
    cells, boot = swapped_over_a_bad_status()
    assert boot.active_image() == NEW
    assert boot.state is State.TRIAL
    with pytest.raises(NotNowError, match=f"0x{STATUS:X} is bad"):
        boot.begin_download()
    finish(boot.confirm())
    assert record_of(cells).security_counter == 2
    for reset in (ResetReason.POWER_ON, ResetReason.WATCHDOG):
        assert told(with_bad_status(cells), reset) == "2.0.0"


def test_a_trial_over_a_bad_status_area_is_counted() -> None:
    cells, _ = swapped_over_a_bad_status()
    runs = [told(with_bad_status(cells), ResetReason.POWER_ON) for _ in range(MAX_TRIAL_BOOTS + 2)]
    assert runs == ["2.0.0 on trial"] * (MAX_TRIAL_BOOTS - 1) + ["1.0.0"] * 3


@BAD_STATUS
def test_a_trial_that_cannot_be_swapped_back_ends_all_the_same(bad_at: int) -> None:
    cells = on_trial()
    assert told(with_bad_status(cells, bad_at), ResetReason.WATCHDOG) == "1.0.0"
    boot = with_bad_status(cells, bad_at)
    for reset in (ResetReason.POWER_ON, ResetReason.WATCHDOG, ResetReason.SOFTWARE):
        boot = with_bad_status(cells, bad_at)
        assert told(boot, reset) == "1.0.0"
        assert boot.active_image() == OLD
    for refused in (boot.confirm, boot.activate):
        with pytest.raises(NotNowError, match="REVERTING"):
            finish(refused())
    finish(boot.revert())
    with pytest.raises(NotNowError, match=f"0x{bad_at:X} is bad"):
        boot.begin_download()
    # An area that does its work again makes up for it.
    assert running(cells) == ("1.0.0", False)
    assert record_of(cells).state is State.REVERTED
    assert cells.slots[: len(OLD)] == OLD


def test_a_trial_is_taken_back_though_the_marks_cannot_be_erased() -> None:
    cells, boot = swapped_over_a_bad_status()
    finish(boot.revert())
    assert boot.state is State.REVERTING
    # With its marks still there a request would pass for a swap that is done.
    assert status_of(cells).request is None
    boot = with_bad_status(cells)
    assert told(boot, ResetReason.POWER_ON) == "1.0.0"
    with pytest.raises(NotNowError, match=f"0x{STATUS:X} is bad"):
        boot.begin_download()
    assert running(cells) == ("1.0.0", False)
    assert record_of(cells).state is State.REVERTED


def test_a_damaged_trial_over_a_bad_status_area_gives_way_to_the_old_image() -> None:
    cells, _ = swapped_over_a_bad_status()
    cells.slots[300] ^= 0x01
    for reset in (ResetReason.POWER_ON, ResetReason.SOFTWARE):
        assert told(with_bad_status(cells), reset) == "1.0.0"


def test_a_trial_that_was_taken_back_never_runs_again() -> None:
    cells = on_trial()
    assert told(with_bad_status(cells, REQUEST), ResetReason.WATCHDOG) == "1.0.0"
    cells.slots[SECOND + 300] ^= 0x01
    decision = result_of(with_bad_status(cells, REQUEST).boot(ResetReason.POWER_ON))
    assert isinstance(decision, StayInBootloader)
    assert "is bad" in decision.reason
    assert "slot 1: incomplete or altered" in decision.reason


# The status area


@pytest.mark.parametrize(
    ("sectors", "sector_size", "page_size", "size"),
    [
        # 3 pages for each sector, one for the end, one for the request: 5, 8 and 11 of them.
        (1, 0x100, 0x40, 0x200),
        (2, 0x100, 0x40, 0x200),
        (3, 0x100, 0x40, 0x300),
        # The request, of 28 bytes, takes two pages of 16, and four of 8.
        (4, 0x10, 0x10, 15 * 0x10),
        (4, 0x08, 0x08, 17 * 0x08),
        (4, 0x20, 0x20, 14 * 0x20),
    ],
)
def test_a_status_area_has_room_for_each_move_and_the_end_and_the_request(
    sectors: int, sector_size: int, page_size: int, size: int
) -> None:
    assert status_size(sectors=sectors, sector_size=sector_size, page_size=page_size) == size


def test_images_that_fill_their_slots_are_swapped_and_swapped_back() -> None:
    overhead = len(signed_image(b""))
    old = signed_image(bytes(SECOND - overhead), version=(1, 0, 0))
    new = signed_image(b"\x01" * (SECOND - overhead), version=(2, 0, 0))
    assert len(old) == len(new) == SECOND
    cells = cells_with(old)
    download(booted(cells), cells, new)
    finish(booted(cells).activate())
    assert running(cells) == ("2.0.0", True)
    assert running(cells, ResetReason.WATCHDOG) == ("1.0.0", False)
    assert cells.slots[: len(old)] == old
    assert cells.slots[SECOND : SECOND + len(new)] == new


def test_a_swap_that_is_marked_as_done_is_not_begun_anew_without_its_other_marks() -> None:
    """As a torn erase may leave them, where the request was not made worthless before."""
    cells = requested()
    boots = opened(cells).boot(ResetReason.SOFTWARE)
    while not status_of(cells).done:
        next(boots)
    boots.close()
    assert status_of(cells).request is not None
    cells.slots[STATUS : STATUS + SLOTS.sector_size] = b"\xff" * SLOTS.sector_size
    assert not status_of(cells).marked(0)
    assert status_of(cells).done
    assert running(cells) == ("2.0.0", True)
    assert record_of(cells).lengths == (len(NEW), len(OLD))


@pytest.mark.parametrize("cut", [*Cut, *TEARS], ids=str)
def test_marks_that_a_cut_has_left_are_gone_after_the_next_boot(cut: Cut | Tear) -> None:
    for cells in power_cuts(requested(), boot_once, (cut,)):
        finish(booted(cells).confirm())
        assert status_of(cells).blank
        assert booted(cells).begin_download() == 1


@pytest.mark.parametrize("prepare", ["requested", "asked_back"])
def test_from_its_first_mark_on_a_swap_has_to_end_before_anything_is_written(prepare: str) -> None:
    cells = requested() if prepare == "requested" else asked_back()
    boots = opened(cells).boot(ResetReason.SOFTWARE)
    while not status_of(cells).marked(0):
        next(boots)
    boots.close()
    assert not status_of(cells).marked(1)
    boot = opened(cells)
    result_of(boot.boot(ResetReason.PROGRAMMING))
    with pytest.raises(NotNowError, match="it is not finished"):
        boot.begin_download()
    ended = running(cells)
    assert ended == (("2.0.0", True) if prepare == "requested" else ("1.0.0", False))
    assert booted(cells).state is (State.TRIAL if prepare == "requested" else State.REVERTED)


# Steps out of their order


def test_nothing_is_activated_on_trial_or_while_the_way_back_waits() -> None:
    cells = on_trial()
    boot = booted(cells)
    for state in (State.TRIAL, State.REVERTING):
        before = bytes(cells.slots)
        with pytest.raises(NotNowError, match=f"ACTIVATE is refused in state {state.name}"):
            finish(boot.activate())
        assert cells.slots == before
        finish(boot.revert())
    assert running(cells) == ("1.0.0", False)


# What a boot loader says


def test_a_boot_loader_says_what_is_wrong_with_the_first_slot() -> None:
    decision = result_of(opened(Cells.with_scratch()).boot(ResetReason.POWER_ON))
    assert decision == StayInBootloader(
        "slot 0: not a signed image: no container of this ECU's format"
    )


def test_a_boot_loader_says_first_why_a_swap_is_stuck() -> None:
    cells = on_trial()
    for slot in (0, SECOND):
        cells.slots[slot + 300] ^= 0x01
    boot = McubootSwap(cells.with_worn_record(), TRUST)
    decision = result_of(boot.boot(ResetReason.POWER_ON))
    assert isinstance(decision, StayInBootloader)
    stuck, _, reason = decision.reason.partition("; ")
    assert stuck.endswith("is bad: it is not erased")
    assert reason.startswith("slot 0: ")


# A record that can no longer be written


ALIKE = signed_image(b"\x01" * 700, version=(2, 0, 0), security_counter=2)
LONGER = signed_image(bytes(1100), version=(2, 0, 0), security_counter=2)


@pytest.mark.parametrize("image", [NEW, LONGER], ids=["shorter", "longer"])
def test_a_swap_that_the_record_does_not_take_leaves_the_old_image_running(image: bytes) -> None:
    cells = staged(image)
    finish(booted(cells).activate())
    for _ in range(2):
        boot = McubootSwap(cells.with_worn_record(), TRUST)
        decision = result_of(boot.boot(ResetReason.SOFTWARE))
        assert isinstance(decision, Application), decision
        assert (decision.declared.software_version, decision.on_trial) == ("1.0.0", False)
        assert boot.active_image() == OLD
        with pytest.raises(NotNowError, match="REQUESTED"):
            finish(boot.confirm())
        with pytest.raises(NotNowError, match="is bad"):
            boot.begin_download()


@pytest.mark.parametrize("image", [NEW, LONGER], ids=["shorter", "longer"])
def test_a_swap_back_that_the_record_does_not_take_leaves_the_old_image_running(
    image: bytes,
) -> None:
    cells = staged(image)
    finish(booted(cells).activate())
    assert running(cells) == ("2.0.0", True)
    for _ in range(2):
        boot = McubootSwap(cells.with_worn_record(), TRUST)
        decision = result_of(boot.boot(ResetReason.WATCHDOG))
        assert isinstance(decision, Application), decision
        assert (decision.declared.software_version, decision.on_trial) == ("1.0.0", False)
        assert boot.active_image() == OLD
        with pytest.raises(NotNowError, match="REVERTING"):
            finish(boot.confirm())


def test_a_trial_that_cannot_be_counted_is_none() -> None:
    cells = on_trial()
    for reset in (ResetReason.POWER_ON, ResetReason.SOFTWARE):
        boot = McubootSwap(cells.with_worn_record(), TRUST)
        assert told(boot, reset) == "1.0.0"
        assert boot.active_image() == OLD
        with pytest.raises(NotNowError, match="does not run"):
            finish(boot.confirm())
        with pytest.raises(NotNowError, match="is bad"):
            boot.begin_download()
    assert record_of(cells).security_counter == 0


def test_a_trial_that_was_not_counted_can_be_taken_back_for_good() -> None:
    cells = on_trial()
    boot = McubootSwap(cells.with_worn_record(), TRUST)
    assert told(boot, ResetReason.POWER_ON) == "1.0.0"
    finish(boot.revert())
    assert running(cells) == ("1.0.0", False)
    assert record_of(cells).state is State.REVERTED


def test_a_damaged_trial_that_cannot_be_counted_gives_way_to_the_old_image() -> None:
    cells = on_trial()
    cells.slots[300] ^= 0x01
    assert told(McubootSwap(cells.with_worn_record(), TRUST), ResetReason.POWER_ON) == "1.0.0"


def test_a_trial_that_cannot_be_counted_goes_on_without_a_good_way_back() -> None:
    cells = on_trial()
    cells.slots[SECOND + 300] ^= 0x01
    boot = McubootSwap(cells.with_worn_record(), TRUST)
    assert told(boot, ResetReason.POWER_ON) == "2.0.0 on trial"


# An ECU can always be flashed again

FIXED = signed_image(bytes(800), version=(3, 0, 0), security_counter=3)


def in_boot_loader(boot: McubootSwap, reset: ResetReason = ResetReason.PROGRAMMING) -> McubootSwap:
    assert isinstance(result_of(boot.boot(reset)), StayInBootloader)
    return boot


def test_a_boot_loader_writes_over_a_damaged_trial_and_keeps_the_way_back() -> None:
    cells, _ = swapped_over_a_bad_status()
    for _ in range(2):
        assert told(with_bad_status(cells), ResetReason.POWER_ON) == "2.0.0 on trial"
    cells.slots[300] ^= 0x01
    boot = in_boot_loader(with_bad_status(cells))
    download(boot, cells, FIXED)
    assert result_of(boot.check(b"")) is CheckStatus.CORRECT
    with pytest.raises(NotNowError, match="does not run"):
        finish(boot.confirm())
    assert record_of(cells).security_counter == 0
    # A trial of its own, from the first boot on.
    runs = [told(with_bad_status(cells), ResetReason.POWER_ON) for _ in range(MAX_TRIAL_BOOTS)]
    assert runs == ["3.0.0 on trial"] * MAX_TRIAL_BOOTS
    assert told(with_bad_status(cells), ResetReason.POWER_ON) == "1.0.0"


@BAD_STATUS
@pytest.mark.parametrize("damage", [0x00, 0x01])
def test_a_boot_loader_writes_over_a_trial_that_was_taken_back(damage: int, bad_at: int) -> None:
    """Its image may be whole: it is the second slot that is confirmed."""
    cells = on_trial()
    assert told(with_bad_status(cells, bad_at), ResetReason.WATCHDOG) == "1.0.0"
    cells.slots[300] ^= damage
    boot = in_boot_loader(with_bad_status(cells, bad_at))
    assert boot.begin_download() == 0
    finish(boot.preparing())
    # Cut here, the old image is what there is.
    assert told(with_bad_status(cells.copy(), bad_at), ResetReason.POWER_ON) == "1.0.0"
    download(boot, cells, FIXED)
    after = cells.copy()
    assert told(with_bad_status(after, bad_at), ResetReason.WATCHDOG) == "1.0.0"
    boot = with_bad_status(cells, bad_at)
    assert told(boot, ResetReason.SOFTWARE) == "3.0.0 on trial"
    finish(boot.confirm())
    assert record_of(cells).security_counter == 3
    assert told(with_bad_status(cells, bad_at), ResetReason.WATCHDOG) == "3.0.0"


def test_a_boot_loader_that_is_cut_over_a_trial_has_the_old_image_or_tries_the_new_one() -> None:
    def write(cells: Cells, power: PowerSupply) -> None:
        download(in_boot_loader(opened(cells, power)), cells, FIXED)

    seen = {running(cells) for cells in power_cuts(on_trial(), write, (*Cut, *TEARS))}
    assert seen == {("1.0.0", False), ("2.0.0", True), ("3.0.0", True)}


def test_a_boot_loader_without_a_way_back_tries_what_it_is_given() -> None:
    cells = on_trial()
    assert told(with_bad_status(cells, REQUEST), ResetReason.WATCHDOG) == "1.0.0"
    for slot in (0, SECOND):
        cells.slots[slot + 300] ^= 0x01
    boot = in_boot_loader(with_bad_status(cells, REQUEST), ResetReason.POWER_ON)
    download(boot, cells, FIXED)
    assert told(with_bad_status(cells, REQUEST), ResetReason.POWER_ON) == "3.0.0 on trial"


def test_a_confirmed_image_that_is_damaged_is_written_anew_over_a_bad_status_area() -> None:
    cells, boot = swapped_over_a_bad_status()
    finish(boot.confirm())
    cells.slots[300] ^= 0x01
    boot = in_boot_loader(with_bad_status(cells), ResetReason.POWER_ON)
    download(boot, cells, OLD)
    assert result_of(boot.check(b"")) is CheckStatus.SECURITY_COUNTER_TOO_LOW
    download(boot, cells, FIXED)
    assert told(with_bad_status(cells), ResetReason.POWER_ON) == "3.0.0"
    assert record_of(cells).security_counter == 2


def asked_back() -> Cells:
    cells = on_trial()
    finish(booted(cells).revert())
    return cells


@pytest.mark.parametrize("reset", [ResetReason.POWER_ON, ResetReason.PROGRAMMING])
@pytest.mark.parametrize("bad_at", [SCRATCH, SECOND, SECOND + SLOTS.sector_size, STATUS])
@pytest.mark.parametrize("prepare", [requested, asked_back])
def test_a_swap_that_has_lost_the_confirmed_image_gives_way_to_a_download(
    prepare: Callable[[], Cells], bad_at: int, reset: ResetReason
) -> None:
    cells = prepare()
    worn(cells, bad_at)
    for at in range(0, STATUS, 0x80):
        cells.slots[at] ^= 0x01  # wherever its parts are
    boot = in_boot_loader(with_bad_status(cells, bad_at), reset)
    assert boot.begin_download() == 0
    download(boot, cells, FIXED)
    assert boot.begin_download() == 0
    assert told(with_bad_status(cells, bad_at), ResetReason.POWER_ON) == "3.0.0"


def test_an_image_that_was_not_confirmed_is_forgotten_before_its_swap_is() -> None:
    """All is moved and marked, nothing recorded; the length recorded for the old one fits too."""
    cells = staged(ALIKE)
    finish(booted(cells).activate())
    boot = McubootSwap(cells.with_worn_record(), TRUST)
    assert told(boot, ResetReason.SOFTWARE) == "1.0.0"
    assert cells.slots[: len(OLD)] == ALIKE
    cells.slots[SECOND + 300] ^= 0x01

    def prepare(cells: Cells, power: PowerSupply) -> None:
        boot = in_boot_loader(opened(cells, power))
        assert boot.begin_download() == 0
        finish(boot.preparing())

    seen: set[tuple[str, bool]] = set()
    for cut in power_cuts(cells, prepare, (*Cut, *TEARS)):
        decision = result_of(opened(cut).boot(ResetReason.POWER_ON))
        if isinstance(decision, Application):
            seen.add((decision.declared.software_version, decision.on_trial))
    assert seen == {("2.0.0", True)}
    prepare(cells, PowerBudget(operations=1_000_000))
    assert record_of(cells).lengths == (0, 0)
    in_boot_loader(opened(cells), ResetReason.POWER_ON)


# Every step in every state, by what is seen of it: what runs after a reset, what after one by the
# watchdog, and whether a confirm is taken then.

OLD_KEPT = ("1.0.0", "1.0.0", "confirmed")
CAME_TO_NOTHING = ("1.0.0", "1.0.0", "refused")
TO_BE_TRIED = ("2.0.0 on trial", "2.0.0 on trial", "confirmed")
TRIED = ("2.0.0 on trial", "1.0.0", "confirmed")
NEW_KEPT = ("2.0.0", "2.0.0", "confirmed")
REFUSED = ("", "", "refused")

Reached = tuple[Cells, McubootSwap]
Step = Callable[[Cells, McubootSwap], object]


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


def when_reverting() -> Reached:
    cells, boot = when_on_trial()
    finish(boot.revert())
    return cells, boot


def when_reverted() -> Reached:
    cells = on_trial()
    return cells, booted(cells, ResetReason.WATCHDOG)


def resets(cells: Cells, _: McubootSwap) -> None:
    booted(cells, ResetReason.SOFTWARE)


def is_bitten(cells: Cells, _: McubootSwap) -> None:
    booted(cells, ResetReason.WATCHDOG)


def loses_its_new_image(cells: Cells, boot: McubootSwap) -> None:
    """It is there again for those who look on; the boot may have put it somewhere else."""
    place = (0 if boot.active_image() == NEW else SECOND) + 100
    cells.slots[place] ^= 1
    booted(cells)
    cells.slots[SECOND + 100] ^= 1


def seen(cells: Cells) -> tuple[str, str, str]:
    boot = opened(cells.copy())
    runs = told(boot, ResetReason.POWER_ON)
    try:
        finish(boot.confirm())
    except NotNowError:
        answer = "refused"
    else:
        answer = "confirmed"
    return runs, told(opened(cells.copy()), ResetReason.WATCHDOG), answer


def told(boot: McubootSwap, reset: ResetReason) -> str:
    decision = result_of(boot.boot(reset))
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
        (when_reverting, downloads, REFUSED),
        (when_reverting, activates, REFUSED),
        (when_reverting, confirms, REFUSED),
        (when_reverting, reverts, CAME_TO_NOTHING),
        (when_reverting, resets, CAME_TO_NOTHING),
        (when_reverting, is_bitten, CAME_TO_NOTHING),
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
        before = bytes(cells.records), bytes(cells.slots)
        with pytest.raises(NotNowError, match="is refused in state"):
            step(cells, boot)
        assert (bytes(cells.records), bytes(cells.slots)) == before
    else:
        step(cells, boot)
        assert seen(cells) == outcome


@pytest.mark.parametrize("end", [confirms, reverts, is_bitten, loses_its_new_image])
def test_boots_after_the_end_of_a_trial_write_nothing(end: Step) -> None:
    cells, boot = when_on_trial()
    end(cells, boot)
    booted(cells)  # a way back that was asked for is gone now
    for reset in (ResetReason.POWER_ON, ResetReason.SOFTWARE, ResetReason.WATCHDOG):
        power = PowerBudget(operations=0)
        booted(cells, reset, power)
        assert power.drawn == 0
