"""How `python -m fuzz` shares its time."""

from fuzz.__main__ import Budget


def test_equal_starts_get_equal_shares_that_fill_the_time() -> None:
    budget, now, ends = Budget(seconds=220, harnesses=35, jobs=2, now=1000.0), 1000.0, [0.0, 0.0]
    shares = []
    for number in range(35):
        now = 1000.0 + ends[number % 2]
        shares.append(budget.take(now=now))
        ends[number % 2] += shares[-1]
    assert max(ends) < 220.001
    assert min(shares) > 0.95 * 220 / 18
    assert max(shares) < 1.1 * 220 / 18


def test_a_slow_harness_shortens_the_others_instead_of_the_whole_run() -> None:
    budget = Budget(seconds=100, harnesses=10, jobs=1, now=0.0)
    assert budget.take(now=0.0) == 10
    # It took 46 s instead of 10.
    assert budget.take(now=46.0) == 6


def test_a_harness_that_is_over_early_leaves_its_time_to_the_others() -> None:
    budget = Budget(seconds=100, harnesses=10, jobs=1, now=0.0)
    budget.take(now=0.0)
    assert budget.take(now=1.0) == 11


def test_no_time_left_is_no_time() -> None:
    budget = Budget(seconds=10, harnesses=2, jobs=1, now=0.0)
    budget.take(now=0.0)
    assert budget.take(now=60.0) == 0
