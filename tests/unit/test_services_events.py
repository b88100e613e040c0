"""Response on event (86) against a bench server. Requests and answers in hex."""

import pytest

from ecu_sim.diagnostics import Respond
from ecu_sim.diagnostics.events import locate
from protocols.uds import Nrc, Refusal
from protocols.uds.rules import (
    EXTENDED,
    Access,
    DataRules,
    EventRules,
    SpecialRules,
    two_slot_application,
)
from tests.support.diagnostics import DTC, OTHER_TESTER, Bench

DID = 0xF188
RULES = two_slot_application(special=SpecialRules(events=EventRules()))
ON_DTC = "86 01 02 08 19 02 08"
ON_CHANGE = "86 03 02 F1 88 22 F1 88"


def comparison(logic: int, value: int, *, percent: int = 0, localization: int = 0x2000) -> str:
    """8 bits at the start of F188's record, answered with 22 F190."""
    record = f"F188 {logic:02X} {value & 0xFFFFFFFF:08X} {percent:02X} {localization:04X}"
    return f"86 07 02 {record} 22 F1 90"


@pytest.fixture
def bench() -> Bench:
    bench = Bench(RULES)
    bench.device.data[DID] = b"\x10"
    return bench


def said(bench: Bench, seconds: float = 0.3) -> list[str]:
    return [event.payload.hex() for _, event in bench.run(seconds) if isinstance(event, Respond)]


def test_nothing_is_sent_before_the_start(bench: Bench) -> None:
    assert bench.ask(ON_CHANGE) == "c6030002f18822f188"
    bench.device.data[DID] = b"\x11"
    assert said(bench) == []
    assert bench.ask("86 04 02") == "c60400"


def test_a_changed_record_is_told_once_per_change(bench: Bench) -> None:
    bench.ask(ON_CHANGE)
    assert bench.ask("86 05 02") == "c6050002"
    assert said(bench, 1.0) == []
    bench.device.data[DID] = b"\x11"
    assert said(bench, 1.0) == ["62f18811"]
    bench.device.data[DID] = b"\x12"
    assert said(bench, 1.0) == ["62f18812"]


def test_a_look_is_taken_every_tenth_of_a_second(bench: Bench) -> None:
    bench.ask(ON_CHANGE)
    bench.ask("86 05 02")
    bench.device.data[DID] = b"\x11"
    assert [at for at, _ in bench.run(0.5)] == [0.1]


def test_a_dtc_s_status_is_watched_through_the_mask(bench: Bench) -> None:
    assert bench.ask(ON_DTC) == "c601000208190208"
    bench.ask("86 05 02")
    bench.device.dtcs.report(0x9A0211, failed=True)
    assert said(bench) == [], "confirmed only in the second cycle"
    bench.device.dtcs.report(DTC, failed=True)
    told = said(bench)
    assert len(told) == 1
    assert told[0].startswith("5902")
    assert "9a0100" in told[0]


@pytest.mark.parametrize(
    ("logic", "reference", "values", "expected"),
    [
        (1, 0x10, [0x10, 0x0F, 0x0E, 0x10, 0x0F], 2),
        (2, 0x20, [0x20, 0x21, 0x30, 0x20, 0x21], 2),
        (3, 0x20, [0x1F, 0x20, 0x20, 0x1F, 0x20], 2),
        (4, 0x20, [0x20, 0x21, 0x22, 0x20, 0x21], 2),
    ],
    ids=["less", "greater", "equal", "not equal"],
)
def test_a_comparison_counts_when_it_becomes_true(
    bench: Bench, logic: int, reference: int, values: list[int], expected: int
) -> None:
    bench.device.data[DID] = bytes(values[:1])
    bench.ask(comparison(logic, reference))
    bench.ask("86 05 02")
    told = []
    for value in values:
        bench.device.data[DID] = bytes([value])
        told += said(bench, 0.1)
    assert len(told) == expected
    assert set(told) == {bench.ask("22 F1 90")}


def test_hysteresis_keeps_a_comparison_quiet_near_its_value(bench: Bench) -> None:
    bench.ask(comparison(2, 100, percent=10))
    bench.ask("86 05 02")
    counts = []
    for value in (101, 95, 101, 90, 101):
        bench.device.data[DID] = bytes([value])
        counts.append(len(said(bench, 0.1)))
    assert counts == [1, 0, 0, 0, 1]


def test_values_can_have_a_sign(bench: Bench) -> None:
    bench.device.data[DID] = b"\x00"
    bench.ask(comparison(1, -5, localization=0xA000))
    bench.ask("86 05 02")
    bench.device.data[DID] = b"\xfc"
    assert said(bench) == []
    bench.device.data[DID] = b"\xfa"
    assert len(said(bench)) == 1


@pytest.mark.parametrize(
    ("record", "localization", "value"),
    [
        ("12345678", 0x0000, 0x12345678),
        ("12345678", 0x2000, 0x12),
        ("12345678", 0x2008, 0x34),
        ("12345678", 0x1004, 0x2),
        ("ff", 0xA000, -1),
        ("80000000", 0x8000, -(1 << 31)),
    ],
)
def test_a_value_is_found_by_its_localization(record: str, localization: int, value: int) -> None:
    assert locate(bytes.fromhex(record), localization) == value


def test_a_record_too_short_for_its_localization_is_refused() -> None:
    with pytest.raises(Refusal) as refused:
        locate(b"\x00\x00", 0x0000)
    assert refused.value.nrc == Nrc.REQUEST_OUT_OF_RANGE


def test_a_window_ends_with_the_number_of_its_events(bench: Bench) -> None:
    bench.ask("86 03 03 F1 88 22 F1 88")
    bench.ask("86 05 02")
    bench.device.data[DID] = b"\x11"
    events = [(at, event.payload.hex()) for at, event in bench.run(20.0)]  # type: ignore[union-attr]  # responses alone
    assert events == [(0.1, "62f18811"), (10.0, "c6030103f18822f188")]
    bench.device.data[DID] = b"\x12"
    assert said(bench, 1.0) == []
    assert bench.ask("86 04 02") == "c60400"


def test_stop_rests_and_clear_forgets(bench: Bench) -> None:
    bench.ask(ON_CHANGE)
    bench.ask("86 05 02")
    assert bench.ask("86 04 02") == "c604010302f18822f188"
    assert bench.ask("86 00 02") == "c6000002"
    bench.device.data[DID] = b"\x11"
    assert said(bench) == []
    assert bench.ask("86 05 02") == "c6050002"
    bench.device.data[DID] = b"\x12"
    assert said(bench) == ["62f18812"]
    assert bench.ask("86 06 02") == "c6060002"
    assert bench.ask("86 05 02") == "7f8622"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("86 02 02 00", "7f8612"),
        ("86 44 02", "7f8612"),
        ("86 03 02 F1 88", "7f8613"),
        ("86 05", "7f8613"),
        ("86 05 02 00", "7f8613"),
        ("86 05 09", "7f8631"),
        ("86 03 02 FF FE 22 F1 88", "7f8631"),
        # Not in the table of services to respond to.
        ("86 03 02 F1 88 3E 00", "7f8631"),
        # Not what that service takes.
        ("86 03 02 F1 88 19 02", "7f8631"),
        ("86 01 02 00 19 02 08", "7f8631"),
        (comparison(5, 1), "7f8631"),
        (comparison(1, 1, percent=101), "7f8631"),
        (comparison(1, 1, localization=0x0000), "7f8631"),
        ("86 05 02", "7f8622"),
    ],
)
def test_what_is_refused(bench: Bench, request_hex: str, answer: str) -> None:
    assert bench.ask(request_hex) == answer
    assert bench.ask(request_hex, functional=True) == ""


def test_there_is_room_for_four_and_the_same_event_takes_none_twice(bench: Bench) -> None:
    for value in range(4):
        assert bench.ask(comparison(1, value)).startswith("c6")
    assert bench.ask(comparison(1, 4)) == "7f8622"
    assert bench.ask(comparison(1, 3)).startswith("c6")


def test_events_of_a_session_end_with_it_and_those_of_the_default_one_sleep(bench: Bench) -> None:
    bench.ask(ON_CHANGE)
    bench.ask("86 05 02")
    bench.ask("10 03")
    bench.device.data[DID] = b"\x11"
    assert said(bench) == []
    bench.ask(comparison(1, 0x20))
    bench.ask("86 05 02")
    assert len(said(bench, 0.1)) == 1
    bench.ask("10 01")
    bench.device.data[DID] = b"\x12"
    assert said(bench) == ["62f18812"]
    assert bench.ask("86 04 02") == "c604010302f18822f188"


def test_a_response_goes_to_who_asked(bench: Bench) -> None:
    bench.ask(ON_CHANGE, source=OTHER_TESTER)
    bench.ask("86 05 02", source=OTHER_TESTER)
    bench.device.data[DID] = b"\x11"
    sources = [event.source for _, event in bench.run(0.3) if isinstance(event, Respond)]
    assert sources == [OTHER_TESTER]


def test_a_response_is_refused_as_the_request_would_be() -> None:
    data = DataRules(readable={0xF190: Access(sessions=EXTENDED)})
    bench = Bench(two_slot_application(special=SpecialRules(events=EventRules()), data=data))
    bench.device.data[DID] = b"\x10"
    bench.ask("86 03 02 F1 88 22 F1 90")
    bench.ask("86 05 02")
    bench.device.data[DID] = b"\x11"
    assert said(bench) == ["7f2231"]


def test_stored_events_begin_by_themselves_after_power_on(bench: Bench) -> None:
    assert bench.ask("86 43 02 F1 88 22 F1 88") == "c6430002f18822f188"
    bench.ask(comparison(1, 1))
    assert bench.ask("86 45 02") == "c6450002"
    bench.restart()
    assert bench.ask("86 04 02") == "c604010302f18822f188"
    bench.device.data[DID] = b"\x11"
    assert said(bench) == ["62f18811"]
    bench.ask("86 46 02")
    bench.restart()
    assert bench.ask("86 05 02") == "7f8622"


def test_what_is_not_stored_is_gone_after_power_on(bench: Bench) -> None:
    bench.ask(ON_CHANGE)
    bench.ask("86 05 02")
    bench.restart()
    assert bench.ask("86 05 02") == "7f8622"


def test_a_stored_stop_holds_after_power_on(bench: Bench) -> None:
    bench.ask("86 43 02 F1 88 22 F1 88")
    bench.ask("86 45 02")
    bench.ask("86 40 02")
    bench.restart()
    assert bench.ask("86 04 02") == "c60400"
    assert bench.ask("86 05 02") == "c6050002"


def test_a_suppressed_set_up_is_not_answered(bench: Bench) -> None:
    assert bench.ask("86 83 02 F1 88 22 F1 88") == ""
    assert bench.ask("86 85 02") == ""
    assert bench.ask("86 04 02") == "c604010302f18822f188"


def test_an_event_during_a_long_answer_is_told_after_it(bench: Bench) -> None:
    bench.ask("10 03")
    bench.unlock()
    bench.ask(ON_CHANGE)
    bench.ask("86 05 02")
    bench.tell("31 01 FF 00")
    bench.device.data[DID] = b"\x11"
    answers = [(at, event.payload.hex()) for at, event in bench.run(7.0)]  # type: ignore[union-attr]  # responses alone
    told = [answer for answer in answers if answer[1] != "7f3178"]
    assert [payload for _, payload in told] == ["7101ff0000", "62f18811"]
    assert told[0][0] == told[1][0] == 6.0
