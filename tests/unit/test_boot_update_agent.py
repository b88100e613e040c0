"""The agent: what it copies and refuses, and that a power cut anywhere leaves something to run.

Every step runs on objects made anew over the cells, as after a reset.
"""

import hashlib
import itertools
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from ecu_sim.boot import (
    Application,
    Boot,
    Decision,
    NotNowError,
    OptionError,
    ResetReason,
    StayInBootloader,
    Trust,
)
from ecu_sim.boot.update_agent import (
    PROFILE,
    STAGING,
    TRANSITIONS,
    AgentRecord,
    State,
    Trigger,
    UpdateAgent,
)
from ecu_sim.memory import Cut, MemoryFaultError, PowerBudget, PowerLossError, PowerSupply
from ecu_sim.memory.flash import finish, result_of
from protocols.uds.routine_status import CheckStatus
from tests.support.boot_steps import activates, confirms, reverts
from tests.support.ecu import SLOTS, Cells, sha_image

TRUST = Trust(hardware_identifier="FLP-1", public_keys={})
#: The new one is shorter, so that a part of the old one stays behind it.
OLD = sha_image(bytes(range(256)) * 5)
NEW = sha_image(bytes(reversed(range(256))) * 3, version=(2, 0, 0))
OTHERS = sha_image(hardware_id="BLW-1")
RESETS = [reset for reset in ResetReason if reset is not ResetReason.PROGRAMMING]


def opened(cells: Cells, power: PowerSupply | None = None) -> UpdateAgent:
    return PROFILE.open(cells.memory(power=power), TRUST)


def boot(
    cells: Cells,
    reset: ResetReason = ResetReason.POWER_ON,
    power: PowerSupply | None = None,
) -> tuple[UpdateAgent, Decision]:
    agent = opened(cells, power)
    return agent, result_of(agent.boot(reset))


def version(decision: Decision) -> str:
    return decision.declared.software_version if isinstance(decision, Application) else ""


def state_of(cells: Cells) -> State:
    return opened(cells).record.state


def factory(image: bytes = OLD) -> Cells:
    cells = Cells()
    finish(cells.memory().flash.program(0, image))
    finish(cells.memory().record.write(PROFILE.factory_record(image, TRUST)))
    return cells


def option(image: bytes) -> bytes:
    """0202's record as a tester sends it."""
    sums = zlib.crc32(image).to_bytes(4) + hashlib.sha512(image).digest()
    return len(image).to_bytes(4) + sums


def write(agent: Boot, cells: Cells, image: bytes, power: PowerSupply | None = None) -> None:
    memory = cells.memory(power=power)
    start = agent.begin_download() * memory.slot_size
    sector = memory.flash.geometry.sector_size
    finish(agent.preparing())
    finish(memory.flash.erase(start, -(-len(image) // sector) * sector))
    finish(memory.flash.program(start, image))
    finish(agent.finish_download(len(image)))


def stage(cells: Cells, image: bytes = NEW, power: PowerSupply | None = None) -> UpdateAgent:
    agent, decision = boot(cells, power=power)
    assert isinstance(decision, Application)
    write(agent, cells, image, power)
    return agent


def trigger(cells: Cells, image: bytes = NEW, power: PowerSupply | None = None) -> None:
    agent = stage(cells, image, power)
    assert result_of(agent.check(option(image))) is CheckStatus.CORRECT
    finish(agent.activate())


def update(cells: Cells, power: PowerSupply | None = None, image: bytes = NEW) -> str:
    trigger(cells, image, power)
    return version(boot(cells, ResetReason.SOFTWARE, power)[1])


def program_slot(cells: Cells, image: bytes = NEW, power: PowerSupply | None = None) -> None:
    """Through the boot loader, as a tester does with an ECU that has nothing to run."""
    agent, _ = boot(cells, ResetReason.PROGRAMMING, power)
    write(agent, cells, image, power)
    assert result_of(agent.check(option(image))) is CheckStatus.CORRECT


def drawn(work: Callable[[PowerSupply], object]) -> int:
    power = PowerBudget(operations=1_000_000)
    work(power)
    return power.drawn


def test_every_state_and_trigger_is_decided() -> None:
    assert TRANSITIONS.keys() == set(itertools.product(State, Trigger))


# Staging and copying


def test_staging_touches_nothing_of_what_runs_until_it_is_activated() -> None:
    cells = factory()
    slot = bytes(cells.slots[: SLOTS.size // 2])
    stage(cells)
    for reset in RESETS:
        assert version(boot(cells, reset)[1]) == "1.0.0"
    assert cells.slots[: SLOTS.size // 2] == slot
    assert state_of(cells) is State.STAGED


def test_the_agent_copies_what_was_activated_and_clears_its_flag() -> None:
    cells = factory()
    assert update(cells) == "2.0.0"
    assert state_of(cells) is State.IDLE
    agent, _ = boot(cells)
    assert agent.active_image() == NEW
    # Nothing is copied a second time.
    assert drawn(lambda power: boot(cells, power=power)) == 0


def test_the_copy_takes_the_time_of_its_memory_operations_and_of_its_sums() -> None:
    cells = factory()
    trigger(cells)
    memory = replace(cells.memory(), hash_bytes_per_s=10_000)
    sectors = -(-len(NEW) // SLOTS.sector_size)
    pages = -(-len(NEW) // SLOTS.page_size)
    record_s = 0.004
    expected = sectors * SLOTS.erase_s + pages * SLOTS.program_s + 2 * len(NEW) / 10_000 + record_s
    assert finish(PROFILE.open(memory, TRUST).boot(ResetReason.SOFTWARE)) == pytest.approx(expected)


def test_a_sector_that_is_in_place_already_is_left_alone() -> None:
    cells = factory()
    trigger(cells)
    sector = SLOTS.sector_size
    staged = SLOTS.size // 2
    cells.slots[:sector] = cells.slots[staged : staged + sector]
    sectors = -(-len(NEW) // sector)
    pages = -(-len(NEW) // SLOTS.page_size)
    # The record: one erase, and its pages.
    record = 1 + 2
    operations = sectors - 1 + pages - sector // SLOTS.page_size + record
    assert drawn(lambda power: boot(cells, power=power)) == operations


def test_a_longer_image_follows_a_shorter_one_and_the_other_way_round() -> None:
    cells = factory()
    for image, expected in ((NEW, "2.0.0"), (OLD, "1.0.0"), (NEW, "2.0.0")):
        assert update(cells, image=image) == expected
        assert boot(cells)[0].active_image() == image


def test_a_flag_that_was_taken_back_is_not_acted_on() -> None:
    cells = factory()
    trigger(cells)
    finish(boot_without_copy(cells).revert())
    assert version(boot(cells, ResetReason.SOFTWARE)[1]) == "1.0.0"
    assert state_of(cells) is State.STAGED


def boot_without_copy(cells: Cells) -> UpdateAgent:
    """The program that has set the flag goes on until its reset."""
    agent = opened(cells)
    agent._running = 0  # noqa: SLF001 what a boot before the flag has left
    return agent


def test_a_confirm_says_whether_a_copy_is_still_to_come() -> None:
    cells = factory()
    finish(boot(cells)[0].confirm())
    trigger(cells)
    with pytest.raises(NotNowError, match="CONFIRM is refused in state TRIGGERED"):
        finish(boot_without_copy(cells).confirm())
    agent, _ = boot(cells)
    finish(agent.confirm())


def test_a_new_download_takes_the_flag_back_before_it_touches_the_staging_area() -> None:
    cells = factory()
    trigger(cells)
    finish(boot_without_copy(cells).preparing())
    assert version(boot(cells)[1]) == "1.0.0"


# Wrong images


@pytest.mark.parametrize(
    ("staged", "told", "status"),
    [
        (NEW, NEW + b"\xff", CheckStatus.WRONG_LENGTH),
        (NEW, NEW[:-1] + b"\x01", CheckStatus.WRONG_CHECKSUM),
        (b"no image" * 10, b"no image" * 10, CheckStatus.NOT_AN_IMAGE),
        (NEW[:-8] + bytes(8), NEW[:-8] + bytes(8), CheckStatus.DAMAGED),
        (OTHERS, OTHERS, CheckStatus.WRONG_HARDWARE),
    ],
)
def test_a_wrong_image_is_told_and_not_activated_and_the_old_one_runs(
    staged: bytes, told: bytes, status: CheckStatus
) -> None:
    cells = factory()
    agent = stage(cells, staged)
    assert result_of(agent.check(option(told))) is status
    if staged is not NEW:
        assert agent.check_dependencies() is status
        with pytest.raises(NotNowError, match="staging area"):
            finish(agent.activate())
    assert version(boot(cells, ResetReason.SOFTWARE)[1]) == "1.0.0"


def test_the_two_sums_are_looked_at_apart() -> None:
    agent = stage(factory())
    wrong = option(NEW)[:-1] + bytes((option(NEW)[-1] ^ 1,))
    assert result_of(agent.check(wrong)) is CheckStatus.WRONG_DIGEST


def test_a_check_without_its_record_is_refused() -> None:
    with pytest.raises(OptionError, match="SHA-512"):
        result_of(stage(factory()).check(b""))


@pytest.mark.parametrize("at", [0, 20, 100, len(NEW) - 1])
def test_a_staged_image_that_is_damaged_after_it_was_activated_is_not_copied(at: int) -> None:
    cells = factory()
    trigger(cells)
    cells.slots[SLOTS.size // 2 + at] ^= 0x10
    assert version(boot(cells, ResetReason.SOFTWARE)[1]) == "1.0.0"
    assert state_of(cells) is State.IDLE
    assert update(cells) == "2.0.0"


class BadSector:
    """`Defects`: the slot's first sector cannot be erased."""

    slowness = 1.0

    def erasing(self, address: int, size: int) -> None:
        if address < size:
            raise MemoryFaultError(f"flash: 0x{address:X} does not erase")

    def programming(self, address: int, data: bytes) -> bytes:
        del address
        return data


def test_a_slot_that_cannot_be_written_keeps_the_flag_and_is_told() -> None:
    cells = factory()
    trigger(cells)
    memory = cells.memory()
    memory.flash.defects = BadSector()
    decision = result_of(PROFILE.open(memory, TRUST).boot(ResetReason.POWER_ON))
    assert decision == StayInBootloader(
        "the staged image is not in place: flash: 0x0 does not erase"
    )
    assert state_of(cells) is State.TRIGGERED
    # The next boot tries again.
    assert version(boot(cells)[1]) == "2.0.0"


def test_a_copy_that_differs_is_not_started_and_the_next_boot_copies_again() -> None:
    cells = factory()
    trigger(cells)
    booting = opened(cells).boot(ResetReason.POWER_ON)
    # The last step before the record is written: the sums over the copy.
    for _ in booting:
        if bytes(cells.slots[: len(NEW)]) == NEW:
            cells.slots[200] ^= 0x01
            break
    decision = result_of(booting)
    assert decision == StayInBootloader("the staged image is not in place: the copy differs")
    assert state_of(cells) is State.TRIGGERED
    assert version(boot(cells)[1]) == "2.0.0"


def test_a_flag_that_cannot_be_cleared_after_a_copy_is_told() -> None:
    cells = factory()
    trigger(cells)
    agent = PROFILE.open(cells.with_worn_record(), TRUST)
    decision = result_of(agent.boot(ResetReason.POWER_ON))
    assert isinstance(decision, StayInBootloader)
    assert decision.reason.startswith("the staged image is not in place: flash: sector 0x")
    assert agent.running is None


def test_a_wrong_image_whose_flag_cannot_be_cleared_does_not_keep_the_old_one_from_running() -> (
    None
):
    cells = factory()
    trigger(cells)
    cells.slots[SLOTS.size // 2 + 100] ^= 0x10
    agent = PROFILE.open(cells.with_worn_record(), TRUST)
    assert version(result_of(agent.boot(ResetReason.POWER_ON))) == "1.0.0"
    assert agent.active_image() == OLD


# The boot loader


@pytest.mark.parametrize("image", [OLD, NEW], ids=["the same", "another"])
def test_an_ecu_with_nothing_to_run_is_programmed_through_its_boot_loader(image: bytes) -> None:
    cells = Cells()
    assert boot(cells)[1] == StayInBootloader("no application (idle)")
    program_slot(cells, image)
    assert version(boot(cells, ResetReason.SOFTWARE)[1]) == ("1.0.0" if image is OLD else "2.0.0")


def test_a_slot_download_takes_the_flag_back_and_is_not_overwritten() -> None:
    cells = factory()
    trigger(cells)
    agent, decision = boot(cells, ResetReason.PROGRAMMING)
    assert decision == StayInBootloader("programming requested")
    assert state_of(cells) is State.TRIGGERED
    write(agent, cells, OLD)
    assert version(boot(cells)[1]) == "1.0.0"


def test_an_interrupted_slot_download_is_named_as_the_reason() -> None:
    cells = factory()
    agent, _ = boot(cells, ResetReason.PROGRAMMING)
    finish(agent.preparing())
    finish(cells.memory().flash.erase(0, SLOTS.sector_size))
    _, decision = boot(cells)
    assert isinstance(decision, StayInBootloader)
    assert decision.reason.endswith("(programming)")


def test_an_application_for_another_ecu_does_not_start() -> None:
    cells = factory(OTHERS)
    assert boot(cells)[1] == StayInBootloader("made for another hardware id (idle)")


@pytest.mark.parametrize("content", [b"", b"\x09" + bytes(11), bytes(13)])
def test_a_record_that_we_have_not_written_is_an_error(content: bytes) -> None:
    with pytest.raises(MemoryFaultError, match="boot record"):
        AgentRecord.decode(content)


def test_a_record_is_read_back() -> None:
    record = AgentRecord(state=State.TRIGGERED, lengths=(1, 2)).holding(STAGING, 3)
    assert AgentRecord.decode(record.encode()) == AgentRecord(state=State.TRIGGERED, lengths=(1, 3))


# Power


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("image", [OLD, NEW], ids=["same", "upgrade"])
def test_a_cut_at_any_operation_of_an_update_never_leaves_nothing_to_run(
    cut: Cut, image: bytes
) -> None:
    operations = drawn(lambda power: update(factory(), power, image))
    assert operations > 30
    for number in range(operations):
        cells = factory()
        with pytest.raises(PowerLossError):
            update(cells, PowerBudget(operations=number, cut=cut), image)
        found = version(boot(cells)[1])
        assert found, f"nothing runs after a cut {cut.value} operation {number}"
        assert update(cells) == "2.0.0"


@pytest.mark.parametrize("second", Cut)
@pytest.mark.parametrize("first", Cut)
def test_a_second_cut_while_the_agent_resumes_leaves_an_ecu_that_it_brings_to_an_end(
    first: Cut, second: Cut
) -> None:
    triggered = factory()
    trigger(triggered)
    copying = drawn(lambda power: boot(triggered.copy(), power=power))
    for number in range(copying):
        cut_once = triggered.copy()
        with pytest.raises(PowerLossError):
            boot(cut_once, power=PowerBudget(operations=number, cut=first))
        resuming = drawn(lambda power, cells=cut_once: boot(cells.copy(), power=power))  # type: ignore[misc]  # bound at once
        for again in range(resuming):
            cells = cut_once.copy()
            with pytest.raises(PowerLossError):
                boot(cells, power=PowerBudget(operations=again, cut=second))
            assert version(boot(cells)[1]) == "2.0.0"


@pytest.mark.parametrize("cut", Cut)
def test_a_cut_while_a_tester_writes_the_slot_leaves_an_ecu_that_can_be_programmed(
    cut: Cut,
) -> None:
    operations = drawn(lambda power: program_slot(factory(), NEW, power))
    for number in range(operations):
        cells = factory()
        with pytest.raises(PowerLossError):
            program_slot(cells, NEW, PowerBudget(operations=number, cut=cut))
        program_slot(cells, NEW)
        assert version(boot(cells)[1]) == "2.0.0"


# Every step in every state, by what is seen of it: what runs after a reset, whether it can be
# activated then, and what the boot loader calls the state where the slot is damaged.

NOTHING_STAGED = ("1.0.0", "not activated", "idle")
STAGED = ("1.0.0", "activated", "staged")
TO_BE_COPIED = ("2.0.0", "not activated", "copied over the damage")
HALF_PROGRAMMED = ("1.0.0", "not activated", "programming")
REFUSED = ("", "", "")

Reached = tuple[Cells, UpdateAgent]
Step = Callable[[Cells, UpdateAgent], object]


def when_idle() -> Reached:
    """With an image left in its staging area."""
    cells = factory()
    agent = stage(cells)
    finish(agent.preparing())
    return cells, agent


def when_staged() -> Reached:
    cells = factory()
    return cells, stage(cells)


def when_triggered() -> Reached:
    cells, agent = when_staged()
    finish(agent.activate())
    return cells, agent


def when_programming() -> Reached:
    """A tester had begun, and had not touched the slot yet."""
    cells, _ = when_idle()
    finish(boot(cells, ResetReason.PROGRAMMING)[0].preparing())
    return cells, boot(cells)[0]


def downloads(_: Cells, agent: UpdateAgent) -> None:
    finish(agent.preparing())


def ends_a_transfer(_: Cells, agent: UpdateAgent) -> None:
    finish(agent.finish_download(len(NEW)))


def downloads_to_the_slot(cells: Cells, _: UpdateAgent) -> None:
    finish(boot(cells, ResetReason.PROGRAMMING)[0].preparing())


def ends_a_transfer_to_the_slot(cells: Cells, _: UpdateAgent) -> None:
    finish(boot(cells, ResetReason.PROGRAMMING)[0].finish_download(len(OLD)))


def seen(cells: Cells) -> tuple[str, str, str]:
    damaged = cells.copy()
    damaged.slots[100] ^= 1
    agent, decision = boot(cells.copy())
    try:
        finish(agent.activate())
    except NotNowError:
        answer = "not activated"
    else:
        answer = "activated"
    _, with_damage = boot(damaged)
    if isinstance(with_damage, Application):
        return version(decision), answer, "copied over the damage"
    return version(decision), answer, with_damage.reason.rpartition("(")[2].rstrip(")")


@pytest.mark.parametrize(
    ("reach", "step", "outcome"),
    [
        (when_idle, downloads, NOTHING_STAGED),
        (when_idle, ends_a_transfer, STAGED),
        (when_idle, activates, REFUSED),
        (when_idle, confirms, NOTHING_STAGED),
        (when_idle, reverts, NOTHING_STAGED),
        (when_idle, downloads_to_the_slot, HALF_PROGRAMMED),
        (when_idle, ends_a_transfer_to_the_slot, REFUSED),
        (when_staged, downloads, NOTHING_STAGED),
        (when_staged, ends_a_transfer, STAGED),
        (when_staged, activates, TO_BE_COPIED),
        (when_staged, confirms, STAGED),
        (when_staged, reverts, STAGED),
        (when_staged, downloads_to_the_slot, HALF_PROGRAMMED),
        (when_staged, ends_a_transfer_to_the_slot, REFUSED),
        (when_triggered, downloads, NOTHING_STAGED),
        (when_triggered, ends_a_transfer, REFUSED),
        (when_triggered, activates, TO_BE_COPIED),
        (when_triggered, confirms, REFUSED),
        (when_triggered, reverts, STAGED),
        (when_triggered, downloads_to_the_slot, HALF_PROGRAMMED),
        (when_triggered, ends_a_transfer_to_the_slot, REFUSED),
        (when_programming, downloads, NOTHING_STAGED),
        (when_programming, ends_a_transfer, STAGED),
        (when_programming, activates, REFUSED),
        (when_programming, confirms, HALF_PROGRAMMED),
        (when_programming, reverts, HALF_PROGRAMMED),
        (when_programming, downloads_to_the_slot, HALF_PROGRAMMED),
        (when_programming, ends_a_transfer_to_the_slot, NOTHING_STAGED),
    ],
)
def test_what_comes_of_a_step(
    reach: Callable[[], Reached], step: Step, outcome: tuple[str, str, str]
) -> None:
    cells, agent = reach()
    if outcome == REFUSED:
        before = bytes(cells.records)
        with pytest.raises(NotNowError, match="is refused in state"):
            step(cells, agent)
        assert cells.records == before
    else:
        step(cells, agent)
        assert seen(cells) == outcome
