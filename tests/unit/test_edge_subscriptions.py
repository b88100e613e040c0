"""Who gets what an ECU behind the edge node sends unasked, under a test's own clock."""

import pytest

from ecu_sim.edge_subscriptions import Asker, Subscriptions, suppresses

ONE, TWO = Asker(0x0E80, 1), Asker(0x0E81, 2)
S3_S = 5.0
#: 86 03: when 0101 changes, tell 0101; when 0102 changes, tell 0102 and 0103.
CHANGE, OTHER_CHANGE = "86 03 02 01 01 22 01 01", "86 03 02 01 02 22 01 02 01 03"
START, STOP, CLEAR = "86 05 02", "86 00 02", "86 06 02"
EVENT, OTHER_EVENT = "62 01 01 2a", "62 01 02 2a 01 03 2b"


class Bench:
    def __init__(self) -> None:
        self.subscriptions = Subscriptions(s3_s=S3_S)
        self.now = 10.0

    def accept(self, *requests: str, asker: Asker = ONE) -> None:
        for request in requests:
            self.subscriptions.accepted(asker, bytes.fromhex(request), now=self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.subscriptions.expire(now=self.now)

    def periodic(self, low: int) -> Asker | None:
        return self.subscriptions.periodic(bytes([low, 0x2A]))

    def event(self, message: str) -> Asker | None:
        return self.subscriptions.event(bytes.fromhex(message))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_periodic_messages_go_to_who_asked_for_each_last(bench: Bench) -> None:
    bench.accept("10 03", "2a 01 01 02")
    bench.accept("2a 03 02", asker=TWO)
    assert [bench.periodic(low) for low in (1, 2, 3)] == [ONE, TWO, None]
    assert bench.subscriptions.periodic(b"") is None


@pytest.mark.parametrize(
    ("ends", "left"),
    [
        (["2a 04 01"], [None, ONE]),
        (["2a 04"], [None, None]),
        (["10 03"], [None, None]),
        (["10 01"], [None, None]),
        (["10 83"], [None, None]),
        (["11 01"], [None, None]),
        (["22 f1 90"], [ONE, ONE]),
        (["2a"], [ONE, ONE]),
        (["86"], [ONE, ONE]),
        (["86 05"], [ONE, ONE]),
        (["86 03"], [ONE, ONE]),
    ],
    ids=lambda its: " ".join(its) if isinstance(its[0], str) else "",
)
def test_what_ends_periodic_messages(
    bench: Bench, ends: list[str], left: list[Asker | None]
) -> None:
    bench.accept("10 03", "2a 01 01 02", *ends)
    assert [bench.periodic(low) for low in (1, 2)] == left
    assert bench.subscriptions.has_periodic == any(left)


@pytest.mark.parametrize("seconds", [S3_S - 1e-6, S3_S])
def test_a_session_ends_by_itself_after_s3_and_all_that_hangs_on_it(
    bench: Bench, seconds: float
) -> None:
    bench.accept("10 03", "2a 01 01", CHANGE, START)
    bench.wait(4.0)
    bench.subscriptions.active(now=bench.now)  # 3E, 78, or anything else that is said
    assert bench.subscriptions.next_deadline() == bench.now + S3_S
    bench.wait(seconds)
    ended = seconds >= S3_S
    assert (bench.periodic(1) is None) == ended
    assert (bench.event(EVENT) is None) == ended
    assert (bench.subscriptions.next_deadline() is None) == ended


def test_events_of_the_default_session_outlive_others(bench: Bench) -> None:
    bench.accept(CHANGE, START, "10 03", OTHER_CHANGE, START)
    assert bench.event(OTHER_EVENT) == ONE
    bench.wait(S3_S)
    assert bench.event(EVENT) == ONE
    bench.wait(1000.0)
    assert bench.event(EVENT) == ONE


def test_each_event_goes_to_who_set_it_up_whoever_started_it(bench: Bench) -> None:
    bench.accept(CHANGE)
    assert bench.event(EVENT) is None
    bench.accept(OTHER_CHANGE, START, asker=TWO)
    assert bench.event(EVENT) == ONE
    assert bench.event(OTHER_EVENT) == TWO
    # Refused just now, so only the service is named: the later one of two that fit alike.
    assert bench.event("7f 22 31") == TWO
    assert bench.event("62 09 09 2a") == TWO


def test_the_same_event_set_up_anew_goes_to_who_did_so_last(bench: Bench) -> None:
    bench.accept(CHANGE, START)
    bench.accept(CHANGE, START, asker=TWO)
    assert bench.event(EVENT) == TWO


def test_what_is_no_answer_to_an_event_is_nobodys(bench: Bench) -> None:
    bench.accept(CHANGE, START)
    for message in ("", "59 02 ff", "7f", "7f 19 31", "50 03", "6e f1 5a", "67 01 00"):
        # Started events may be others' too, of a service that events have.
        expected = ONE if message[:2] == "59" or message == "7f 19 31" else None
        assert bench.event(message) == expected, message


def test_what_was_set_up_before_anybody_came_goes_to_who_started_it(bench: Bench) -> None:
    bench.accept(START, asker=TWO)
    assert bench.event("59 04 12 34 56 2f") == TWO
    assert bench.event("6e f1 5a") is None


def test_the_end_of_a_window_is_told_to_who_set_the_event_up_and_ends_it(bench: Bench) -> None:
    bench.accept(CHANGE)
    bench.accept(OTHER_CHANGE, START, asker=TWO)
    assert bench.event("c6 03 05 02 01 01 22 01 01") == ONE
    assert bench.event(OTHER_EVENT) == TWO
    assert bench.event("c6 03 00 02 01 02 22 01 02 01 03") == TWO


@pytest.mark.parametrize(
    ("ends", "started_again"),
    [([STOP], ONE), ([CLEAR], TWO), (["11 01"], TWO), (["10 03", "11 01"], TWO)],
    ids=["stop", "clear", "reset", "reset elsewhere"],
)
def test_what_ends_events_and_whose_they_are_if_started_again(
    bench: Bench, ends: list[str], started_again: Asker
) -> None:
    bench.accept(CHANGE, START, *ends)
    assert bench.event(EVENT) is None
    assert not bench.subscriptions.has_events
    bench.accept(START, asker=TWO)
    assert bench.event(EVENT) == started_again


def test_stored_events_outlive_a_reset(bench: Bench) -> None:
    bench.accept("86 43 02 01 01 22 01 01", "86 45 02")
    bench.subscriptions.restarted()
    assert bench.event(EVENT) == ONE
    bench.accept("86 40 02")
    bench.subscriptions.restarted()
    assert bench.event(EVENT) is None


def test_nothing_is_for_a_tester_that_has_gone(bench: Bench) -> None:
    bench.accept("10 03", "2a 01 01", CHANGE, START)
    bench.accept("2a 01 02", asker=TWO)
    bench.subscriptions.forget(ONE.connection)
    assert bench.periodic(1) is None
    assert bench.event(EVENT) is None
    assert bench.periodic(2) == TWO
    assert not bench.subscriptions.has_events


def test_what_is_remembered_is_bounded(bench: Bench) -> None:
    for number in range(1000):
        bench.accept(f"86 03 02 {number:04x} 22 01 01", "2a 01 " + bytes(range(256)).hex())
    assert len(bench.subscriptions._events) <= 16  # noqa: SLF001 the bound itself
    assert len(bench.subscriptions._periodic) == 256  # noqa: SLF001 the bound itself


@pytest.mark.parametrize(
    ("request_bytes", "silent"),
    [("10 83", True), ("10 03", False), ("86 85 02", True), ("3e 80", False), ("2a 81 01", False)],
)
def test_only_what_changes_something_and_may_be_suppressed_is_accepted_by_silence(
    request_bytes: str,
    silent: bool,  # noqa: FBT001 a column of the table
) -> None:
    assert suppresses(bytes.fromhex(request_bytes)) == silent
