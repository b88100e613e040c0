"""The flash benchmark's own sequence, on the virtual clock, where its figures repeat exactly."""

import pytest

from benchmarks.__main__ import table
from benchmarks.flash import CASES, Case, Measured, measure
from clock import run


def measured(case: Case) -> Measured:
    return run(measure(case, seconds=3), virtual=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gateway_and_ecu_leave_the_wire_hardly_a_pause(case: Case) -> None:
    assert 0.985 <= measured(case).ratio < 1.0


def test_the_virtual_clock_gives_the_same_time_to_the_nanosecond() -> None:
    first, second = measured(CASES[0]).done, measured(CASES[0]).done
    assert (first.transfer_s, first.loop_s) == (second.transfer_s, second.loop_s)


def test_the_table_names_every_wire_and_figure() -> None:
    text = table({"can_500k": {"real_time_ratio": 0.99, "virtual_factor": 100.0}})
    assert "can_500k" in text
    assert "real_time_ratio" in text
    assert "0.99" in text
