"""The vehicle sweep: one fault at every point of a whole car's update, and how each one ends.

A recording run counts the points. Every run after it is one update with one fault, in virtual time,
by the real gateway, over the simulated wires, against a real cloud; all of a process's runs share
that cloud, each with a car and a campaign of its own.
"""

import asyncio
import multiprocessing
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import clock
from canota.chaos.car import Car, Site
from canota.chaos.faults import Fault, FaultIdError, Kind, Points, every_fault, parse
from canota.chaos.images import small_types
from canota.chaos.judge import Judgement, judge
from canota.chaos.seams import Instruments, Log, quiet
from ecu_sim.ecus import EcuType

#: Faults of a quick sweep.
QUICK: Final = 500
#: Runs that a process is given at once.
_BATCH: Final = 4
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 a folder of our own is made in it


class SweepError(Exception):
    """A sweep that cannot begin: the update does not succeed even without a fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One fault and what became of it."""

    fault: str
    #: Whether its point came at all.
    hit: bool
    #: By the cloud's record.
    outcome: str
    reason: str
    judgement: Judgement
    #: Seconds of the car's time.
    duration_s: float

    @property
    def is_sound(self) -> bool:
        return self.judgement == Judgement()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The faults that are tried, each with its number among all that there are."""

    points: Points
    faults: tuple[tuple[int, Fault], ...]
    #: All that there are, by kind.
    there_are: dict[Kind, int]


class Bench:
    """The runs of one process; a context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        types: Mapping[str, EcuType] | None = None,
    ) -> None:
        """`types`: the car's ECUs, without it all of a vehicle's."""
        folder.mkdir(parents=True, exist_ok=True)
        self.site = Site(folder, types or small_types(), seed=seed)

    def __enter__(self) -> Self:
        self.site.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.site.close()

    def record(self) -> Points:
        """An update without a fault: what there is to hit. `SweepError` if it does not succeed."""
        run, instruments = clock.run(self._walk(0, None, None), virtual=True)
        if run.outcome != "updated" or not run.is_sound:
            raise SweepError(f"without a fault: {run.outcome} {run.reason} {run.judgement}")
        return instruments.points()

    def run(self, number: int, fault: Fault, log: Log | None = None) -> Run:
        """One update with one fault; `number` makes the car's own."""
        return clock.run(self._walk(number, fault, log), virtual=True)[0]

    async def _walk(
        self, number: int, fault: Fault | None, log: Log | None
    ) -> tuple[Run, Instruments]:
        folder = self.site.folder / f"run-{number}"
        loop = asyncio.get_running_loop()
        instruments = Instruments(
            fault=fault,
            rng=random.Random(f"{self.site.seed}/{fault}"),  # noqa: S311 repeatable, no secret
            tell=None if log is None else lambda line: log(f"{loop.time():10.4f}  {line}"),
        )
        car = Car(self.site, f"WCHAAS{number:011d}", folder, instruments)
        try:
            await car.start()
            try:
                await car.introduce()
                campaign = f"c{number}"
                car.begin_campaign(campaign)
                instruments.armed = True
                restless = await car.rest()
                instruments.armed = False
                duration_s = loop.time() - car.began_s
                evidence = await car.evidence(campaign, restless=restless)
            finally:
                await car.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        run = Run(
            fault=str(fault),
            hit=instruments.hit,
            outcome=evidence.outcome,
            reason=evidence.reason,
            judgement=judge(evidence),
            duration_s=duration_s,
        )
        return run, instruments


def plan(points: Points, *, seed: int, count: int | None = QUICK, only: Kind | None = None) -> Plan:
    """All faults (`count` None), or so many of them, of every kind, place and way alike."""
    numbered = list(enumerate(every_fault(points), start=1))
    there_are = dict(Counter(fault.kind for _, fault in numbered))
    wanted = [one for one in numbered if only in (None, one[1].kind)]
    chosen = wanted if count is None else sample(wanted, count, random.Random(seed))  # noqa: S311 repeatable
    return Plan(points=points, faults=tuple(chosen), there_are=there_are)


def sample(
    faults: Sequence[tuple[int, Fault]], count: int, rng: random.Random
) -> list[tuple[int, Fault]]:
    """`count` of them: by turns one of each kind, and in a kind by turns one of each stratum."""
    kinds: dict[Kind, dict[tuple[str, str, str], list[tuple[int, Fault]]]] = {}
    for one in faults:
        kinds.setdefault(one[1].kind, {}).setdefault(one[1].stratum, []).append(one)
    turns = []
    for strata in kinds.values():
        for members in strata.values():
            rng.shuffle(members)
        order = list(strata.values())
        rng.shuffle(order)
        turns.append(list(_by_turns(order)))
    return sorted(list(_by_turns(turns))[:count])


def _by_turns(
    groups: Sequence[Sequence[tuple[int, Fault]]],
) -> Iterator[tuple[int, Fault]]:
    for place in range(max(map(len, groups), default=0)):
        for group in groups:
            if place < len(group):
                yield group[place]


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for what a sweep keeps on its disks; on tmpfs, where there is one."""
    place = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="canota-chaos-", dir=place) as made:
        yield Path(made)


def record(folder: Path, *, seed: int) -> Points:
    """The points of an update without a fault."""
    with Bench(folder / "recording", seed=seed) as bench:
        return bench.record()


def reproduce(text: str, *, seed: int, log: Log) -> Run:
    """One fault again, told line by line; `FaultIdError` if the update has no such point."""
    fault = parse(text)
    with folder_in_memory() as folder, Bench(folder, seed=seed) as bench:
        faults = every_fault(bench.record())
        if fault not in faults:
            raise FaultIdError(f"{text}: the update has no such point")
        return bench.run(1 + faults.index(fault), fault, log)


def sweep(planned: Plan, folder: Path, *, seed: int, workers: int) -> Iterator[Run]:
    """Every run of the plan as it ends, in processes of their own."""
    faults = planned.faults
    batches = [faults[at : at + _BATCH] for at in range(0, len(faults), _BATCH)]
    with ProcessPoolExecutor(
        max_workers=min(workers, len(batches)),
        mp_context=multiprocessing.get_context("spawn"),  # gRPC does not outlive a fork
        initializer=_begin,
        initargs=(folder, seed),
    ) as pool:
        running: list[Future[list[Run]]] = [pool.submit(_runs, batch) for batch in batches]
        try:
            for done in as_completed(running):
                yield from done.result()
        finally:
            pool.shutdown(cancel_futures=True)


#: The bench of this process, where it is one of a sweep's.
_bench: Bench | None = None


def _begin(folder: Path, seed: int) -> None:
    global _bench  # noqa: PLW0603 what an initializer of a pool is for
    quiet()
    name = multiprocessing.current_process().name
    _bench = Bench(folder / name, seed=seed)
    _bench.__enter__()  # its process ends with it


def _runs(batch: Sequence[tuple[int, Fault]]) -> list[Run]:
    if _bench is None:
        raise RuntimeError("not a process of a sweep")
    return [_bench.run(number, fault) for number, fault in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The runs of one kind."""

    kind: str
    runs: int
    there_are: int
    missed: int
    outcomes: dict[str, int]
    half_updated: int
    cloud_disagrees: int


def table(planned: Plan, runs: Sequence[Run]) -> list[Row]:
    """One row for each kind of fault."""
    by_kind: dict[Kind, list[Run]] = defaultdict(list)
    for run in runs:
        by_kind[parse(run.fault).kind].append(run)
    return [
        Row(
            kind=kind.value,
            runs=len(found),
            there_are=planned.there_are.get(kind, 0),
            missed=sum(not run.hit for run in found),
            outcomes=dict(Counter(run.outcome for run in found)),
            half_updated=sum(bool(run.judgement.half_updated) for run in found),
            cloud_disagrees=sum(bool(run.judgement.cloud_disagrees) for run in found),
        )
        for kind in Kind
        if (found := by_kind.get(kind))
    ]
