"""Routines that run on (31 01, 02, 03) against a bench server. Requests and answers in hex."""

import pytest

from ecu_sim.diagnostics import Job
from protocols.uds import Nrc, Refusal
from protocols.uds.rules import EVERY_CONTROL, EXTENDED, RoutineRule, two_slot_application
from tests.support.diagnostics import OTHER_TESTER, Bench, BenchDevice, CountingRoutine

OPEN = RoutineRule(sessions=EXTENDED, functional=False, controls=EVERY_CONTROL)
LOCKED = RoutineRule(sessions=EXTENDED, secured=True, functional=False, controls=EVERY_CONTROL)
RULES = two_slot_application(more_routines={0x0220: OPEN, 0x0221: LOCKED})
START, STOP, RESULTS = "31 01 02 20", "31 02 02 20", "31 03 02 20"


@pytest.fixture
def bench() -> Bench:
    bench = Bench(RULES)
    bench.ask("10 03")
    return bench


def keep_alive(bench: Bench, seconds: float) -> None:
    for _ in range(round(seconds * 2)):
        bench.tell("3E 80")
        assert bench.run(0.5) == []


def test_the_answer_comes_at_once_and_the_routine_goes_on(bench: Bench) -> None:
    assert bench.tell(START) != []
    assert not bench.server.busy
    assert bench.ask(RESULTS) == "710302200100"
    keep_alive(bench, 2.5)
    assert bench.ask(RESULTS) == "710302200102"
    keep_alive(bench, 1.0)
    assert bench.ask(RESULTS) == "710302200003"


def test_a_step_is_counted_when_its_time_has_passed_and_not_before(bench: Bench) -> None:
    bench.ask(START)
    bench.run(0.999)
    assert bench.ask(RESULTS) == "710302200100"
    bench.run(0.001)
    assert bench.ask(RESULTS) == "710302200101"


def test_a_stopped_routine_tells_how_far_it_came(bench: Bench) -> None:
    bench.ask(START)
    bench.run(1.5)
    assert bench.ask(STOP) == "710202200201"
    keep_alive(bench, 3.0)
    assert bench.ask(RESULTS) == "710302200201"


def test_out_of_sequence_is_24(bench: Bench) -> None:
    assert bench.ask(STOP) == "7f3124"
    assert bench.ask(RESULTS) == "7f3124"
    bench.ask(START)
    assert bench.ask(START) == "7f3124"
    assert bench.ask(STOP)[:2] == "71"
    assert bench.ask(STOP) == "7f3124"
    assert bench.ask(START)[:2] == "71"
    keep_alive(bench, 3.5)
    assert bench.ask(STOP) == "7f3124"
    assert bench.ask(START)[:2] == "71"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("31 04 02 20", "7f3112"),
        ("31 02 02", "7f3113"),
        ("31 02 77 77", "7f3131"),
        # The lock before the sub-function, and that before everything that only the routine knows.
        ("31 02 02 21", "7f3133"),
        ("31 02 02 02", "7f3133"),
        ("31 02 02 13", "7f3112"),
        ("31 03 02 13 00", "7f3112"),
        # The option record before the sequence.
        ("31 01 02 20 00", "7f3113"),
        ("31 02 02 20 00", "7f3113"),
        ("31 03 02 20 00", "7f3113"),
        # Suppressed: only what is positive.
        ("31 82 02 20", "7f3124"),
        ("31 81 02 20", ""),
    ],
)
def test_the_order_of_objections(bench: Bench, request_hex: str, answer: str) -> None:
    assert bench.ask(request_hex) == answer


def test_a_functional_request_is_not_told_what_others_may_have(bench: Bench) -> None:
    bench.ask(START)
    assert bench.ask(STOP, functional=True) == ""
    assert bench.ask("31 02 02 03", functional=True) == ""
    assert bench.ask(RESULTS) == "710302200100"


def test_conditions_that_are_not_met_start_nothing(bench: Bench) -> None:
    bench.device.conditions = False
    assert bench.ask(START) == "7f3122"
    assert bench.ask(RESULTS) == "7f3124"


def test_it_runs_on_in_another_session_that_has_it(bench: Bench) -> None:
    bench.ask(START)
    bench.run(1.5)
    bench.ask("10 03")
    assert bench.device.background[0].state == "running"
    bench.run(1.0)
    assert bench.ask(RESULTS) == "710302200102"


def test_the_end_of_its_sessions_stops_it(bench: Bench) -> None:
    bench.ask(START)
    bench.run(1.5)
    bench.ask("10 01")
    assert bench.device.background[0].state == "stopped"
    bench.ask("10 03")
    assert bench.ask(RESULTS) == "710302200201"


def test_a_default_session_that_begins_anew_stops_what_runs_in_any() -> None:
    anywhere = RoutineRule(controls=EVERY_CONTROL)
    bench = Bench(two_slot_application(more_routines={0x0220: anywhere}))
    bench.ask(START)
    bench.run(1.5)
    bench.ask("10 03")
    assert bench.device.background[0].state == "running"
    bench.ask("10 01")
    assert bench.device.background[0].state == "running"
    bench.ask("10 01")
    assert bench.device.background[0].state == "stopped"


def test_s3_stops_it(bench: Bench) -> None:
    bench.device.step_s = 3600.0
    bench.ask(START)
    bench.run(4.999)
    (routine,) = bench.device.background
    assert routine.state == "running"
    bench.run(0.001)
    assert routine.state == "stopped"
    assert bench.server.next_deadline() is None


def test_one_that_fails_on_its_way_has_ended() -> None:
    class Failing(CountingRoutine):
        def start(self) -> Job:
            yield 1.0
            self.state = "stopped"
            raise Refusal(Nrc.FAILURE_PREVENTS_EXECUTION)

    class Device(BenchDevice):
        def background_routine(self, rid: int, option: bytes) -> Failing:  # noqa: ARG002 the port's arguments
            return Failing()

    bench = Bench(RULES, Device())
    bench.ask("10 03")
    bench.ask(START)
    bench.run(1.0)
    assert bench.ask(STOP) == "7f3124"
    assert bench.ask(RESULTS) == "710302200200"


def test_another_tester_waits_until_the_session_is_free(bench: Bench) -> None:
    bench.ask(START)
    assert bench.ask(STOP, source=OTHER_TESTER) == "7f3121"


def test_two_routines_run_beside_each_other_and_beside_other_requests(bench: Bench) -> None:
    bench.unlock()
    bench.ask(START)
    bench.run(0.5)
    bench.ask("31 01 02 21")
    assert bench.ask("22 F1 88") == "62f18853572d31"
    bench.run(1.0)
    assert bench.ask(STOP) == "710202200201"
    bench.run(0.5)
    assert bench.ask("31 03 02 21") == "710302210101"
