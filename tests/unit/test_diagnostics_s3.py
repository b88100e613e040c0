"""S3server starts with the last bit of an answer and stops with the first frame of a request.

ISO 14229-2, session layer timing: on each side of the limit, on the bench's clock.
"""

import pytest

from ecu_sim.diagnostics import Respond, Restart
from protocols.uds import ResetType, Session
from protocols.uds.rules import bootloader, two_slot_application
from tests.support.diagnostics import ERASE_S, OTHER_TESTER, TESTER, Bench

S3_S = 5.0
JUST = 0.001
LONG_AFTER = 100.0


@pytest.fixture
def bench() -> Bench:
    bench = Bench(two_slot_application())
    bench.ask("1003")
    bench.unlock()
    bench.prompt = False
    return bench


def answers(bench: Bench, request_hex: str, *, functional: bool = False) -> list[Respond]:
    events = bench.tell(request_hex, functional=functional)
    return [event for event in events if isinstance(event, Respond)]


def assert_runs_from_here(bench: Bench) -> None:
    bench.run(S3_S - JUST)
    assert bench.session() == Session.EXTENDED
    bench.run(JUST)
    assert bench.session() == Session.DEFAULT


@pytest.mark.parametrize(
    "request_hex", ["1003", "22f190", "3e00", "22ffff", "10", "ba", "3101ffff", "2701"]
)
def test_it_starts_with_the_last_bit_of_an_answer_positive_or_negative(
    bench: Bench, request_hex: str
) -> None:
    (answer,) = answers(bench, request_hex)
    bench.run(LONG_AFTER)
    assert bench.session() == Session.EXTENDED
    bench.server.sent(answer, now=bench.now)
    assert_runs_from_here(bench)


@pytest.mark.parametrize(
    ("request_hex", "functional"),
    [("3e80", False), ("3e80", True), ("1083", False), ("22ffff", True), ("ba", True)],
)
def test_it_starts_at_once_where_nothing_is_answered(
    bench: Bench,
    request_hex: str,
    functional: bool,  # noqa: FBT001 a column of the table
) -> None:
    bench.run(S3_S - JUST)
    assert answers(bench, request_hex, functional=functional) == []
    assert_runs_from_here(bench)


def test_it_starts_with_the_last_bit_of_what_follows_78(bench: Bench) -> None:
    bench.tell("3101ff00")
    told = [event for _, event in bench.run(ERASE_S) if isinstance(event, Respond)]
    *pending, last = told
    assert [event.payload[2] for event in pending] == [0x78] * len(pending)
    bench.run(LONG_AFTER)
    for event in pending:
        bench.server.sent(event, now=bench.now)
    bench.run(LONG_AFTER)
    assert bench.session() == Session.EXTENDED
    bench.server.sent(last, now=bench.now)
    assert_runs_from_here(bench)


def test_an_answer_that_a_newer_request_has_overtaken_starts_nothing(bench: Bench) -> None:
    (first,) = answers(bench, "22f190")
    (second,) = answers(bench, "22f188")
    bench.server.sent(first, now=bench.now)
    bench.run(LONG_AFTER)
    assert bench.session() == Session.EXTENDED
    bench.server.sent(second, now=bench.now)
    assert_runs_from_here(bench)


def test_it_stops_with_the_first_frame_of_a_request_and_starts_anew_if_the_rest_is_lost(
    bench: Bench,
) -> None:
    bench.run(S3_S - JUST)
    bench.server.reception_began(source=TESTER)
    bench.run(LONG_AFTER)
    assert bench.session() == Session.EXTENDED
    bench.server.reception_failed(source=TESTER, now=bench.now)
    assert_runs_from_here(bench)


def test_a_request_that_breaks_off_during_an_answer_leaves_it_to_the_answer(bench: Bench) -> None:
    (answer,) = answers(bench, "22f190")
    bench.server.reception_began(source=TESTER)
    bench.server.reception_failed(source=TESTER, now=bench.now)
    bench.run(LONG_AFTER)
    assert bench.session() == Session.EXTENDED
    bench.server.sent(answer, now=bench.now)
    assert_runs_from_here(bench)


@pytest.mark.parametrize("another", [False, True], ids=["the answer before", "another request"])
def test_nothing_starts_it_during_a_long_request(
    bench: Bench,
    another: bool,  # noqa: FBT001 a column of the table
) -> None:
    (answer,) = answers(bench, "22f190")
    bench.tell("3101ff00")
    bench.server.sent(answer, now=bench.now)
    if another:
        bench.server.reception_began(source=TESTER)
        bench.server.reception_failed(source=TESTER, now=bench.now)
    happened = bench.run(ERASE_S)
    assert bench.session() == Session.EXTENDED
    last = happened[-1][1]
    assert isinstance(last, Respond)
    assert last.payload.hex() == "7101ff0000"
    bench.server.sent(last, now=bench.now)
    assert_runs_from_here(bench)


def test_neither_an_answer_nor_a_keep_alive_starts_it_in_the_middle_of_a_request(
    bench: Bench,
) -> None:
    (answer,) = answers(bench, "22f190")
    bench.server.reception_began(source=TESTER)
    bench.server.sent(answer, now=bench.now)
    bench.run(LONG_AFTER)
    assert answers(bench, "3e80", functional=True) == []
    bench.run(LONG_AFTER)
    assert bench.session() == Session.EXTENDED
    (answer,) = answers(bench, "22f188")
    bench.server.sent(answer, now=bench.now)
    assert_runs_from_here(bench)


def test_the_frames_of_another_tester_neither_stop_nor_start_it(bench: Bench) -> None:
    bench.run(S3_S - 2 * JUST)
    bench.server.reception_began(source=OTHER_TESTER)
    bench.run(JUST)
    bench.server.reception_failed(source=OTHER_TESTER, now=bench.now)
    (answer,) = (
        event for event in bench.tell("22f190", source=OTHER_TESTER) if isinstance(event, Respond)
    )
    bench.server.sent(answer, now=bench.now)
    assert bench.session() == Session.EXTENDED
    bench.run(JUST)
    assert bench.session() == Session.DEFAULT


def test_another_tester_s_message_that_breaks_off_does_not_start_it_in_the_owner_s(
    bench: Bench,
) -> None:
    bench.server.reception_began(source=TESTER)
    bench.server.reception_began(source=OTHER_TESTER)
    bench.server.reception_failed(source=OTHER_TESTER, now=bench.now)
    bench.run(LONG_AFTER)
    assert bench.session() == Session.EXTENDED


def test_a_boot_loader_s_first_answer_starts_it_too() -> None:
    bench = Bench(bootloader())
    (answer,) = bench.server.resume_programming(source=TESTER, now=bench.now)
    assert isinstance(answer, Respond)
    assert bench.run(LONG_AFTER) == []
    bench.server.sent(answer, now=bench.now)
    assert bench.run(S3_S - JUST) == []
    assert bench.run(JUST) == [(JUST, Restart(ResetType.SOFT))]


def test_the_default_session_has_none(bench: Bench) -> None:
    (answer,) = answers(bench, "1001")
    assert bench.server.next_deadline() is None
    bench.server.sent(answer, now=bench.now)
    bench.server.reception_began(source=TESTER)
    bench.server.reception_failed(source=TESTER, now=bench.now)
    assert bench.server.next_deadline() is None
