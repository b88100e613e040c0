"""Retries and the data budget: tables and rules, without a network."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import grpc
import pytest

from vehicle_gateway.calls.budget import (
    UNLIMITED,
    DataBudget,
    DataLimits,
    DataSpentError,
    DataUsed,
    DayOrMonthSpentError,
    decode,
)
from vehicle_gateway.calls.policy import GRPC_REMEDIES, Attempts, Remedy, RetryPolicy

DAY_US = 86_400_000_000
#: 1970-01-30, the last but one day of its month.
START_US = 29 * DAY_US


def test_every_failure_of_grpc_has_its_remedy() -> None:
    assert set(GRPC_REMEDIES) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


def test_pauses_double_up_to_a_longest_and_half_of_each_is_left_to_chance() -> None:
    policy = RetryPolicy(first_s=1.0, longest_s=10.0)
    assert [policy.pause_s(failures, 1.0) for failures in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert policy.pause_s(3, 0.0) == 2.0
    assert policy.pause_s(100_000, 1.0) == 10.0


def _pauses(
    attempts: Attempts, remedy: Remedy, progress: Iterator[bool], *, most: int = 1000
) -> int:
    """How many failures there are until it is given up."""
    for failures in range(1, most + 1):
        if attempts.failed(remedy, progressed=next(progress), chance=0.5) is None:
            return failures
    raise AssertionError("never given up")


def test_what_brings_nothing_is_tried_so_often_and_no_more() -> None:
    attempts = Attempts(policy=RetryPolicy(tries=5))
    assert _pauses(attempts, Remedy.AGAIN, iter([False] * 10)) == 5


@pytest.mark.parametrize("remedy", [Remedy.LATER, Remedy.FROM_START, Remedy.GIVE_UP])
def test_what_will_not_pass_by_itself_is_not_tried_again(remedy: Remedy) -> None:
    assert _pauses(Attempts(policy=RetryPolicy()), remedy, iter([True])) == 1


def test_progress_begins_a_new_row_and_even_then_there_is_an_end() -> None:
    attempts = Attempts(policy=RetryPolicy(tries=3))
    assert _pauses(attempts, Remedy.AGAIN, iter([False, False, True, False, False, False])) == 6
    attempts = Attempts(policy=RetryPolicy(tries=3, most_failures=50))
    assert _pauses(attempts, Remedy.AGAIN, (True for _ in count())) == 50
    # After progress the pause is the first one again.
    attempts = Attempts(policy=RetryPolicy(first_s=1.0))
    for progressed, pause_s in ((False, 1.0), (False, 2.0), (True, 1.0), (False, 1.0)):
        assert attempts.failed(Remedy.AGAIN, progressed=progressed, chance=1.0) == pause_s


class Clock:
    def __init__(self) -> None:
        self.us = START_US

    def __call__(self) -> int:
        return self.us


def test_a_campaigns_budget_has_room_for_the_whole_file_or_it_is_refused(tmp_path: Path) -> None:
    budget = DataBudget(tmp_path / "data.json", DataLimits(campaign=1000), now_us=Clock())
    budget.campaign = "campaigns/a"
    budget.charge(sent=100, received=500)
    budget.admit(400)
    with pytest.raises(DataSpentError, match=r"campaigns/a: 600 of 1000 bytes are used, and 401"):
        budget.admit(401)
    budget.campaign = "campaigns/b"
    budget.admit(1000)
    assert budget.used("campaigns/a") == DataUsed(sent=100, received=500)


def test_a_days_and_a_months_budget_are_used_up_and_come_again(tmp_path: Path) -> None:
    clock = Clock()
    limits = DataLimits(day=1000, month=1500)
    budget = DataBudget(tmp_path / "data.json", limits, now_us=clock)
    budget.charge(received=999)
    budget.admit(1_000_000)  # goes on tomorrow
    budget.charge(received=1)
    with pytest.raises(DayOrMonthSpentError, match="day 1970-01-30: 1000 of 1000 bytes"):
        budget.admit(1)
    clock.us += DAY_US
    budget.admit(1)
    budget.charge(received=500)
    with pytest.raises(DayOrMonthSpentError, match=r"month 1970-01: 1500 of 1500 .* next month"):
        budget.admit(1)
    clock.us += DAY_US
    budget.admit(1)


def test_what_is_used_outlives_a_restart_and_a_kill_forgets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    first = DataBudget(path, UNLIMITED, now_us=Clock())
    first.campaign = "campaigns/a"
    true = DataUsed()
    for step in range(1, 2000):
        first.charge(sent=10, received=step)
        true += DataUsed(sent=10, received=step)
        killed = DataBudget(path, UNLIMITED, now_us=Clock()).used("campaigns/a")
        assert true.total <= killed.total <= true.total + 256 * 1024
    first.close()
    assert DataBudget(path, UNLIMITED, now_us=Clock()).used("campaigns/a") == true


def test_old_campaigns_are_forgotten_and_the_file_stays_small(tmp_path: Path) -> None:
    clock = Clock()
    budget = DataBudget(tmp_path / "data.json", UNLIMITED, now_us=clock)
    for number in range(200):
        clock.us += DAY_US
        budget.campaign = f"campaigns/{number}"
        budget.charge(received=1_000_000)
    assert (tmp_path / "data.json").stat().st_size < 4000
    assert budget.used("campaigns/199").received == 1_000_000
    assert budget.used("campaigns/1") == DataUsed()


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"day": 1}', b'{"day": [1, -1]}', b"[" * 5000, b'{"a":[1,1]}' * 9000]
)
def test_a_damaged_file_is_told_from_a_sound_one(content: bytes, tmp_path: Path) -> None:
    assert decode(content) is None
    (tmp_path / "data.json").write_bytes(content)
    assert DataBudget(tmp_path / "data.json", UNLIMITED, now_us=Clock()).used("a") == DataUsed()
