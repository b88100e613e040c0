"""The power sweep: it finds nothing in the boot profiles, and it finds what is wrong in others."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from canota.chaos import power_wire
from canota.chaos.power import REVERTS, UPGRADES, Scenario, Sweep, Tally, cuts, findings
from canota.chaos.power_sweep import as_json, subjects, tallies_of
from canota.chaos.small_ecu import Layout, SweepError, Way, profiles, subject_of
from ecu_sim.boot import Boot, BootMemory, Operations, Trust, boot_profile, mcuboot_ab, overwrite
from ecu_sim.boot.mcuboot_swap import McubootSwap
from ecu_sim.boot.overwrite import Overwrite
from ecu_sim.memory import Tear
from tests.support.cli import canota

#: Small enough for a test, and with an image that fills two sectors of three.
SMALL = Layout(sectors=3, sector_size=0x200, page_size=0x40, payloads=(1000, 700))
ONE = Sweep(seed=7, layouts=(SMALL,), seconds=1, tears=1, wire=2)
PROFILES = profiles()


class Built:
    """A boot profile of a test's own, in the place of one of ours."""

    def __init__(self, opened: Callable[[BootMemory, Trust], Boot], like: str) -> None:
        self._opened = opened
        self._like = boot_profile(like)

    def open(self, memory: BootMemory, trust: Trust) -> Boot:
        return self._opened(memory, trust)

    def factory_record(self, image: bytes, trust: Trust) -> bytes:
        return self._like.factory_record(image, trust)


def swept(name: str, built: Built | None = None, sweep: Sweep = ONE) -> Tally:
    subject = subject_of(name, SMALL, profile=built)
    tally = Tally(always_boots=subject.always_boots)
    for finding in findings(subject, sweep):
        tally.add(finding)
    return tally


@cache
def tally_of(name: str) -> Tally:
    return swept(name)


def test_every_boot_profile_is_swept() -> None:
    assert set(PROFILES) >= {"conventional", "mcuboot_ab", "mcuboot_swap", "overwrite", "she_cmac"}


def test_every_way_of_programming_has_an_upgrade_and_a_way_back() -> None:
    assert UPGRADES.keys() == REVERTS.keys() == set(Way)


@pytest.mark.parametrize("name", PROFILES)
def test_no_cut_leaves_an_ecu_that_cannot_be_recovered(name: str) -> None:
    tally = tally_of(name)
    assert not tally.failures
    assert tally.unrecoverable == 0
    assert all(tally.by_scenario[one] > 10 for one in Scenario if one is not Scenario.WIRE)
    assert tally.cut_points == sum(tally.by_scenario.values())


@pytest.mark.parametrize("name", PROFILES)
def test_only_an_ecu_with_room_for_one_image_may_have_none_to_boot(name: str) -> None:
    tally = tally_of(name)
    assert tally.always_boots is (name != "conventional")
    assert (tally.unbootable > 0) is (name == "conventional")


def test_the_same_seed_makes_the_same_cuts() -> None:
    subject = subject_of("mcuboot_ab", SMALL)
    assert [*findings(subject, ONE)] == [*findings(subject, ONE)]
    assert [*findings(subject, ONE)] != [*findings(subject, replace(ONE, seed=8))]


def test_the_number_of_cuts_is_known_before() -> None:
    subject = subject_of("mcuboot_ab", SMALL)
    assert cuts(subject, ONE) >= tally_of("mcuboot_ab").cut_points > cuts(subject, ONE) * 0.8


def test_a_swap_without_its_guard_is_caught() -> None:
    built = Built(lambda memory, trust: McubootSwap(memory, trust, guarded=False), "mcuboot_swap")
    tally = swept("mcuboot_swap", built, replace(ONE, tears=4, seconds=0))
    assert tally.failed
    assert tally.failures
    assert "torn" in tally.failures[0]


class Hasty(Overwrite):
    """Forgets the request before the copy is complete."""

    def _carry_out(self) -> Operations:
        record = self.record
        length = record.lengths[overwrite.SECONDARY]
        copied = replace(record, state=overwrite.State.COPIED, lengths=(length, length))
        yield from self._write(copied)
        yield from self._copy(length)


def test_a_boot_loader_that_forgets_its_request_too_early_is_caught() -> None:
    tally = swept("overwrite", Built(Hasty, "overwrite"))
    assert tally.failed
    assert tally.unbootable > 0
    assert "nothing boots" in " ".join(tally.failures)


class Trusting(mcuboot_ab.McubootAb):
    """Raises its security counter before anybody has confirmed."""

    def activate(self) -> Operations:
        yield from super().activate()
        yield from self._write(replace(self.record, security_counter=2))


def test_a_boot_loader_that_burns_the_way_back_is_caught() -> None:
    tally = swept("mcuboot_ab", Built(Trusting, "mcuboot_ab"))
    assert tally.failed


class Forgetful(mcuboot_ab.McubootAb):
    """Confirms in its memory, and not in the flash."""

    def confirm(self) -> Operations:
        self.record  # noqa: B018  # reads the flash
        yield from ()


def test_a_boot_loader_that_does_not_keep_a_confirmation_is_caught() -> None:
    assert swept("mcuboot_ab", Built(Forgetful, "mcuboot_ab")).unrecoverable > 0


def test_an_unknown_profile_is_told_with_the_known_ones() -> None:
    with pytest.raises(SweepError, match=r"toaster.*conventional"):
        subjects(ONE, ["toaster"])


@pytest.mark.parametrize("name", ["conventional", "mcuboot_swap", "she_cmac"])
def test_a_gateway_finishes_over_uds_what_a_cut_has_broken_off(name: str) -> None:
    found = list(power_wire.findings(name, seed=3, count=3))
    assert len(found) == 3
    for finding in found:
        assert finding.point.scenario is Scenario.WIRE
        assert not finding.failure, finding


def test_the_json_has_the_counts_by_profile() -> None:
    tallies = tallies_of(subjects(ONE, ["mcuboot_ab", "conventional"]))
    for name in tallies:
        tallies[name] = tally_of(name)
    found = as_json(tallies, seed=7)
    assert found["seed"] == 7
    assert found["unrecoverable"] == 0
    assert found["cut_points"] == sum(tally.cut_points for tally in tallies.values())
    assert found["unbootable"] == {
        "mcuboot-ab": 0,
        "conventional": tallies["conventional"].unbootable,
    }


def test_the_command_prints_a_table_and_json() -> None:
    shown = canota("chaos", "power", "--profile", "mcuboot-ab", "--seed", "5")
    assert shown.code == 0
    assert "mcuboot-ab" in shown.out
    assert "seed 5: no ECU is lost" in shown.out
    again = canota("chaos", "power", "--profile", "mcuboot_ab", "--seed", "5", "--json")
    found = again.json
    assert found.keys() >= {"cut_points", "unbootable", "unrecoverable", "seed"}
    assert found["unbootable"] == {"mcuboot-ab": 0}


def test_the_command_names_an_unknown_profile() -> None:
    assert canota("chaos", "power", "--profile", "toaster").code == 1


def test_what_a_tear_does_is_told() -> None:
    assert str(Tear(done=0.25)) == "torn prefix 25%"
