"""Power cuts: every flash operation of an update, before, inside and after it, and what boots then.

An ECU here is its cells and nothing else. Between two lives (from one reset to the next) every
object is dropped, so that what a boot loader decides comes from flash. A cut is judged by the boot
that follows: whether an application starts, and which. Then a tester does what is left to do by way
of `ecu_sim.boot.Boot`, as the routines of UDS do, and the ECU must end with the image that was
wanted. Operations of that boot and of the tester's work are cut too, a second time.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Final

from canota.chaos.small_ecu import (
    NEW,
    OLD,
    Action,
    Cells,
    Layout,
    Life,
    Run,
    Subject,
    SweepError,
    Way,
)
from ecu_sim.boot import BootError, ResetReason
from ecu_sim.memory import (
    Cut,
    MemoryFaultError,
    PowerBudget,
    PowerLossError,
    PowerSupply,
    Tear,
    Torn,
)

#: More operations than any life has.
_UNLIMITED: Final = 1 << 30
_RESETS: Final = (ResetReason.POWER_ON, ResetReason.SOFTWARE, ResetReason.WATCHDOG)

#: Sector sizes and write alignments; the first ones make the quick run.
LAYOUTS: Final = (
    Layout(sectors=4, sector_size=0x200, page_size=0x40, payloads=(1500, 900)),
    Layout(sectors=3, sector_size=0x400, page_size=0x80, payloads=(700, 2300)),
    Layout(sectors=5, sector_size=0x100, page_size=0x20, payloads=(900, 700)),
    Layout(sectors=6, sector_size=0x200, page_size=0x10, payloads=(1100, 1300)),
    Layout(sectors=2, sector_size=0x800, page_size=0x08, payloads=(800, 900)),
)
QUICK_LAYOUTS: Final = 2
Lives = tuple[Life, ...]

#: How an upgrade is driven.
UPGRADES: Final[Mapping[Way, Lives]] = {
    Way.BOOT_LOADER: (
        Life(ResetReason.PROGRAMMING, (Action.DOWNLOAD_NEW,)),
        Life(ResetReason.SOFTWARE),
    ),
    Way.TWO_SLOTS: (
        Life(ResetReason.POWER_ON, (Action.DOWNLOAD_NEW, Action.ACTIVATE)),
        Life(ResetReason.SOFTWARE, (Action.CONFIRM,)),
        Life(ResetReason.POWER_ON),
    ),
    Way.STAGING_AREA: (
        Life(ResetReason.POWER_ON, (Action.DOWNLOAD_NEW, Action.ACTIVATE)),
        Life(ResetReason.SOFTWARE, (Action.CONFIRM,)),
        Life(ResetReason.POWER_ON),
    ),
}

#: How a revert is driven, and how many lives of an upgrade have gone before it (without the
#: confirmation of the last one).
REVERTS: Final[Mapping[Way, tuple[int, tuple[Lives, ...]]]] = {
    Way.BOOT_LOADER: (
        2,
        (
            (
                Life(ResetReason.PROGRAMMING, (Action.DOWNLOAD_OLD,)),
                Life(ResetReason.SOFTWARE),
            ),
        ),
    ),
    Way.TWO_SLOTS: (
        2,
        (
            (Life(ResetReason.POWER_ON, (Action.REVERT,)), Life(ResetReason.SOFTWARE)),
            # A new image that falls over goes back by itself.
            (Life(ResetReason.WATCHDOG), Life(ResetReason.POWER_ON)),
        ),
    ),
    Way.STAGING_AREA: (
        2,
        (
            (
                Life(ResetReason.POWER_ON, (Action.DOWNLOAD_OLD, Action.ACTIVATE)),
                Life(ResetReason.SOFTWARE),
            ),
        ),
    ),
}


def live(subject: Subject, cells: Cells, life: Life, power: PowerSupply | None) -> None:
    run = Run.begin(subject, cells, life.reset, power)
    for action in life.actions:
        run.act(action)


def bring(subject: Subject, cells: Cells, wanted: str, power: PowerSupply | None) -> str:
    """Boot, and do what a tester does to have the wanted image; what ran before that.

    `BootError` or `MemoryFaultError` where the ECU refuses it.
    """
    run = Run.begin(subject, cells, ResetReason.POWER_ON, power)
    found = _words(run)
    if run.version == wanted:
        if subject.way is not Way.BOOT_LOADER and wanted == NEW:
            run.act(Action.CONFIRM)
        elif subject.way is Way.TWO_SLOTS:
            run.act(Action.REVERT)  # a trial that waits for its reset
        return found
    if subject.way is Way.TWO_SLOTS and run.on_trial:
        # Not the wanted one: the trial of the other is taken back first.
        run.act(Action.REVERT)
        run = Run.begin(subject, cells, ResetReason.SOFTWARE, power)
        if run.version == wanted:
            return found
    if subject.way is Way.BOOT_LOADER:
        run = Run.begin(subject, cells, ResetReason.PROGRAMMING, power)
    run.act(Action.DOWNLOAD_NEW if wanted == NEW else Action.DOWNLOAD_OLD)
    if run.version and subject.way is not Way.BOOT_LOADER:
        run.act(Action.ACTIVATE)
    run = Run.begin(subject, cells, ResetReason.SOFTWARE, power)
    if run.on_trial or (subject.way is Way.STAGING_AREA and run.version == NEW):
        run.act(Action.CONFIRM)
    return found


def _words(run: Run) -> str:
    return f"{run.version} on trial" if run.on_trial else run.version


class Scenario(Enum):
    UPGRADE = "upgrade"
    REVERT = "revert"
    #: The boot after a cut, and what a tester does then, is cut again.
    SECOND = "second cut"
    #: An upgrade over real UDS, finished by the gateway.
    WIRE = "over UDS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One cut, and where it stands; `first` before a second one."""

    profile: str
    layout: str
    scenario: Scenario
    life: int
    operation: int
    cut: str
    first: str = ""

    def __str__(self) -> str:
        first = f"{self.first}, then " if self.first else ""
        return (
            f"{self.profile}, {self.layout}, {self.scenario.value}: {first}"
            f"life {self.life}, operation {self.operation}, {self.cut}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    point: Point
    #: What the boot after the cut started: "1.0.0", "2.0.0 on trial", "" for nothing.
    booted: str
    #: Why the wanted image does not run in the end, or why what booted cannot be; "": all is well.
    failure: str = ""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of one profile."""

    #: Whether an application must start after any cut.
    always_boots: bool
    cut_points: int = 0
    by_scenario: dict[Scenario, int] = field(default_factory=lambda: dict.fromkeys(Scenario, 0))
    unbootable: int = 0
    unrecoverable: int = 0
    #: The first ones of either kind that must not be.
    failures: list[str] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self.cut_points += 1
        self.by_scenario[finding.point.scenario] += 1
        self.unbootable += not finding.booted
        self.unrecoverable += bool(finding.failure)
        reason = finding.failure or ("nothing boots" if not finding.booted else "")
        if (finding.failure or (self.always_boots and not finding.booted)) and (
            len(self.failures) < _KEPT_FAILURES
        ):
            self.failures.append(f"{finding.point}: {reason}")

    @property
    def failed(self) -> bool:
        return self.unrecoverable > 0 or (self.always_boots and self.unbootable > 0)


_KEPT_FAILURES: Final = 5


#: Shares of an operation that are done; what is random has a seed of its own at each.
_TEARS: Final = (
    Tear(done=0.25),
    Tear(done=0.5),
    Tear(done=0.75),
    Tear(how=Torn.DRAINED, done=0.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """How much is swept."""

    seed: int
    layouts: Sequence[Layout]
    #: Second cuts for each first one.
    seconds: int
    #: How many ways of being torn are tried at each operation.
    tears: int
    #: Cuts of each profile over real UDS; of one that leaves nothing to boot, so many times more.
    wire: int
    wire_factor: int = 3

    @classmethod
    def quick(cls, seed: int) -> "Sweep":
        return cls(seed=seed, layouts=LAYOUTS[:QUICK_LAYOUTS], seconds=1, tears=2, wire=3)

    @classmethod
    def full(cls, seed: int) -> "Sweep":
        return cls(seed=seed, layouts=LAYOUTS, seconds=3, tears=len(_TEARS) + 1, wire=12)

    def ways(self, rng: random.Random) -> tuple[Cut | Tear, ...]:
        """Before, after, and several ways of being torn; a seed of its own for what is random."""
        halfway = Tear(how=Torn.HALFWAY, done=0.0, seed=rng.getrandbits(32))
        return (Cut.BEFORE, *rng.sample((*_TEARS, halfway), self.tears), Cut.AFTER)


def findings(subject: Subject, sweep: Sweep) -> Iterator[Finding]:
    """Every cut of one profile on one layout, judged."""
    rng = random.Random(f"{sweep.seed}/{subject.name}/{subject.layout}")  # noqa: S311 repeatable
    for scenario, cells, lives in _updates(subject):
        yield from _cuts_of(subject, sweep, rng, scenario, cells, lives)


def cuts(subject: Subject, sweep: Sweep) -> int:
    """How many first cuts `findings` makes, with so many second ones for each."""
    power = PowerBudget(operations=_UNLIMITED)
    for _, cells, lives in _updates(subject):
        for life in lives:
            live(subject, cells, life, power)
    return power.drawn * (2 + sweep.tears) * (1 + sweep.seconds)


def _updates(subject: Subject) -> Iterator[tuple[Scenario, Cells, Lives]]:
    """The upgrade and the ways back, each with the ECU that it begins with."""
    upgrade = UPGRADES[subject.way]
    yield Scenario.UPGRADE, subject.from_the_factory(), upgrade
    before, reverts = REVERTS[subject.way]
    for lives in reverts:
        cells = subject.from_the_factory()
        for number, life in enumerate(upgrade[:before], start=1):
            live(subject, cells, life if number < before else replace(life, actions=()), None)
        yield Scenario.REVERT, cells, lives


def _cuts_of(
    subject: Subject,
    sweep: Sweep,
    rng: random.Random,
    scenario: Scenario,
    cells: Cells,
    lives: Lives,
) -> Iterator[Finding]:
    wanted = NEW if scenario is Scenario.UPGRADE else OLD
    for number, life in enumerate(lives, start=1):
        counting = PowerBudget(operations=_UNLIMITED)
        after = cells.copy()
        live(subject, after, life, counting)
        for operation in range(counting.drawn):
            for cut in sweep.ways(rng):
                left = _cut(cells, operation, cut, partial(_live_in, subject, life))
                point = Point(
                    profile=subject.name,
                    layout=str(subject.layout),
                    scenario=scenario,
                    life=number,
                    operation=operation + 1,
                    cut=cut_text(cut),
                )
                finding, drawn = judge(subject, point, left, wanted)
                yield finding
                yield from _second_cuts(subject, sweep, rng, point, left, wanted, drawn)
        cells = after


def _live_in(subject: Subject, life: Life, cells: Cells, power: PowerSupply) -> None:
    live(subject, cells, life, power)


def _second_cuts(
    subject: Subject,
    sweep: Sweep,
    rng: random.Random,
    first: Point,
    cells: Cells,
    wanted: str,
    drawn: int,
) -> Iterator[Finding]:
    """Cuts of the boot after the first one, and of the tester's work: some, by the seed."""
    for operation in sorted(rng.sample(range(drawn), min(sweep.seconds, drawn))):
        cut = rng.choice(sweep.ways(rng))
        left = _cut(
            cells, operation, cut, lambda where, power: bring(subject, where, wanted, power)
        )
        point = replace(
            first,
            scenario=Scenario.SECOND,
            operation=operation + 1,
            cut=cut_text(cut),
            first=f"{first.scenario.value}, operation {first.operation}, {first.cut}",
        )
        yield judge(subject, point, left, wanted)[0]


def _cut(
    cells: Cells,
    operation: int,
    cut: Cut | Tear,
    work: Callable[[Cells, PowerSupply], object],
) -> Cells:
    """What a cut at that operation of some work leaves."""
    left = cells.copy()
    try:
        work(left, PowerBudget(operations=operation, cut=cut))
    except PowerLossError:
        return left
    raise SweepError(f"operation {operation + 1} was not reached: the work is not repeatable")


def judge(subject: Subject, point: Point, cells: Cells, wanted: str) -> tuple[Finding, int]:
    """Boot what a cut has left, have the wanted image brought in, and see that it stays.

    Also the number of flash operations that this took.
    """
    power = PowerBudget(operations=_UNLIMITED)
    booted = ""
    failure = ""
    cells = cells.copy()
    try:
        booted = _words(Run.begin(subject, cells.copy(), ResetReason.POWER_ON, None))
        bring(subject, cells, wanted, power)
        for reset in _RESETS:
            found = _words(Run.begin(subject, cells, reset, None))
            if found != wanted:
                failure = f"{found or 'nothing'} runs in the end, not {wanted}"
    except (BootError, MemoryFaultError) as error:
        failure = str(error)
    if booted.endswith("on trial") and not booted.startswith(NEW):
        failure = f"{booted}: the old image is not what is tried"
    return Finding(point=point, booted=booted, failure=failure), power.drawn


def cut_text(cut: Cut | Tear) -> str:
    return cut.value if isinstance(cut, Cut) else str(cut)
