"""22 24 2A 2C 2E 2F on a server with data of every kind. Requests and answers in hex."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ecu_sim.diagnostics import Respond, SendUnsegmented, ServerEvent
from protocols.uds import Session
from protocols.uds.rules import EXTENDED, Access
from tests.support.data import DATA, IMAGE, KEYS, OPEN, RAM, DataBench
from tests.support.diagnostics import OTHER_TESTER, TESTER, hexes


@pytest.fixture
def bench() -> DataBench:
    """In the extended session, locked."""
    bench = DataBench()
    bench.ask("1003")
    return bench


@pytest.fixture
def engineer(bench: DataBench) -> DataBench:
    bench.unlock(3)
    return bench


# 22 and 2E


def test_a_read_asks_for_so_many_identifiers_and_no_more(bench: DataBench) -> None:
    assert bench.ask("22" + "0102" * 8) == "62" + "010207" * 8
    assert bench.ask("22" + "0102" * 9) == "7f2213"


def test_an_answer_that_the_transport_cannot_carry_is_refused_as_too_long(
    bench: DataBench,
) -> None:
    bench.device.data[0x0100] = bytes(130)
    assert len(bench.ask("220100")) == 2 * 133
    assert bench.ask("2201000100") == "7f2214"


@pytest.mark.parametrize(
    ("request_hex", "default", "locked", "level_1", "level_3"),
    [
        ("220200", "7f2231", "6202000005", "6202000005", "6202000005"),
        ("220201", "7f2231", "7f2233", "7f2233", "6202010b0c"),
        ("2201020200", "62010207", "6201020702000005", "6201020702000005", "6201020702000005"),
        ("2201020201", "62010207", "7f2233", "7f2233", "6201020702010b0c"),
        ("2e02000007", "7f2e7f", "7f2e33", "7f2e33", "6e0200"),
        ("2e02010007", "7f2e7f", "7f2e31", "7f2e31", "7f2e31"),
        ("2e0200", "7f2e7f", "7f2e13", "7f2e13", "7f2e13"),
    ],
)
def test_reading_and_writing_depend_on_session_and_level(
    request_hex: str, default: str, locked: str, level_1: str, level_3: str
) -> None:
    bench = DataBench()
    assert bench.ask(request_hex) == default
    bench.ask("1003")
    assert bench.ask(request_hex) == locked
    bench.unlock(1)
    assert bench.ask(request_hex) == level_1
    bench.unlock(3)
    assert bench.ask(request_hex) == level_3


def test_one_level_is_open_at_a_time(engineer: DataBench) -> None:
    assert engineer.ask("34004400001000" + "00000010") == "7f3433"
    engineer.unlock(1)
    assert engineer.ask("34004400001000" + "00000010").startswith("74")
    assert engineer.ask("2e02000007") == "7f2e33"


# 24


def test_scaling_tells_length_formula_and_unit(bench: DataBench) -> None:
    # Two bytes signed; y = 1 * 10^-1 * x; degrees Celsius.
    assert bench.ask("240101") == "6401011293071001a117"
    # One byte unsigned; per cent.
    assert bench.ask("24f202") == "64f20201a135"
    # Seventeen characters: fifteen and two.
    assert bench.ask("24f190") == "64f1906f62"
    assert bench.ask("24f186") == "64f18651"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [("240100", "7f2431"), ("24ffff", "7f2431"), ("240201", "7f2433"), ("2401", "7f2413")],
)
def test_scaling_is_as_open_as_the_record(bench: DataBench, request_hex: str, answer: str) -> None:
    assert bench.ask(request_hex) == answer


# 2A


def _messages(events: Sequence[tuple[float, ServerEvent]]) -> list[tuple[float, str]]:
    return [
        (when, event.payload.hex()) for when, event in events if isinstance(event, SendUnsegmented)
    ]


@pytest.mark.parametrize(("mode", "period_s"), [("01", 1.0), ("02", 0.2), ("03", 0.05)])
def test_a_periodic_identifier_comes_exactly_on_its_period(
    bench: DataBench, mode: str, period_s: float
) -> None:
    assert bench.ask(f"2a{mode}01") == "6a"
    got = _messages(bench.run(4.0))
    count = round(4.0 / period_s)
    assert got == [(round(n * period_s, 6), "010102") for n in range(1, count + 1)]


def test_rates_live_side_by_side_and_a_new_rate_takes_the_place_of_the_old(
    bench: DataBench,
) -> None:
    bench.ask("2a0101")
    bench.ask("2a0202")
    assert _messages(bench.run(0.5)) == [(0.2, "0207"), (0.4, "0207")]
    bench.ask("2a0201")
    assert _messages(bench.run(0.3)) == [(0.1, "0207"), (0.2, "010102"), (0.3, "0207")]


def test_a_periodic_record_is_the_value_of_its_moment(bench: DataBench) -> None:
    bench.ask("2a0202")
    assert _messages(bench.run(0.2)) == [(0.2, "0207")]
    bench.device.data[0x0102] = b"\x09"
    assert _messages(bench.run(0.2)) == [(0.2, "0209")]


def test_stop_ends_what_it_names_or_all(bench: DataBench) -> None:
    bench.ask("2a030102")
    assert bench.ask("2a0401") == "6a"
    assert {text for _, text in _messages(bench.run(0.2))} == {"0207"}
    assert bench.ask("2a04") == "6a"
    assert _messages(bench.run(1.0)) == []


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("2a", "7f2a13"),
        ("2a01", "7f2a13"),
        ("2a0001", "7f2a31"),
        ("2a0501", "7f2a31"),
        ("2a8101", "7f2a31"),
        ("2a0199", "7f2a31"),
        ("2a019901", "6a"),
        ("2a0203", "7f2a33"),
        # Seventeen characters do not fit one frame.
        ("2a0204", "7f2a31"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(
    bench: DataBench, request_hex: str, answer: str
) -> None:
    assert bench.ask(request_hex) == answer


def test_the_schedule_is_limited_and_a_request_is_taken_whole_or_not(bench: DataBench) -> None:
    bench.ask("2c01f21001020101")
    bench.ask("2c01f21101020101")
    assert bench.ask("2a03011011") == "6a"
    assert bench.ask("2a0102") == "7f2a31"
    assert bench.ask("2a0110") == "6a"
    assert {text for _, text in _messages(bench.run(0.3))} == {"010102", "1107"}


def test_periodic_messages_end_with_the_session(bench: DataBench) -> None:
    bench.ask("2a0302")
    assert len(_messages(bench.run(4.99))) == 99
    assert len(_messages(bench.run(5.0))) == 0
    assert bench.session() == Session.DEFAULT
    assert bench.ask("2a0302") == "7f2a7f"


def test_so_they_do_with_a_change_that_was_asked_for(bench: DataBench) -> None:
    bench.ask("2a0302")
    bench.ask("1001")
    assert _messages(bench.run(1.0)) == []


def test_they_outlive_a_change_to_a_session_that_has_them(bench: DataBench) -> None:
    bench.ask("2a0202")
    bench.run(0.1)
    bench.ask("1003")
    assert [when for when, _ in _messages(bench.run(0.35))] == [0.1, 0.3]


def test_none_outlives_the_lock_where_it_takes_a_key_to_ask_for_them() -> None:
    assert DATA.periodic is not None
    locked = replace(DATA.periodic, secured=True, level=1)
    bench = DataBench(replace(DATA, periodic=locked))
    bench.ask("1003")
    bench.unlock(1)
    assert bench.ask("2a0302") == "6a"
    bench.ask("1003")
    assert _messages(bench.run(1.0)) == []


def test_they_go_on_while_a_request_is_being_answered(bench: DataBench) -> None:
    bench.unlock(1)
    bench.ask("2a0202")
    bench.tell("3101ff00")
    assert [when for when, _ in _messages(bench.run(0.5))] == [0.2, 0.4]


def test_a_locked_record_is_left_out_and_comes_again_when_it_is_open(engineer: DataBench) -> None:
    assert engineer.ask("2a0203") == "6a"
    assert _messages(engineer.run(0.2)) == [(0.2, "030b0c")]
    engineer.unlock(1)
    assert _messages(engineer.run(0.2)) == []
    engineer.unlock(3)
    assert [text for _, text in _messages(engineer.run(0.2))] == ["030b0c"]


def test_without_single_frames_they_come_as_responses_on_the_connection() -> None:
    assert DATA.periodic is not None
    bench = DataBench(replace(DATA, periodic=replace(DATA.periodic, unsegmented=False)))
    bench.ask("1003")
    bench.ask("2a0202")
    assert bench.run(0.3) == [(0.2, Respond(bytes.fromhex("6a0207"), TESTER))]


def test_another_tester_is_busy_and_gets_none(bench: DataBench) -> None:
    bench.ask("2a0202")
    assert bench.ask("2a0202", source=OTHER_TESTER) == "7f2a21"
    assert all(
        event.source == TESTER for _, event in bench.run(1.0) if isinstance(event, SendUnsegmented)
    )


# 2C


def test_an_identifier_is_put_together_from_parts_of_others(bench: DataBench) -> None:
    assert bench.ask("2c01f300f190010301000201") == "6c01f300"
    assert bench.ask("22f300") == "62f300" + b"WVW".hex() + "02"
    bench.device.data[0x0100] = b"\x01\x55"
    assert bench.ask("22f300") == "62f300" + b"WVW".hex() + "55"


def test_a_second_definition_is_appended(bench: DataBench) -> None:
    bench.ask("2c01f30001020101")
    bench.ask("2c02f30012200002200401")
    assert bench.ask("22f300") == "62f30007000104"


def test_by_memory_address_the_bytes_are_those_of_the_moment(bench: DataBench) -> None:
    assert bench.ask("2c02f301140000200003") == "6c02f301"
    assert bench.ask("22f301") == "62f301000102"
    bench.memory.cells[RAM + 1] = 0xAA
    assert bench.ask("22f301") == "62f30100aa02"


def test_a_defined_identifier_is_sent_periodically(bench: DataBench) -> None:
    bench.ask("2c01f2100101010101020101")
    bench.ask("2a0210")
    assert _messages(bench.run(0.2)) == [(0.2, "100007")]
    assert bench.ask("2c01f21001020101") == "7f2c22"
    assert bench.ask("2c03f210") == "6c03f210"
    assert _messages(bench.run(0.5)) == []
    assert bench.ask("22f210") == "7f2231"


def test_clear_forgets_one_or_all(bench: DataBench) -> None:
    bench.ask("2c01f30001020101")
    bench.ask("2c01f30101020101")
    assert bench.ask("2c03f300") == "6c03f300"
    assert bench.ask("22f300f301") == "62f30107"
    assert bench.ask("2c03") == "6c03"
    assert bench.ask("22f301") == "7f2231"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("2c", "7f2c13"),
        ("2c04f300", "7f2c12"),
        ("2c01f3000102010101", "7f2c13"),
        ("2c01f300010201", "7f2c13"),
        ("2c03f3", "7f2c13"),
        ("2c03f30000", "7f2c13"),
        # Not an identifier to define: fixed ones, and fixed periodic ones.
        ("2c01f19001020101", "7f2c31"),
        ("2c01f20101020101", "7f2c31"),
        ("2c030100", "7f2c31"),
        # No such source, position 0, nothing of it, beyond its end.
        ("2c01f300ffff0101", "7f2c31"),
        ("2c01f30001020001", "7f2c31"),
        ("2c01f30001020100", "7f2c31"),
        ("2c01f30001020102", "7f2c31"),
        ("2c01f30001020201", "7f2c31"),
        # Locked now.
        ("2c01f30002010101", "7f2c33"),
        # No such memory, a format that is none, a length that is none.
        ("2c02f300140000100003", "7f2c31"),
        ("2c02f300050000200003", "7f2c31"),
        ("2c02f3001400002000", "7f2c13"),
        ("2c02f30014000020000300", "7f2c13"),
        ("2c02f300140000200000", "7f2c31"),
        # More than 20 bytes, more than four elements.
        ("2c02f300140000200015", "7f2c31"),
        ("2c01f300" + "01020101" * 5, "7f2c31"),
    ],
)
def test_a_definition_that_cannot_be_is_refused_and_defines_nothing(
    bench: DataBench, request_hex: str, answer: str
) -> None:
    assert bench.ask(request_hex) == answer
    assert bench.ask("22f300") == "7f2231"


@pytest.mark.parametrize("address", [IMAGE, KEYS], ids=["locked", "keys"])
def test_a_definition_opens_no_memory(bench: DataBench, address: int) -> None:
    refused = bench.ask(bytes.fromhex("2c02f30014") + address.to_bytes(4) + b"\x01")
    assert refused == ("7f2c33" if address == IMAGE else "7f2c31")


def test_nor_does_one_that_was_defined_while_it_was_open(bench: DataBench) -> None:
    bench.unlock(1)
    defined = bench.ask(bytes.fromhex("2c02f30014") + IMAGE.to_bytes(4) + b"\x01")
    assert defined == "6c02f300"
    assert bench.ask("22f300") == "62f30000"
    bench.unlock(3)
    assert bench.ask("22f300") == "7f2233"
    bench.ask("1001")
    assert bench.ask("22f300") == "7f2231"


@pytest.mark.parametrize(
    "request_hex",
    ["2c01f30002000101", f"2c02f30014{RAM:08x}01"],
    ids=["an identifier", "memory"],
)
def test_a_definition_opens_nothing_to_a_functional_address(
    bench: DataBench, request_hex: str
) -> None:
    """Its parts are as closed there as they are by themselves."""
    assert bench.ask(request_hex) == "6c" + request_hex[2:8]
    assert bench.ask("22f300") == "62f30000"
    assert bench.ask("22f300", functional=True) == ""
    assert bench.ask("22f190", functional=True).startswith("62f190")


def test_definitions_are_limited_kept_over_sessions_and_gone_with_a_reset(
    bench: DataBench,
) -> None:
    bench.ask("2c01f30001020101")
    bench.ask("2c01f30101020101")
    assert bench.ask("2c01f30201020101") == "7f2c31"
    bench.ask("1001")
    assert bench.ask("22f300") == "62f30007"
    bench.restart()
    assert bench.ask("22f300") == "7f2231"


def test_no_definition_is_part_of_another(bench: DataBench) -> None:
    bench.ask("2c01f21001020101")
    assert bench.ask("2c01f300f2100101") == "7f2c31"
    assert bench.ask("2c01f300f3000101") == "7f2c31"


def test_a_definition_can_be_told_not_to_be_answered(bench: DataBench) -> None:
    assert bench.tell("2c81f30001020101") == []
    assert bench.ask("22f300") == "62f30007"


# 2F


@pytest.mark.parametrize(
    ("request_hex", "answer", "overridden"),
    [
        ("2f01800346", "6f01800346", {0: 70.0}),
        ("2f018002", "6f0180021e", {0: 30.0}),
        ("2f018001", "6f01800105", {0: 5.0}),
        ("2f018000", "6f0180001e", {}),
        ("2f0180", "7f2f13", {}),
        ("2f018004", "7f2f31", {}),
        ("2f018003", "7f2f13", {}),
        ("2f0180034600", "7f2f13", {}),
        ("2f01800365", "7f2f31", {}),
        ("2f01820346", "7f2f31", {}),
        ("2f018103000000", "7f2f33", {}),
    ],
)
def test_one_output_is_taken_set_frozen_and_given_back(
    bench: DataBench, request_hex: str, answer: str, overridden: dict[int, float]
) -> None:
    assert bench.ask(request_hex) == answer
    assert bench.channels.overridden == overridden


@pytest.mark.parametrize(
    ("request_hex", "answer", "overridden"),
    [
        ("2f018103 0a3200", "6f0181030a3200", {0: 10.0, 1: 0.5, 2: 0.0}),
        ("2f018103 0a3200 40", "6f0181031e3201", {1: 0.5}),
        ("2f018103 0a3200 a0", "6f0181030a1900", {0: 10.0, 2: 0.0}),
        ("2f018103 0a3200 ff", "6f0181030a3200", {0: 10.0, 1: 0.5, 2: 0.0}),
        ("2f018103 0a3200 00", "7f2f31", {}),
        ("2f018103 0a3200 1f", "7f2f31", {}),
        ("2f018103 0a3202 80", "6f0181030a1901", {0: 10.0}),
        ("2f018103 0a3202 20", "7f2f31", {}),
        ("2f018103 0a32", "7f2f13", {}),
        ("2f018103 0a3200 80 00", "7f2f13", {}),
        ("2f018102 20", "6f0181021e1901", {2: 1.0}),
        ("2f018102", "6f0181021e1901", {0: 30.0, 1: 0.25, 2: 1.0}),
    ],
)
def test_a_mask_chooses_outputs_of_a_record_first_bit_first(
    engineer: DataBench, request_hex: str, answer: str, overridden: dict[int, float]
) -> None:
    assert engineer.ask(request_hex) == answer
    assert engineer.channels.overridden == pytest.approx(overridden)


def test_a_frozen_output_does_not_follow_the_application(bench: DataBench) -> None:
    bench.ask("2f018002")
    bench.channels.asked[0] = 80.0
    assert bench.channels.value(0) == 30.0
    assert bench.ask("2f018000") == "6f01800050"


@pytest.mark.parametrize("end", ["1001", "s3"])
def test_outputs_are_given_back_when_the_session_ends(bench: DataBench, end: str) -> None:
    bench.ask("2f01800346")
    if end == "s3":
        bench.run(4.9)
        assert bench.channels.overridden
        bench.run(0.2)
    else:
        bench.ask(end)
    assert bench.channels.overridden == {}
    assert bench.channels.value(0) == 30.0


def test_an_output_that_no_lock_protects_outlives_a_session_of_the_same_kind(
    engineer: DataBench,
) -> None:
    engineer.ask("2f01800346")
    engineer.ask("2f018103003201")
    assert engineer.channels.overridden == {0: 0.0, 1: 0.5, 2: 1.0}
    engineer.ask("1003")
    assert engineer.channels.overridden == {}, "channel 0 was last taken by who had a key"
    engineer.ask("2f01800346")
    engineer.ask("1003")
    assert engineer.channels.overridden == {0: 70.0}


def test_no_output_is_taken_while_the_vehicle_moves_but_each_is_given_back(
    bench: DataBench,
) -> None:
    bench.ask("2f01800346")
    bench.channels.moving = True
    assert bench.ask("2f01800350") == "7f2f22"
    assert bench.channels.overridden == {0: 70.0}
    assert bench.ask("2f018000") == "6f0180001e"


@pytest.mark.parametrize("request_hex", ["2a0201", "2c01f30001020101", "2f01800346", "2e02000007"])
def test_none_of_these_is_answered_on_a_functional_address(
    engineer: DataBench, request_hex: str
) -> None:
    assert hexes(engineer.tell(request_hex, functional=True)) == []
    assert engineer.run(1.0) == []
    assert engineer.ask("22f300") == "7f2231"
    assert engineer.channels.overridden == {}


def test_a_row_can_open_itself_to_a_functional_address_and_no_other() -> None:
    reachable = {0x0180: Access(sessions=EXTENDED), 0x0181: OPEN}
    bench = DataBench(replace(DATA, outputs=reachable))
    bench.ask("1003")
    assert bench.ask("2f018002", functional=True) == "6f0180021e"
    assert bench.ask("2f018102", functional=True) == ""
    assert bench.ask("2f018102") == "6f0181021e1901"
    assert bench.ask("2a0201", functional=True) == ""
