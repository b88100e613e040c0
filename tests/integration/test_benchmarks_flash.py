"""The flash benchmark's own sequence, on the virtual clock, where its figures repeat exactly."""

import pytest

from benchmarks.flash import CASES, Case, Measured, make_image, program, table
from clock import run


def programmed(case: Case) -> Measured:
    return run(program(case, make_image(case, 3)), virtual=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gateway_and_ecu_leave_the_wire_hardly_a_pause(case: Case) -> None:
    measured = programmed(case)
    assert 0.985 <= measured.ratio < 1.0


def test_the_virtual_clock_gives_the_same_time_to_the_nanosecond() -> None:
    first, second = programmed(CASES[0]), programmed(CASES[0])
    assert (first.transfer_s, first.loop_s) == (second.transfer_s, second.loop_s)


def test_the_table_names_every_wire_and_figure() -> None:
    text = table({"can_500k": {"real_time_ratio": 0.99, "virtual_factor": 100.0}})
    assert "can_500k" in text
    assert "real_time_ratio" in text
    assert "0.99" in text
