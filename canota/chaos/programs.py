"""Random programs: ten minutes of a car's life in which everything is dropped and made again.

A program follows from its seed: campaigns, and at random instants around them whatever can go
wrong. Again and again every object of the car, its gateway and the cloud is dropped and made anew
from its files. In the end the faults cease, and what is left must be whole.
"""

import asyncio
import heapq
import multiprocessing
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import clock
from canota.chaos.car import Car, Site
from canota.chaos.faults import How, Kind, Message
from canota.chaos.images import small_types
from canota.chaos.judge import difference, mixture
from canota.chaos.seams import Instruments, Log, quiet
from canota.cli.exits import CommandError
from canota.cli.output import plain
from ecu_sim.boot import ResetReason
from ecu_sim.device import DTC_KEY
from ecu_sim.diagnostics.dtc import MIRROR, DtcMemory
from ecu_sim.ecus import EcuType
from ecu_sim.memory import Cut, Nvm, TwoCopyRecord
from ecu_sim.node import EcuNode, Mode
from ecu_sim.program import dtc_definitions
from ecu_sim.vehicle import NVM_ADDRESS, NVM_COPY_SIZE
from protocols.uds.dtc import StatusBit
from vehicle_gateway.outbox import Outbox
from vehicle_gateway.update.journal import Journal
from vehicle_gateway.update.journal import Kind as EntryKind

#: Seconds of a program, and the end of its last fault.
LENGTH_S: Final = 600.0
_QUIET_FROM_S: Final = 520.0
#: The factory's release, and those that campaigns bring; trouble codes are set by the odd ones.
VERSIONS: Final = (1, 2, 3, 4, 5)
_FAILING: Final = frozenset({1, 3, 5})
_CAMPAIGNS_AT_S: Final = (20.0, 145.0, 270.0, 395.0)
#: Disturbances that follow each campaign, within so many seconds, and those at any time.
_DISTURBANCES: Final = 4
_WITHIN_S: Final = 25.0
_STRAY: Final = 3
_POLL_S: Final = 8.0
#: Share of messages that something happens to, while the wires are noisy.
_NOISE: Final = 0.03


class Operation(Enum):
    """What a program is made of."""

    CAMPAIGN = "campaign"
    CANCEL = "cancel"
    POWER = "power"
    TORN = "torn write"
    WATCHDOG = "watchdog"
    RESET = "reset"
    NOISE = "noise"
    OUTAGE = "outage"
    GATEWAY = "gateway killed"
    IGNITION = "ignition off"
    CAR_REBUILT = "car rebuilt"
    ALL_REBUILT = "all rebuilt"


#: What disturbs, and how often beside the others.
_WEIGHTS: Final[Mapping[Operation, int]] = {
    Operation.CANCEL: 1,
    Operation.POWER: 4,
    Operation.TORN: 4,
    Operation.WATCHDOG: 2,
    Operation.RESET: 2,
    Operation.NOISE: 3,
    Operation.OUTAGE: 3,
    Operation.GATEWAY: 4,
    Operation.IGNITION: 2,
    Operation.CAR_REBUILT: 4,
    Operation.ALL_REBUILT: 3,
}


@dataclass(slots=True)
class RandomInstruments(Instruments):
    """Lets in what a program asks for, when it asks."""

    noisy_until: float = 0.0
    #: ECU -> how its next flash operation is cut.
    cuts: dict[str, Cut] = field(default_factory=dict)

    def due(self, kind: Kind, place: str, number: int) -> How | None:  # noqa: ARG002 as the base
        if kind is Kind.FLASH:
            return self.cuts.pop(place, None)
        if kind is Kind.MESSAGE and asyncio.get_running_loop().time() < self.noisy_until:
            return self.rng.choice(list(Message)) if self.rng.random() < _NOISE else None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One program and its end."""

    seed: int
    operations: Mapping[str, int]
    #: Of the campaigns, in their order; "" for one that never ended.
    outcomes: tuple[str, ...]
    version: int
    #: Why the car is not whole, what was lost, where the cloud differs; empty if nothing.
    half_updated: str
    lost: str
    cloud_disagrees: str

    @property
    def is_sound(self) -> bool:
        return not (self.half_updated or self.lost or self.cloud_disagrees)


def play(
    seed: int, folder: Path, *, types: Mapping[str, EcuType] | None = None, log: Log | None = None
) -> Played:
    """One program from its beginning to its end."""
    site = Site(
        folder / f"program-{seed}",
        types or small_types(),
        seed=seed,
        versions=VERSIONS,
        failing=_FAILING,
        poll_s=_POLL_S,
    )
    site.folder.mkdir(parents=True)
    site.open()
    try:
        return clock.run(_Program(site, seed, log).play(), virtual=True)
    finally:
        site.close()
        shutil.rmtree(site.folder, ignore_errors=True)


def play_all(seeds: Sequence[int], folder: Path, *, workers: int) -> Iterator[Played]:
    """Every program as it ends, in processes of their own."""
    with ProcessPoolExecutor(
        max_workers=min(workers, len(seeds)),
        mp_context=multiprocessing.get_context("spawn"),  # gRPC does not outlive a fork
        initializer=quiet,
    ) as pool:
        running = [pool.submit(play, seed, folder) for seed in seeds]
        try:
            for done in as_completed(running):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Program:
    def __init__(self, site: Site, seed: int, log: Log | None) -> None:
        self._site = site
        self._seed = seed
        self._rng = random.Random(seed)  # noqa: S311 repeatable, no secret
        self._instruments = RandomInstruments(
            fault=None,
            rng=random.Random(f"{seed}/messages"),  # noqa: S311 likewise
        )
        self._log = log
        self._queue: list[tuple[float, int, Callable[[], Awaitable[None]]]] = []
        self._numbers = count()
        self._done: Counter[str] = Counter()
        self._campaigns: list[tuple[str, int]] = []
        self._lost: list[str] = []
        self._ignition = True

    async def play(self) -> Played:
        loop = asyncio.get_running_loop()
        if self._log is not None:
            log = self._log
            self._instruments.tell = lambda line: log(f"{loop.time():10.4f}  {line}")
        self._car = Car(
            self._site, f"WCHAAS{self._seed:011d}", self._site.folder / "run", self._instruments
        )
        await self._car.start()
        await self._car.introduce()
        self._instruments.armed = True
        await self._car.begin()
        self._plan()
        while self._queue:
            due_s, _, act = heapq.heappop(self._queue)
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            await act()
        await asyncio.sleep(max(0.0, LENGTH_S - loop.time()))
        return await self._end()

    def _plan(self) -> None:
        kinds, weights = zip(*_WEIGHTS.items(), strict=True)
        for at_s in _CAMPAIGNS_AT_S:
            start_s = at_s + self._rng.uniform(0.0, 20.0)
            self._at(start_s, partial(self._do, Operation.CAMPAIGN))
            for kind in self._rng.choices(kinds, weights, k=_DISTURBANCES):
                self._at(start_s + self._rng.uniform(0.0, _WITHIN_S), partial(self._do, kind))
        for kind in self._rng.choices(kinds, weights, k=_STRAY):
            self._at(self._rng.uniform(5.0, _QUIET_FROM_S), partial(self._do, kind))

    def _at(self, when_s: float, act: Callable[[], Awaitable[None]]) -> None:
        heapq.heappush(self._queue, (when_s, next(self._numbers), act))

    def _after(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        self._at(asyncio.get_running_loop().time() + seconds, act)

    async def _do(self, operation: Operation) -> None:
        self._instruments.log(f"-- {operation.value}")
        self._done[operation.value] += 1
        now, rng = asyncio.get_running_loop().time(), self._rng
        node = self._car.nodes[rng.choice(sorted(self._car.nodes))]
        match operation:
            case Operation.CAMPAIGN:
                self._begin_campaign()
            case Operation.CANCEL:
                self._cancel()
            case Operation.POWER:
                self._lose_power(node, rng.uniform(0.2, 5.0))
            case Operation.TORN:
                self._instruments.cuts[node.ecu.name] = rng.choice(list(Cut))
            case Operation.WATCHDOG:
                node.reset(ResetReason.WATCHDOG)
            case Operation.RESET:
                node.reset_by_fault()
            case Operation.NOISE:
                self._instruments.noisy_until = now + rng.uniform(0.5, 6.0)
            case Operation.OUTAGE:
                self._instruments.away_until = now + rng.uniform(2.0, 60.0)
            case Operation.GATEWAY:
                await self._car.kill_gateway()
                await self._restart(rng.uniform(0.0, 10.0))
            case Operation.IGNITION:
                await self._switch_off(rng.uniform(1.0, 20.0))
            case Operation.CAR_REBUILT:
                await self._rebuild(cloud=False)
            case Operation.ALL_REBUILT:
                await self._rebuild(cloud=True)

    def _begin_campaign(self) -> None:
        version = VERSIONS[1 + len(self._campaigns)]
        name = f"c{version}"
        self._car.begin_campaign(name, version)
        self._campaigns.append((name, version))

    def _cancel(self) -> None:
        if not self._campaigns:
            return
        try:
            self._site.operator.cancel_campaign(self._campaigns[-1][0])
        except CommandError as error:  # It has ended: the cloud says so.
            self._instruments.log(f"not cancelled: {error}")

    def _lose_power(self, node: EcuNode, off_s: float) -> None:
        if node.mode is not Mode.OFF:
            node.lose_power(off_s)

    async def _switch_off(self, off_s: float) -> None:
        """The key is turned: ECUs write what they keep; the gateway stays on its battery."""
        for node in self._car.nodes.values():
            node.power_off()
        self._ignition = False
        self._after(off_s, self._switch_on)

    async def _switch_on(self) -> None:
        self._ignition = True
        for node in self._car.nodes.values():
            node.power_on()

    async def _restart(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._car.begin()

    async def _rebuild(self, *, cloud: bool) -> None:
        """Everything is dropped at once, and comes back from its files."""
        known = {name: _confirmed(node) for name, node in self._car.nodes.items()}
        await self._car.drop()
        if cloud:
            await asyncio.get_running_loop().run_in_executor(None, self._site.rebuild_cloud)
        await asyncio.sleep(self._rng.uniform(0.1, 3.0))
        await self._car.start()
        self._ignition = True
        for name, node in self._car.nodes.items():
            if forgotten := known[name] - _known(node):
                codes = ", ".join(f"{code:06X}" for code in sorted(forgotten))
                self._lost.append(f"{name}: trouble codes {codes}")
        await self._car.begin()

    async def _end(self) -> Played:
        self._instruments.cuts.clear()
        self._instruments.noisy_until = self._instruments.away_until = 0.0
        await self._switch_on()
        await self._car.kill_gateway()
        restless = await self._car.rest()
        holds = self._car.holds()
        await self._car.power_cycle()
        half = mixture(holds, self._car.runs())
        outcomes = {name: self._outcome(name) for name, _ in self._campaigns}
        version = next(iter(holds.values())).version
        updated = [number for name, number in self._campaigns if outcomes[name] == "updated"]
        expected = max(updated, default=VERSIONS[0])
        disagrees = restless or difference(holds, self._car.record())
        if not disagrees and not half and version != expected:
            disagrees = f"the cloud has brought {expected}.0.0, the ECUs hold {version}.0.0"
        self._look_for_losses(outcomes)
        await self._car.stop()
        return Played(
            seed=self._seed,
            operations=dict(self._done),
            outcomes=tuple(outcomes.values()),
            version=version,
            half_updated=half,
            lost="; ".join(self._lost),
            cloud_disagrees=disagrees,
        )

    def _outcome(self, name: str) -> str:
        (assignment,) = self._site.operator.campaign(name).assignments
        return str(plain(assignment)["outcome"])

    def _look_for_losses(self, outcomes: Mapping[str, str]) -> None:
        """Every report and every snapshot that the gateway ever made has come to the cloud."""
        self._lost += [f"no report of {name}" for name, outcome in outcomes.items() if not outcome]
        arrived = {
            one.name.rpartition("/")[2] for one in self._site.operator.snapshots(self._car.vin)
        }
        for path in sorted((self._car.state / "updates").glob("*.jsonl")):
            shutil.copy(path, self._site.folder / "read.jsonl")
            with Journal(self._site.folder / "read.jsonl") as journal:
                taken = [
                    str(entry.fields["snapshot"])
                    for entry in journal.entries
                    if entry.kind in (EntryKind.SNAPSHOT_BEFORE, EntryKind.SNAPSHOT_AFTER)
                    and entry.fields.get("snapshot")
                ]
            self._lost += [f"snapshot {name}" for name in taken if name not in arrived]
        waiting = Outbox(self._car.state / "outbox")
        self._lost += [f"{parcel.file_name} was not sent" for parcel in waiting.waiting()]
        self._lost += [
            f"{parcel.file_name} was refused"
            for kind in ("report", "snapshot")
            for parcel in waiting.rejected(kind)
        ]


def _confirmed(node: EcuNode) -> set[int]:
    """Trouble codes that are confirmed in the ECU's NVM, whatever its program has in RAM."""
    record = TwoCopyRecord(node.hardware.data_flash, address=NVM_ADDRESS, copy_size=NVM_COPY_SIZE)
    rules = node.ecu.dtc_rules
    memory = DtcMemory(
        dtc_definitions(node.ecu), memories=(*rules.memories, *((MIRROR,) if rules.mirror else ()))
    )
    if (stored := Nvm(record).read(DTC_KEY)) is not None:
        memory.restore(stored)
    return _codes(memory)


def _known(node: EcuNode) -> set[int]:
    """The same of the program that runs; a boot loader knows none, and changes none."""
    program = node.program
    if program is None or program.application is None:
        return _confirmed(node)
    return _codes(program.dtcs)


def _codes(memory: DtcMemory) -> set[int]:
    return {code for code, _ in memory.matching(StatusBit.CONFIRMED_DTC)}
