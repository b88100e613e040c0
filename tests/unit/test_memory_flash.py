from dataclasses import replace

import pytest

from ecu_sim.memory import (
    Cut,
    Flash,
    FlashGeometry,
    MemoryFaultError,
    Nvm,
    PowerBudget,
    PowerLossError,
    Tear,
    Torn,
    TwoCopyRecord,
)
from ecu_sim.memory.flash import finish

GEOMETRY = FlashGeometry(size=64, sector_size=16, page_size=4, erase_s=0.5, program_s=0.25)


def new_flash(cells: bytearray | None = None, power: PowerBudget | None = None) -> Flash:
    return Flash(bytearray(b"\xff" * 64) if cells is None else cells, GEOMETRY, power=power)


def test_programming_takes_one_page_time_for_each_page_begun() -> None:
    assert finish(new_flash().program(0, bytes(9))) == 3 * 0.25


def test_erasing_takes_one_sector_time_for_each_sector_and_wears_it() -> None:
    flash = new_flash()
    assert finish(flash.erase(16, 32)) == 2 * 0.5
    assert flash.wear == [0, 1, 1, 0]


def test_nothing_has_happened_before_the_time_of_an_operation_is_over() -> None:
    cells = bytearray(b"\x00" * 64)
    operations = new_flash(cells).erase(0, 16)
    assert next(operations) == 0.5
    assert cells == b"\x00" * 64
    operations.close()
    assert cells == b"\x00" * 64


def test_a_page_programmed_twice_fails_to_verify_and_keeps_only_common_bits() -> None:
    flash = new_flash()
    finish(flash.program(0, b"\xf0\xf0\xf0\xf0"))
    with pytest.raises(MemoryFaultError, match="0x0"):
        finish(flash.program(0, b"\x3c\x3c\x3c\x3c"))
    assert flash.read(0, 4) == b"\x30\x30\x30\x30"


def test_clearing_more_bits_of_a_programmed_page_is_allowed() -> None:
    flash = new_flash()
    finish(flash.program(0, b"\xf0\xf0\xf0\xf0"))
    finish(flash.program(0, b"\x30\x30\x30\x30"))
    assert flash.read(0, 4) == b"\x30\x30\x30\x30"


@pytest.mark.parametrize(
    ("operation", "address", "size"),
    [("erase", 4, 16), ("erase", 0, 8), ("erase", 48, 32), ("erase", -16, 16)],
)
def test_erasing_off_the_sectors_is_refused(operation: str, address: int, size: int) -> None:
    with pytest.raises(MemoryFaultError, match="0x"):
        getattr(new_flash(), operation)(address, size)


@pytest.mark.parametrize(("address", "size"), [(2, 4), (60, 8), (64, 1)])
def test_programming_off_the_pages_or_the_chip_is_refused(address: int, size: int) -> None:
    with pytest.raises(MemoryFaultError, match="0x"):
        new_flash().program(address, bytes(size))


def test_cells_of_another_size_than_the_chip_are_refused() -> None:
    with pytest.raises(MemoryFaultError, match="63"):
        Flash(bytearray(63), GEOMETRY)


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (Cut.BEFORE, b"\x11\x11\x11\x11\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Cut.TORN, b"\x11\x11\x11\x11\x11\x11\xff\xff\xff\xff\xff\xff"),
        (Cut.AFTER, b"\x11\x11\x11\x11\x11\x11\x11\x11\xff\xff\xff\xff"),
    ],
)
def test_power_lost_at_the_second_page_leaves_what_the_cut_says(cut: Cut, expected: bytes) -> None:
    cells = bytearray(b"\xff" * 64)
    with pytest.raises(PowerLossError, match="0x4"):
        finish(new_flash(cells, PowerBudget(operations=1, cut=cut)).program(0, b"\x11" * 12))
    assert cells[:12] == expected


@pytest.mark.parametrize(("cut", "erased"), [(Cut.BEFORE, 0), (Cut.TORN, 8), (Cut.AFTER, 16)])
def test_power_lost_in_an_erase_leaves_part_of_the_sector(cut: Cut, erased: int) -> None:
    cells = bytearray(64)
    with pytest.raises(PowerLossError):
        finish(new_flash(cells, PowerBudget(operations=0, cut=cut)).erase(0, 16))
    assert cells.count(0xFF) == erased


RECORD_CHIP = FlashGeometry(size=512, sector_size=64, page_size=16, erase_s=0, program_s=0)


def record_over(cells: bytearray, power: PowerBudget | None = None) -> TwoCopyRecord:
    return TwoCopyRecord(Flash(cells, RECORD_CHIP, power=power), address=0, copy_size=256)


def test_a_fresh_chip_holds_no_record() -> None:
    assert record_over(bytearray(b"\xff" * 512)).read() is None


def test_a_record_too_large_for_its_copy_is_refused() -> None:
    record = record_over(bytearray(b"\xff" * 512))
    with pytest.raises(MemoryFaultError, match="do not fit"):
        record.write(bytes(record.capacity + 1))


@pytest.mark.parametrize("cut", Cut)
def test_a_record_is_old_or_new_wherever_its_write_is_cut(cut: Cut) -> None:
    cells = bytearray(b"\xff" * 512)
    for content in (b"older", b"old" * 20):
        finish(record_over(cells).write(content))
    counting = PowerBudget(operations=1000)
    finish(record_over(bytearray(cells), counting).write(b"new" * 30))
    seen = set()
    for operations in range(counting.drawn):
        after_cut = bytearray(cells)
        with pytest.raises(PowerLossError):
            finish(
                record_over(after_cut, PowerBudget(operations=operations, cut=cut)).write(
                    b"new" * 30
                )
            )
        seen.add(record_over(after_cut).read())
    assert seen <= {b"old" * 20, b"new" * 30}
    assert b"old" * 20 in seen


def test_values_survive_in_the_nvm_and_an_unchanged_one_is_not_written_again() -> None:
    cells = bytearray(b"\xff" * 512)
    flash = Flash(cells, RECORD_CHIP)
    nvm = Nvm(TwoCopyRecord(flash, address=0, copy_size=256))
    nvm.write("a", b"1")
    nvm.write("b", b"")
    nvm.write("a", b"22")
    worn = sum(flash.wear)
    nvm.write("a", b"22")
    assert sum(flash.wear) == worn
    again = Nvm(record_over(cells))
    assert (again.read("a"), again.read("b"), again.read("c")) == (b"22", b"", None)


@pytest.mark.parametrize("done", [0.0, 0.25, 0.75, 1.0])
def test_a_torn_page_keeps_its_prefix(done: float) -> None:
    cells = bytearray(b"\xff" * 64)
    tear = Tear(done=done)
    with pytest.raises(PowerLossError, match=f"torn prefix {done:.0%}"):
        finish(new_flash(cells, PowerBudget(operations=0, cut=tear)).program(0, b"\x11" * 8))
    part = int(4 * done)
    assert cells[:8] == b"\x11" * part + b"\xff" * (8 - part)


def test_a_page_torn_halfway_has_cleared_some_of_its_bits_and_no_other() -> None:
    cells = bytearray(b"\xff" * 64)
    tear = Tear(how=Torn.HALFWAY, done=0.0, seed=3)
    with pytest.raises(PowerLossError):
        finish(new_flash(cells, PowerBudget(operations=0, cut=tear)).program(0, b"\x0f" * 4))
    assert all(cell & 0x0F == 0x0F for cell in cells)
    assert bytes(cells[:4]) not in {b"\x0f" * 4, b"\xff" * 4}
    again = bytearray(b"\xff" * 64)
    with pytest.raises(PowerLossError):
        finish(new_flash(again, PowerBudget(operations=0, cut=tear)).program(0, b"\x0f" * 4))
    assert again == cells


@pytest.mark.parametrize(
    ("how", "first", "rest"),
    [(Torn.PREFIX, {0xFF}, {0x5A}), (Torn.DRAINED, {0x00}, {0x5A}), (Torn.HALFWAY, {0xFF}, None)],
)
def test_a_torn_sector_is_partly_erased(how: Torn, first: set[int], rest: set[int] | None) -> None:
    cells = bytearray(b"\x5a" * 64)
    tear = Tear(how=how, done=0.25)
    with pytest.raises(PowerLossError, match=how.name.lower()):
        finish(new_flash(cells, PowerBudget(operations=0, cut=tear)).erase(16, 16))
    assert set(cells[16:20]) == first
    torn = cells[20:32]
    if rest is None:
        assert all(cell & 0x5A == 0x5A for cell in torn)
        assert 0 < sum(cell.bit_count() for cell in torn) - 4 * len(torn) < 4 * len(torn)
    else:
        assert set(torn) == rest
    assert cells[:16] == cells[32:48] == b"\x5a" * 16


def test_a_bad_sector_fails_every_operation_and_stays_bad() -> None:
    cells, wear = bytearray(b"\xff" * 64), bytearray(GEOMETRY.wear_size)
    Flash(cells, GEOMETRY, wear=wear).spoil(20)
    for _ in range(2):
        flash = Flash(cells, GEOMETRY, wear=wear)
        with pytest.raises(MemoryFaultError, match="sector 0x10 is bad: it is not erased"):
            finish(flash.erase(0, 32))
        with pytest.raises(MemoryFaultError, match="sector 0x10 is bad: verify failed"):
            finish(flash.program(12, bytes(8)))
        finish(flash.erase(32, 32))
        finish(flash.program(32, bytes(32)))


def test_a_bad_sector_has_lost_part_of_what_it_held() -> None:
    flash = new_flash(bytearray(64))
    flash.spoil(0)
    with pytest.raises(MemoryFaultError):
        finish(flash.erase(0, 16))
    assert set(flash.read(0, 16)) not in ({0x00}, {0xFF})


def test_wear_outlives_the_object_and_wears_a_sector_out() -> None:
    geometry = replace(GEOMETRY, endurance=3)
    cells, wear = bytearray(b"\xff" * 64), bytearray(geometry.wear_size)
    for _ in range(3):
        finish(Flash(cells, geometry, wear=wear).erase(16, 16))
    with pytest.raises(MemoryFaultError, match="sector 0x10 is bad"):
        finish(Flash(cells, geometry, wear=wear).erase(16, 16))
    assert Flash(cells, geometry, wear=wear).wear == [0, 4, 0, 0]


def test_an_erase_that_is_cut_wears_its_sector_and_one_not_begun_does_not() -> None:
    wear = bytearray(GEOMETRY.wear_size)
    for cut in (*Cut, Tear(how=Torn.DRAINED)):
        power = PowerBudget(operations=0, cut=cut)
        with pytest.raises(PowerLossError):
            finish(Flash(bytearray(64), GEOMETRY, power=power, wear=wear).erase(0, 16))
    assert Flash(bytearray(64), GEOMETRY, wear=wear).wear == [3, 0, 0, 0]


def test_wear_of_another_chip_is_refused() -> None:
    with pytest.raises(MemoryFaultError, match="3 sectors"):
        Flash(bytearray(64), GEOMETRY, wear=bytearray(12))
