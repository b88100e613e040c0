"""Power fails at every journal write and every effect in an ECU, before and behind it."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import clock
from tests.support.gateway import PowerCut, PowerSwitch, SimulatedVehicle
from vehicle_gateway.update.coordinator import Outcome

OLD = {"ccu": "1.0.0", "blower": "1.0.0"}
NEW = {"ccu": "2.0.0", "blower": "2.0.0"}
ENDS = {Outcome.UPDATED: NEW, Outcome.ROLLED_BACK: OLD, Outcome.REFUSED: OLD}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: thousands of synced writes are slow on a disk."""
    memory = Path("/dev/shm")  # noqa: S108 the temporary folder below it has a name of its own
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as found:
        yield Path(found)


def _good(_: SimulatedVehicle) -> None:
    """Nothing fails."""


def _blower_does_not_run(vehicle: SimulatedVehicle) -> None:
    present = vehicle.ecus["blower"].running
    vehicle.ecus["blower"].boots = lambda image: image == present


def _check_fails(vehicle: SimulatedVehicle) -> None:
    vehicle.ecus["ccu"].refuses.add("check")


SCENARIOS: dict[Callable[[SimulatedVehicle], None], Outcome] = {
    _good: Outcome.UPDATED,
    _blower_does_not_run: Outcome.ROLLED_BACK,
    _check_fails: Outcome.ROLLED_BACK,
}


def _vehicle(folder: Path, spoil: Callable[[SimulatedVehicle], None]) -> SimulatedVehicle:
    vehicle = SimulatedVehicle(folder, ecus=("ccu", "blower"), size=8)
    spoil(vehicle)
    return vehicle


def _moments(folder: Path, spoil: Callable[[SimulatedVehicle], None]) -> int:
    switch = PowerSwitch()
    clock.run(_vehicle(folder, spoil).update(switch), virtual=True)
    return switch.moments


@pytest.mark.parametrize("ecus_lose_power", [False, True], ids=["gateway alone", "vehicle"])
@pytest.mark.parametrize("spoil", SCENARIOS, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_power_cut_at_any_moment_ends_all_new_or_all_old(
    folder: Path, spoil: Callable[[SimulatedVehicle], None], *, ecus_lose_power: bool
) -> None:
    moments = _moments(folder / "whole", spoil)
    assert moments > 15
    ended = set()
    for cut_at, after in itertools.product(range(moments), (False, True)):
        vehicle = _vehicle(folder / f"{cut_at}-{after}", spoil)
        with pytest.raises(PowerCut):
            clock.run(vehicle.update(PowerSwitch(cut_at=cut_at, after=after)), virtual=True)
        if ecus_lose_power:
            for ecu in vehicle.ecus.values():
                ecu.reset()
        report = clock.run(_resume(vehicle), virtual=True)
        assert report in ENDS, (cut_at, after, report)
        assert vehicle.versions() == ENDS[report], (cut_at, after)
        assert not any(ecu.trial or ecu.requested for ecu in vehicle.ecus.values()), cut_at
        ended.add(report)
    assert SCENARIOS[spoil] in ended
    # A trial that lost its power has ended: then, before the commit, everything goes back.
    allowed = {SCENARIOS[spoil], Outcome.ROLLED_BACK} if ecus_lose_power else {SCENARIOS[spoil]}
    assert ended <= allowed


def test_a_second_cut_while_resuming_ends_all_new_or_all_old_too(folder: Path) -> None:
    moments = _moments(folder / "whole", _blower_does_not_run)
    number = 0
    for first in range(0, moments, 4):
        for second in range(0, moments - first, 3):
            number += 1
            vehicle = _vehicle(folder / str(number), _blower_does_not_run)
            for cut_at in (first, second):
                try:
                    clock.run(vehicle.update(PowerSwitch(cut_at=cut_at, after=True)), virtual=True)
                except PowerCut:
                    continue
                break
            outcome = clock.run(_resume(vehicle), virtual=True)
            assert vehicle.versions() == ENDS[outcome], (first, second)
    assert number > 50


def test_a_transfer_goes_on_at_the_last_verified_sector(folder: Path) -> None:
    resumed = set()
    for cut_at in range(_moments(folder / "whole", _good)):
        vehicle = _vehicle(folder / str(cut_at), _good)
        with pytest.raises(PowerCut):
            clock.run(vehicle.update(PowerSwitch(cut_at=cut_at, after=True)), virtual=True)
        clock.run(_resume(vehicle), virtual=True)
        resumed |= {(name, line) for name, ecu in vehicle.ecus.items() for line in ecu.log}
    for at in (2, 4, 6):
        assert ("ccu", f"stage from {at}") in resumed
        assert ("blower", f"activate from {at}") in resumed


async def _resume(vehicle: SimulatedVehicle) -> Outcome:
    return (await vehicle.update()).outcome
