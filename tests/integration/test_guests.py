"""ECUs that are no types of ours on a vehicle's wires: made from logs, and from a PDX."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import pytest

from clock import run
from ecu_sim.bus.capture import Capture, channels_of
from ecu_sim.described.guest import DescribedGuest
from ecu_sim.guest import Guest
from ecu_sim.recorded import Answer, Exchange, RecordedEcu, RecordedError
from ecu_sim.recorded.answers import Answers
from ecu_sim.recorded.conversations import Addresses, recorded_ecus
from ecu_sim.recorded.node import RecordedGuest
from ecu_sim.vehicle import Vehicle, VehicleError, VehicleOptions
from protocols.can import FrameHeader
from protocols.isotp.codec import segment
from protocols.uds import RoutineId
from recording import CanFrame, Channel
from recording.reading import LogReader
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from tests.support.ecu import DIAGNOSTICS_MASTER, IMAGE_PUBLIC_KEY, VIN, RawTester
from tests.support.foreign_ecu import FLASH_AT, REQUEST_ID, RESPONSE_ID, foreign_ecu, foreign_key
from tests.support.programming import expect
from tests.support.vehicle import open_tester, running

START = datetime.fromisoformat("2026-06-01T08:00:00+00:00")
MS = 1_000_000
REQUEST, RESPONSE = FrameHeader(0x7B4), FrameHeader(0x7BC)
Test = Callable[[Vehicle, RawTester], Awaitable[None]]

VIN_ANSWER = b"\x62\xf1\x90" + VIN.encode()


SELF_TEST = bytes((0x31, 0x01, *RoutineId.SELF_TEST.to_bytes(2)))
SELF_TEST_PASSED = bytes((0x71, *SELF_TEST[1:], 0x00))


def log_of_ccu(directory: Path, file: str) -> Path:
    """What a tester and the climate control unit said, with all else that was on the wire."""
    path = directory / file

    async def main() -> None:
        async with running(directory / "ecus", "ccu", "blower") as vehicle:
            recorder = Recorder(path, channels_of(vehicle.wires), start_ns=since_epoch_ns(START))
            capture = Capture(recorder, vehicle.wires, start_date=START)
            tester = open_tester(vehicle, "ccu")
            await expect(tester, "22 F1 86", "62 f1 86 01")
            assert await tester.ask(bytes.fromhex("22 F1 90")) == VIN_ANSWER
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            await expect(tester, "22 F1 86", "62 f1 86 03")
            await expect(tester, "22 12 34", "7f 22 31")
            # The self-test watches for half a second: 78, and its status.
            await expect(tester, SELF_TEST.hex(), f"{SELF_TEST_PASSED.hex(' ')} 00")
            await asyncio.sleep(2)
            tester.close()
            capture.close()
            recorder.close()

    run(main(), virtual=True)
    return path


def read(path: Path, addresses: Addresses | None = None) -> list[RecordedEcu]:
    with LogReader(path) as reader:
        return recorded_ecus(reader, reader.channels, name=path.name, addresses=addresses)


def options(directory: Path, *guests: Guest, ecus: tuple[str, ...] = ()) -> VehicleOptions:
    return VehicleOptions(
        vin=VIN,
        state_directory=directory,
        ecus=ecus,
        seed=1,
        image_public_keys=(IMAGE_PUBLIC_KEY,),
        diagnostics_master=DIAGNOSTICS_MASTER,
        guests=guests,
    )


def on_guest(directory: Path, guest: Guest, ids: tuple[int, int], test: Test) -> None:
    async def main() -> None:
        vehicle = Vehicle(options(directory / "bench", guest))
        try:
            await vehicle.start()
            tester = RawTester.can(vehicle.can_port(guest.wire, "tester"), *ids)
            await test(vehicle, tester)
            tester.close()
        finally:
            await vehicle.stop()

    run(main(), virtual=True)


def said(*messages: tuple[int, FrameHeader, str]) -> list[CanFrame]:
    """Frames of these messages (ms, whose, content), a millisecond apart."""
    return [
        CanFrame((at_ms + number) * MS, 0, header, frame)
        for at_ms, header, content in messages
        for number, frame in enumerate(segment(bytes.fromhex(content), 8))
    ]


def of(*messages: tuple[int, FrameHeader, str]) -> RecordedEcu:
    (ecu,) = recorded_ecus(said(*messages), [Channel(name="body")], name="body.log")
    return ecu


@pytest.mark.parametrize("file", ["wire.log", "wire.asc", "wire.blf", "wire.pcapng"])
def test_an_ecu_is_found_in_a_log_of_each_format_and_answers_the_same(
    tmp_path: Path, file: str
) -> None:
    (ecu,) = read(log_of_ccu(tmp_path, file))
    assert (ecu.name, ecu.request_id, ecu.response_id) == ("ecu_7A0", 0x7A0, 0x7A8)
    assert [one.request.hex() for one in ecu.exchanges[:3]] == ["22f186", "22f190", "1003"]
    assert ecu.exchanges[1].answers[0].payload == VIN_ANSWER

    async def main(_vehicle: Vehicle, tester: RawTester) -> None:
        loop = asyncio.get_running_loop()
        await expect(tester, "22 F1 86", "62 f1 86 01")
        assert await tester.ask(bytes.fromhex("22 F1 90")) == VIN_ANSWER
        # The second time the session was another one; and so it stays.
        await expect(tester, "22 F1 86", "62 f1 86 03")
        await expect(tester, "22 F1 86", "62 f1 86 03")
        await expect(tester, "22 12 34", "7f 22 31")
        await expect(tester, "22 12 35", "7f 22 31")
        await expect(tester, "14 FF FF FF", "7f 14 11")
        await expect(tester, "3E 00", "7e 00")
        begun = loop.time()
        tester.send(SELF_TEST)
        assert await tester.answer() == bytes.fromhex("7F 31 78")
        assert loop.time() - begun == pytest.approx(0.04, abs=0.005)
        assert await tester.answer() == SELF_TEST_PASSED + b"\x00"
        assert loop.time() - begun == pytest.approx(0.5, abs=0.01)

    on_guest(tmp_path, RecordedGuest(ecu=ecu, wire="comfort"), (0x7A0, 0x7A8), main)


def test_the_delay_of_an_answer_counts_from_the_end_of_a_long_request() -> None:
    ecu = of((0, REQUEST, "2E F1 84" + "11" * 20), (130, RESPONSE, "6E F1 84"))
    assert ecu.exchanges == (
        Exchange(bytes.fromhex("2E F1 84" + "11" * 20), (Answer(b"\x6e\xf1\x84", 0.127),)),
    )


def test_answers_find_their_requests_past_a_tester_that_keeps_the_session_alive() -> None:
    ecu = of(
        (0, REQUEST, "22 F1 90"),
        (5, RESPONSE, "62 F1 90 41"),
        (100, REQUEST, "31 01 FF 00"),
        (110, REQUEST, "3E 80"),
        (140, RESPONSE, "7F 31 78"),
        (900, RESPONSE, "71 01 FF 00 00"),
        (1000, RESPONSE, "62 F1 90 42"),
    )
    by_request = {one.request.hex(): one.answers for one in ecu.exchanges}
    assert [one.payload.hex() for one in by_request["3101ff00"]] == ["7f3178", "7101ff0000"]
    assert by_request["3e80"] == ()
    # Within the patience of the first request: it counts as its second answer.
    assert len(by_request["22f190"]) == 2


def test_a_message_of_its_own_accord_is_counted_and_not_repeated() -> None:
    ecu = of((0, REQUEST, "22 F1 90"), (5, RESPONSE, "62 F1 90 41"), (50, RESPONSE, "6A 01 02"))
    assert ecu.unasked == 1
    assert len(ecu.exchanges) == 1


def test_a_message_with_a_lost_frame_is_left_out() -> None:
    frames = said(
        (0, REQUEST, "22 F1 90"),
        (5, RESPONSE, "62 F1 90" + "41" * 17),
        (100, REQUEST, "22 F1 90"),
        (105, RESPONSE, "62 F1 90" + "42" * 17),
    )
    del frames[2]
    (ecu,) = recorded_ecus(frames, [Channel(name="body")], name="body.log")
    answers = [one.answers for one in ecu.exchanges]
    assert answers[0] == ()
    assert answers[1][0].payload == b"\x62\xf1\x90" + b"B" * 17


def test_cyclic_frames_that_look_like_requests_are_no_tester() -> None:
    status = FrameHeader(0x111)
    frames = said((0, REQUEST, "22 F1 90"), (5, RESPONSE, "62 F1 90 41"))
    frames += [CanFrame(n * MS, 0, status, b"\x02\x3e\x00" + bytes((n, 0, 0, 0, 0)))
               for n in range(8)]  # fmt: skip
    frames += [CanFrame(n * MS, 0, status, bytes((n, 9, 9, 9, 9, 9, 9, 9))) for n in range(9, 90)]
    frames.sort(key=lambda frame: frame.at_ns)
    (ecu,) = recorded_ecus(frames, [Channel(name="body")], name="body.log")
    assert ecu.request_id == REQUEST.identifier


def test_functional_requests_are_answered_and_refusals_are_not() -> None:
    functional = FrameHeader(0x7DF)
    ecu = of(
        (0, REQUEST, "22 F1 90"),
        (5, RESPONSE, "62 F1 90 41"),
        (100, functional, "19 0A"),
        (105, RESPONSE, "59 0A FF"),
    )
    assert ecu.functional_id == 0x7DF
    answers = Answers(ecu.exchanges)
    assert answers.of(b"\x19\x0a", functional=True)[0].payload == b"\x59\x0a\xff"
    assert answers.of(b"\x19\x0b", functional=True) == ()
    assert answers.of(b"\x3e\x80", functional=False) == ()


def test_identifiers_of_29_bits_and_given_ones() -> None:
    one, two = FrameHeader(0x18DA1020, extended=True), FrameHeader(0x18DA2010, extended=True)
    frames = said((0, one, "10 03"), (9, two, "50 03 00 32 01 F4"))
    (found,) = recorded_ecus(frames, [Channel(name="x")], name="x.log")
    assert (found.name, found.extended, found.functional_id) == ("ecu_18DA1020", True, 0x18DB33F1)
    given = Addresses(request_id=0x18DA1020, response_id=0x18DA2010, functional_id=0x18DBFFF1)
    (same,) = recorded_ecus(frames, [Channel(name="x")], name="x.log", addresses=given)
    assert same.functional_id == 0x18DBFFF1
    assert same.exchanges == found.exchanges
    wrong = Addresses(request_id=0x7A0, response_id=0x7A8)
    with pytest.raises(RecordedError, match=r"x\.log: no frames of 7A0 and 7A8 on one wire"):
        recorded_ecus(frames, [Channel(name="x")], name="x.log", addresses=wrong)


def test_a_log_in_which_nobody_answers_is_refused() -> None:
    frames = said((0, REQUEST, "22 F1 90"), (100, REQUEST, "22 F1 91"))
    with pytest.raises(RecordedError, match=r"quiet\.log: nobody in it answers a UDS request"):
        recorded_ecus(frames, [Channel(name="x")], name="quiet.log")


def test_a_reset_begins_the_turns_anew_and_faults_act_on_a_recorded_ecu(tmp_path: Path) -> None:
    ecu = of(
        (0, REQUEST, "22 F1 86"),
        (5, RESPONSE, "62 F1 86 01"),
        (100, REQUEST, "22 F1 86"),
        (105, RESPONSE, "62 F1 86 03"),
        (200, REQUEST, "10 03"),
        (205, RESPONSE, "50 03 00 32 01 F4"),
    )

    async def main(vehicle: Vehicle, tester: RawTester) -> None:
        guest = vehicle.guests["ecu_7B4"]
        sessions: list[int] = []
        guest.faults.dialogue.on_session.append(sessions.append)
        await expect(tester, "22 F1 86", "62 f1 86 01")
        await expect(tester, "22 F1 86", "62 f1 86 03")
        vehicle.begin_fault("ecu_7B4", "reset@10")
        tester.send(bytes.fromhex("10 03"))
        await asyncio.sleep(0.01)
        assert guest.mode == "booting"
        await guest.booted()
        assert guest.boots == 2
        await expect(tester, "22 F1 86", "62 f1 86 01")
        guest.faults.end_all()
        with vehicle.begin_fault("ecu_7B4", "late=1s@10"):
            begun = asyncio.get_running_loop().time()
            await expect(tester, "10 03", "50 03 00 32 01 f4")
            assert asyncio.get_running_loop().time() - begun > 1.0
        assert sessions == [3]
        with vehicle.begin_fault("ecu_7B4", "nrc=33@22"):
            await expect(tester, "22 F1 86", "7f 22 33")

    on_guest(tmp_path, RecordedGuest(ecu=ecu, wire="comfort"), (0x7B4, 0x7BC), main)


def test_a_described_ecu_keeps_its_memory_and_takes_faults(tmp_path: Path) -> None:
    guest = DescribedGuest(ecu=foreign_ecu(), wire="comfort", key=foreign_key)

    async def write(vehicle: Vehicle, tester: RawTester) -> None:
        for request, answer in (("10 03", "50 03"), ("10 02", "50 02")):
            assert (await tester.ask(bytes.fromhex(request)))[:2] == bytes.fromhex(answer)
        vehicle.begin_fault("brakes", "wrong-key")
        seed = (await tester.ask(bytes.fromhex("27 11")))[2:]
        await expect(tester, b"\x27\x12" + foreign_key(0x11, seed), "7f 27 35")
        vehicle.guests["brakes"].faults.end_all()
        seed = (await tester.ask(bytes.fromhex("27 11")))[2:]
        await expect(tester, b"\x27\x12" + foreign_key(0x11, seed), "67 12")
        await expect(tester, b"\x2e\xf1\x84canota 01", "6e f1 84")
        vehicle.begin_fault("brakes", f"erase-error@{FLASH_AT:X}")
        vehicle.begin_fault("brakes", "power-loss@3E00,off=1s")
        tester.send(bytes.fromhex("3E 00"))
        await asyncio.sleep(0.5)
        assert vehicle.guests["brakes"].mode == "off"
        await vehicle.guests["brakes"].booted()

    async def again(_vehicle: Vehicle, tester: RawTester) -> None:
        assert await tester.ask(b"\x22\xf1\x84") == b"\x62\xf1\x84canota 01"

    on_guest(tmp_path, guest, (REQUEST_ID, RESPONSE_ID), write)
    on_guest(tmp_path, guest, (REQUEST_ID, RESPONSE_ID), again)


def test_guests_share_a_wire_with_the_vehicles_own_ecus(tmp_path: Path) -> None:
    ecu = of((0, REQUEST, "22 F1 90"), (5, RESPONSE, "62 F1 90 41"))

    async def main() -> None:
        guest = RecordedGuest(ecu=ecu, wire="comfort")
        vehicle = Vehicle(options(tmp_path, guest, ecus=("blower",)))
        try:
            vehicle.begin_fault("ecu_7B4", "no-boot")
            await vehicle.start()
            tester = RawTester.can(vehicle.can_port("comfort", "tester"), 0x7B4, 0x7BC)
            tester.send(bytes.fromhex("22 F1 90"))
            await asyncio.sleep(1)
            vehicle.guests["ecu_7B4"].faults.end_all()
            await vehicle.guests["ecu_7B4"].booted()
            await expect(tester, "22 F1 90", "62 f1 90 41")
            own = RawTester.can(vehicle.can_port("comfort", "other tester"), 0x7A1, 0x7A9)
            await expect(own, "3E 00", "7e 00")
        finally:
            await vehicle.stop()

    run(main(), virtual=True)


@pytest.mark.parametrize(
    ("wire", "name", "said_"),
    [
        ("rear", "x", "x: no CAN wire 'rear'; there are: comfort, thermal"),
        ("comfort", "blower", "two ECUs are called 'blower'"),
    ],
)
def test_a_guest_that_has_no_place_is_refused(
    tmp_path: Path, wire: str, name: str, said_: str
) -> None:
    ecu = RecordedEcu(
        name=name, request_id=0x7B4, response_id=0x7BC, functional_id=0x7DF, exchanges=()
    )

    async def main() -> None:
        with pytest.raises(VehicleError, match=said_):
            Vehicle(options(tmp_path, RecordedGuest(ecu=ecu, wire=wire), ecus=("blower",)))

    run(main(), virtual=True)
