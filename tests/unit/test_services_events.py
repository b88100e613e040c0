"""Response on event (86) against a bench server. Requests and answers in hex."""

import pytest
from uds.translator.service_definitions.response_on_event import (
    RESPONSE_ON_EVENT_2013,
    RESPONSE_ON_EVENT_2020,
)

from ecu_sim.diagnostics import Respond
from ecu_sim.diagnostics.dtc import DtcDefinition, DtcMemory
from ecu_sim.diagnostics.events import locate
from protocols.editions import UdsEdition
from protocols.uds import Nrc, Refusal
from protocols.uds.rules import (
    EXTENDED,
    Access,
    DataRules,
    DtcRules,
    EventRules,
    SpecialRules,
    two_slot_application,
)
from tests.support.diagnostics import DTC, OTHER_TESTER, Bench

DID = 0xF188
RULES = two_slot_application(
    special=SpecialRules(events=EventRules()), dtcs=DtcRules(memories=(0x10,))
)
OLD_RULES = two_slot_application(
    special=SpecialRules(events=EventRules()), edition=UdsEdition.E2013
)
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


@pytest.fixture
def old_bench() -> Bench:
    """The same in the edition of 2013."""
    bench = Bench(OLD_RULES)
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


def test_a_default_session_that_begins_anew_keeps_what_is_stored_alone(old_bench: Bench) -> None:
    assert old_bench.ask("86 43 02 f1 88 22 f1 88").startswith("c6")
    assert old_bench.ask(comparison(1, 0x20)).startswith("c6")
    old_bench.ask("86 45 02")
    assert old_bench.ask("86 04 02").startswith("c60402")
    assert old_bench.ask("10 01").startswith("5001")
    assert old_bench.ask("86 04 02") == "c604010302f18822f188"


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


def test_stored_events_begin_by_themselves_after_power_on(old_bench: Bench) -> None:
    bench = old_bench
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


def test_in_2020_the_start_stores_what_is_set_up(bench: Bench) -> None:
    assert bench.ask("86 43 02 F1 88 22 F1 88") == "7f8612"
    bench.ask(ON_CHANGE)
    assert bench.ask("86 45 02") == "c6450002"
    bench.restart()
    assert bench.ask("86 04 02") == "c604010302f18822f188"
    bench.device.data[DID] = b"\x11"
    assert said(bench) == ["62f18811"]
    assert bench.ask("86 06 02") == "c6060002"
    bench.restart()
    assert bench.ask("86 05 02") == "7f8622"


@pytest.mark.parametrize(
    ("before", "request_hex", "answer"),
    [
        # A finite window, another session, a record that the NVM cannot hold.
        ([ON_CHANGE], "86 45 03", "7f8631"),
        (["10 03", ON_CHANGE], "86 45 02", "7f8622"),
        (["86 07 02 F188 01 00000001 00 2000 22 F190 F188"], "86 45 02", "7f8631"),
    ],
)
def test_in_2020_not_everything_can_be_stored(
    bench: Bench, before: list[str], request_hex: str, answer: str
) -> None:
    for request in before:
        assert bench.ask(request)[:2] != "7f"
    assert bench.ask(request_hex) == answer
    bench.restart()
    assert bench.ask("86 05 02") == "7f8622"


def test_what_of_another_edition_is_stored_is_not_taken(old_bench: Bench) -> None:
    old_bench.ask("86 42 02 01 22 F1 88")
    old_bench.ask("86 45 02")
    old_bench.device.nvm["event 1"] = b"\x3f"
    new = Bench(RULES, old_bench.device)
    assert new.ask("86 04 02") == "c60400"


@pytest.mark.parametrize(("schedule", "period_s"), [(1, 1.0), (2, 0.2), (3, 0.05)])
def test_a_timer_event_comes_by_the_clock(old_bench: Bench, schedule: int, period_s: float) -> None:
    request = f"86 02 02 {schedule:02X} 22 F1 88"
    assert old_bench.ask(request) == f"c6020002{schedule:02x}22f188"
    old_bench.ask("86 05 02")
    assert said(old_bench, period_s - 0.001) == []
    told = [(at, event.payload.hex()) for at, event in old_bench.run(0.001 + 2 * period_s)]  # type: ignore[union-attr]  # responses alone
    assert told == [(round(0.001 + n * period_s, 6), "62f18810") for n in range(3)]


def test_a_timer_event_waits_for_a_long_answer_and_comes_once_then(old_bench: Bench) -> None:
    old_bench.ask("10 03")
    old_bench.unlock()
    old_bench.ask("86 02 02 03 22 F1 88")
    old_bench.ask("86 05 02")
    old_bench.tell("31 01 FF 00")
    events = [event.payload.hex() for _, event in old_bench.run(6.0) if isinstance(event, Respond)]
    assert events == ["7f3178", "7f3178", "7101ff0000", "62f18810"]
    assert said(old_bench, 0.05) == ["62f18810"]


def test_a_timer_event_is_of_2013_and_the_dtc_reports_are_of_2020(
    bench: Bench, old_bench: Bench
) -> None:
    assert bench.ask("86 02 02 01 22 F1 88") == "7f8612"
    assert old_bench.ask("86 08 02 0D") == "7f8612"
    assert old_bench.ask("86 09 02 08 04 FF") == "7f8612"
    assert old_bench.ask("86 02 02 04 22 F1 88") == "7f8631"


def test_each_dtc_that_fails_is_told_and_none_is_lost(bench: Bench) -> None:
    assert bench.ask("86 08 02 0D") == "c60800020d"
    bench.ask("86 05 02")
    bench.device.dtcs.report(0x9A0211, failed=True)
    bench.device.dtcs.report(0x9A0211, failed=False)
    bench.device.dtcs.report(DTC, failed=True)
    assert said(bench) == ["590dff9a021126", "590dff9a01002f"]
    bench.device.dtcs.report(DTC, failed=True)
    assert said(bench) == []
    assert bench.ask("19 0D") == "590dff9a01002f"


def test_a_dtc_that_is_confirmed_is_told(bench: Bench) -> None:
    assert bench.ask("86 08 02 0E") == "c60800020e"
    bench.ask("86 05 02")
    bench.device.dtcs.report(0x9A0211, failed=True)
    assert said(bench) == []
    bench.device.dtcs.report(DTC, failed=True)
    assert said(bench) == ["590eff9a01002f"]


def test_a_dtc_s_records_are_told_when_its_status_changes(bench: Bench) -> None:
    assert bench.ask("86 09 02 08 06 01") == "c60900020806 01".replace(" ", "")
    bench.ask("86 05 02")
    bench.device.dtcs.report(0x9A0211, failed=True)
    assert said(bench) == []
    bench.device.dtcs.report(DTC, failed=True)
    told = said(bench)
    assert told == [bench.ask("19 06 9A 01 00 01")]
    assert bench.ask("86 04 02") == "c60401090208 06 01".replace(" ", "")


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("86 08 02 0C", "7f8631"),
        ("86 08 02 0D 00", "7f8613"),
        ("86 08 02", "7f8613"),
        ("86 09 02 00 04 01", "7f8631"),
        ("86 09 02 08 02 01", "7f8631"),
        ("86 09 02 08 04 77", "7f8631"),
        ("86 09 02 08 04 01 10", "7f8613"),
        ("86 09 02 08 18 01", "7f8613"),
        ("86 09 02 08 18 01 11", "7f8631"),
        ("86 09 02 08 18 01 10", "c609000208180110"),
        ("86 09 02 08 19 FF 10", "c60900020819ff10"),
    ],
)
def test_what_a_dtc_event_may_ask_for(bench: Bench, request_hex: str, answer: str) -> None:
    bench.device.dtcs = DtcMemory((DtcDefinition(code=DTC),), memories=(0x10,))
    assert bench.ask(request_hex) == answer


# It warns of every value that it has no word for.
@pytest.mark.filterwarnings("ignore:No label defined")
@pytest.mark.parametrize("edition", UdsEdition)
def test_py_uds_reads_requests_and_answers_as_they_are_meant(edition: UdsEdition) -> None:
    new = edition == UdsEdition.E2020
    codec = RESPONSE_ON_EVENT_2020 if new else RESPONSE_ON_EVENT_2013
    bench = Bench(RULES if new else OLD_RULES)
    bench.device.data[DID] = b"\x10"
    bench.device.dtcs = DtcMemory((DtcDefinition(code=DTC),), memories=(0x10,))
    dtcs = ["86 08 02 0D", "86 09 02 08 04 01", "86 09 02 08 18 01 10"]
    # Of several requests in one answer to 04 it cannot know where each ends.
    told = "86 04 02" if new else "86 06 02"
    own = dtcs if new else ["86 02 02 03 22 F1 88", "86 43 02 F1 88 22 F1 88"]
    for request in (*own, "86 05 02", told, "86 00 02", "86 06 02"):
        codec.decode(list(bytes.fromhex(request)))
        answer = bench.ask(request)
        assert answer[:2] == "c6", request
        parts = codec.decode(list(bytes.fromhex(answer)))
        assert parts[0]["raw_value"] == 0xC6


def test_a_stored_stop_holds_after_power_on(old_bench: Bench) -> None:
    bench = old_bench
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
