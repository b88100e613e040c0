"""`canota trace`: what the simulated car says to its tester, in words."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import clock
from dbc import describe_vehicle
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.capture import Capture
from protocols.can import FrameHeader
from protocols.isotp import segment
from recording import CanErrorFrame, CanFrame, Channel, Record
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from recording.trace import Kind, Line, TraceOptions, Tracer, VehicleNames
from tests.support.cli import Ended, canota
from tests.support.flashing import START, SimLinks
from tests.support.logs import recorder, served_wire
from tests.support.vehicle import running
from vehicle_gateway.wires import testers as gateway
from vehicle_gateway.wires.tester import NegativeResponseError

START_NS = since_epoch_ns(START)
NAMES = VehicleNames(describe_vehicle())
STATUS = FrameHeader(0x310)


@pytest.fixture(scope="module")
def car(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of the car while a tester asks every ECU for its VIN and for nonsense."""
    folder = tmp_path_factory.mktemp("car")
    file = folder / "car.pcapng"

    async def main() -> None:
        async with running(folder / "state") as vehicle:
            with closing(recorder(file, vehicle.wires)) as log:
                capture = Capture(log, vehicle.wires, start_date=START)
                async with gateway.Testers(describe_vehicle(), SimLinks(vehicle)) as testers:
                    for ecu in vehicle.nodes:
                        tester = testers.tester(ecu)
                        await tester.request(bytes.fromhex("22 F1 90"))
                        with pytest.raises(NegativeResponseError):
                            await tester.request(bytes.fromhex("22 12 34"))
                await asyncio.sleep(0.5)
                capture.close()

    clock.run(main(), virtual=True)
    return file


def told(ended: Ended) -> list[dict[str, Any]]:
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def test_every_ecu_is_asked_and_answers_on_can_and_doip(car: Path) -> None:
    lines = told(canota("trace", str(car), "--kind", "uds", "--json"))
    vin = [line for line in lines if line["text"].startswith("VIN (F190)")]
    for ecu in describe_vehicle().ecus.values():
        asked, answered = (line for line in vin if ecu.name in {line["source"], line["target"]})
        assert (asked["source"], asked["target"], asked["request"]) == ("tester", ecu.name, True)
        assert (answered["source"], answered["target"]) == (ecu.name, "tester")
        assert answered["wire"] == ecu.wire
        assert answered["text"] == "VIN (F190) = 'WCANHVAC000000001'"
        assert answered["service"] == "ReadDataByIdentifier"
        assert answered["data"].startswith("62f190")
        assert answered["after_ns"] == answered["at_ns"] - asked["at_ns"] > 0
        assert answered["frames"] == (1 if ecu.wire in {"rear", "thermal"} else 3)
    refused = [line for line in lines if line.get("negative_response_code") == 0x31]
    assert {line["source"] for line in refused} == set(describe_vehicle().ecus)
    assert all(line["alarming"] for line in refused)


def test_people_read_columns(car: Path) -> None:
    ended = canota("trace", str(car), "--ecu", "ccu")
    row = r"^ +\d\.\d{6}  comfort +7A0  tester → ccu {8}ReadDataByIdentifier  DID 1234$"
    assert len(re.findall(row, ended.out, re.MULTILINE)) == 1
    assert "refused: requestOutOfRange (31)" in ended.out
    assert re.search(r"VIN \(F190\) = 'WCANHVAC000000001' +\(3 frames, after \d+ µs\)", ended.out)
    assert "blower" not in ended.out
    count = len(describe_vehicle().ecus)
    summary = rf"\d+ frames, \d+ UDS messages, {count} refused, 0 error frames"
    assert re.search(summary, ended.err)


def test_signals_have_names_and_units(car: Path) -> None:
    lines = told(canota("trace", str(car), "--json", "--kind", "signals"))
    status = next(line for line in lines if line["name"] == "CCU_Status")
    assert status["signals"]["CabinTemperature"]["unit"] == "degC"
    assert "°C" in status["text"]
    fewer = told(canota("trace", str(car), "--json", "--kind", "signals", "--changes"))
    assert 0 < len(fewer) < len(lines) / 2


def test_every_frame_is_shown_if_asked_for(car: Path) -> None:
    lines = told(canota("trace", str(car), "--json", "--frames", "--id", "7A0,7A8"))
    texts = [line["text"] for line in lines if line["kind"] == "frame"]
    assert any("first frame of 20 bytes" in text for text in texts)
    assert any("flow control: continue to send, BS 0, STmin 0 ms" in text for text in texts)
    assert any("consecutive frame 2" in text for text in texts)
    assert {line["id"] for line in lines} == {"7A0", "7A8"}


def test_a_log_that_knows_no_names_is_read_by_the_wires_order(tmp_path: Path, car: Path) -> None:
    file = tmp_path / "car.blf"
    assert canota("log", "convert", str(car), str(file)).code == 0
    lines = told(canota("trace", str(file), "--kind", "uds", "--json"))
    assert {(line["wire"], line["source"]) for line in lines} == {
        *((channel, "tester") for channel in ("1", "2")),
        *(
            (channel, ecu.name)
            for channel, wire in (("1", "comfort"), ("2", "thermal"))
            for ecu in describe_vehicle().on_wire(wire)
        ),
    }
    swapped = told(canota("trace", str(file), "--wire", "1=thermal", "--json", "--channel", "1"))
    assert not [line for line in swapped if line["kind"] == "uds"]


def lines_of(*records: Record, options: TraceOptions | None = None) -> list[Line]:
    tracer = Tracer((Channel(name="can0"),), NAMES, options or TraceOptions())
    return [line for record in records for line in tracer.lines(record)]


def test_errors_remote_frames_and_unknown_frames_are_told() -> None:
    lines = lines_of(
        CanErrorFrame(1, 0),
        CanFrame(2, 0, FrameHeader(0x123), b"", remote=4),
        CanFrame(3, 0, FrameHeader(0x123, fd=True, bit_rate_switch=True), bytes(12)),
        CanFrame(4, 0, STATUS, b"\x01"),
    )
    assert [(line.kind, line.name) for line in lines] == [
        (Kind.ERROR, "error frame"),
        (Kind.FRAME, "remote frame"),
        (Kind.FRAME, ""),
        (Kind.FRAME, "CCU_Status"),
    ]
    assert lines[2].text == "[12] FD BRS 00 00 00 00 00 00 00 00 00 00 00 00"
    assert lines[3].text == "[1] 01  not as the database has it"


def test_legislated_identifiers_are_known_and_others_can_be_given(tmp_path: Path) -> None:
    file = tmp_path / "theirs.asc"
    frames: list[Record] = []
    for number, (identifier, message) in enumerate(
        ((0x7E0, "22 F1 90"), (0x18DAF110, "7F 22 13"), (0x601, "3E 00"), (0x602, "7E 00"))
    ):
        header = FrameHeader(identifier, extended=identifier > 0x7FF)
        (frame,) = segment(bytes.fromhex(message), 8)
        frames.append(CanFrame(START_NS + number, 0, header, frame))
    with closing(Recorder(file, (Channel(name="obd"),), start_ns=START_NS)) as log:
        log.extend(frames)
    lines = told(canota("trace", str(file), "--json", "--isotp", "601:602"))
    assert [(one["source"], one["target"], one["name"]) for one in lines] == [
        ("tester", "ECU 7E0", "ReadDataByIdentifier"),
        ("ECU 10", "tester", "ReadDataByIdentifier"),
        ("tester", "ECU 601", "TesterPresent"),
        ("ECU 601", "tester", "TesterPresent"),
    ]


def test_signals_come_from_a_database_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.dbc").write_text(
        'VERSION ""\nBS_:\nBU_: A\nBO_ 291 Mine: 2 A\n SG_ Level : 0|16@1+ (0.5,0) [0|0] "V" A\n'
    )
    file = tmp_path / "one.log"
    file.write_text("(1.000000) can0 123#1000\n")
    lines = told(canota("trace", str(file), "--json", "--dbc", f"can0={tmp_path / 'mine.dbc'}"))
    assert lines[0]["signals"] == {"Level": {"value": 8.0, "unit": "V"}}
    (tmp_path / "bad.dbc").write_text("BO_ what")
    ended = canota("trace", str(file), "--dbc", str(tmp_path / "bad.dbc"))
    assert ended.code == 5
    assert "bad.dbc: no signal database" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("none.blf",), 3, "none.blf: No such file or directory"),
        (("a.log", "b.log"), 2, "one log at a time"),
        (("a.log", "can://bridge/127.0.0.1:1/x"), 2, "a log, or wires"),
        (("can://bridge/127.0.0.1:1/x",), 4, "can://bridge/127.0.0.1:1/x"),
        (("a.log", "--ecu", "radio"), 2, "--ecu radio: the vehicle has ccu"),
        (("a.log", "--wire", "1=bus"), 2, "--wire bus: the vehicle has comfort"),
        (("a.log", "--isotp", "601"), 2, "'' is no identifier"),
        (("a.log", "--isotp", "600-601:602"), 2, "REQUEST:RESPONSE expected"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = canota("trace", *arguments)
    assert ended.code == code
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_a_log_comes_through_a_pipe(car: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "canota", "trace", "-", "--json", "--kind", "uds"],
        input=car.read_bytes(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    lines = [json.loads(line) for line in BytesIO(done.stdout)]
    assert lines == told(canota("trace", str(car), "--kind", "uds", "--json"))


@pytest.mark.system
def test_a_live_trace_tells_at_once_and_ends_well_on_ctrl_c() -> None:
    def prepare(wire: CanWire) -> None:
        loop = asyncio.get_running_loop()

        def speak() -> None:
            wire.port("tester").send(FrameHeader(0x7A0), segment(bytes.fromhex("22 F1 90"), 8))
            loop.call_later(0.02, speak)

        speak()

    with served_wire(prepare) as uri:
        process = subprocess.Popen(  # noqa: S603 our own program
            [sys.executable, "-m", "canota", "trace", f"comfort={uri}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            row = process.stdout.readline()
            assert "comfort  7A0  tester → ccu        ReadDataByIdentifier  VIN (F190)" in row
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
            assert process.wait(20) == 0
    assert re.search(r"\d+ frames, \d+ UDS messages, 0 refused, 0 error frames", said)
    assert "Traceback" not in said


@pytest.mark.system
def test_a_live_trace_ends_when_nobody_reads_it_any_more() -> None:
    def prepare(wire: CanWire) -> None:
        loop = asyncio.get_running_loop()

        def speak() -> None:
            wire.port("ecu").send(STATUS, (bytes(8),))
            loop.call_later(0.01, speak)

        speak()

    with served_wire(prepare) as uri:
        process = subprocess.Popen(  # noqa: S603 our own program
            [sys.executable, "-m", "canota", "trace", f"comfort={uri}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert "CabinTemperature" in process.stdout.readline()
            process.stdout.close()
            assert process.wait(20) in {0, 1}
            assert "Traceback" not in process.stderr.read()
