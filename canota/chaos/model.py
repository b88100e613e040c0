"""The update's coordinator, explored: every order of everything that can happen to three ECUs.

What decides is the gateway's own `advance`, `decide`, `resumed` and `outcome`, run on its own
tables (or on broken ones, to see that the explorer notices). Around it stands a model of the rest,
as small as it can be: an ECU is what it runs, what lies staged, and whether a trial was asked for
or runs; the flow of `vehicle.py` is a few steps per verb, with the journal's entry before each
effect and another one behind it. Everything that is not the flow may happen between any two
steps: an answer gets lost before or behind its effect, an image does not start, an ECU is reset, a
workshop puts another part in, the cloud takes the release back, a precondition fails, and the
gateway loses power: then the journal is all that is left. The gateway's own software may be a part
of the release: then to activate it is to start the gateway anew, and so is to revert it.

A state that was visited is remembered as one integer. The search goes depth first, so a run that
need not end shows as a state that is reached from itself.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from typing import Final, NamedTuple

from vehicle_gateway.update.coordinator import (
    RULES,
    CoordinatorError,
    Decision,
    Direction,
    EcuPart,
    EcuState,
    Outcome,
    Rules,
    State,
    Verb,
    advance,
    decide,
    may_wait,
    outcome,
    resumed,
)
from vehicle_gateway.update.journal import Entry, Kind


class EcuKind(Enum):
    TWO_SLOT = "two slots"
    #: One slot, and an agent that copies what the application has staged.
    STAGING_AREA = "staging area"
    SINGLE_SLOT = "one slot"
    #: Two slots, and each start of the gateway is a reset of it; no workshop replaces it.
    GATEWAY = "the gateway's own"

    @property
    def has_two_slots(self) -> bool:
        return self in {EcuKind.TWO_SLOT, EcuKind.GATEWAY}


class Runs(IntEnum):
    OLD = 0
    NEW = 1
    #: Its boot loader: half written, or an image that does not start.
    NOTHING = 2


class Ecu(NamedTuple):
    """What survives every cut in one ECU."""

    runs: Runs = Runs.OLD
    #: The new image lies checked in the slot or area that does not run.
    staged: bool = False
    #: A trial begins at the next reset.
    requested: bool = False
    #: What runs is on trial: a reset ends it.
    trial: bool = False
    #: A workshop has put another part in.
    other_part: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What is explored: the ECUs, and how often each thing may happen."""

    ecus: tuple[EcuKind, ...] = (EcuKind.TWO_SLOT, EcuKind.STAGING_AREA, EcuKind.SINGLE_SLOT)
    #: So many of them, from the first on, run the release already; one that has two slots does so
    #: on a trial that was never ended.
    unchanged: int = 0
    #: Power cuts of the gateway.
    crashes: int = 2
    #: Lost answers, refusals, images that do not start, preconditions that fail.
    failures: int = 2
    #: Resets of an ECU that change something in it.
    resets: int = 1
    #: The release is taken back.
    withdrawals: int = 1
    #: Parts that a workshop replaces.
    replacements: int = 0
    #: After so many failures an ECU is given up.
    given_up_after: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        """Each ECU in words."""
        return tuple(
            f"{kind.value} (unchanged)" if number < self.unchanged else kind.value
            for number, kind in enumerate(self.ecus)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that does not hold, and what led there."""

    promise: str
    trace: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    instance: Instance
    #: Distinct states of vehicle, gateway and journal together, and of the journal's fold alone.
    states: int
    folds: int
    steps: int
    #: How runs ended: distinct last states by outcome.
    ends: Mapping[Outcome, int]
    violation: Violation | None


_TWO, _AREA, _ONE = EcuKind.TWO_SLOT, EcuKind.STAGING_AREA, EcuKind.SINGLE_SLOT
_GATEWAY = EcuKind.GATEWAY

#: Small enough for every run of the tests.
QUICK: Final = (
    Instance(crashes=1, failures=1, resets=1),
    Instance(ecus=(_TWO, _ONE), crashes=1, failures=1, resets=1, replacements=1),
    Instance(ecus=(_TWO, _ONE), unchanged=1, crashes=1, failures=1, resets=1),
    Instance(ecus=(_TWO, _GATEWAY), crashes=1, failures=1, resets=1),
)
#: Two power cuts, each kind of ECU beside each other, and three of one kind.
FULL: Final = (
    Instance(),
    Instance(ecus=(_TWO, _TWO, _ONE)),
    Instance(ecus=(_TWO, _TWO, _AREA), crashes=1, resets=2),
    Instance(ecus=(_TWO, _TWO, _TWO), crashes=1, resets=2),
    Instance(ecus=(_AREA, _ONE, _ONE)),
    Instance(crashes=1, failures=1, withdrawals=0, replacements=1),
    Instance(ecus=(_TWO, _ONE), failures=4, resets=2, replacements=1),
    Instance(ecus=(_TWO, _ONE, _TWO), unchanged=2, crashes=1, failures=1, replacements=1),
    Instance(ecus=(_TWO, _ONE, _GATEWAY)),
    Instance(ecus=(_GATEWAY, _TWO, _ONE), unchanged=1, crashes=1),
)


class ViolationError(Exception):
    """A promise is broken in the step that is being made."""


#: Room for the numbers that parts of a state are known by.
_KEY_BITS: Final = 20
#: Steps between two notes of progress.
_TELL_EVERY: Final = 20_000
#: Verbs that a withdrawal breaks off, and those that a failing precondition breaks off.
_BREAKABLE: Final = frozenset({Verb.SNAPSHOT_BEFORE, Verb.DOWNLOAD, Verb.STAGE, Verb.CLEAR})
_WATCHED: Final = frozenset({Verb.ACTIVATE, Verb.READ_BACK, Verb.COMMIT})
#: Verbs of the whole vehicle that write one entry and are done.
_NOTED: Final[Mapping[Verb, Kind]] = {
    Verb.SNAPSHOT_BEFORE: Kind.SNAPSHOT_BEFORE,
    Verb.DOWNLOAD: Kind.DOWNLOADED,
    Verb.CLEAR: Kind.CLEARED,
    Verb.CLEAR_DTCS: Kind.DTCS_CLEARED,
    Verb.SNAPSHOT_AFTER: Kind.SNAPSHOT_AFTER,
    Verb.FINISH: Kind.FINISHED,
}
_CAN_FAIL: Final = frozenset({Verb.DOWNLOAD, Verb.CLEAR})
#: Verbs of the whole vehicle that ask every ECU first.
_ASKING: Final = frozenset({Verb.COMMIT, Verb.INSPECT})


class Budget(NamedTuple):
    crashes: int
    failures: int
    resets: int
    withdrawals: int
    replacements: int


class At(IntEnum):
    """How far one ECU's part of the present verb is."""

    #: Nothing is written or asked.
    START = 0
    #: Its entry is on disk, its effect is not.
    ENTERED = 1
    #: The first of two effects is there.
    HALF = 2
    #: The effect is there, and the ECU is to be asked what it runs.
    ASKED = 3
    #: What it has said: the new image, another one, or nothing at all.
    SAYS_NEW = 4
    SAYS_OTHER = 5
    SILENT = 6
    DONE = 7


class World(NamedTuple):
    """One state of the exploration."""

    #: Number of the journal's fold.
    fold: int
    ecus: tuple[Ecu, ...]
    #: Whether the journal knows of the other part.
    known: tuple[bool, ...]
    #: What the flow does (a number of verb and direction), and how far it is with each ECU.
    group: int
    at: tuple[At, ...]
    left: Budget


#: (label, what it makes of the world)
_Step = tuple[str, World]


class Explorer:
    """Searches one instance under one set of rules."""

    def __init__(self, instance: Instance, rules: Rules = RULES) -> None:
        self._instance = instance
        self._rules = replace(rules, max_failures=instance.given_up_after, max_absences=1)
        self._names = tuple("abcdef"[: len(instance.ecus)])
        self._before = tuple(_before(instance, ecu) for ecu in range(len(instance.ecus)))
        self._folds: list[State] = []
        self._numbers: dict[State, int] = {}
        self._advanced: dict[tuple[int, Kind, int], int] = {}
        #: By fold: the group that is begun in it, and the ECUs that it concerns.
        self._plans: list[tuple[int, frozenset[int]]] = []
        self._groups: list[tuple[Verb, Direction]] = []
        self._parts: dict[tuple[object, ...], int] = {}

    def explore(self, progress: Callable[[int], None] = lambda _: None) -> Exploration:
        """Visit every state; stops at the first promise that does not hold.

        `progress` is told the number of distinct states now and then.
        """
        first = self._first()
        on_path: dict[int, None] = {self._key(first): None}
        done: set[int] = set()
        labels = ["the release is offered"]
        walks = [self._following(first)]
        ends: Counter[Outcome] = Counter()
        steps = 0
        broken = ""
        try:
            while walks:
                found = next(walks[-1], None)
                if found is None:
                    walks.pop()
                    labels.pop()
                    done.add(on_path.popitem()[0])
                    continue
                label, world = found
                steps += 1
                if steps % _TELL_EVERY == 0:
                    progress(len(done) + len(on_path))
                key = self._key(world)
                if key in done:
                    continue
                labels.append(label)
                if key in on_path:
                    broken = "a run need not end: this state was there before"
                    break
                if self._groups[world.group][0] is Verb.NOTHING:
                    ends[self._end(world)] += 1
                on_path[key] = None
                walks.append(self._following(world))
        except (ViolationError, CoordinatorError) as error:
            broken = str(error)
        return Exploration(
            instance=self._instance,
            states=len(done) + len(on_path),
            folds=len(self._folds),
            steps=steps,
            ends=dict(ends),
            violation=Violation(promise=broken, trace=tuple(labels)) if broken else None,
        )

    def _key(self, world: World) -> int:
        """All of it in one integer: a million of them is nothing for the garbage collector."""
        key = world.fold
        for part in (world.ecus, world.known, world.at, world.left):
            key = key << _KEY_BITS | self._parts.setdefault(part, len(self._parts))
        return key << _KEY_BITS | world.group

    # The journal's fold, by number

    def _first(self) -> World:
        parts = tuple(
            EcuPart(
                ecu=name,
                single_slot=not kind.has_two_slots,
                gateway=kind is EcuKind.GATEWAY,
                state=EcuState.UNCHANGED if before.runs is Runs.NEW else EcuState.IDLE,
            )
            for name, kind, before in zip(
                self._names, self._instance.ecus, self._before, strict=True
            )
        )
        one = self._instance
        world = World(
            fold=self._number(State(parts=parts)),
            ecus=self._before,
            known=(False,) * len(parts),
            group=0,
            at=(),
            left=Budget(one.crashes, one.failures, one.resets, one.withdrawals, one.replacements),
        )
        return self._begun(world)

    def _number(self, state: State) -> int:
        """Words for people are left out: nothing is decided by them."""
        parts = tuple(replace(part, cause="", verified=0) for part in state.parts)
        state = replace(state, parts=parts, reason="")
        if state not in self._numbers:
            decision = decide(state, self._rules)
            if decision.verb is Verb.REVERT and Kind.COMMIT in state.facts:
                raise ViolationError("something is reverted behind the commit")
            if decision.verb is Verb.CONFIRM and Kind.COMMIT not in state.facts:
                raise ViolationError("something is confirmed before the commit")
            forward = state.direction is Direction.FORWARD
            if forward and decision.verb in _WATCHED and Kind.CLEARED not in state.facts:
                raise ViolationError(f"{decision.verb.value} without a clearance")
            if any(_out_of_turn(state, decision, own) for own in state.parts if own.gateway):
                raise ViolationError(f"{decision.verb.value} before the gateway's turn")
            group = (decision.verb, state.direction)
            if group not in self._groups:
                self._groups.append(group)
            everyone = self._names if decision.verb in _ASKING else ()
            concerned = frozenset(map(self._names.index, decision.ecus or everyone))
            self._numbers[state] = len(self._folds)
            self._folds.append(state)
            self._plans.append((self._groups.index(group), concerned))
        return self._numbers[state]

    def _note(self, world: World, kind: Kind, ecu: int = -1) -> World:
        """Write an entry: what it makes of the journal's fold."""
        key = (world.fold, kind, ecu)
        if key not in self._advanced:
            state = self._folds[world.fold]
            name = self._names[ecu] if ecu >= 0 else ""
            after = advance(state, Entry(kind=kind, ecu=name), self._rules)
            if Kind.COMMIT in state.facts and after.direction is not Direction.KEEP:
                raise ViolationError(f"{kind.value} turns the update behind its commit")
            self._advanced[key] = self._number(after)
        return world._replace(fold=self._advanced[key])

    def _begun(self, world: World) -> World:
        """The flow asks what to do next, and begins it with all that it concerns."""
        group, concerned = self._plans[world.fold]
        at = tuple(At.START if ecu in concerned else At.DONE for ecu in range(len(self._names)))
        return world._replace(group=group, at=at)

    def _moved(self, world: World, ecu: int, at: At) -> World:
        """One ECU is further; where all are at their end, the next thing is begun."""
        places = (*world.at[:ecu], at, *world.at[ecu + 1 :])
        moved = world._replace(at=places)
        whole = self._groups[world.group][0] in _ASKING
        if not whole and at is At.DONE and all(place is At.DONE for place in places):
            return self._begun(moved)
        return moved

    # What can happen next

    def _following(self, world: World) -> Iterator[_Step]:
        verb, direction = self._groups[world.group]
        if verb is Verb.NOTHING:
            return
        yield from self._from_outside(world, verb)
        if kind := _NOTED.get(verb):
            if verb in _CAN_FAIL and world.left.failures:
                failed = self._note(self._fewer(world, failures=1), Kind.FAILED)
                yield f"{verb.value} fails", self._begun(failed)
            yield kind.value, self._begun(self._note(world, kind))
            return
        if verb in _ASKING and At.START not in world.at:
            yield from self._asked_all(world, verb)
            return
        turned = self._folds[world.fold].direction is not direction
        for ecu, at in enumerate(world.at):
            if at is At.DONE or (verb in _ASKING and at is not At.START):
                continue
            if at is At.START and turned:
                yield f"{self._names[ecu]}: {verb.value} is void", self._moved(world, ecu, At.DONE)
                continue
            for label, after in self._of_one(world, verb, ecu, at):
                yield f"{self._names[ecu]}: {label}", after

    def _from_outside(self, world: World, verb: Verb) -> Iterator[_Step]:
        left = world.left
        state = self._folds[world.fold]
        forward = state.direction is Direction.FORWARD
        if left.crashes:
            yield "the gateway loses power", self._restarted(self._fewer(world, crashes=1))
        if left.withdrawals and forward:
            after = self._note(self._fewer(world, withdrawals=1), Kind.CANCELLED)
            after = self._begun(after) if verb in _BREAKABLE else after
            yield "the release is taken back", after
        if left.failures and forward and verb in _WATCHED:
            after = self._note(self._fewer(world, failures=1), Kind.FAILED)
            yield "a precondition fails", self._begun(after)
        for ecu, what in enumerate(world.ecus):
            name = self._names[ecu]
            own = self._instance.ecus[ecu] is EcuKind.GATEWAY
            if left.resets and (after_reset := self._reset(ecu, what)) != what:
                after = _with(self._fewer(world, resets=1), ecu, after_reset)
                yield f"{name} is reset", self._restarted(after) if own else after
            # What changes behind the last look is for the next check-in to tell.
            looked = Kind.INSPECTED in state.facts or (
                verb is Verb.INSPECT and world.at[ecu] is not At.START
            )
            if left.replacements and not looked and not own:
                for runs in Runs:
                    part = Ecu(runs=runs, other_part=True)
                    fewer = self._fewer(world, replacements=1)
                    yield f"{name} is replaced, {runs.name} runs", _with(fewer, ecu, part)

    def _fewer(self, world: World, **used: int) -> World:
        left = world.left
        less = {name: getattr(left, name) - count for name, count in used.items()}
        return world._replace(left=left._replace(**less))

    def _restarted(self, world: World) -> World:
        """The gateway starts anew, in the software that its record says; a trial lasts."""
        for ecu, kind in enumerate(self._instance.ecus):
            if kind is EcuKind.GATEWAY and world.ecus[ecu].requested:
                world = _with(world, ecu, self._reset(ecu, world.ecus[ecu]))
        return self._begun(world._replace(fold=self._number(resumed(self._folds[world.fold]))))

    def _reset(self, number: int, ecu: Ecu) -> Ecu:
        """Power comes back in one ECU."""
        match self._instance.ecus[number]:
            case EcuKind.TWO_SLOT | EcuKind.GATEWAY if ecu.trial:
                return ecu._replace(runs=Runs.OLD, trial=False)
            case EcuKind.TWO_SLOT | EcuKind.GATEWAY if ecu.requested:
                return ecu._replace(runs=Runs.NEW, trial=True, requested=False)
            case EcuKind.STAGING_AREA if ecu.runs is Runs.NOTHING and ecu.staged:
                return ecu._replace(runs=Runs.NEW, staged=False)  # the agent goes on copying
            case _:
                return ecu

    # The flow of one ECU, verb by verb; `vehicle.py` is what it is the model of

    def _of_one(self, world: World, verb: Verb, ecu: int, at: At) -> Iterator[_Step]:
        if at is At.START and verb is not Verb.GIVE_UP and self._unknown(world, ecu):
            yield "another part answers", self._other_part(world, ecu)
            return
        match verb:
            case Verb.STAGE:
                yield from self._stage(world, ecu, at)
            case Verb.ACTIVATE:
                yield from self._activate(world, ecu, at)
            case Verb.READ_BACK:
                yield from self._read_back(world, ecu, at)
            case Verb.CONFIRM:
                yield from self._confirm(world, ecu, at)
            case Verb.REVERT:
                yield from self._revert(world, ecu, at)
            case Verb.GIVE_UP:
                yield "is given up", self._ends(world, ecu, Kind.LOST)
            case Verb.COMMIT | Verb.INSPECT:
                yield from self._ask(world, ecu)
            case _:
                raise ViolationError(f"no flow for {verb.value}")

    def _unknown(self, world: World, ecu: int) -> bool:
        lost = self._folds[world.fold].parts[ecu].state is EcuState.LOST
        return world.ecus[ecu].other_part and not world.known[ecu] and not lost

    def _other_part(self, world: World, ecu: int) -> World:
        known = (*world.known[:ecu], True, *world.known[ecu + 1 :])
        return self._ends(world._replace(known=known), ecu, Kind.REPLACED)

    def _ends(self, world: World, ecu: int, kind: Kind) -> World:
        """The last entry of one ECU's part of the verb."""
        after = self._note(world, kind, ecu)
        verb, direction = self._groups[world.group]
        if verb is Verb.STAGE and direction is Direction.FORWARD and kind is Kind.FAILED:
            return self._begun(after)  # the others' staging is broken off
        return self._moved(after, ecu, At.DONE)

    def _enters(self, world: World, ecu: int, kind: Kind, at: At = At.ENTERED) -> World:
        return self._moved(self._note(world, kind, ecu), ecu, at)

    def _fails(self, world: World, ecu: int) -> World:
        return self._ends(self._fewer(world, failures=1), ecu, Kind.FAILED)

    def _tries(self, world: World, ecu: int, effect: Ecu, at: At, *, label: str) -> Iterator[_Step]:
        """An effect in an ECU, whose request or answer may get lost for good."""
        done = _with(world, ecu, effect)
        yield label, self._moved(done, ecu, at)
        if world.left.failures:
            yield f"{label}, refused", self._fails(world, ecu)
            if done != world:
                yield f"{label}, its answer is lost", self._fails(done, ecu)

    def _stage(self, world: World, ecu: int, at: At) -> Iterator[_Step]:
        what = world.ecus[ecu]
        has_room = self._instance.ecus[ecu] is not EcuKind.SINGLE_SLOT
        if at is At.START:
            yield "is about to be staged", self._enters(world, ecu, Kind.STAGING)
        elif at is At.ENTERED:
            staged = what._replace(staged=True) if has_room else what
            yield from self._tries(world, ecu, staged, At.ASKED, label="is staged")
            waits = may_wait(self._folds[world.fold], self._names[ecu], self._rules)
            if waits and world.left.failures:
                fewer = self._fewer(world, failures=1)
                yield "is away, and waited for", self._ends(fewer, ecu, Kind.ABSENT)
        else:
            yield "counts as staged", self._ends(world, ecu, Kind.STAGED)

    def _activate(self, world: World, ecu: int, at: At) -> Iterator[_Step]:
        what = world.ecus[ecu]
        begun = self._folds[world.fold].parts[ecu].state is EcuState.ACTIVATING
        two = self._instance.ecus[ecu].has_two_slots
        if at is At.START and not begun:
            yield "is about to be activated", self._enters(world, ecu, Kind.ACTIVATING)
        elif at is At.START:
            runs = what.runs is Runs.NEW
            yield "is activated again", self._moved(world, ecu, At.ASKED if runs else At.ENTERED)
        elif at is At.ENTERED and two and what.runs is Runs.NEW:
            yield "runs it already", self._moved(world, ecu, At.ASKED)
        elif at is At.ENTERED and two and not what.staged:
            yield "has nothing staged", self._ends(world, ecu, Kind.FAILED)
        elif at is At.ENTERED:
            first = what._replace(requested=True) if two else what._replace(runs=Runs.NOTHING)
            label = "takes the request" if two else "is erased"
            yield from self._tries(world, ecu, first, At.HALF, label=label)
        elif at is At.HALF:
            # Where a reset of its own has begun the trial, ours ends it.
            started = self._reset(ecu, what) if two else what._replace(runs=Runs.NEW)
            dead = Ecu(runs=Runs.OLD if two else Runs.NOTHING, other_part=what.other_part)
            if self._instance.ecus[ecu] is EcuKind.GATEWAY:
                yield "is started anew", self._restarted(world)
                if world.left.failures:
                    bad = _with(self._fewer(world, failures=1), ecu, dead)
                    yield "cannot start the new software", self._restarted(bad)
                return
            yield from self._tries(world, ecu, started, At.ASKED, label="is started anew")
            if world.left.failures:
                bad = _with(self._fewer(world, failures=1), ecu, dead)
                yield "cannot start the new image", self._moved(bad, ecu, At.ASKED)
        else:
            yield "counts as activated", self._ends(world, ecu, Kind.ACTIVATED)

    def _ask(self, world: World, ecu: int) -> Iterator[_Step]:
        """What an ECU says of itself; it may be something else by the time that it is written."""
        new = world.ecus[ecu].runs is Runs.NEW
        says = At.SAYS_NEW if new else At.SAYS_OTHER
        yield f"says {says.name.lower()}", self._moved(world, ecu, says)
        if world.left.failures:
            fewer = self._fewer(world, failures=1)
            yield "does not answer", self._moved(fewer, ecu, At.SILENT)

    def _said(self, world: World, ecu: int, at: At, good: Kind) -> Iterator[_Step]:
        keep = self._groups[world.group][1] is Direction.KEEP
        other = Kind.WENT_BACK if keep else Kind.FAILED
        kind = {At.SAYS_NEW: good, At.SAYS_OTHER: other, At.SILENT: Kind.FAILED}[at]
        yield f"is noted: {kind.value}", self._ends(world, ecu, kind)

    def _read_back(self, world: World, ecu: int, at: At) -> Iterator[_Step]:
        if at is At.START:
            yield from self._ask(world, ecu)
        else:
            yield from self._said(world, ecu, at, Kind.PROVED)

    def _confirm(self, world: World, ecu: int, at: At) -> Iterator[_Step]:
        what = world.ecus[ecu]
        begun = self._folds[world.fold].parts[ecu].state is EcuState.CONFIRMING
        if at is At.START and not begun:
            yield "is about to be confirmed", self._enters(world, ecu, Kind.CONFIRMING)
        elif at in {At.START, At.ENTERED} and what.runs is not Runs.NEW:
            yield "is noted: went back", self._ends(world, ecu, Kind.WENT_BACK)
        elif at in {At.START, At.ENTERED}:
            yield "still runs it", self._moved(world, ecu, At.HALF)
            if world.left.failures:
                yield "does not answer", self._fails(world, ecu)
        elif at is At.HALF and what.runs is not Runs.NEW:
            yield "has nothing to confirm", self._ends(world, ecu, Kind.FAILED)
        elif at is At.HALF:
            kept = what._replace(trial=False)
            yield from self._tries(world, ecu, kept, At.ASKED, label="keeps it")
        elif at is At.ASKED:
            yield from self._ask(world, ecu)
        else:
            yield from self._said(world, ecu, at, Kind.CONFIRMED)

    def _revert(self, world: World, ecu: int, at: At) -> Iterator[_Step]:
        what = world.ecus[ecu]
        begun = self._folds[world.fold].parts[ecu].state is EcuState.REVERTING
        two = self._instance.ecus[ecu].has_two_slots
        if at is At.START:
            kind = Kind.REVERTING
            yield (
                "is about to be reverted",
                self._moved(world, ecu, At.ENTERED) if begun else self._enters(world, ecu, kind),
            )
        elif at is At.ENTERED and (what.runs is Runs.OLD and not what.requested):
            yield "runs its old image", self._moved(world, ecu, At.ASKED)
        elif at is At.ENTERED:
            first = what._replace(requested=False, trial=what.trial)
            if not two:
                first = what._replace(runs=Runs.NOTHING, staged=False)
            yield from self._tries(world, ecu, first, At.HALF, label="lets go of the new image")
        elif at is At.HALF:
            old = Ecu(runs=Runs.OLD, staged=what.staged, other_part=what.other_part)
            if self._instance.ecus[ecu] is EcuKind.GATEWAY:
                yield "is started anew", self._restarted(_with(world, ecu, old))
                return
            yield from self._tries(world, ecu, old, At.ASKED, label="starts its old image")
        elif what.runs is Runs.OLD:
            yield "is noted: reverted", self._ends(world, ecu, Kind.REVERTED)
        else:
            yield "does not run its old image", self._ends(world, ecu, Kind.FAILED)

    def _asked_all(self, world: World, verb: Verb) -> Iterator[_Step]:
        """Every ECU has answered: the entry of the whole vehicle, or what stands against it."""
        state = self._folds[world.fold]
        keep = state.direction is Direction.KEEP
        after = world
        if verb is Verb.COMMIT or keep:
            for ecu, at in enumerate(world.at):
                if state.parts[ecu].state is EcuState.LOST or at in {At.SAYS_NEW, At.DONE}:
                    continue
                went = keep and at is At.SAYS_OTHER
                after = self._note(after, Kind.WENT_BACK if went else Kind.FAILED, ecu)
        if verb is Verb.INSPECT and not keep:
            after = self._lost_parts(world)
        unchanged = after.fold == world.fold
        if verb is Verb.INSPECT and (unchanged or not keep):
            after = self._note(after, Kind.INSPECTED)
        elif verb is Verb.COMMIT and unchanged and state.direction is Direction.FORWARD:
            after = self._note(after, Kind.COMMIT)
        yield f"{verb.value}: all have answered", self._begun(after)

    def _lost_parts(self, world: World) -> World:
        """Going back, a part that was replaced is told of if it does not run what ran before."""
        after = world
        for ecu, part in enumerate(self._folds[world.fold].parts):
            what = world.ecus[ecu]
            old = what.runs is self._before[ecu].runs
            if not what.other_part or part.state is EcuState.LOST or old:
                continue
            after = self._note(self._note(after, Kind.FAILED, ecu), Kind.LOST, ecu)
        return after

    # How it may end

    def _end(self, world: World) -> Outcome:
        """The outcome, if it is the truth about every ECU."""
        state = self._folds[world.fold]
        result, _ = outcome(state)
        kept = state.direction is Direction.KEEP
        for number, (part, ecu) in enumerate(zip(state.parts, world.ecus, strict=True)):
            if part.state is EcuState.LOST:
                continue
            right = Runs.NEW if kept else self._before[number].runs
            if not kept and right is Runs.NEW and not ecu.other_part:
                if not self._is_untouched(number, ecu, world.left):
                    raise ViolationError(f"{result.value}, and {part.ecu} was not left alone")
                continue
            if ecu.runs is not right:
                raise ViolationError(
                    f"half updated: {result.value}, and {part.ecu} runs {ecu.runs.name}"
                )
            if ecu.trial or ecu.requested:
                raise ViolationError(f"{result.value}, and {part.ecu} has a trial that may change")
        lost = any(part.state is EcuState.LOST for part in state.parts)
        if lost is not (result is Outcome.FAILED_SAFE):
            raise ViolationError(f"{result.value} with a lost ECU: {lost}")
        if (result is Outcome.UPDATED) is not (kept and not lost):
            raise ViolationError(f"{result.value} going {state.direction.value}")
        return result

    def _is_untouched(self, number: int, ecu: Ecu, left: Budget) -> bool:
        """Whether one that ran the release before is as it was, but for a reset of its own."""
        before = self._before[number]
        was_reset = left.resets < self._instance.resets and ecu == self._reset(number, before)
        return ecu == before or was_reset


def _before(instance: Instance, number: int) -> Ecu:
    """One ECU when the release is offered."""
    if number >= instance.unchanged:
        return Ecu()
    return Ecu(runs=Runs.NEW, trial=instance.ecus[number].has_two_slots)


#: The gateway's own software has still to prove itself, or to go back.
_TO_PROVE: Final = frozenset(
    {
        EcuState.IDLE,
        EcuState.STAGING,
        EcuState.STAGED,
        EcuState.ACTIVATING,
        EcuState.ACTIVATED,
    }
)
_TO_REVERT: Final = frozenset(
    {EcuState.ACTIVATING, EcuState.ACTIVATED, EcuState.PROVED, EcuState.REVERTING}
)


def _out_of_turn(state: State, decision: Decision, own: EcuPart) -> bool:
    """Whether ECUs are activated before the gateway's own software is proved, or go back last."""
    others = [part for part in state.parts if not part.gateway]
    match decision.verb:
        case Verb.ACTIVATE:
            concerned = any(part.ecu in decision.ecus for part in others)
            return concerned and own.state in _TO_PROVE
        case Verb.REVERT:
            waiting = any(part.state in _TO_REVERT for part in others)
            return waiting and own.ecu in decision.ecus
        case _:
            return False


def _with(world: World, number: int, ecu: Ecu) -> World:
    return world._replace(ecus=(*world.ecus[:number], ecu, *world.ecus[number + 1 :]))
