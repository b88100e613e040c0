"""The coordinator holds in every state that can be reached, and a broken one does not."""

from dataclasses import replace

import pytest

from canota.chaos.model import FULL, QUICK, EcuKind, Explorer, Instance, Violation
from tests.support.cli import canota
from vehicle_gateway.update.coordinator import (
    DIRECTIONS,
    ECU_TRANSITIONS,
    GATES,
    NEXT,
    ORDER,
    RULES,
    Direction,
    EcuState,
    Outcome,
    Rules,
    Verb,
    Who,
)
from vehicle_gateway.update.journal import Kind

#: Distinct states of the instances of `QUICK`: fewer would mean that something no longer happens.
FLOORS = (30_000, 10_000, 3_000, 7_000)


def test_no_state_breaks_a_promise_and_the_command_says_how_many_there_are() -> None:
    ended = canota("chaos", "model", "--json")
    assert ended.json["violations"] == 0, ended.json
    assert ended.code == 0
    assert ended.json["states"] == sum(one["states"] for one in ended.json["instances"])
    for one, floor in zip(ended.json["instances"], FLOORS, strict=True):
        assert one["states"] > floor
        assert set(one["ends"]) == {outcome.value for outcome in Outcome}
    kinds = {kind for one in ended.json["instances"] for kind in one["ecus"]}
    assert {"two slots (unchanged)", "the gateway's own"} <= kinds


def _violation(rules: Rules, instance: Instance = QUICK[0]) -> Violation:
    found = Explorer(instance, rules).explore()
    assert found.violation is not None
    return found.violation


BACK, KEEP, FORWARD = Direction.BACK, Direction.KEEP, Direction.FORWARD

#: A coordinator with one mistake -> the promise that it breaks.
BROKEN: dict[str, tuple[Rules, str]] = {
    "it compensates after a failed confirmation": (
        replace(RULES, directions={**DIRECTIONS, (KEEP, Kind.FAILED): BACK}),
        "failed turns the update behind its commit",
    ),
    "it compensates when an ECU goes back by itself": (
        replace(RULES, directions={**DIRECTIONS, (KEEP, Kind.WENT_BACK): BACK}),
        "went_back turns the update behind its commit",
    ),
    "it can be cancelled behind the commit": (
        replace(RULES, directions={**DIRECTIONS, (KEEP, Kind.LOST): BACK}),
        "lost turns the update behind its commit",
    ),
    "it confirms what it has not committed": (
        replace(
            RULES,
            next={**NEXT, (FORWARD, EcuState.PROVED): Verb.CONFIRM},
            order={**ORDER, FORWARD: (*ORDER[FORWARD], (Verb.CONFIRM, Who.ALL))},
        ),
        "something is confirmed before the commit",
    ),
    "it forgets an ECU that was being activated": (
        replace(RULES, next={**NEXT, (BACK, EcuState.ACTIVATING): None}),
        "half updated",
    ),
    "it forgets an ECU that was proved": (
        replace(RULES, next={**NEXT, (BACK, EcuState.PROVED): None}),
        "half updated",
    ),
    "it confirms for ever": (
        replace(
            RULES,
            ecu_transitions={
                **ECU_TRANSITIONS,
                (EcuState.CONFIRMING, Kind.CONFIRMED): EcuState.PROVED,
            },
        ),
        "a run need not end",
    ),
    "it activates whatever the vehicle does": (
        replace(
            RULES, gates={key: gate for key, gate in GATES.items() if key[1] is not Verb.ACTIVATE}
        ),
        "activate without a clearance",
    ),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_broken_coordinator_is_caught(mistake: str) -> None:
    rules, promise = BROKEN[mistake]
    found = _violation(rules)
    assert promise in found.promise
    assert found.trace[0] == "the release is offered"
    assert len(found.trace) > 3


#: With one ECU that runs the release before, and with the gateway's own software.
UNCHANGED = Instance(ecus=QUICK[1].ecus, unchanged=1, crashes=0, failures=1, resets=0)
GATEWAY = Instance(
    ecus=(EcuKind.TWO_SLOT, EcuKind.GATEWAY), crashes=0, failures=1, resets=0, withdrawals=0
)


def _without(order: Direction, who: Who) -> tuple[tuple[Verb, Who], ...]:
    return tuple(row for row in ORDER[order] if row[1] is not who)


_OWN_ACTIVATED = ((Verb.ACTIVATE, Who.GATEWAY), (Verb.READ_BACK, Who.GATEWAY))

#: A mistake about a part that begins in another way -> the promise that it breaks.
BROKEN_PARTS: dict[str, tuple[Instance, Rules, str]] = {
    "it reverts an ECU that ran the release before": (
        UNCHANGED,
        replace(
            RULES,
            next={**NEXT, (BACK, EcuState.UNCHANGED): Verb.REVERT},
            ecu_transitions={
                **ECU_TRANSITIONS,
                (EcuState.UNCHANGED, Kind.REVERTING): EcuState.REVERTING,
            },
        ),
        "a was not left alone",
    ),
    "it does not end the trial of an ECU that ran the release before": (
        UNCHANGED,
        replace(RULES, next={**NEXT, (KEEP, EcuState.UNCHANGED): None}),
        "a has a trial that may change",
    ),
    "it activates the gateway's own software behind the ECUs": (
        GATEWAY,
        replace(
            RULES, order={**ORDER, FORWARD: (*_without(FORWARD, Who.GATEWAY), *_OWN_ACTIVATED)}
        ),
        "activate before the gateway's turn",
    ),
    "it reverts the gateway's own software before the ECUs": (
        GATEWAY,
        replace(
            RULES,
            order={**ORDER, BACK: ((Verb.REVERT, Who.GATEWAY), *_without(BACK, Who.GATEWAY))},
        ),
        "revert before the gateway's turn",
    ),
    "it forgets the gateway's own software going back": (
        GATEWAY,
        replace(RULES, order={**ORDER, BACK: _without(BACK, Who.GATEWAY)}),
        "b has a trial that may change",
    ),
}


@pytest.mark.parametrize("mistake", BROKEN_PARTS)
def test_a_broken_rule_for_such_a_part_is_caught(mistake: str) -> None:
    instance, rules, promise = BROKEN_PARTS[mistake]
    assert Explorer(instance).explore().violation is None
    assert promise in _violation(rules, instance).promise


def test_the_full_run_has_parts_that_begin_unchanged_and_the_gateways_own() -> None:
    assert any(one.unchanged and EcuKind.GATEWAY not in one.ecus for one in FULL)
    assert any(EcuKind.GATEWAY in one.ecus[one.unchanged :] for one in FULL)
    assert any(EcuKind.GATEWAY in one.ecus[: one.unchanged] for one in FULL)


def test_the_gateway_goes_on_behind_each_start_of_its_own_software() -> None:
    found = Explorer(GATEWAY).explore()
    assert {Outcome.UPDATED, Outcome.ROLLED_BACK} <= found.ends.keys()


def test_an_ecu_that_answers_nothing_more_is_given_up_and_named_lost() -> None:
    found = Explorer(Instance(ecus=QUICK[1].ecus, crashes=0, failures=3, resets=0)).explore()
    assert found.violation is None
    assert Outcome.FAILED_SAFE in found.ends
