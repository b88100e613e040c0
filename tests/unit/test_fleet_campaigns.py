"""Phases of an assignment: every pair of phase and report is decided."""

import itertools

import pytest

from cloud.fleet.campaigns import (
    ADVANCES,
    CampaignState,
    Outcome,
    Phase,
    Withdrawal,
    advance,
    answered,
)
from cloud.fleet.releases import ImageFormat
from cloud.fleet.verdicts import Verdict
from protocols.fleet.v1 import campaigns_pb2, releases_pb2

#: Awaiting its clearance, a vehicle has staged and not activated; the others are numbered in order.
IN_ORDER = sorted(Phase, key=lambda phase: 3.5 if phase is Phase.AWAITING else phase)


@pytest.mark.parametrize(("current", "reported"), list(itertools.product(Phase, Phase)))
def test_a_phase_never_goes_back_and_a_report_twice_changes_nothing(
    current: Phase, reported: Phase
) -> None:
    after = advance(current, reported)
    assert IN_ORDER.index(after) >= IN_ORDER.index(current)
    assert after in {current, reported}
    assert advance(after, reported) == after


def test_the_table_has_a_row_for_every_phase_and_done_comes_from_no_progress() -> None:
    assert set(ADVANCES) == set(Phase)
    assert not any(Phase.DONE in allowed for allowed in ADVANCES.values())


@pytest.mark.parametrize(("phase", "outcome"), list(itertools.product(Phase, Outcome)))
def test_a_withdrawal_is_answered_once_and_only_by_going_back_or_having_committed(
    phase: Phase, outcome: Outcome
) -> None:
    after = answered(Withdrawal.REQUESTED, phase, outcome)
    for settled in set(Withdrawal) - {Withdrawal.REQUESTED}:
        assert answered(settled, phase, outcome) is settled
    kept = {Outcome.UPDATED, Outcome.FAILED_SAFE}
    if (phase is Phase.DONE and outcome in kept) or phase is Phase.CONFIRMING:
        assert after is Withdrawal.TOO_LATE
    elif phase is Phase.REVERTING or (
        phase is Phase.DONE and outcome in {Outcome.ROLLED_BACK, Outcome.REFUSED}
    ):
        assert after is Withdrawal.ACCEPTED
    else:
        assert after is Withdrawal.REQUESTED


def test_after_the_commit_nothing_is_reverted() -> None:
    assert advance(Phase.CONFIRMING, Phase.REVERTING) is Phase.CONFIRMING
    assert advance(Phase.ACTIVATING, Phase.REVERTING) is Phase.REVERTING


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (Phase, campaigns_pb2.Phase, "PHASE_"),
        (Outcome, campaigns_pb2.Outcome, "OUTCOME_"),
        (Withdrawal, campaigns_pb2.Withdrawal, "WITHDRAWAL_"),
        (CampaignState, campaigns_pb2.CampaignState, "CAMPAIGN_STATE_"),
        (Verdict, campaigns_pb2.Verdict, "VERDICT_"),
        (ImageFormat, releases_pb2.ImageFormat, "IMAGE_FORMAT_"),
    ],
)
def test_numbers_are_those_of_the_wire(
    ours: type[Phase], theirs: type[campaigns_pb2.Phase], prefix: str
) -> None:
    wire = {name: number for name, number in theirs.items() if number}
    assert {f"{prefix}{one.name}": int(one) for one in ours if one} == wire
