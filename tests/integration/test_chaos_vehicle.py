"""The vehicle sweep, small: faults of every kind, and that it finds what is broken on purpose."""

import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from canota.chaos.faults import ALL, Kind, Points, Reset, parse
from canota.chaos.images import small_types
from canota.chaos.vehicle import Bench, plan
from ecu_sim.boot import Application, BootMemory, Decision, ResetReason, Trust
from ecu_sim.boot.mcuboot_ab import PROFILE, McubootAb
from vehicle_gateway.update import coordinator
from vehicle_gateway.update.coordinator import Direction, EcuState, Verb
from vehicle_gateway.update.journal import Kind as EntryKind

#: Faults of each kind, and a car of three boot profiles on two wires: the whole one takes minutes.
COUNT = 4
ECUS = ("blower", "ccu", "rear")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Points]]:
    """A bench, and the points of its update."""
    with Bench(tmp_path_factory.mktemp("bench"), types=small_types(ECUS), seed=1) as bench:
        yield bench, bench.record()


@pytest.mark.parametrize("kind", Kind)
def test_a_car_with_one_fault_in_its_update_is_all_new_or_all_old_and_the_cloud_knows_which(
    kind: Kind, recorded: tuple[Bench, Points]
) -> None:
    bench, points = recorded
    faults = plan(points, seed=1, count=COUNT, only=kind).faults
    runs = [bench.run(number, fault) for number, fault in faults]
    assert len(runs) == COUNT
    assert all(run.hit for run in runs)
    assert [run for run in runs if not run.is_sound] == []


def test_a_fault_repeats_to_the_nanosecond(tmp_path: Path) -> None:
    fault = parse("flash:blower:100:torn")
    told: list[list[str]] = []
    for place in ("one", "two"):
        lines: list[str] = []
        with Bench(tmp_path / place, types=small_types(("blower",)), seed=1) as bench:
            bench.run(7, fault, lines.append)
        told.append(lines)
    assert told[0] == told[1]
    assert any("fault flash:blower:100:torn" in line for line in told[0])


@pytest.fixture
def compensating(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that takes back what is confirmed, when another ECU does not confirm.

    Its rules are tables: this is what they would say.
    """

    def change(table: object, key: object, value: object) -> None:
        monkeypatch.setitem(table, key, value)  # type: ignore[arg-type]  # a dict behind its port

    change(coordinator.DIRECTIONS, (Direction.KEEP, EntryKind.WENT_BACK), Direction.BACK)
    change(coordinator.DIRECTIONS, (Direction.KEEP, EntryKind.FAILED), Direction.BACK)
    for state in (EcuState.CONFIRMED, EcuState.CONFIRMING):
        change(coordinator.NEXT, (Direction.BACK, state), Verb.REVERT)
        change(coordinator.ECU_TRANSITIONS, (state, EntryKind.REVERTING), EcuState.REVERTING)
    for kind in (EntryKind.CONFIRMED, EntryKind.WENT_BACK):
        change(coordinator.DIRECTIONS, (Direction.BACK, kind), Direction.BACK)


@pytest.mark.usefixtures("compensating")
def test_a_gateway_that_compensates_after_a_confirm_is_caught(tmp_path: Path) -> None:
    with Bench(tmp_path, types=small_types(("ccu", "ecomp")), seed=1) as bench:
        resets = plan(bench.record(), seed=1, count=None, only=Kind.RESET).faults
        alone = [one for one in resets if one[1].place != ALL and one[1].how is Reset.WATCHDOG]
        assert any(bench.run(number, fault).judgement.half_updated for number, fault in alone)


class _Eager(McubootAb):
    """Confirms by itself whatever it tries."""

    def boot(self, reset: ResetReason) -> Generator[float, None, Decision]:
        decision = yield from super().boot(reset)
        if isinstance(decision, Application) and decision.on_trial:
            yield from self.confirm()
        return decision


class _EagerProfile:
    def open(self, memory: BootMemory, trust: Trust) -> _Eager:
        return _Eager(memory, trust)

    def factory_record(self, image: bytes, trust: Trust) -> bytes:
        return PROFILE.factory_record(image, trust)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> str:
    """A boot profile that is broken, by its module's name."""
    module = ModuleType("ecu_sim.boot.eager")
    module.PROFILE = _EagerProfile()  # type: ignore[attr-defined]  # what a profile's module offers
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return "eager"


def test_a_boot_loader_that_keeps_what_it_should_only_try_is_caught(
    eager: str, tmp_path: Path
) -> None:
    types = small_types(("ccu", "blower"))
    types["ccu"] = replace(types["ccu"], boot_profile=eager)
    with Bench(tmp_path, types=types, seed=1) as bench:
        points = bench.record()
        programmed = points.operations["blower"] // 2
        run = bench.run(1, parse(f"flash:blower:{programmed}:before"))
    assert run.hit
    assert run.judgement.half_updated == "ccu 2.0.0, blower 1.0.0", run
