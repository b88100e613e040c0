"""What is mutated, by what its tests are."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Folder (or file) of sources -> the tests that have to notice.
TARGETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "ecu_sim/boot": (
            "tests/unit/test_boot.py",
            "tests/unit/test_boot_conventional.py",
            "tests/unit/test_boot_mcuboot_ab.py",
            "tests/unit/test_boot_mcuboot_swap.py",
            "tests/unit/test_boot_overwrite.py",
            "tests/unit/test_boot_she_cmac.py",
            "tests/unit/test_boot_update_agent.py",
            "tests/contract/test_boot_profiles.py",
        ),
        "vehicle_gateway/update": (
            "tests/unit/test_update_account.py",
            "tests/unit/test_update_conditions.py",
            "tests/unit/test_update_coordinator.py",
            "tests/unit/test_update_drive_cycles.py",
            "tests/unit/test_update_flow.py",
            "tests/unit/test_update_images.py",
            "tests/unit/test_update_journal.py",
            "tests/unit/test_update_ledger.py",
            "tests/unit/test_update_power_cuts.py",
            "tests/unit/test_update_records.py",
            "tests/unit/test_update_replaced.py",
            "tests/unit/test_update_steps.py",
            "tests/unit/test_update_targets.py",
            "tests/unit/test_update_vehicle.py",
            "tests/unit/test_update_withdrawn.py",
        ),
    }
)
