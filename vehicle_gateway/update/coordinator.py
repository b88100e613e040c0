"""What an update does next, decided from its journal alone.

Pure: `advance` folds one entry into the state, `decide` says what is to be done in it. Both read
tables. A restarted gateway folds the same entries and so comes to the same decision.

The update has one of three directions. It goes `FORWARD` until the first failure turns it `BACK`
or the `commit` entry makes it `KEEP`; there is no way from `BACK` or `KEEP` to anywhere else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from vehicle_gateway.update.journal import Entry, Kind

#: Failures after which an ECU is given up, while going back and after the commit.
MAX_FAILURES: Final = 4
#: So often in a row may an ECU be away while it is staged, and the car in use.
MAX_ABSENCES: Final = 8


class CoordinatorError(Exception):
    """An entry that cannot follow the ones before it."""


class Direction(Enum):
    FORWARD = "forward"
    BACK = "back"
    KEEP = "keep"


class EcuState(Enum):
    """How far one ECU is."""

    #: Runs the release already, perhaps on a trial that was never ended: it is only confirmed.
    UNCHANGED = "unchanged"
    IDLE = "idle"
    STAGING = "staging"
    STAGED = "staged"
    ACTIVATING = "activating"
    ACTIVATED = "activated"
    PROVED = "proved"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    REVERTING = "reverting"
    REVERTED = "reverted"
    LOST = "lost"


class Verb(Enum):
    """What the flow is to do."""

    SNAPSHOT_BEFORE = "snapshot_before"
    DOWNLOAD = "download"
    STAGE = "stage"
    #: Wait for preconditions and consent.
    CLEAR = "clear"
    ACTIVATE = "activate"
    READ_BACK = "read_back"
    COMMIT = "commit"
    CONFIRM = "confirm"
    REVERT = "revert"
    GIVE_UP = "give_up"
    CLEAR_DTCS = "clear_dtcs"
    #: Let the monitors run, then read everything again.
    SNAPSHOT_AFTER = "snapshot_after"
    INSPECT = "inspect"
    FINISH = "finish"
    NOTHING = "nothing"


class Outcome(Enum):
    UPDATED = "updated"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    FAILED_SAFE = "failed_safe"


class Who(Enum):
    ALL = "all"
    #: The gateway's own software.
    GATEWAY = "gateway"
    TWO_SLOT = "two_slot"
    SINGLE_SLOT = "single_slot"


#: (state of an ECU, entry about it) -> its state afterwards. A missing row is an error.
ECU_TRANSITIONS: Final[Mapping[tuple[EcuState, Kind], EcuState]] = {
    (EcuState.IDLE, Kind.STAGING): EcuState.STAGING,
    (EcuState.STAGING, Kind.STAGING): EcuState.STAGING,  # from the start again
    (EcuState.STAGING, Kind.VERIFIED): EcuState.STAGING,
    (EcuState.STAGING, Kind.ABSENT): EcuState.STAGING,
    (EcuState.STAGING, Kind.STAGED): EcuState.STAGED,
    (EcuState.STAGED, Kind.ACTIVATING): EcuState.ACTIVATING,
    (EcuState.ACTIVATING, Kind.ACTIVATING): EcuState.ACTIVATING,  # from the start again
    (EcuState.ACTIVATING, Kind.VERIFIED): EcuState.ACTIVATING,
    (EcuState.ACTIVATING, Kind.ACTIVATED): EcuState.ACTIVATED,
    (EcuState.ACTIVATED, Kind.PROVED): EcuState.PROVED,
    (EcuState.PROVED, Kind.CONFIRMING): EcuState.CONFIRMING,
    (EcuState.UNCHANGED, Kind.CONFIRMING): EcuState.CONFIRMING,
    (EcuState.CONFIRMING, Kind.CONFIRMED): EcuState.CONFIRMED,
    (EcuState.ACTIVATED, Kind.WENT_BACK): EcuState.IDLE,
    (EcuState.CONFIRMING, Kind.WENT_BACK): EcuState.IDLE,
    (EcuState.CONFIRMED, Kind.WENT_BACK): EcuState.IDLE,
    (EcuState.UNCHANGED, Kind.WENT_BACK): EcuState.IDLE,
    (EcuState.ACTIVATING, Kind.REVERTING): EcuState.REVERTING,
    (EcuState.ACTIVATED, Kind.REVERTING): EcuState.REVERTING,
    (EcuState.PROVED, Kind.REVERTING): EcuState.REVERTING,
    (EcuState.REVERTING, Kind.REVERTED): EcuState.REVERTED,
    # A failure leaves the ECU where it is: what it means depends on the direction.
    **{(state, Kind.FAILED): state for state in EcuState if state is not EcuState.LOST},
    **{(state, Kind.LOST): EcuState.LOST for state in EcuState if state is not EcuState.LOST},
    # The new part was never touched.
    **{(state, Kind.REPLACED): EcuState.IDLE for state in EcuState if state is not EcuState.LOST},
}

#: (direction, entry) -> direction afterwards. A missing row is an error.
DIRECTIONS: Final[Mapping[tuple[Direction, Kind], Direction]] = {
    **{
        (Direction.FORWARD, kind): Direction.FORWARD
        for kind in (
            Kind.SNAPSHOT_BEFORE,
            Kind.DOWNLOADED,
            Kind.STAGING,
            Kind.VERIFIED,
            Kind.STAGED,
            Kind.ABSENT,
            Kind.WAITING,
            Kind.CONSENT,
            Kind.CLEARED,
            Kind.ACTIVATING,
            Kind.ACTIVATED,
            Kind.PROVED,
        )
    },
    (Direction.FORWARD, Kind.FAILED): Direction.BACK,
    (Direction.FORWARD, Kind.CANCELLED): Direction.BACK,
    (Direction.FORWARD, Kind.REPLACED): Direction.BACK,
    (Direction.FORWARD, Kind.REFUSED): Direction.BACK,
    (Direction.FORWARD, Kind.COMMIT): Direction.KEEP,
    **{
        (Direction.BACK, kind): Direction.BACK
        for kind in (
            # These end what another ECU had begun before the failure.
            Kind.VERIFIED,
            Kind.STAGED,
            Kind.ACTIVATED,
            Kind.PROVED,
            Kind.FAILED,
            Kind.REPLACED,
            Kind.REVERTING,
            Kind.REVERTED,
            Kind.LOST,
            Kind.SNAPSHOT_AFTER,
            Kind.INSPECTED,
            Kind.FINISHED,
        )
    },
    **{
        (Direction.KEEP, kind): Direction.KEEP
        for kind in (
            Kind.STAGING,
            Kind.VERIFIED,
            Kind.STAGED,
            Kind.ACTIVATING,
            Kind.ACTIVATED,
            Kind.PROVED,
            Kind.FAILED,
            Kind.CONFIRMING,
            Kind.CONFIRMED,
            Kind.WENT_BACK,
            Kind.REPLACED,
            Kind.LOST,
            Kind.DTCS_CLEARED,
            Kind.SNAPSHOT_AFTER,
            Kind.INSPECTED,
            Kind.FINISHED,
        )
    },
}

_ONWARD: Final[Mapping[EcuState, Verb | None]] = {
    EcuState.UNCHANGED: None,
    EcuState.IDLE: Verb.STAGE,
    EcuState.STAGING: Verb.STAGE,
    EcuState.STAGED: Verb.ACTIVATE,
    EcuState.ACTIVATING: Verb.ACTIVATE,
    EcuState.ACTIVATED: Verb.READ_BACK,
    EcuState.PROVED: None,
    EcuState.LOST: None,
}

#: (direction, state of an ECU) -> what is still to be done to it.
NEXT: Final[Mapping[tuple[Direction, EcuState], Verb | None]] = {
    **{(Direction.FORWARD, state): verb for state, verb in _ONWARD.items()},
    **{(Direction.KEEP, state): verb for state, verb in _ONWARD.items()},
    (Direction.KEEP, EcuState.UNCHANGED): Verb.CONFIRM,
    (Direction.KEEP, EcuState.PROVED): Verb.CONFIRM,
    (Direction.KEEP, EcuState.CONFIRMING): Verb.CONFIRM,
    (Direction.KEEP, EcuState.CONFIRMED): None,
    # What runs was never touched, or runs no longer.
    (Direction.BACK, EcuState.UNCHANGED): None,
    (Direction.BACK, EcuState.IDLE): None,
    (Direction.BACK, EcuState.STAGING): None,
    (Direction.BACK, EcuState.STAGED): None,
    (Direction.BACK, EcuState.ACTIVATING): Verb.REVERT,
    (Direction.BACK, EcuState.ACTIVATED): Verb.REVERT,
    (Direction.BACK, EcuState.PROVED): Verb.REVERT,
    (Direction.BACK, EcuState.REVERTING): Verb.REVERT,
    (Direction.BACK, EcuState.REVERTED): None,
    (Direction.BACK, EcuState.LOST): None,
}

#: The gateway first: software that cannot do its work is found out before an ECU is touched, and
#: what activates the ECUs is what will have to confirm them.
_ACTIVATE_ALL: Final = (
    (Verb.STAGE, Who.ALL),
    (Verb.ACTIVATE, Who.GATEWAY),
    (Verb.READ_BACK, Who.GATEWAY),
    (Verb.ACTIVATE, Who.TWO_SLOT),
    (Verb.READ_BACK, Who.TWO_SLOT),
    (Verb.ACTIVATE, Who.SINGLE_SLOT),
    (Verb.READ_BACK, Who.SINGLE_SLOT),
)

#: What comes first: the first row that any ECU needs is done, to all ECUs that need it, at once.
ORDER: Final[Mapping[Direction, tuple[tuple[Verb, Who], ...]]] = {
    Direction.FORWARD: _ACTIVATE_ALL,
    Direction.BACK: (
        (Verb.REVERT, Who.TWO_SLOT),
        (Verb.REVERT, Who.SINGLE_SLOT),
        (Verb.REVERT, Who.GATEWAY),
    ),
    Direction.KEEP: ((Verb.CONFIRM, Who.ALL), *_ACTIVATE_ALL),
}

#: Before anything else: (entry that shows it done, what to do).
PREPARATION: Final = (
    (Kind.SNAPSHOT_BEFORE, Verb.SNAPSHOT_BEFORE),
    (Kind.DOWNLOADED, Verb.DOWNLOAD),
)

#: Not before this stands in the journal: (what is to be done, entry that allows it, how to get it).
#: Behind the commit there is no choice any more, and going back is always allowed.
GATES: Final[Mapping[tuple[Direction, Verb], tuple[Kind, Verb]]] = {
    (Direction.FORWARD, Verb.ACTIVATE): (Kind.CLEARED, Verb.CLEAR),
    (Direction.FORWARD, Verb.READ_BACK): (Kind.CLEARED, Verb.CLEAR),
    (Direction.FORWARD, Verb.COMMIT): (Kind.CLEARED, Verb.CLEAR),
}

#: When no ECU needs anything more.
CLOSING: Final[Mapping[Direction, tuple[tuple[Kind, Verb], ...]]] = {
    Direction.FORWARD: ((Kind.COMMIT, Verb.COMMIT),),
    Direction.BACK: (
        (Kind.SNAPSHOT_AFTER, Verb.SNAPSHOT_AFTER),
        (Kind.INSPECTED, Verb.INSPECT),
        (Kind.FINISHED, Verb.FINISH),
    ),
    Direction.KEEP: (
        (Kind.DTCS_CLEARED, Verb.CLEAR_DTCS),
        (Kind.SNAPSHOT_AFTER, Verb.SNAPSHOT_AFTER),
        (Kind.INSPECTED, Verb.INSPECT),
        (Kind.FINISHED, Verb.FINISH),
    ),
}

_FACTS: Final = frozenset(
    {
        Kind.REFUSED,
        *(kind for rows in (PREPARATION, GATES.values(), *CLOSING.values()) for kind, _ in rows),
    }
)
#: An ECU in one of these runs, or may run, something else than the others.
_APART: Final = frozenset(
    {
        EcuState.ACTIVATING,
        EcuState.ACTIVATED,
        EcuState.PROVED,
        EcuState.CONFIRMING,
        EcuState.REVERTING,
    }
)
_REOPENED: Final = frozenset({Kind.DTCS_CLEARED, Kind.SNAPSHOT_AFTER, Kind.INSPECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The tables that decide; the gateway has one set, a test may hand in a broken one."""

    ecu_transitions: Mapping[tuple[EcuState, Kind], EcuState] = field(
        default_factory=lambda: ECU_TRANSITIONS
    )
    directions: Mapping[tuple[Direction, Kind], Direction] = field(
        default_factory=lambda: DIRECTIONS
    )
    next: Mapping[tuple[Direction, EcuState], Verb | None] = field(default_factory=lambda: NEXT)
    order: Mapping[Direction, tuple[tuple[Verb, Who], ...]] = field(default_factory=lambda: ORDER)
    gates: Mapping[tuple[Direction, Verb], tuple[Kind, Verb]] = field(default_factory=lambda: GATES)
    closing: Mapping[Direction, tuple[tuple[Kind, Verb], ...]] = field(
        default_factory=lambda: CLOSING
    )
    max_failures: int = MAX_FAILURES
    max_absences: int = MAX_ABSENCES


RULES: Final = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuPart:
    """One ECU's part in the update."""

    ecu: str
    single_slot: bool
    #: Whether it is the gateway's own software.
    gateway: bool = False
    state: EcuState = EcuState.IDLE
    #: Bytes that need not be sent again.
    verified: int = 0
    #: Failures in the present direction.
    failures: int = 0
    #: Times in a row that it was away while it was staged.
    absences: int = 0
    #: The newest failure, for people.
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The whole update; hashable."""

    parts: tuple[EcuPart, ...]
    direction: Direction = Direction.FORWARD
    #: What has happened to the vehicle as a whole.
    facts: frozenset[Kind] = frozenset()
    #: Why it turned back; empty if it did not.
    reason: str = ""

    def part(self, ecu: str) -> EcuPart:
        for part in self.parts:
            if part.ecu == ecu:
                return part
        raise CoordinatorError(f"{ecu}: not a part of this update")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    verb: Verb
    #: The ECUs to do it to, at once; empty for the whole vehicle.
    ecus: tuple[str, ...] = ()


def advance(state: State, entry: Entry, rules: Rules = RULES) -> State:
    """The state after one more entry; `CoordinatorError` if it cannot come now."""
    if Kind.FINISHED in state.facts:
        raise CoordinatorError(f"{entry.kind.value}: the update is finished")
    direction = rules.directions.get((state.direction, entry.kind))
    if direction is None:
        raise CoordinatorError(f"{entry.kind.value}: not while going {state.direction.value}")
    turned = direction is not state.direction
    parts = tuple(replace(part, failures=0) for part in state.parts) if turned else state.parts
    after = replace(state, direction=direction, parts=parts)
    if turned and direction is Direction.BACK:
        after = replace(after, reason=_cause(entry))
    if entry.kind in _FACTS:
        after = replace(after, facts=after.facts | {entry.kind})
    if entry.kind in {Kind.WENT_BACK, Kind.REPLACED}:
        after = replace(after, facts=after.facts - _REOPENED)
    if entry.ecu:
        part = _advance_ecu(after.part(entry.ecu), entry, rules, counted=not turned)
        after = replace(
            after, parts=tuple(part if old.ecu == part.ecu else old for old in after.parts)
        )
    return after


def _advance_ecu(part: EcuPart, entry: Entry, rules: Rules, *, counted: bool) -> EcuPart:
    state = rules.ecu_transitions.get((part.state, entry.kind))
    if state is None:
        raise CoordinatorError(f"{part.ecu}: {entry.kind.value}: not while {part.state.value}")
    match entry.kind:
        case Kind.VERIFIED:
            verified = max(part.verified, int(entry.fields["verified"]))
            return replace(part, verified=verified, absences=0)
        case Kind.ABSENT:
            return replace(part, absences=part.absences + 1, cause=_cause(entry))
        case Kind.FAILED | Kind.WENT_BACK | Kind.REPLACED:
            # Whatever was in the ECU's memory is not relied upon after a failure.
            failures = part.failures + (1 if counted else 0)
            return replace(part, state=state, verified=0, failures=failures, cause=_cause(entry))
        case _:
            absences = part.absences if state is EcuState.STAGING else 0
            return replace(part, state=state, verified=0, absences=absences)


def _cause(entry: Entry) -> str:
    words = (entry.ecu, str(entry.fields.get("step", "")), str(entry.fields.get("cause", "")))
    return ": ".join(word for word in words if word)


def fold(parts: tuple[EcuPart, ...], entries: Iterable[Entry]) -> State:
    """The state after all entries that follow `OFFERED`."""
    state = State(parts=parts)
    for entry in entries:
        state = advance(state, entry)
    return state


def resumed(state: State) -> State:
    """The state for a gateway that starts anew: nobody has watched the vehicle meanwhile."""
    return replace(state, facts=state.facts - {Kind.CLEARED})


def interlocked(state: State) -> bool:
    """Whether the vehicle must not be driven: from the clearance until all ECUs agree."""
    if Kind.FINISHED in state.facts:
        return False
    match state.direction:
        case Direction.KEEP:
            done = {EcuState.CONFIRMED, EcuState.LOST}
            return any(part.state not in done for part in state.parts)
        case Direction.FORWARD if Kind.CLEARED in state.facts:
            return True
        case _:
            # The gateway's own trial does not change how the car drives.
            return any(part.state in _APART for part in state.parts if not part.gateway)


def decide(state: State, rules: Rules = RULES) -> Decision:
    """What is to be done now."""
    decision = _wanted(state, rules)
    gate = rules.gates.get((state.direction, decision.verb))
    if gate is not None and gate[0] not in state.facts:
        return Decision(verb=gate[1])
    return decision


def _wanted(state: State, rules: Rules) -> Decision:
    if Kind.FINISHED in state.facts:
        return Decision(verb=Verb.NOTHING)
    if state.direction is Direction.FORWARD:
        for kind, verb in PREPARATION:
            if kind not in state.facts:
                return Decision(verb=verb)
    elif given_up := tuple(part.ecu for part in state.parts if _is_given_up(state, part, rules)):
        return Decision(verb=Verb.GIVE_UP, ecus=given_up)
    for verb, who in rules.order[state.direction]:
        ecus = tuple(
            part.ecu
            for part in state.parts
            if rules.next[state.direction, part.state] is verb and _belongs(part, who)
        )
        if ecus:
            return Decision(verb=verb, ecus=ecus)
    for kind, verb in rules.closing[state.direction]:
        if kind not in state.facts:
            return Decision(verb=verb)
    raise CoordinatorError(f"no row for {state}")  # CLOSING ends with FINISHED or COMMIT.


def may_wait(state: State, ecu: str, rules: Rules = RULES) -> bool:
    """Whether an ECU that is away is waited for: while staging nothing is lost by it."""
    part = state.part(ecu)
    staging = state.direction is Direction.FORWARD and part.state is EcuState.STAGING
    return staging and part.absences < rules.max_absences


def _belongs(part: EcuPart, who: Who) -> bool:
    return who in {Who.ALL, _group(part)}


def _group(part: EcuPart) -> Who:
    if part.gateway:
        return Who.GATEWAY
    return Who.SINGLE_SLOT if part.single_slot else Who.TWO_SLOT


def _is_given_up(state: State, part: EcuPart, rules: Rules) -> bool:
    if part.state is EcuState.LOST or part.failures < rules.max_failures:
        return False
    # Going back, only an ECU that still has to be reverted can be lost.
    keeps = state.direction is Direction.KEEP
    return keeps or rules.next[state.direction, part.state] is Verb.REVERT


def outcome(state: State) -> tuple[Outcome, str]:
    """How the update ends, and why; meaningful once it goes back or keeps."""
    causes = [part.cause for part in state.parts if part.state is EcuState.LOST]
    if causes:
        lost = "; ".join(causes)
        return Outcome.FAILED_SAFE, f"{state.reason}; {lost}" if state.reason else lost
    if state.direction is Direction.KEEP:
        return Outcome.UPDATED, ""
    # What is refused was staged at most: no ECU ran anything else meanwhile. The gateway may have.
    refused = Kind.REFUSED in state.facts
    touched = any(
        part.state is EcuState.REVERTED or (not refused and _is_written(part))
        for part in state.parts
    )
    return (Outcome.ROLLED_BACK if touched else Outcome.REFUSED), state.reason


def _is_written(part: EcuPart) -> bool:
    """Whether there is something new beside what runs; staging a single slot writes nothing."""
    return not part.single_slot and part.state in {EcuState.STAGING, EcuState.STAGED}
