"""`canota log info` and `convert`: what a log holds, in numbers and in another format."""

import shutil
from contextlib import closing
from pathlib import Path

import can
import pytest

from protocols.can import FrameHeader
from recording import CanErrorFrame, CanFrame, Channel, EthernetFrame, LogError, Record
from recording.formats import format_of, formats
from recording.reading import LogReader
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from tests.support.cli import canota
from tests.support.flashing import START
from tests.support.logs import read

START_NS = since_epoch_ns(START)
FAST = FrameHeader(0x18DA2010, extended=True, fd=True, bit_rate_switch=True)
RECORDS: list[Record] = [
    CanFrame(START_NS + 1_000_001, 0, FrameHeader(0x210), bytes(8)),
    CanFrame(START_NS + 2_000_002, 1, FAST, bytes(64), error_state_indicator=True),
    CanFrame(START_NS + 3_000_003, 0, FrameHeader(0x101), b"", remote=3),
    CanErrorFrame(START_NS + 4_000_004, 0),
    EthernetFrame(START_NS + 5_000_005, 2, bytes(60)),
    CanFrame(START_NS + 11_000_001, 0, FrameHeader(0x210), bytes(4)),
    CanFrame(START_NS + 31_000_001, 0, FrameHeader(0x210), bytes(8), received=False),
]
CAN = [record for record in RECORDS if not isinstance(record, EthernetFrame)]
READABLE = [ending for one in formats().values() for ending in one.endings if one.read is not None]


@pytest.fixture
def car(tmp_path: Path) -> Path:
    path = tmp_path / "car.pcapng"
    channels = (
        Channel(name="comfort"),
        Channel(name="thermal"),
        Channel(name="rear", ethernet=True),
    )
    with closing(Recorder(path, channels, start_ns=START_NS)) as log:
        log.extend(RECORDS)
    return path


def test_info_counts_what_is_there(car: Path) -> None:
    found = canota("log", "info", str(car), "--ids", "--json").json
    assert (found["format"], found["records"]) == ("pcapng", len(RECORDS))
    assert found["start"] == "2026-06-01T08:00:00.001000001Z"
    assert found["duration_ns"] == 30_000_000
    comfort, thermal, rear = found["channels"]
    assert (comfort["frames"], comfort["remote_frames"], comfort["error_frames"]) == (4, 1, 1)
    assert (thermal["name"], thermal["fd_frames"], thermal["data_bytes"]) == ("thermal", 1, 64)
    assert (rear["ethernet"], rear["ethernet_frames"]) == (True, 1)
    cyclic = comfort["by_identifier"][-1]
    assert (cyclic["id"], cyclic["frames"], cyclic["data_bytes"]) == (0x210, 3, [4, 8])
    cycles = (cyclic["cycle_ns"], cyclic["least_cycle_ns"], cyclic["most_cycle_ns"])
    assert cycles == (15_000_000, 10_000_000, 20_000_000)


def test_info_tells_people(car: Path) -> None:
    lines = canota("log", "info", str(car), "--ids").out.splitlines()
    assert lines[0] == f"{car}: pcapng, {car.stat().st_size} B, 7 records"
    assert lines[1] == "2026-06-01T08:00:00.001000001Z, 0.030 s"
    words = [line.split() for line in lines]
    assert ["1", "comfort", "4", "133", "2", "1", "1", "20", "B"] in words
    assert ["210", "3", "4-8", "15.000", "10.000", "20.000"] in words
    assert ["18DA2010", "FD", "1", "64"] in words


@pytest.mark.parametrize("ending", READABLE)
def test_a_log_goes_through_every_format_and_comes_back(
    tmp_path: Path, car: Path, ending: str
) -> None:
    middle, back = tmp_path / f"middle{ending}", tmp_path / "back.pcapng"
    if ending == ".pcapng":
        return
    ended = canota("log", "convert", str(car), str(middle))
    assert ended.out == f"{middle}: 6 records; left out: 1 Ethernet frame\n"
    ended = canota(
        "log", "convert", str(middle), str(back), "--name", "1=comfort", "--name", "2=thermal"
    )
    assert ended.code == 0, ended.err
    channels, found = read(back)
    assert [channel.name for channel in channels] == ["comfort", "thermal"]
    exact = format_of(middle).resolution_ns
    expected = [record._replace(at_ns=record.at_ns // exact * exact) for record in CAN]
    if exact == 1000:  # candump has no directions
        expected = [
            record._replace(received=True) if isinstance(record, CanFrame) else record
            for record in expected
        ]
    assert found == expected


def test_what_python_can_wrote_is_converted_frame_by_frame(tmp_path: Path) -> None:
    source, target = tmp_path / "theirs.blf", tmp_path / "ours.asc"
    messages = [
        can.Message(timestamp=1780300800.25 + n / 8, arbitration_id=0x120 + n, data=bytes((n,)))
        for n in range(5)
    ]
    with can.BLFWriter(source) as writer:
        for message in messages:
            writer.on_message_received(message)
    assert canota("log", "convert", str(source), str(target), "--id", "00000121-00000123").code == 0
    with can.ASCReader(target) as reader:
        found = [(one.arbitration_id, one.is_extended_id, bytes(one.data)) for one in reader]
    assert found == [(0x120 + n, True, bytes((n,))) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (("--id", "210"), [0, 5, 6]),
        (("--id", "100-10F,18DA2010"), [1, 2]),
        (("--not-id", "210"), [1, 2, 3, 4]),
        (("--channel", "thermal"), [1]),
        (("--from", "0.002", "--until", "0.01"), [2, 3, 4, 5]),
    ],
)
def test_a_part_of_a_log_is_chosen(
    tmp_path: Path, car: Path, options: tuple[str, ...], kept: list[int]
) -> None:
    target = tmp_path / "part.pcapng"
    assert canota("log", "convert", str(car), str(target), *options).code == 0
    assert read(target)[1] == [RECORDS[number] for number in kept]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("info", "{}/none.blf"), 3, "none.blf: No such file or directory"),
        (("info", "{}/car.txt"), 5, "car.txt: begins as no log that is known here"),
        (("convert", "{}/car.pcapng", "{}/car.xyz"), 2, "car.xyz: no log format ends in '.xyz'"),
        (("convert", "{}/car.pcapng", "{}/car.pcapng"), 2, "is the log itself"),
        (("convert", "{}/cut.asc", "{}/new.blf"), 5, "cut.asc: line 3: 2 of 8 data bytes"),
        (("convert", "{}/car.pcapng", "{}/a.asc", "--id", "7FF-1"), 2, "'7FF-1' is no range"),
        (("convert", "{}/car.pcapng", "{}/a.asc", "--id", "car"), 2, "'car' is no identifier"),
        (("convert", "{}/car.pcapng", "{}/a.asc", "--name", "9=x"), 5, "no channel '9'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    tmp_path: Path, car: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "car.txt").write_text("what a nice day")
    (tmp_path / "cut.asc").write_text(
        "date Mon Jun 01 08:00:00 2026\nbase hex timestamps absolute\n 0.1 1 123 Rx d 8 01 02\n"
    )
    before = car.read_bytes()
    ended = canota("log", *(text.format(tmp_path) for text in arguments))
    assert ended.code == code
    assert said in ended.err
    assert {path.name for path in tmp_path.iterdir()} == {"car.pcapng", "car.txt", "cut.asc"}
    assert car.read_bytes() == before


@pytest.mark.parametrize("ending", READABLE)
def test_a_pipe_tells_its_format_by_its_first_bytes(tmp_path: Path, car: Path, ending: str) -> None:
    file = tmp_path / f"pipe{ending}"
    if file.suffix == car.suffix:
        shutil.copy(car, file)
    else:
        assert canota("log", "convert", str(car), str(file)).code == 0
    with LogReader(Path("-"), file.open("rb")) as reader:
        assert reader.format == format_of(file)
        assert len(list(reader)) == (len(RECORDS) if ending == ".pcapng" else len(CAN))


def test_mf4_is_written_only_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "car.mf4"
    file.write_bytes(b"MDF     4.10")
    with LogReader(file) as reader, pytest.raises(LogError, match="MF4 is written here and not"):
        list(reader)
