from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from vehicle_gateway.update.coordinator import (
    DIRECTIONS,
    ECU_TRANSITIONS,
    MAX_ABSENCES,
    MAX_FAILURES,
    NEXT,
    CoordinatorError,
    Decision,
    Direction,
    EcuPart,
    EcuState,
    Outcome,
    State,
    Verb,
    advance,
    decide,
    fold,
    interlocked,
    may_wait,
    outcome,
    resumed,
)
from vehicle_gateway.update.journal import Entry, Kind

PARTS = (EcuPart(ecu="two", single_slot=False), EcuPart(ecu="one", single_slot=True))

#: What the flow writes when it does what was decided and it works: before, and behind it.
BEGINS = {
    (Verb.STAGE, EcuState.IDLE): Kind.STAGING,
    (Verb.ACTIVATE, EcuState.STAGED): Kind.ACTIVATING,
    (Verb.CONFIRM, EcuState.PROVED): Kind.CONFIRMING,
    **{
        (Verb.REVERT, state): Kind.REVERTING
        for state in (EcuState.ACTIVATING, EcuState.ACTIVATED, EcuState.PROVED)
    },
}
ENDS = {
    Verb.SNAPSHOT_BEFORE: Kind.SNAPSHOT_BEFORE,
    Verb.DOWNLOAD: Kind.DOWNLOADED,
    Verb.STAGE: Kind.STAGED,
    Verb.CLEAR: Kind.CLEARED,
    Verb.ACTIVATE: Kind.ACTIVATED,
    Verb.READ_BACK: Kind.PROVED,
    Verb.COMMIT: Kind.COMMIT,
    Verb.CONFIRM: Kind.CONFIRMED,
    Verb.REVERT: Kind.REVERTED,
    Verb.GIVE_UP: Kind.LOST,
    Verb.CLEAR_DTCS: Kind.DTCS_CLEARED,
    Verb.SNAPSHOT_AFTER: Kind.SNAPSHOT_AFTER,
    Verb.INSPECT: Kind.INSPECTED,
    Verb.FINISH: Kind.FINISHED,
}
CAN_FAIL = {
    Verb.DOWNLOAD,
    Verb.STAGE,
    Verb.CLEAR,
    Verb.ACTIVATE,
    Verb.READ_BACK,
    Verb.CONFIRM,
    Verb.REVERT,
}


def successors(state: State) -> list[State]:
    """Every state that doing the decided thing can lead to, one ECU at a time."""
    decision = decide(state)
    if not decision.ecus:
        found = [advance(state, Entry(kind=ENDS[decision.verb]))]
        if decision.verb is Verb.CLEAR and not interlocked(state):
            found.append(advance(state, Entry(kind=Kind.REFUSED)))
        if decision.verb is Verb.COMMIT:
            found.append(advance(state, Entry(kind=Kind.FAILED)))
        if decision.verb in CAN_FAIL:
            found.append(advance(state, Entry(kind=Kind.FAILED)))
        if decision.verb is Verb.INSPECT and state.direction is Direction.KEEP:
            found += [
                advance(state, Entry(kind=Kind.WENT_BACK, ecu=part.ecu))
                for part in state.parts
                if part.state is not EcuState.LOST
            ]
        return found
    found = []
    for ecu in decision.ecus:
        begun = state
        if kind := BEGINS.get((decision.verb, state.part(ecu).state)):
            begun = advance(state, Entry(kind=kind, ecu=ecu))
            found.append(begun)  # power fails behind the entry
        found.append(advance(begun, Entry(kind=ENDS[decision.verb], ecu=ecu)))
        if decision.verb in CAN_FAIL:
            found.append(advance(begun, Entry(kind=Kind.FAILED, ecu=ecu)))
        after_commit = state.direction is Direction.KEEP
        if after_commit and decision.verb in {Verb.READ_BACK, Verb.CONFIRM}:
            found.append(advance(begun, Entry(kind=Kind.WENT_BACK, ecu=ecu)))
    return found


def restarted(state: State) -> list[State]:
    """What a power cut of the gateway makes of it; nothing where it makes no difference."""
    after = resumed(state)
    return [] if after == state else [after]


def reachable(*, cuts: bool = False) -> dict[State, list[State]]:
    graph: dict[State, list[State]] = {}
    waiting = [State(parts=PARTS)]
    while waiting:
        state = waiting.pop()
        if state in graph:
            continue
        finished = decide(state).verb is Verb.NOTHING
        graph[state] = [] if finished else successors(state)
        if cuts and not finished:
            graph[state] += restarted(state)
        waiting += graph[state]
    return graph


def test_every_reachable_state_is_decided_and_every_path_ends() -> None:
    graph = reachable()
    assert len(graph) > 500
    ends = {state for state, following in graph.items() if not following}
    assert {outcome(state)[0] for state in ends} == set(Outcome)
    # No way leads round in a circle: taking away what has no successors leaves nothing.
    left = {state: set(following) for state, following in graph.items()}
    while finished := {state for state, following in left.items() if not following}:
        left = {state: following - finished for state, following in left.items() if following}
    assert left == {}


def test_an_outcome_says_what_became_of_every_ecu() -> None:
    back = {EcuState.IDLE, EcuState.STAGING, EcuState.STAGED, EcuState.REVERTED}
    for state, following in reachable().items():
        if following:
            continue
        states = {part.state for part in state.parts}
        match outcome(state)[0]:
            case Outcome.UPDATED:
                assert states == {EcuState.CONFIRMED}
            case Outcome.ROLLED_BACK | Outcome.REFUSED:
                assert states <= back
            case Outcome.FAILED_SAFE:
                assert EcuState.LOST in states


def test_nothing_is_confirmed_before_the_commit_and_nothing_reverted_behind_it() -> None:
    for state in reachable():
        verb = decide(state).verb
        if verb is Verb.CONFIRM:
            assert Kind.COMMIT in state.facts
        if verb is Verb.REVERT:
            assert Kind.COMMIT not in state.facts


def test_the_commit_comes_only_when_every_ecu_is_proved() -> None:
    for state in reachable():
        if decide(state).verb is Verb.COMMIT:
            assert {part.state for part in state.parts} == {EcuState.PROVED}


def test_the_single_slot_is_activated_only_when_all_others_are_proved() -> None:
    for state in reachable():
        decision = decide(state)
        forward = state.direction is Direction.FORWARD
        if forward and decision == Decision(verb=Verb.ACTIVATE, ecus=("one",)):
            assert state.part("two").state is EcuState.PROVED


def test_nothing_is_activated_before_it_is_cleared_and_nothing_is_cleared_before_it_is_staged() -> (
    None
):
    seen = set()
    for state in reachable(cuts=True):
        verb = decide(state).verb
        if state.direction is Direction.FORWARD:
            seen.add(verb)
            if verb in {Verb.ACTIVATE, Verb.READ_BACK, Verb.COMMIT}:
                assert Kind.CLEARED in state.facts
        if verb is Verb.CLEAR:
            states = {part.state for part in state.parts}
            assert not states & {EcuState.IDLE, EcuState.STAGING}
            assert state.direction is Direction.FORWARD
    assert {Verb.CLEAR, Verb.ACTIVATE, Verb.READ_BACK, Verb.COMMIT} <= seen


def test_a_restarted_gateway_clears_anew_before_it_goes_on() -> None:
    for state in reachable():
        if state.direction is Direction.FORWARD and Kind.CLEARED in state.facts:
            assert decide(resumed(state)).verb is Verb.CLEAR


def test_the_vehicle_is_held_while_its_ecus_do_not_agree_and_let_go_when_they_do() -> None:
    apart = {
        EcuState.ACTIVATING,
        EcuState.ACTIVATED,
        EcuState.PROVED,
        EcuState.CONFIRMING,
        EcuState.REVERTING,
    }
    for state in reachable(cuts=True):
        states = {part.state for part in state.parts}
        finished = Kind.FINISHED in state.facts
        if states & apart and not finished:
            assert interlocked(state)
        early = state.facts <= {Kind.SNAPSHOT_BEFORE, Kind.DOWNLOADED}
        idle = states <= {EcuState.IDLE, EcuState.STAGING, EcuState.STAGED}
        if finished or (early and idle):
            assert not interlocked(state)
        if decide(state).verb in {Verb.ACTIVATE, Verb.COMMIT}:
            assert interlocked(state)


@pytest.mark.parametrize(("direction", "kind"), list(product(Direction, Kind)))
def test_each_entry_has_a_row_in_each_direction_or_is_refused(
    direction: Direction, kind: Kind
) -> None:
    state = State(parts=PARTS, direction=direction)
    if (direction, kind) not in DIRECTIONS:
        with pytest.raises(CoordinatorError, match=kind.value):
            advance(state, Entry(kind=kind))
        return
    assert DIRECTIONS[direction, kind] in {direction, Direction.BACK, Direction.KEEP}


@pytest.mark.parametrize(("state", "kind"), list(product(EcuState, Kind)))
def test_each_entry_about_an_ecu_has_a_row_in_each_of_its_states_or_is_refused(
    state: EcuState, kind: Kind
) -> None:
    part = EcuPart(ecu="two", single_slot=False, state=state)
    entry = Entry(kind=kind, ecu="two", fields={"verified": 1})
    allowed = [direction for direction in Direction if (direction, kind) in DIRECTIONS]
    for direction in allowed:
        before = State(parts=(part,), direction=direction)
        if (state, kind) in ECU_TRANSITIONS:
            assert advance(before, entry).part("two").state is ECU_TRANSITIONS[state, kind]
        else:
            with pytest.raises(CoordinatorError, match="two"):
                advance(before, entry)


def test_the_first_failure_is_the_reason_and_later_ones_are_not() -> None:
    state = fold(
        PARTS,
        [
            Entry(kind=Kind.SNAPSHOT_BEFORE),
            Entry(kind=Kind.DOWNLOADED),
            Entry(kind=Kind.STAGING, ecu="two"),
            Entry(kind=Kind.FAILED, ecu="two", fields={"step": "verifying", "cause": "no seal"}),
            Entry(kind=Kind.FAILED, ecu="one", fields={"step": "staging", "cause": "late"}),
        ],
    )
    assert outcome(state) == (Outcome.ROLLED_BACK, "two: verifying: no seal")


def test_failures_are_counted_anew_when_the_direction_turns() -> None:
    reasons = Counter(part.failures for state in reachable() for part in state.parts)
    assert max(reasons) == MAX_FAILURES


def test_every_row_of_what_is_next_leads_to_a_verb_that_some_order_does() -> None:
    assert {verb for verb in NEXT.values() if verb} == {
        Verb.STAGE,
        Verb.ACTIVATE,
        Verb.READ_BACK,
        Verb.CONFIRM,
        Verb.REVERT,
    }


def _at(
    state: EcuState,
    *,
    direction: Direction = Direction.FORWARD,
    ecu: str = "two",
    **changes: Any,  # noqa: ANN401 a table of fields
) -> State:
    """One ECU in this state; the other one has nothing left to do."""
    rest = EcuState.PROVED if direction is Direction.FORWARD else EcuState.IDLE
    rest = EcuState.CONFIRMED if direction is Direction.KEEP else rest
    parts = tuple(
        replace(part, state=state, **changes) if part.ecu == ecu else replace(part, state=rest)
        for part in PARTS
    )
    return State(parts=parts, direction=direction)


def _fails(ecu: str = "two") -> Entry:
    return Entry(kind=Kind.FAILED, ecu=ecu, fields={"step": "s", "cause": "c"})


def test_an_ecu_that_is_no_part_of_the_update_is_an_error() -> None:
    with pytest.raises(CoordinatorError, match="three: not a part of this update"):
        State(parts=PARTS).part("three")
    with pytest.raises(CoordinatorError, match="three"):
        advance(State(parts=PARTS), Entry(kind=Kind.STAGING, ecu="three"))


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_follows_the_end(kind: Kind) -> None:
    ended = State(parts=PARTS, direction=Direction.BACK, facts=frozenset({Kind.FINISHED}))
    with pytest.raises(CoordinatorError, match=f"{kind.value}: the update is finished"):
        advance(ended, Entry(kind=kind))
    assert decide(ended).verb is Verb.NOTHING
    assert not interlocked(replace(ended, parts=_at(EcuState.REVERTING).parts))


@pytest.mark.parametrize(
    ("state", "direction", "verb"),
    [
        (EcuState.ACTIVATED, Direction.BACK, Verb.REVERT),
        (EcuState.CONFIRMING, Direction.KEEP, Verb.CONFIRM),
        (EcuState.STAGING, Direction.KEEP, Verb.STAGE),
    ],
)
def test_an_ecu_is_given_up_after_so_many_failures_behind_the_turn(
    state: EcuState, direction: Direction, verb: Verb
) -> None:
    if direction is Direction.BACK:
        now = advance(_at(state), _fails())  # this one turns the update and is not counted
    else:
        now = _at(state, direction=direction)
    for _ in range(MAX_FAILURES):
        assert decide(now) == Decision(verb=verb, ecus=("two",))
        now = advance(now, _fails())
    assert decide(now) == Decision(verb=Verb.GIVE_UP, ecus=("two",))
    assert "two" not in decide(advance(now, Entry(kind=Kind.LOST, ecu="two"))).ecus


def test_going_back_only_an_ecu_that_has_to_be_reverted_is_given_up() -> None:
    failed = _at(EcuState.STAGED, direction=Direction.BACK, failures=MAX_FAILURES)
    assert decide(failed).verb is Verb.SNAPSHOT_AFTER


def test_what_is_verified_never_becomes_less_and_is_void_after_a_failure() -> None:
    def verified(state: State, number: int) -> State:
        entry = Entry(kind=Kind.VERIFIED, ecu="two", fields={"verified": number})
        return advance(state, entry)

    now = verified(verified(_at(EcuState.ACTIVATING), 8192), 4096)
    assert now.part("two").verified == 8192
    assert advance(now, _fails()).part("two").verified == 0
    staged = verified(_at(EcuState.STAGING), 8192)
    assert advance(staged, Entry(kind=Kind.STAGED, ecu="two")).part("two").verified == 0


def test_absences_are_counted_in_a_row_and_end_with_what_gets_through() -> None:
    now = _at(EcuState.STAGING)
    away = Entry(kind=Kind.ABSENT, ecu="two", fields={"cause": "asleep"})
    for number in range(MAX_ABSENCES):
        assert now.part("two").absences == number
        assert may_wait(now, "two")
        now = advance(now, away)
    assert not may_wait(now, "two")
    assert now.part("two").cause == "two: asleep"
    # From the start again is no progress; a verified block and the end of staging are.
    assert advance(now, Entry(kind=Kind.STAGING, ecu="two")).part("two").absences == MAX_ABSENCES
    block = Entry(kind=Kind.VERIFIED, ecu="two", fields={"verified": 1})
    assert advance(now, block).part("two").absences == 0
    assert advance(now, Entry(kind=Kind.STAGED, ecu="two")).part("two").absences == 0


@pytest.mark.parametrize("direction", [Direction.BACK, Direction.KEEP])
def test_an_ecu_that_is_away_is_waited_for_only_while_it_is_staged_going_forward(
    direction: Direction,
) -> None:
    assert not may_wait(_at(EcuState.STAGING, direction=direction), "two")
    assert not may_wait(_at(EcuState.ACTIVATING), "two")


def test_an_ecu_that_goes_back_behind_the_commit_has_everything_looked_at_again() -> None:
    facts = frozenset({Kind.COMMIT, Kind.DTCS_CLEARED, Kind.SNAPSHOT_AFTER, Kind.INSPECTED})
    kept = replace(_at(EcuState.CONFIRMED, direction=Direction.KEEP), facts=facts)
    for kind in (Kind.WENT_BACK, Kind.REPLACED):
        after = advance(kept, Entry(kind=kind, ecu="two", fields={"cause": "c"}))
        assert after.facts == {Kind.COMMIT}
        assert after.part("two") == replace(
            kept.part("two"), state=EcuState.IDLE, failures=1, cause="two: c"
        )


def test_the_gateways_own_trial_does_not_hold_the_car_and_an_ecus_does() -> None:
    def on_trial(direction: Direction, *, gateway: bool) -> State:
        return _at(EcuState.ACTIVATED, direction=direction, gateway=gateway)

    back = Direction.BACK
    assert interlocked(on_trial(back, gateway=False))
    assert not interlocked(on_trial(back, gateway=True))
    one = replace(PARTS[0], state=EcuState.ACTIVATED)
    assert interlocked(State(parts=(one,)))
    assert not interlocked(State(parts=(replace(one, gateway=True),)))
    assert interlocked(State(parts=PARTS, facts=frozenset({Kind.CLEARED})))
    assert not interlocked(_at(EcuState.LOST, direction=Direction.KEEP))
    assert interlocked(_at(EcuState.STAGED, direction=Direction.KEEP))


@pytest.mark.parametrize(
    ("ecu", "state", "ended"),
    [
        ("two", EcuState.IDLE, Outcome.REFUSED),
        ("two", EcuState.STAGING, Outcome.ROLLED_BACK),
        ("two", EcuState.STAGED, Outcome.ROLLED_BACK),
        ("two", EcuState.REVERTED, Outcome.ROLLED_BACK),
        ("one", EcuState.IDLE, Outcome.REFUSED),
        ("one", EcuState.STAGED, Outcome.REFUSED),  # staging a single slot writes nothing
        ("one", EcuState.REVERTED, Outcome.ROLLED_BACK),
        ("two", EcuState.LOST, Outcome.FAILED_SAFE),
    ],
)
def test_what_was_written_to_makes_the_difference_between_refused_and_rolled_back(
    ecu: str, state: EcuState, ended: Outcome
) -> None:
    back = replace(_at(state, direction=Direction.BACK, ecu=ecu), reason="why")
    assert outcome(back)[0] is ended
    if ended is not Outcome.FAILED_SAFE:
        assert outcome(back)[1] == "why"
        # A refused activation has touched nothing but, perhaps, the gateway's own software.
        refused = replace(back, facts=frozenset({Kind.REFUSED}))
        ran = Outcome.ROLLED_BACK if state is EcuState.REVERTED else Outcome.REFUSED
        assert outcome(refused) == (ran, "why")


def test_every_lost_ecu_is_told_behind_what_turned_the_update() -> None:
    parts = tuple(replace(one, state=EcuState.LOST, cause=f"{one.ecu}: gone") for one in PARTS)
    kept = State(parts=parts, direction=Direction.KEEP)
    assert outcome(kept) == (Outcome.FAILED_SAFE, "two: gone; one: gone")
    back = State(parts=parts, direction=Direction.BACK, reason="why")
    assert outcome(back) == (Outcome.FAILED_SAFE, "why; two: gone; one: gone")
    assert outcome(_at(EcuState.CONFIRMED, direction=Direction.KEEP)) == (Outcome.UPDATED, "")


def test_the_gateway_is_activated_before_the_ecus_and_goes_back_behind_them() -> None:
    parts = (
        *(replace(part, state=EcuState.STAGED) for part in PARTS),
        EcuPart(ecu="gateway", single_slot=False, gateway=True, state=EcuState.STAGED),
    )
    facts = frozenset({Kind.SNAPSHOT_BEFORE, Kind.DOWNLOADED, Kind.CLEARED})
    forward = State(parts=parts, facts=facts)
    back = State(
        parts=tuple(replace(part, state=EcuState.PROVED) for part in parts),
        direction=Direction.BACK,
    )
    for state, order in ((forward, ("gateway", "two", "one")), (back, ("two", "one", "gateway"))):
        now, found = state, list[str]()
        while (ecus := decide(now).ecus) and decide(now).verb in {Verb.ACTIVATE, Verb.REVERT}:
            found += ecus
            done = EcuState.PROVED if state is forward else EcuState.REVERTED
            now = replace(
                now,
                parts=tuple(
                    replace(part, state=done) if part.ecu in ecus else part for part in now.parts
                ),
            )
        assert tuple(found) == order


#: States in which an ECU can be while the update goes this way.
_IN: dict[Direction, frozenset[EcuState]] = {
    Direction.FORWARD: frozenset(EcuState)
    - {
        EcuState.CONFIRMING,
        EcuState.CONFIRMED,
        EcuState.REVERTING,
        EcuState.REVERTED,
        EcuState.LOST,
    },
    Direction.BACK: frozenset(EcuState) - {EcuState.CONFIRMING, EcuState.CONFIRMED},
    Direction.KEEP: frozenset(EcuState) - {EcuState.REVERTING, EcuState.REVERTED},
}
#: (the way, where an ECU is that is not lost) for everything that can happen to it.
_PLACES = [
    (direction, state)
    for direction, states in _IN.items()
    for state in EcuState
    if state in states - {EcuState.LOST}
]


def _then(state: State, *kinds: Kind) -> EcuState:
    """Where the ECU `two` is after these entries about it."""
    for kind in kinds:
        fields = {"verified": 1} if kind is Kind.VERIFIED else {}
        state = advance(state, Entry(kind=kind, ecu="two", fields=fields))
    return state.part("two").state


def test_only_a_failure_a_withdrawal_or_another_part_turns_back_and_only_the_commit_keeps() -> None:
    turns = {Kind.FAILED, Kind.CANCELLED, Kind.REPLACED, Kind.REFUSED}
    for direction, kind in DIRECTIONS:
        after = direction
        if direction is Direction.FORWARD and kind in turns:
            after = Direction.BACK
        if direction is Direction.FORWARD and kind is Kind.COMMIT:
            after = Direction.KEEP
        entry = Entry(kind=kind)
        assert advance(State(parts=PARTS, direction=direction), entry).direction is after, kind


def test_while_it_goes_forward_each_entry_of_the_flow_is_allowed() -> None:
    now = State(parts=PARTS)
    for kind in (
        *(Kind.SNAPSHOT_BEFORE, Kind.DOWNLOADED, Kind.STAGING, Kind.VERIFIED, Kind.ABSENT),
        *(Kind.STAGED, Kind.WAITING, Kind.CONSENT, Kind.CLEARED, Kind.ACTIVATING, Kind.ACTIVATED),
        Kind.PROVED,
    ):
        about = "two" if kind in {kind for _, kind in ECU_TRANSITIONS} else ""
        now = advance(now, Entry(kind=kind, ecu=about, fields={"verified": 1}))
        assert now.direction is Direction.FORWARD
    assert now.part("two").state is EcuState.PROVED


@pytest.mark.parametrize(("direction", "state"), _PLACES)
def test_a_failure_leaves_an_ecu_where_it_is(direction: Direction, state: EcuState) -> None:
    assert _then(_at(state, direction=direction), Kind.FAILED) is state


@pytest.mark.parametrize(("direction", "state"), _PLACES)
def test_another_part_was_never_touched(direction: Direction, state: EcuState) -> None:
    assert _then(_at(state, direction=direction), Kind.REPLACED) is EcuState.IDLE


@pytest.mark.parametrize(("direction", "state"), _PLACES)
def test_a_lost_ecu_has_nothing_more_done_to_it_and_counts(
    direction: Direction, state: EcuState
) -> None:
    if direction is Direction.FORWARD:
        with pytest.raises(CoordinatorError, match="lost: not while going forward"):
            advance(_at(state), Entry(kind=Kind.LOST, ecu="two"))
        return
    before = _at(state, direction=direction)
    lost = advance(before, Entry(kind=Kind.LOST, ecu="two", fields={"cause": "gone"}))
    assert outcome(lost)[0] is Outcome.FAILED_SAFE
    assert decide(lost).ecus == ()
    for kind in (Kind.FAILED, Kind.REPLACED, Kind.LOST):
        with pytest.raises(CoordinatorError, match="not while lost"):
            advance(lost, Entry(kind=kind, ecu="two"))


@pytest.mark.parametrize(
    "state",
    [EcuState.UNCHANGED, EcuState.ACTIVATED, EcuState.CONFIRMING, EcuState.CONFIRMED],
)
def test_an_ecu_that_goes_back_behind_the_commit_is_staged_again(state: EcuState) -> None:
    kept = _at(state, direction=Direction.KEEP)
    after = advance(kept, Entry(kind=Kind.WENT_BACK, ecu="two"))
    assert after.part("two").state is EcuState.IDLE
    assert decide(after) == Decision(verb=Verb.STAGE, ecus=("two",))


def test_an_ecu_that_runs_the_release_already_is_left_alone_and_then_only_confirmed() -> None:
    ready = frozenset({Kind.SNAPSHOT_BEFORE, Kind.DOWNLOADED, Kind.CLEARED})
    forward = replace(_at(EcuState.UNCHANGED), facts=ready)
    assert decide(forward).verb is Verb.COMMIT
    alone = replace(forward, parts=(forward.part("two"),))
    back = advance(alone, Entry(kind=Kind.CANCELLED))
    assert decide(back) == Decision(verb=Verb.SNAPSHOT_AFTER)
    assert outcome(back)[0] is Outcome.REFUSED
    kept = _at(EcuState.UNCHANGED, direction=Direction.KEEP)
    assert decide(kept) == Decision(verb=Verb.CONFIRM, ecus=("two",))
    begun = advance(kept, Entry(kind=Kind.CONFIRMING, ecu="two"))
    assert decide(begun) == Decision(verb=Verb.CONFIRM, ecus=("two",))
    assert _then(begun, Kind.CONFIRMED) is EcuState.CONFIRMED


def test_what_is_only_staged_has_nothing_to_revert() -> None:
    staged = advance(_at(EcuState.STAGING), Entry(kind=Kind.STAGED, ecu="two"))
    alone = replace(staged, parts=(staged.part("two"),))
    back = advance(alone, Entry(kind=Kind.CANCELLED))
    assert decide(back).verb is Verb.SNAPSHOT_AFTER


def test_an_activation_that_begins_again_is_not_over() -> None:
    ready = frozenset({Kind.SNAPSHOT_BEFORE, Kind.DOWNLOADED, Kind.CLEARED})
    now = replace(_at(EcuState.ACTIVATING), facts=ready)
    again = advance(now, Entry(kind=Kind.ACTIVATING, ecu="two"))
    assert decide(again) == Decision(verb=Verb.ACTIVATE, ecus=("two",))
