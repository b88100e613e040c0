"""The server's own behaviour: sessions, time, security, transfer. Requests and answers in hex."""

import zlib

import pytest

from ecu_sim.diagnostics import EnterBootloader, Job, Nrc, Refusal, Respond, Restart
from protocols.uds import CommunicationControl, ResetType, Session
from protocols.uds.data_formats import PLAIN, ZLIB
from protocols.uds.rules import bootloader, single_slot_application, two_slot_application
from tests.support.diagnostics import (
    BASE,
    DTC,
    KEY,
    OTHER_TESTER,
    PROGRAM_S,
    SIZE,
    TESTER,
    Bench,
    BenchDevice,
    hexes,
)


@pytest.fixture
def bench() -> Bench:
    """A two-slot application."""
    return Bench(two_slot_application())


@pytest.fixture
def unlocked(bench: Bench) -> Bench:
    bench.ask("1003")
    bench.unlock()
    return bench


@pytest.fixture
def programming() -> Bench:
    """A boot loader in an unlocked programming session."""
    bench = Bench(bootloader())
    bench.ask("1002")
    bench.unlock()
    return bench


def _download(address: int, size: int) -> bytes:
    return bytes.fromhex("340044") + address.to_bytes(4) + size.to_bytes(4)


# Sessions


def test_a_session_answers_with_its_timing(bench: Bench) -> None:
    assert bench.ask("1003") == "5003003201f4"
    assert bench.ask("22f186") == "62f18603"


def test_s3_ends_a_session_and_undoes_what_it_did(unlocked: Bench) -> None:
    unlocked.ask("280301")
    unlocked.ask("8502")
    done = (unlocked.device.silenced, unlocked.device.dtcs.logging)
    assert done == (CommunicationControl.DISABLE_RX_AND_TX, False)
    unlocked.run(4.9)
    assert unlocked.session() == Session.EXTENDED
    unlocked.run(0.2)
    assert unlocked.session() == Session.DEFAULT
    undone = (unlocked.device.silenced, unlocked.device.dtcs.logging)
    assert undone == (CommunicationControl.ENABLE_RX_AND_TX, True)
    unlocked.ask("1003")
    assert unlocked.ask(_download(BASE, 16)) == "7f3433"


def test_a_suppressed_functional_tester_present_keeps_the_session(bench: Bench) -> None:
    bench.ask("1003")
    for _ in range(5):
        bench.run(3.0)
        assert bench.tell("3e80", functional=True) == []
    assert bench.session() == Session.EXTENDED


def test_another_tester_neither_keeps_nor_uses_a_session(unlocked: Bench) -> None:
    assert unlocked.ask(_download(BASE, 16), source=OTHER_TESTER) == "7f3421"
    assert unlocked.ask("1001", source=OTHER_TESTER) == "7f1021"
    assert unlocked.ask("22f190", source=OTHER_TESTER).startswith("62f190")
    unlocked.run(3.0)
    assert unlocked.ask("3e00", source=OTHER_TESTER) == "7e00"
    unlocked.run(3.0)
    assert unlocked.session() == Session.DEFAULT


def test_ten_02_of_a_single_slot_application_goes_on_in_the_boot_loader() -> None:
    application = Bench(single_slot_application())
    application.ask("1003")
    expected = [Respond(bytes.fromhex("7f1078"), TESTER), EnterBootloader(TESTER)]
    assert application.tell("1082") == expected
    assert application.tell("3e00") == []
    assert application.server.next_deadline() is None

    loader = Bench(bootloader())
    assert hexes(loader.server.resume_programming(source=TESTER, now=loader.now)) == [
        "5002003201f4"
    ]
    assert loader.ask("22f186") == "62f18602"


def test_a_boot_loader_restarts_when_its_programming_session_ends() -> None:
    by_request, by_silence = Bench(bootloader()), Bench(bootloader())
    by_request.ask("1002")
    assert by_request.tell("1081", functional=True) == [Restart(ResetType.SOFT)]
    by_silence.ask("1002")
    assert by_silence.run(6.0) == [(5.0, Restart(ResetType.SOFT))]


def test_conditions_of_the_device_keep_sessions_and_resets_away(bench: Bench) -> None:
    bench.device.conditions = False
    assert bench.ask("1003") == "7f1022"
    assert bench.ask("1101") == "7f1122"
    assert bench.ask("1001") == "5001003201f4"


def test_a_reset_is_answered_first(bench: Bench) -> None:
    assert bench.tell("1101") == [Respond(b"\x51\x01", TESTER), Restart(ResetType.HARD)]
    assert bench.tell("3e00") == []


# Suppression


@pytest.mark.parametrize(
    ("request_hex", "physical", "functional"),
    [
        ("ff", "7fff11", ""),
        ("3e05", "7f3e12", ""),
        ("22ffff", "7f2231", ""),
        ("1002", "7f1012", ""),
        ("280001", "7f287f", ""),
        ("3e0000", "7f3e13", "7f3e13"),
        ("3e80", "", ""),
        ("3e85", "7f3e12", ""),
        ("1083", "", ""),
        ("22f188", "62f18853572d31", "62f18853572d31"),
    ],
)
def test_silence_depends_on_addressing_and_suppress_bit(
    bench: Bench, request_hex: str, physical: str, functional: str
) -> None:
    assert bench.ask(request_hex) == physical
    assert bench.ask(request_hex, functional=True) == functional


def test_nothing_is_suppressed_once_a_78_was_sent(unlocked: Bench) -> None:
    unlocked.tell("3181ff00")
    assert hexes([event for _, event in unlocked.run(7.0)]) == ["7f3178", "7f3178", "7101ff0000"]


class SlowToRefuse(BenchDevice):
    """Finds out late that it has no such routine."""

    def routine(self, rid: int, option: bytes) -> Job:  # noqa: ARG002 the port's arguments
        yield 0.2
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)


def test_nor_is_a_refusal_of_a_functional_request_once_a_78_was_sent() -> None:
    bench = Bench(two_slot_application(), SlowToRefuse())
    bench.ask("1003")
    bench.tell("31010203", functional=True)
    assert hexes([event for _, event in bench.run(1.0)]) == ["7f3178", "7f3131"]


# P2, P2* and one request at a time


def test_an_erase_is_answered_78_before_p2_and_before_each_p2_star(unlocked: Bench) -> None:
    assert unlocked.tell("3101ff00") == []
    times = [when for when, _ in unlocked.run(7.0)]
    assert times == [0.04, 4.04, 6.0]


def test_a_short_job_is_answered_within_p2_without_78(unlocked: Bench) -> None:
    assert unlocked.tell("31010202") == []
    assert unlocked.run(1.0) == [(0.001, Respond(bytes.fromhex("7101020200"), TESTER))]


def test_a_refusal_after_a_job_is_told(unlocked: Bench) -> None:
    assert unlocked.ask("3101ff01") == "7f3122"


def test_while_a_request_is_answered_others_are_busy_but_keep_alives_pass(unlocked: Bench) -> None:
    unlocked.tell("3101ff00")
    assert unlocked.tell("3e80", functional=True) == []
    assert hexes(unlocked.tell("22f190")) == ["7f2221"]
    assert hexes(unlocked.tell("22f190", source=OTHER_TESTER)) == ["7f2221"]


def test_s3_waits_while_a_request_is_being_answered(unlocked: Bench) -> None:
    unlocked.tell("3101ff00")
    unlocked.run(6.0)
    unlocked.run(4.9)
    assert unlocked.session() == Session.EXTENDED


def test_a_late_call_gives_the_events_of_a_punctual_one(unlocked: Bench) -> None:
    unlocked.tell("3101ff00")
    late = unlocked.server.handle_timeout(now=unlocked.now + 7.0)
    assert hexes(late) == ["7f3178", "7f3178", "7101ff0000"]


def test_a_call_at_the_nearest_whole_nanosecond_is_punctual() -> None:
    bench = Bench(bootloader(), BenchDevice(program_s=0.1 / 3))
    bench.ask("1002")
    bench.unlock()
    bench.ask(_download(BASE, 64))
    bench.tell(b"\x36\x01" + bytes(64))
    bench.tell("37")
    due = bench.server.next_deadline()
    assert due is not None
    just_before = due - 0.4e-9
    assert just_before < due
    assert hexes(bench.server.handle_timeout(now=just_before)) == ["77"]


# Data


def test_several_dids_are_answered_as_far_as_they_exist(bench: Bench) -> None:
    assert bench.ask("22f188ffff0000f186") == "62f18853572d31f18601"
    assert bench.ask("22ffff0000") == "7f2231"
    assert bench.ask("22f1") == "7f2213"
    assert bench.ask("22f188f1") == "7f2213"
    assert bench.ask("22" + "f190" * 40) == "7f2214"


def test_only_the_fingerprint_can_be_written(unlocked: Bench) -> None:
    assert unlocked.ask("2ef15a260601") == "6ef15a"
    assert unlocked.device.data[0xF15A] == b"\x26\x06\x01"
    assert unlocked.ask("2ef19041") == "7f2e31"
    unlocked.ask("1003")
    assert unlocked.ask("2ef15a260602") == "7f2e33"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [("280104", "7f2831"), ("280000", "7f2831"), ("280111", "7f2831"), ("2801f1", "6801")],
)
def test_communication_types_are_judged(bench: Bench, request_hex: str, answer: str) -> None:
    bench.ask("1003")
    assert bench.ask(request_hex) == answer


# DTCs


def test_dtcs_are_counted_listed_described_and_cleared(bench: Bench) -> None:
    bench.device.dtcs.report(DTC, failed=True)
    assert bench.ask("1901ff") == "5901ff010002"
    assert bench.ask("190208") == "5902ff9a01002f"
    assert bench.ask("190a") == "590aff9a01002f9a021150"
    assert bench.ask("1903") == "59039a010001"
    assert bench.ask("19049a0100ff") == "59049a01002f010101010102"
    assert bench.ask("19049a010002") == "7f1931"
    assert bench.ask("19069a0100ff") == "59069a01002f010102000300"
    assert bench.ask("19049a0101ff") == "7f1931"
    assert bench.ask("14123456") == "7f1431"
    assert bench.ask("14ffffff") == "54"
    assert bench.ask("190208") == "5902ff"
    assert bench.ask("19049a0100ff") == "59049a010050"


def test_85_02_stops_the_setting_of_dtcs(bench: Bench) -> None:
    bench.ask("1003")
    assert bench.ask("8502") == "c502"
    bench.device.dtcs.report(DTC, failed=True)
    assert bench.ask("190208") == "5902ff"
    assert bench.ask("8501") == "c501"
    bench.device.dtcs.report(DTC, failed=True)
    assert bench.ask("190208") != "5902ff"


# Security access


def test_an_unlocked_level_gives_a_seed_of_zeros(unlocked: Bench) -> None:
    assert unlocked.ask("2701") == "6701" + "00" * 16


def test_a_key_without_its_seed_is_a_sequence_error(bench: Bench) -> None:
    bench.ask("1003")
    assert bench.ask(b"\x27\x02" + bytes(16)) == "7f2724"
    bench.ask("2701")
    bench.ask(b"\x27\x02" + bytes(16))
    assert bench.ask(b"\x27\x02" + bytes(16)) == "7f2724"


def test_seeds_never_repeat(bench: Bench) -> None:
    bench.ask("1003")
    seeds = {bench.ask("2701") for _ in range(1000)}
    assert len(seeds) == 1000


def _wrong_key(bench: Bench) -> str:
    bench.ask("1003")
    if (seed := bench.ask("2701")).startswith("7f"):
        return seed
    return bench.ask(b"\x27\x02" + KEY)


def test_wrong_keys_are_counted_and_delayed_longer_and_longer(bench: Bench) -> None:
    assert [_wrong_key(bench) for _ in range(4)] == ["7f2735", "7f2735", "7f2736", "7f2737"]
    bench.run(9.9)
    assert _wrong_key(bench) == "7f2737"
    bench.run(0.2)
    assert _wrong_key(bench) == "7f2736"
    bench.run(19.9)
    assert _wrong_key(bench) == "7f2737"
    bench.run(0.2)
    bench.ask("1003")
    bench.unlock()
    bench.ask("1003")
    assert _wrong_key(bench) == "7f2735"


def test_neither_a_session_change_nor_a_power_cycle_forgives_wrong_keys(bench: Bench) -> None:
    assert _wrong_key(bench) == "7f2735"
    bench.ask("1001")
    assert _wrong_key(bench) == "7f2735"
    bench.restart()
    assert _wrong_key(bench) == "7f2736"
    bench.run(9.0)
    bench.restart()
    bench.run(9.0)
    assert _wrong_key(bench) == "7f2737"
    bench.run(1.1)
    assert _wrong_key(bench) == "7f2736"


def test_a_try_is_counted_before_it_is_judged(bench: Bench) -> None:
    bench.ask("1003")
    bench.ask("2701")
    bench.tell(b"\x27\x02" + bytes(16))
    bench.run(0.0006)
    bench.restart()  # the power fails before the second write could clear anything
    assert [_wrong_key(bench) for _ in range(2)] == ["7f2735", "7f2736"]


def test_a_count_that_cannot_be_read_gives_no_free_tries() -> None:
    bench = Bench(two_slot_application(), BenchDevice(nvm={"security attempts": b"\x00"}))
    assert _wrong_key(bench) == "7f2737"


# Download


def _stage(bench: Bench, data: bytes) -> None:
    assert bench.ask(_download(BASE, len(data))) == "74200042"
    counter = 1
    for at in range(0, len(data), 64):
        assert bench.ask(bytes([0x36, counter]) + data[at : at + 64]) == f"76{counter:02x}"
        counter = (counter + 1) % 256
    assert bench.ask("37") == "77"


def test_a_download_arrives_byte_for_byte_in_either_server(
    unlocked: Bench, programming: Bench
) -> None:
    for bench in (unlocked, programming):
        data = bytes(index % 251 for index in range(1000))
        _stage(bench, data)
        assert bench.device.memory == data + b"\xff" * (SIZE - 1000)


def test_a_block_is_acknowledged_on_receipt_and_78_comes_while_the_buffer_is_full(
    programming: Bench,
) -> None:
    programming.device.program_s = 0.1
    programming.ask(_download(BASE, 192))
    block = bytes(64)
    assert hexes(programming.tell(b"\x36\x01" + block)) == ["7601"]
    assert hexes(programming.tell(b"\x36\x02" + block)) == ["7602"]
    assert programming.tell(b"\x36\x03" + block) == []
    happened = programming.run(0.15)
    assert [(when, *hexes([event])) for when, event in happened] == [
        (0.04, "7f3678"),
        (0.1, "7603"),
    ]
    assert hexes(programming.tell("37")) == []
    assert [when for when, _ in programming.run(1.0)] == [0.04, 0.15]
    assert len(programming.device.written) == 3


def test_a_repeated_block_is_answered_and_not_written_again(programming: Bench) -> None:
    programming.ask(_download(BASE, 128))
    assert programming.ask(b"\x36\x01" + b"a" * 64) == "7601"
    assert programming.ask(b"\x36\x01" + b"a" * 64) == "7601"
    assert programming.ask(b"\x36\x02" + b"b" * 64) == "7602"
    assert programming.ask("37") == "77"
    assert programming.device.written == [b"a" * 64, b"b" * 64]


def test_a_wrong_counter_is_refused_and_the_transfer_goes_on(programming: Bench) -> None:
    programming.ask(_download(BASE, 128))
    for counter in (0, 2, 5, 255):
        assert programming.ask(bytes([0x36, counter]) + bytes(64)) == "7f3673"
    assert programming.ask(b"\x36\x01" + bytes(64)) == "7601"
    assert programming.ask(b"\x36\x03" + bytes(64)) == "7f3673"
    assert programming.ask(b"\x36\x02" + bytes(64)) == "7602"


def test_the_counter_goes_from_ff_to_00() -> None:
    bench = Bench(bootloader(), BenchDevice(max_block_length=5))
    bench.ask("1002")
    bench.unlock()
    bench.ask(_download(BASE, 900))
    for index in range(1, 301):
        answer = bench.ask(bytes([0x36, index % 256, 1, 2, 3]))
        assert answer == f"76{index % 256:02x}"
    assert bench.ask("37") == "77"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("3601" + "00" * 65, "7f3613"),
        ("3601", "7f3613"),
        ("36", "7f3613"),
        ("37", "7f3724"),
        ("3700", "7f3713"),
        ("34004400001000000000ff", "7f3422"),
        ("34114400001000000000ff", "7f3431"),
        ("3101ff00", "7f3122"),
    ],
)
def test_during_a_download(programming: Bench, request_hex: str, answer: str) -> None:
    programming.ask(_download(BASE, 100))
    assert programming.ask(request_hex) == answer
    assert programming.ask(b"\x36\x01" + bytes(64)) == "7601"


def test_more_data_than_announced_is_refused(programming: Bench) -> None:
    programming.ask(_download(BASE, 65))
    programming.ask(b"\x36\x01" + bytes(64))
    assert programming.ask(b"\x36\x02\x00\x00") == "7f3671"
    assert programming.ask(b"\x36\x02\x00") == "7602"


def test_a_block_after_everything_has_come_is_out_of_sequence(programming: Bench) -> None:
    programming.ask(_download(BASE, 64))
    assert programming.ask(b"\x36\x01" + bytes(64)) == "7601"
    assert programming.ask(b"\x36\x02\x00") == "7f3624"
    assert programming.ask(b"\x36\x01" + bytes(64)) == "7601"
    assert programming.ask("37") == "77"
    assert bytes(programming.device.memory[:64]) == bytes(64)


@pytest.mark.parametrize("request_hex", ["3601", "3601aa", "37"])
def test_without_a_download_there_is_no_transfer(programming: Bench, request_hex: str) -> None:
    assert programming.ask(request_hex) == f"7f{request_hex[:2]}24"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("3400440000000000000010", "31"),
        ("3400440000100000000401", "31"),
        ("3400440000100000000000", "31"),
        ("34004400001000ffffffff", "31"),
        ("34114400001000000000ff", "31"),
        ("3400f400001000000000ff", "31"),
        ("34000000001000000000ff", "31"),
        ("34004400001000000000", "13"),
        ("340044", "13"),
        ("34", "13"),
    ],
)
def test_downloads_that_are_not_accepted(programming: Bench, request_hex: str, answer: str) -> None:
    assert programming.ask(request_hex) == f"7f34{answer}"


def test_a_failure_to_program_is_told_with_the_next_request_and_ends_the_download(
    programming: Bench,
) -> None:
    programming.device.fails_at = 64
    programming.ask(_download(BASE, 256))
    assert programming.ask(b"\x36\x01" + bytes(64)) == "7601"
    assert programming.ask(b"\x36\x02" + bytes(64)) == "7602"
    programming.run(1.0)
    assert programming.ask(b"\x36\x03" + bytes(64)) == "7f3672"
    assert programming.device.aborted == 1
    assert programming.ask(b"\x36\x03" + bytes(64)) == "7f3624"
    assert programming.ask("37") == "7f3724"


def test_a_failure_of_the_last_block_is_told_by_37(programming: Bench) -> None:
    programming.device.fails_at = 0
    programming.ask(_download(BASE, 64))
    assert programming.ask(b"\x36\x01" + bytes(64)) == "7601"
    assert programming.ask("37") == "7f3772"
    assert programming.ask("37") == "7f3724"


def test_silence_gives_a_download_up(unlocked: Bench) -> None:
    unlocked.ask(_download(BASE, 128))
    unlocked.ask(b"\x36\x01" + bytes(64))
    unlocked.run(5.1 + PROGRAM_S)
    assert unlocked.device.aborted == 1
    unlocked.ask("1003")
    unlocked.unlock()
    assert unlocked.ask(b"\x36\x02" + bytes(64)) == "7f3624"


# Compressed data


@pytest.fixture
def compressing() -> Bench:
    """The same boot loader, which takes zlib streams as data format 10."""
    device = BenchDevice(data_formats={0x00: PLAIN, 0x10: ZLIB})
    bench = Bench(bootloader(), device)
    bench.ask("1002")
    bench.unlock()
    return bench


def _compressed(size: int) -> bytes:
    return bytes.fromhex("341044") + BASE.to_bytes(4) + size.to_bytes(4)


def test_a_compressed_download_is_written_as_what_it_was(compressing: Bench) -> None:
    data = b"canota" * 80
    stream = zlib.compress(data)
    assert compressing.ask(_compressed(len(data)))[:2] == "74"
    half = len(stream) // 2
    assert compressing.ask(b"\x36\x01" + stream[:half]) == "7601"
    assert compressing.ask("37") == "7f3724"
    assert compressing.ask(b"\x36\x02" + stream[half:]) == "7602"
    assert compressing.ask(b"\x36\x02" + stream[half:]) == "7602"  # its answer was lost
    assert compressing.ask("37") == "77"
    assert bytes(compressing.device.memory[: len(data)]) == data


def test_a_stream_that_unfolds_to_more_than_announced_ends_the_download(compressing: Bench) -> None:
    compressing.ask(_compressed(100))
    assert compressing.ask(b"\x36\x01" + zlib.compress(bytes(200))) == "7f3671"
    assert compressing.ask("37") == "7f3724"
    assert compressing.device.aborted == 1


def test_what_is_no_stream_ends_the_download_and_another_may_begin(compressing: Bench) -> None:
    compressing.ask(_compressed(100))
    assert compressing.ask(b"\x36\x01" + bytes(20)) == "7f3671"
    assert compressing.ask(b"\x36\x02" + bytes(20)) == "7f3624"
    assert compressing.ask(_download(BASE, 100))[:2] == "74"


def test_a_format_that_the_ecu_does_not_have_is_out_of_range(compressing: Bench) -> None:
    request = bytearray(_compressed(100))
    request[1] = 0x20
    assert compressing.ask(bytes(request)) == "7f3431"
