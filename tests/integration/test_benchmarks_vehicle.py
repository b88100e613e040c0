"""The vehicle benchmark's budgets, on the virtual clock, where its figures repeat exactly."""

from benchmarks.__main__ import table
from benchmarks.vehicle import run


def test_a_busy_car_is_flashed_at_its_bound_and_keeps_its_cycles() -> None:
    figures = run(quick=True)
    assert 0.97 <= figures["bound_ratio"] <= 1.0
    assert 0.0 < figures["worst_cycle_shift"] <= 0.10
    assert figures["out_of_use_s"] <= figures["out_of_use_bound_s"]
    # Others took their 40 %, and the download the rest.
    assert figures["busiest_wire"] >= 0.9
    assert "bound_ratio" in table(figures)
