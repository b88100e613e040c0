"""What all boot profiles stand on: where an address lies, and how a profile is found."""

import pytest

from ecu_sim.boot import RangeError, boot_profile
from ecu_sim.boot.mcuboot_ab import PROFILE
from tests.support.ecu import BASE, SLOTS, Cells

SLOT = SLOTS.size // 2


@pytest.mark.parametrize(
    ("address", "size", "boundary", "offset"),
    [
        (BASE, 1, 1, 0),
        (BASE, SLOT, SLOTS.sector_size, 0),
        (BASE + SLOT - 1, 1, 1, SLOT - 1),
        (BASE + 0x40, SLOT - 0x40, 0x40, 0x40),
        (BASE + 0x41, 1, 1, 0x41),
    ],
)
def test_an_address_has_its_offset_in_the_slot(
    address: int, size: int, boundary: int, offset: int
) -> None:
    assert Cells().memory().locate(address, size, boundary=boundary) == offset


@pytest.mark.parametrize(
    ("address", "size", "boundary"),
    [
        (BASE - 1, 4, 1),
        (BASE, 0, 1),
        (BASE, SLOT + 1, 1),
        (BASE + SLOT - 1, 2, 1),
        (BASE + 2, 4, 0x40),
        (0, 4, 1),
    ],
)
def test_ranges_outside_the_application_area_are_refused(
    address: int, size: int, boundary: int
) -> None:
    with pytest.raises(RangeError, match="0x"):
        Cells().memory().locate(address, size, boundary=boundary)


def test_a_profile_is_found_by_its_name() -> None:
    assert boot_profile("mcuboot_ab") is PROFILE


@pytest.mark.parametrize("name", ["no_such", "two_slots"])
def test_what_is_no_profile_is_not_found(name: str) -> None:
    """`two_slots` is a module of the room and has no profile."""
    with pytest.raises(LookupError, match=f"no boot profile '{name}'"):
        boot_profile(name)
