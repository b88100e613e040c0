"""The flash benchmark's own sequence, on the virtual clock, where its figures repeat exactly."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.__main__ import table
from benchmarks.bench_ecu import REQUEST_ID, RESPONSE_ID
from benchmarks.company import Company
from benchmarks.flash import CASES, Case, Measured, measure
from clock import run
from ecu_sim.signals import header_of
from protocols.can import FrameHeader
from protocols.can.bits import NS_PER_S
from recording import CanFrame
from tests.support.logs import read


def measured(case: Case) -> Measured:
    return run(measure(case, seconds=3), virtual=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gateway_and_ecu_leave_the_wire_hardly_a_pause(case: Case) -> None:
    assert 0.985 <= measured(case).ratio < 1.0


def test_the_virtual_clock_gives_the_same_time_to_the_nanosecond() -> None:
    first, second = measured(CASES[0]).done, measured(CASES[0]).done
    assert (first.transfer_s, first.loop_s) == (second.transfer_s, second.loop_s)


def frames_of(case: Case, *, each: bool) -> tuple[list[tuple[float, FrameHeader, bytes]], float]:
    """Every frame of a flash beside cyclic signals, and how long the flash took."""
    heard: list[tuple[float, FrameHeader, bytes]] = []

    def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
        heard.append((at_s, header, data))

    def hear_run(header: FrameHeader, payloads: Sequence[bytes], times: Sequence[float]) -> None:
        for data, at_s in zip(payloads, times, strict=True):
            hear(header, data, at_s)

    company = Company(cyclic=True, listener=hear, run_listener=None if each else hear_run)
    done = run(measure(case, seconds=2, company=company), virtual=True).done
    return heard, done.loop_s


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
def test_a_flash_that_is_looked_at_frame_by_frame_has_the_same_frames_and_times(case: Case) -> None:
    frames, took_s = frames_of(case, each=True)
    assert frames_of(case, each=False) == (frames, took_s)
    identifiers = {header.identifier for _, header, _ in frames}
    assert {REQUEST_ID, RESPONSE_ID, header_of("vehicle", "VEH_Motion").identifier} <= identifiers


def test_the_log_of_a_flash_has_every_frame_that_a_listener_hears(tmp_path: Path) -> None:
    frames, _ = frames_of(CASES[0], each=True)
    path = tmp_path / "flash.pcapng"
    run(measure(CASES[0], seconds=2, company=Company(cyclic=True, log=path)), virtual=True)
    _, records = read(path)
    logged = [(it.at_ns, it.header, it.data) for it in records if isinstance(it, CanFrame)]
    expected = [(round(at_s * NS_PER_S), header, data) for at_s, header, data in frames]
    start_ns = logged[0][0] - expected[0][0]
    assert [(at_ns - start_ns, header, data) for at_ns, header, data in logged] == expected


def test_the_table_names_every_wire_and_figure() -> None:
    text = table({"can_500k": {"real_time_ratio": 0.99, "virtual_factor": 100.0}})
    assert "can_500k" in text
    assert "real_time_ratio" in text
    assert "0.99" in text
