"""What symmetric secure boot has of its own; the contract tests have what profiles promise."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

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
from ecu_sim.boot.she_cmac import PROFILE, BootRecord
from ecu_sim.memory import Cut, PowerBudget, PowerLossError, PowerSupply
from ecu_sim.memory.flash import finish, result_of
from protocols.firmware import she
from protocols.firmware.containers import ContainerError, cmac
from protocols.uds.routine_status import CheckStatus
from tests.support.ecu import Cells, boot_mac_key, cmac_image, crc_image

KEY = boot_mac_key("PTC-1")
TRUST = Trust(hardware_identifier="PTC-1", public_keys={}, boot_mac_key=KEY)
OLD = cmac_image(version=(1, 0, 0), security_counter=1)
NEW = cmac_image(version=(2, 0, 0), security_counter=2)


def from_the_factory(trust: Trust = TRUST) -> Cells:
    cells = Cells()
    memory = cells.memory()
    finish(memory.flash.program(0, OLD))
    finish(memory.record.write(PROFILE.factory_record(OLD, trust)))
    return cells


def booted(
    cells: Cells, reset: ResetReason = ResetReason.POWER_ON, power: PowerSupply | None = None
) -> Boot:
    boot = PROFILE.open(cells.memory(power=power), TRUST)
    decision = result_of(boot.boot(reset))
    assert isinstance(decision, Application), decision
    return boot


def running_version(cells: Cells, reset: ResetReason = ResetReason.POWER_ON) -> str:
    decision = result_of(PROFILE.open(cells.memory(), TRUST).boot(reset))
    return decision.declared.software_version if isinstance(decision, Application) else ""


def download(cells: Cells, image: bytes, power: PowerSupply | None = None) -> None:
    boot, memory = booted(cells, power=power), cells.memory(power=power)
    start = boot.begin_download() * memory.slot_size
    finish(boot.preparing())
    finish(memory.flash.erase(start, memory.slot_size))
    finish(memory.flash.program(start, image))
    finish(boot.finish_download(len(image)))


def staged(image: bytes = NEW) -> Cells:
    cells = from_the_factory()
    download(cells, image)
    assert result_of(booted(cells).check(b"")) is CheckStatus.CORRECT
    return cells


def on_trial() -> Cells:
    cells = staged()
    finish(booted(cells).activate())
    assert running_version(cells, ResetReason.SOFTWARE) == "2.0.0"
    return cells


def record(cells: Cells) -> BootRecord:
    return BootRecord.decode(cells.memory().record.read())


def test_an_image_that_was_written_and_not_checked_has_a_stale_mac_and_is_not_activated() -> None:
    cells = from_the_factory()
    download(cells, NEW)
    assert booted(cells).check_dependencies() is CheckStatus.STALE_MAC
    with pytest.raises(NotNowError, match="MAC in the secure store"):
        finish(booted(cells).activate())
    assert running_version(cells) == "1.0.0"


def test_a_slot_that_has_changed_since_its_mac_was_loaded_does_not_boot() -> None:
    cells = on_trial()
    finish(booted(cells).confirm())
    # Another good image of the same length, past the boot loader: only its MAC gives it away.
    other = cmac_image(version=(2, 0, 1), security_counter=2)
    assert len(other) == len(NEW)
    start = cells.memory().slot_size
    cells.slots[start : start + len(other)] = other
    decision = result_of(PROFILE.open(cells.memory(), TRUST).boot(ResetReason.POWER_ON))
    assert decision == StayInBootloader(
        "slot 1: the MAC in the secure store is not of what stands in the slot"
    )


def test_the_boot_loader_takes_the_slot_and_loads_its_mac_again() -> None:
    cells = from_the_factory()
    cells.slots[100] ^= 1
    boot = PROFILE.open(cells.memory(), TRUST)
    assert isinstance(result_of(boot.boot(ResetReason.POWER_ON)), StayInBootloader)
    memory = cells.memory()
    assert boot.begin_download() == 0
    finish(memory.flash.erase(0, memory.slot_size))
    finish(memory.flash.program(0, NEW))
    finish(boot.finish_download(len(NEW)))
    assert running_version(cells) == ""
    assert result_of(boot.check(b"")) is CheckStatus.CORRECT
    assert running_version(cells) == "2.0.0"


#: What an authentic update must not say.
CHANGES: Final[Mapping[str, dict[str, Any]]] = {
    "another slot": {"slot": 4},
    "another key's": {"authenticated_by": 1},
    "another counter": {"counter": 3},
    "another chip": {"uid": bytes(14) + b"\x01"},
    "another MAC": {"value": bytes(16)},
    "flags": {"flags": 1},
}


def _forged() -> Iterator[tuple[str, bytes, CheckStatus]]:
    body = NEW[: -she.UPDATE_LENGTH]
    good = she.decode(NEW[-she.UPDATE_LENGTH :], KEY)
    yield "another container", crc_image(hardware_id="PTC-1"), CheckStatus.NOT_AN_IMAGE
    yield "cut", NEW[:-1], CheckStatus.DAMAGED
    yield "altered", NEW[:90] + bytes([NEW[90] ^ 1]) + NEW[91:], CheckStatus.DAMAGED
    yield "of another key", cmac_image(key=bytes(16)), CheckStatus.WRONG_SIGNATURE
    yield "no update", body + bytes(she.UPDATE_LENGTH), CheckStatus.WRONG_SIGNATURE
    yield "another image's", body + OLD[-she.UPDATE_LENGTH :], CheckStatus.WRONG_SIGNATURE
    for name, changed in CHANGES.items():
        update = she.encode(replace(good, **changed), KEY)
        yield name, body + update, CheckStatus.WRONG_SIGNATURE
    wrong_hardware = cmac_image(hardware_id="ECP-3", key=KEY)
    yield "another hardware", wrong_hardware, CheckStatus.WRONG_HARDWARE


@pytest.mark.parametrize(
    ("image", "status"), [pytest.param(*rest, id=name) for name, *rest in _forged()]
)
def test_only_an_authentic_update_gets_into_the_secure_store(
    image: bytes, status: CheckStatus
) -> None:
    cells = from_the_factory()
    download(cells, image)
    before = record(cells).macs
    assert result_of(booted(cells).check(b"")) is status
    if status is not CheckStatus.WRONG_HARDWARE:
        assert record(cells).macs == before
    with pytest.raises(NotNowError):
        finish(booted(cells).activate())
    assert running_version(cells) == "1.0.0"


def test_the_counter_rises_with_the_confirm_and_keeps_older_images_out() -> None:
    cells = on_trial()
    assert record(cells).security_counter == 0
    finish(booted(cells).confirm())
    assert record(cells).security_counter == 2
    download(cells, OLD)
    assert result_of(booted(cells).check(b"")) is CheckStatus.SECURITY_COUNTER_TOO_LOW
    assert running_version(cells) == "2.0.0"


def test_a_revert_needs_no_check_because_each_slot_has_its_own_mac() -> None:
    cells = on_trial()
    finish(booted(cells).revert())
    assert running_version(cells) == "1.0.0"
    finish(booted(cells).activate())
    assert running_version(cells) == "2.0.0"


def test_an_ecu_without_a_key_starts_nothing() -> None:
    keyless = Trust(hardware_identifier="PTC-1", public_keys={})
    cells = from_the_factory(keyless)
    decision = result_of(PROFILE.open(cells.memory(), keyless).boot(ResetReason.POWER_ON))
    assert isinstance(decision, StayInBootloader)


def test_the_check_takes_no_option_record() -> None:
    with pytest.raises(OptionError, match="4 bytes"):
        result_of(booted(staged()).check(bytes(4)))


def upgrade(cells: Cells, power: PowerSupply) -> None:
    download(cells, NEW, power)
    assert result_of(booted(cells, power=power).check(b"")) is CheckStatus.CORRECT
    finish(booted(cells, power=power).activate())
    finish(booted(cells, ResetReason.SOFTWARE, power).confirm())


def revert(cells: Cells, power: PowerSupply) -> None:
    finish(booted(cells, power=power).revert())
    booted(cells, ResetReason.SOFTWARE, power)


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize(
    ("job", "prepared"),
    [(upgrade, from_the_factory()), (revert, on_trial())],
    ids=["upgrade", "revert"],
)
def test_power_loss_at_any_operation_leaves_an_ecu_that_runs_one_of_its_images(
    job: Callable[[Cells, PowerSupply], None], prepared: Cells, cut: Cut
) -> None:
    def copy() -> Cells:
        return Cells(bytearray(prepared.slots), bytearray(prepared.records))

    counting = PowerBudget(operations=1_000_000)
    job(copy(), counting)
    assert counting.drawn >= (20 if job is upgrade else 2)
    for budget in range(counting.drawn):
        cells = copy()
        with pytest.raises(PowerLossError):
            job(cells, PowerBudget(operations=budget, cut=cut))
        assert running_version(cells) in {"1.0.0", "2.0.0"}, f"{cut} at operation {budget}"
        # What was cut can be done again, to the end (a trial that is left must go first).
        finish(booted(cells).revert())
        if running_version(cells) == "1.0.0":
            upgrade(cells, PowerBudget(operations=1_000_000))
        assert running_version(cells) == "2.0.0"


def test_every_bit_of_an_image_counts() -> None:
    image = cmac_image(b"a payload")
    for position, bit in itertools.product(range(len(image)), range(8)):
        changed = bytearray(image)
        changed[position] ^= 1 << bit
        try:
            cmac.authentic_mac(cmac.decode(bytes(changed)), KEY)
        except ContainerError:
            continue
        raise AssertionError(f"bit {bit} of byte {position} may change")
