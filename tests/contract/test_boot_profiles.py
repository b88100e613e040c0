"""`ecu_sim.boot.Profile` and `Boot`: what every boot profile promises.

Between any two steps the ECU is switched off: each step runs on objects made anew over the cells,
so that what was decided before can only have come from flash.
"""

import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from types import ModuleType

import pytest

from ecu_sim.boot import (
    Application,
    Boot,
    BootMemory,
    NotNowError,
    Profile,
    ResetReason,
    StayInBootloader,
    Trust,
    boot_profile,
)
from ecu_sim.ecus import EcuType, all_ecu_names, ecu_type
from ecu_sim.memory import (
    Cut,
    Flash,
    PowerBudget,
    PowerLossError,
    PowerSupply,
    TwoCopyRecord,
)
from ecu_sim.memory.flash import finish, result_of
from protocols.plugins import members
from protocols.uds.routine_status import CheckStatus
from tests.support.ecu import MAKERS, RECORDS, TRUST, Cells, boot_mac_key

NAMES = sorted(members("ecu_sim.boot", "PROFILE"))
RESETS = [reset for reset in ResetReason if reset is not ResetReason.PROGRAMMING]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A profile in a small ECU of the first type that has it."""

    profile: Profile
    ecu: EcuType
    old: bytes
    new: bytes

    @property
    def trust(self) -> Trust:
        return Trust(
            hardware_identifier=self.ecu.hardware_identifier,
            public_keys=TRUST.public_keys,
            boot_mac_key=boot_mac_key(self.ecu.hardware_identifier),
        )

    @property
    def check_option(self) -> bytes:
        """0202's record as a tester sends it for `new`."""
        if self.ecu.staging_area:
            sums = zlib.crc32(self.new).to_bytes(4) + hashlib.sha512(self.new).digest()
            return len(self.new).to_bytes(4) + sums
        return zlib.crc32(self.new).to_bytes(4) if self.ecu.single_slot else b""

    def memory(self, cells: Cells, power: PowerSupply | None = None) -> BootMemory:
        return cells.memory(slots=self.ecu.areas, power=power)

    def blank(self) -> Cells:
        return Cells.with_scratch() if self.ecu.scratch_size else Cells()

    @property
    def in_boot_loader(self) -> bool:
        """Whether the running application gives way to its boot loader to be programmed."""
        return self.ecu.single_slot and not self.ecu.staging_area

    def opened(self, cells: Cells, power: PowerSupply | None = None) -> Boot:
        return self.profile.open(self.memory(cells, power), self.trust)

    def booted(
        self, cells: Cells, reset: ResetReason, power: PowerSupply | None = None
    ) -> Application | StayInBootloader:
        return result_of(self.opened(cells, power).boot(reset))

    def programming(self, cells: Cells, power: PowerSupply | None = None) -> Boot:
        """Where a download is taken: a single slot's boot loader, or a running application."""
        boot = self.opened(cells, power)
        result_of(
            boot.boot(ResetReason.PROGRAMMING if self.in_boot_loader else ResetReason.POWER_ON)
        )
        return boot

    def from_the_factory(self) -> Cells:
        cells = self.blank()
        memory = self.memory(cells)
        finish(memory.flash.program(0, self.old))
        finish(memory.record.write(self.profile.factory_record(self.old, self.trust)))
        return cells


@cache
def kind(name: str) -> Kind:
    ecus = [ecu_type(ecu) for ecu in all_ecu_names() if ecu_type(ecu).boot_profile == name]
    assert ecus, f"no ECU type has the boot profile {name}"
    for make in MAKERS.values():
        hardware_id = ecus[0].hardware_identifier
        found = Kind(
            profile=boot_profile(name),
            ecu=ecus[0],
            old=make(hardware_id=hardware_id),
            new=make(hardware_id=hardware_id, version=(2, 0, 0)),
        )
        if version(found.booted(found.from_the_factory(), ResetReason.POWER_ON)):
            return found
    raise AssertionError(f"no maker of small images for {name}")


def download(of: Kind, cells: Cells, image: bytes, power: PowerSupply | None = None) -> None:
    boot, memory = of.programming(cells, power), of.memory(cells, power)
    start = boot.begin_download() * memory.slot_size
    finish(boot.preparing())
    finish(memory.flash.erase(start, memory.slot_size))
    finish(memory.flash.program(start, image))
    finish(boot.finish_download(len(image)))
    assert boot.check_size() == len(image)
    # A profile may load what the next boot wants; what the check says is asked for by itself.
    result_of(boot.check(of.check_option))


def steps(of: Kind, cells: Cells, power: PowerSupply | None = None) -> Iterator[str]:
    """A whole update, with the ECU switched off after each step."""
    download(of, cells, of.new, power)
    yield "downloaded"
    assert result_of(of.programming(cells, power).check(of.check_option)) is CheckStatus.CORRECT
    assert of.programming(cells, power).check_dependencies() is CheckStatus.CORRECT
    yield "checked"
    if not of.in_boot_loader:
        finish(of.programming(cells, power).activate())
        yield "activated"
    assert version(of.booted(cells, ResetReason.SOFTWARE, power)) == "2.0.0"
    yield "booted"
    if not of.in_boot_loader:
        boot = of.opened(cells, power)
        result_of(boot.boot(ResetReason.POWER_ON))
        finish(boot.confirm())
        yield "confirmed"


def update(of: Kind, cells: Cells, power: PowerSupply | None = None) -> list[str]:
    return list(steps(of, cells, power))


def version(decision: Application | StayInBootloader) -> str:
    return decision.declared.software_version if isinstance(decision, Application) else ""


def module(name: str) -> ModuleType:
    return import_module(f"ecu_sim.boot.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_found_by_its_module_and_some_ecu_has_it(name: str) -> None:
    assert kind(name).profile is module(name).PROFILE


@pytest.mark.parametrize("name", NAMES)
def test_every_state_and_trigger_has_a_row(name: str) -> None:
    rules = module(name)
    assert rules.TRANSITIONS.keys() == set(itertools.product(rules.State, rules.Trigger))
    assert {state for state in rules.TRANSITIONS.values() if state is not None} <= set(rules.State)


@pytest.mark.parametrize("name", NAMES)
def test_every_trigger_is_explained(name: str) -> None:
    assert all(isinstance(trigger.value, str) for trigger in module(name).Trigger)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reset", RESETS)
def test_an_ecu_from_the_factory_boots(name: str, reset: ResetReason) -> None:
    of = kind(name)
    cells = of.from_the_factory()
    boot = of.opened(cells)
    decision = result_of(boot.boot(reset))
    assert isinstance(decision, Application)
    assert (decision.slot, decision.on_trial) == (0, False)
    assert version(decision) == "1.0.0"
    assert boot.running == 0
    assert boot.active_image() == of.old
    # Nothing waits in a second area.
    assert boot.check_size() == (len(of.old) if of.in_boot_loader and of.ecu.areas == 1 else 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reset", ResetReason)
def test_an_empty_chip_stays_in_its_boot_loader_and_says_why(name: str, reset: ResetReason) -> None:
    boot = kind(name).opened(kind(name).blank())
    decision = result_of(boot.boot(reset))
    assert isinstance(decision, StayInBootloader)
    assert decision.reason
    assert boot.running is None
    with pytest.raises(NotNowError):
        boot.active_image()


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_chip_is_programmed_and_boots(name: str) -> None:
    of, cells = kind(name), kind(name).blank()
    download(of, cells, of.new)
    assert version(of.booted(cells, ResetReason.SOFTWARE)) == "2.0.0"


@pytest.mark.parametrize("name", NAMES)
def test_a_boot_changes_nothing_where_nothing_is_asked_for(name: str) -> None:
    of = kind(name)
    cells = of.from_the_factory()
    before = bytes(cells.slots), bytes(cells.records)
    for reset in RESETS:
        of.booted(cells, reset)
    assert (bytes(cells.slots), bytes(cells.records)) == before


@pytest.mark.parametrize("name", NAMES)
def test_an_update_runs_the_new_image_and_keeps_it(name: str) -> None:
    of = kind(name)
    cells = of.from_the_factory()
    assert update(of, cells)[-1] in {"booted", "confirmed"}
    for reset in RESETS:
        decision = of.booted(cells, reset)
        assert isinstance(decision, Application)
        assert version(decision) == "2.0.0"
        assert not decision.on_trial


@pytest.mark.parametrize("name", NAMES)
def test_what_was_decided_comes_from_flash_alone(name: str) -> None:
    of = kind(name)
    cells = of.from_the_factory()
    for _ in steps(of, cells):
        copies = [
            Cells(slots=bytearray(cells.slots), records=bytearray(cells.records)) for _ in range(2)
        ]
        decisions = [of.booted(copy, ResetReason.POWER_ON) for copy in copies]
        assert decisions[0] == decisions[1]
        assert copies[0].records == copies[1].records


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_image_is_never_started_and_the_next_good_one_is(name: str) -> None:
    of = kind(name)
    cells = of.from_the_factory()
    damaged = of.new[:-8] + bytes(8)
    download(of, cells, damaged)
    assert result_of(of.programming(cells).check(of.check_option)) is not CheckStatus.CORRECT
    if not of.in_boot_loader:
        with pytest.raises(NotNowError):
            finish(of.programming(cells).activate())
    for reset in RESETS:
        assert version(of.booted(cells, reset)) == ("" if of.in_boot_loader else "1.0.0")
    update(of, cells)
    assert version(of.booted(cells, ResetReason.POWER_ON)) == "2.0.0"


def drawn_by_an_update(of: Kind) -> int:
    power = PowerBudget(operations=1_000_000)
    update(of, of.from_the_factory(), power)
    return power.drawn


def finished(of: Kind, cells: Cells) -> None:
    """What a tester does with an ECU that it finds after a power cut."""
    boot = of.opened(cells)
    decision = result_of(boot.boot(ResetReason.POWER_ON))
    if version(decision) != "2.0.0":
        update(of, cells)
    elif isinstance(decision, Application) and decision.on_trial:
        finish(boot.confirm())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", Cut)
def test_power_loss_at_any_operation_leaves_an_ecu_that_boots_or_can_be_programmed(
    name: str, cut: Cut
) -> None:
    of = kind(name)
    for operations in range(drawn_by_an_update(of)):
        cells = of.from_the_factory()
        with pytest.raises(PowerLossError):
            update(of, cells, PowerBudget(operations=operations, cut=cut))
        found = version(of.booted(cells, ResetReason.POWER_ON))
        # With a second area there is always something to start; with one there may be nothing.
        assert found in {"1.0.0", "2.0.0", *([""] if of.in_boot_loader else [])}
        finished(of, cells)
        for reset in RESETS:
            assert version(of.booted(cells, reset)) == "2.0.0"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", Cut)
def test_power_loss_while_a_blank_ecu_is_programmed_leaves_one_that_can_be(
    name: str, cut: Cut
) -> None:
    of = kind(name)
    power = PowerBudget(operations=1_000_000)
    download(of, of.blank(), of.new, power)
    for operations in range(power.drawn):
        cells = of.blank()
        with pytest.raises(PowerLossError):
            download(of, cells, of.new, PowerBudget(operations=operations, cut=cut))
        assert version(of.booted(cells, ResetReason.POWER_ON)) in {"", "2.0.0"}
        download(of, cells, of.new)
        assert version(of.booted(cells, ResetReason.POWER_ON)) == "2.0.0"


def activated(of: Kind) -> Cells:
    """An ECU that the next reset brings to its new image, if it has room for two."""
    cells = of.from_the_factory()
    for step in steps(of, cells):
        if step == "activated":
            return cells
    raise AssertionError("it has room for one")


def sectors_of(of: Kind, cells: Cells) -> list[tuple[str, int]]:
    """Chip and address of every sector of an ECU."""
    memory = of.memory(cells)
    slots, records = memory.flash.geometry, RECORDS
    return [
        *(("slots", number * slots.sector_size) for number in range(slots.sectors)),
        *(("records", number * records.sector_size) for number in range(records.sectors)),
    ]


def with_bad_sector(of: Kind, cells: Cells, chip: str, address: int) -> BootMemory:
    memory = of.memory(cells)
    if chip == "slots":
        memory.flash.spoil(address)
        return memory
    records = Flash(cells.records, RECORDS)
    records.spoil(address)
    record = TwoCopyRecord(records, address=0, copy_size=RECORDS.sector_size)
    return replace(memory, record=record)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "conventional"])
@pytest.mark.parametrize("reset", RESETS)
def test_a_bad_sector_leaves_an_ecu_with_room_for_two_images_one_that_boots(
    name: str, reset: ResetReason
) -> None:
    of = kind(name)
    prepared = activated(of)
    places = sectors_of(of, prepared)
    assert len(places) > 16
    for chip, address in places:
        cells = Cells(slots=bytearray(prepared.slots), records=bytearray(prepared.records))
        memory = with_bad_sector(of, cells, chip, address)
        for _ in range(2):
            decision = result_of(of.profile.open(memory, of.trust).boot(reset))
            if isinstance(decision, StayInBootloader) and name == "update_agent":
                # Its application runs from the one slot that it has, and that slot is broken.
                assert f"0x{address:X} is bad" in decision.reason
                continue
            assert version(decision) in {"1.0.0", "2.0.0"}, (chip, hex(address), decision)


def filled(of: Kind, content: Callable[[int], bytes], *areas: int) -> Cells:
    """A factory-new ECU with something else in its areas."""
    cells = of.from_the_factory()
    size = of.memory(cells).slot_size
    for area in areas:
        cells.slots[area * size : (area + 1) * size] = content(size)
    return cells


def garbage(size: int) -> bytes:
    return hashlib.shake_128(b"garbage").digest(size)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [garbage, bytes, lambda size: b"\xff" * size])
def test_an_ecu_whose_flash_holds_anything_is_programmed_and_boots(
    name: str, content: Callable[[int], bytes]
) -> None:
    of = kind(name)
    for areas in ((0,), tuple(range(of.ecu.areas)), tuple(range(1, of.ecu.areas))):
        cells = filled(of, content, *areas)
        found = version(of.booted(cells, ResetReason.POWER_ON))
        assert found == ("" if 0 in areas else "1.0.0")
        if found:
            update(of, cells)
        else:
            download(of, cells, of.new)
        assert version(of.booted(cells, ResetReason.SOFTWARE)) == "2.0.0"


@pytest.mark.parametrize("name", NAMES)
def test_an_ecu_whose_record_holds_anything_is_programmed_and_boots(name: str) -> None:
    of = kind(name)
    cells = of.from_the_factory()
    cells.records[:] = garbage(len(cells.records))
    if version(of.booted(cells, ResetReason.POWER_ON)):
        update(of, cells)
    else:
        download(of, cells, of.new)
    assert version(of.booted(cells, ResetReason.SOFTWARE)) == "2.0.0"
