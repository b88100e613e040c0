"""What is mutated, by what its tests are."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Folder (or file) of sources -> the tests that have to notice.
TARGETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "ecu_sim/boot": (
            "tests/unit/test_boot_conventional.py",
            "tests/unit/test_boot_mcuboot_ab.py",
            "tests/unit/test_boot_mcuboot_swap.py",
            "tests/unit/test_boot_overwrite.py",
            "tests/contract/test_boot_profiles.py",
        ),
    }
)
