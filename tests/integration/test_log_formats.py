"""The same traffic in every format, read back by programs that know nothing of us."""

import asyncio
import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import can
import pytest

import clock
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.capture import Capture
from ecu_sim.bus.faults import WireFaults
from protocols.can import FrameHeader
from protocols.can.bits import NS_PER_S
from protocols.isotp import segment
from recording import CanErrorFrame, CanFrame, Channel, LogError, Record
from recording.formats import format_of
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from tests.support.flashing import START
from tests.support.logs import recorder

START_NS = since_epoch_ns(START)
BLOCK = bytes([0x36, 0x01]) + bytes(range(256)) * 8
FAST = FrameHeader(0x7B0, fd=True, bit_rate_switch=True)
FAST_EXTENDED = FrameHeader(0x18DA2010, extended=True, fd=True)
#: What no simulated wire has: what others send, remote frames, an error passive sender.
FURTHER: list[Record] = [
    CanFrame(START_NS + 900_000_001, 0, FrameHeader(0x100), b"", received=False),
    CanFrame(START_NS + 900_002_002, 0, FrameHeader(0x101), b"", remote=3),
    CanFrame(START_NS + 900_004_003, 1, FAST, bytes(12), error_state_indicator=True),
    CanFrame(START_NS + 900_006_004, 1, FAST_EXTENDED, b"\x01", received=False),
]


def traffic(log: Recorder) -> list[Record]:
    """Blocks of a flash on CAN and CAN FD, faults and extended ids; what a listener heard."""
    heard: list[Record] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        comfort = CanWire("comfort", bit_rate=500_000, loop=loop)
        thermal = CanWire("thermal", bit_rate=500_000, data_bit_rate=2_000_000, loop=loop)
        for channel, wire in enumerate((comfort, thermal)):

            def hear(header: FrameHeader, data: bytes, at_s: float, channel: int = channel) -> None:
                heard.append(CanFrame(START_NS + round(at_s * NS_PER_S), channel, header, data))

            wire.port("listener").listen(hear)
        comfort.on_error_frame(
            lambda error: heard.append(CanErrorFrame(START_NS + round(error.at_s * NS_PER_S), 0))
        )
        capture = Capture(log, {"comfort": comfort, "thermal": thermal}, start_date=START)
        comfort.port("tester").send(FrameHeader(0x7A0), segment(BLOCK, 8))
        thermal.port("tester").send(FAST, segment(BLOCK, 64))
        await asyncio.sleep(0.3)
        comfort.begin_faults(WireFaults(corrupted=frozenset({0, 2})))
        extended = FrameHeader(0x18DA1020, extended=True)
        comfort.port("tester").send(extended, [bytes((number,)) for number in range(4)])
        thermal.port("tester").send(FAST_EXTENDED, [bytes(range(48))])
        await asyncio.sleep(0.3)
        capture.close()
        comfort.close()
        thermal.close()

    clock.run(main(), virtual=True)
    log.extend(FURTHER)
    return sorted([*heard, *FURTHER], key=lambda record: record[0])


def written(path: Path) -> list[Record]:
    wires = (Channel(name="comfort", bit_rate=500_000), Channel(name="thermal"))
    with closing(Recorder(path, wires, start_ns=START_NS)) as log:
        return traffic(log)


def undirected(record: Record) -> Record:
    """A record as candump has it."""
    return record._replace(received=True) if isinstance(record, CanFrame) else record


def as_message(record: Record) -> tuple[object, ...]:
    """What python-can says of a record."""
    if isinstance(record, CanErrorFrame):
        return ("error", record.channel)
    assert isinstance(record, CanFrame)
    header = record.header
    flags = (header.extended, header.fd, header.bit_rate_switch, record.error_state_indicator)
    remote = record.remote is not None
    what = (header.identifier, *flags, remote, record.data, record.received)
    return (what, record.channel)


def of_message(message: can.Message, channel: Callable[[can.Message], int]) -> tuple[object, ...]:
    if message.is_error_frame:
        return ("error", channel(message))
    what = (
        message.arbitration_id,
        message.is_extended_id,
        message.is_fd,
        message.bitrate_switch,
        message.error_state_indicator,
        message.is_remote_frame,
        bytes(message.data),
        message.is_rx,
    )
    return (what, channel(message))


def numbered(message: can.Message) -> int:
    assert isinstance(message.channel, int)
    return message.channel


def test_python_can_reads_asc_to_the_nanosecond(tmp_path: Path) -> None:
    sent = written(tmp_path / "car.asc")
    reader = can.ASCReader(tmp_path / "car.asc")
    found = list(reader)
    assert [of_message(one, numbered) for one in found] == [as_message(one) for one in sent]
    stamps = [START_NS + round(message.timestamp * NS_PER_S) for message in found]
    assert stamps == [record.at_ns for record in sent]
    assert reader.date == "Jun 01 08:00:00.000 2026"


def test_python_can_reads_blf_as_far_as_its_doubles_go(tmp_path: Path) -> None:
    sent = written(tmp_path / "car.blf")
    found = list(can.BLFReader(tmp_path / "car.blf"))
    assert [of_message(one, numbered) for one in found] == [as_message(one) for one in sent]
    for message, record in zip(found, sent, strict=True):
        assert message.timestamp == pytest.approx(record.at_ns / NS_PER_S, abs=300e-9, rel=0)


def test_python_can_reads_candump_to_the_microsecond(tmp_path: Path) -> None:
    sent = written(tmp_path / "car.log")
    found = list(can.CanutilsLogReader(tmp_path / "car.log"))
    names = {"comfort": 0, "thermal": 1, None: 0}  # python-can drops an error frame's channel
    channels = [of_message(one, lambda message: names[message.channel]) for one in found]  # type: ignore[index]  # a name in this format
    assert channels == [as_message(undirected(one)) for one in sent]
    stamps = [round(message.timestamp * 1e6) for message in found]
    assert stamps == [record.at_ns // 1000 for record in sent]


needs_asammdf = pytest.mark.skipif(
    importlib.util.find_spec("asammdf") is None, reason="asammdf is not installed (canota[mf4])"
)


@needs_asammdf
def test_asammdf_reads_mf4_to_the_nanosecond(tmp_path: Path) -> None:
    from asammdf import MDF  # noqa: PLC0415 an extra

    sent = written(tmp_path / "car.mf4")
    found: list[tuple[int, int, int, bytes]] = []
    with MDF(tmp_path / "car.mf4") as mdf:
        assert mdf.header.start_time.isoformat() == START.isoformat()
        for group in ("CAN_DataFrame", "CAN_ErrorFrame", "CAN_RemoteFrame"):
            signal = mdf.get(group)
            for row, at_s in zip(signal.samples, signal.timestamps, strict=True):
                data = b""
                if group == "CAN_DataFrame":
                    length = row[f"{group}.DataLength"]
                    data = row[f"{group}.DataBytes"][:length].tobytes()
                at_ns = START_NS + round(float(at_s) * NS_PER_S)
                channel = int(row[f"{group}.BusChannel"])
                found.append((at_ns, channel, int(row[f"{group}.ID"]), data))
    expected = [
        (one.at_ns, one.channel + 1, one.header.identifier, one.data)
        if isinstance(one, CanFrame)
        else (one.at_ns, one.channel + 1, 0, b"")
        for one in sent
    ]
    assert sorted(found) == sorted(expected)


@needs_asammdf
def test_python_can_reads_the_flags_of_mf4(tmp_path: Path) -> None:
    sent = written(tmp_path / "car.mf4")
    with can.MF4Reader(tmp_path / "car.mf4") as reader:
        found = [of_message(one, lambda message: numbered(message) - 1) for one in reader]
    assert found == [as_message(one) for one in sent]


def test_mf4_without_asammdf_says_what_to_install(tmp_path: Path) -> None:
    if importlib.util.find_spec("asammdf") is not None:
        return  # said in the environment without it, where the two tests above are skipped
    with pytest.raises(LogError, match=r"pip install 'canota\[mf4\]'"):
        Recorder(tmp_path / "car.mf4", (), start_ns=START_NS)


def dissected(path: Path, *fields: str) -> Iterator[list[str]]:
    command = ["tshark", "-r", str(path), "-T", "fields"]
    command += [part for field in fields for part in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 a fixed program, our own file
    assert done.returncode == 0, done.stderr
    return (line.split("\t") for line in done.stdout.splitlines())


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("ending", ["pcapng", "blf", "log"])
def test_wireshark_reads_the_same_frames_and_times(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"car.{ending}"
    sent = written(path)
    if ending == "blf":  # Wireshark leaves BLF's error frames out
        sent = [record for record in sent if isinstance(record, CanFrame)]
    resolution_ns = format_of(path).resolution_ns
    fields = (
        *("frame.time_epoch", "can.id", "can.flags.err", "can.flags.xtd", "can.flags.rtr"),
        *("can.len", "canfd.flags.brs", "canfd.flags.esi", "data.data"),
    )
    found: list[tuple[object, ...]] = []
    for stamp, identifier, error, extended, remote, length, brs, esi, data in dissected(
        path, *fields
    ):
        seconds, _, fraction = stamp.partition(".")
        at_ns = int(seconds) * NS_PER_S + int(fraction.ljust(9, "0"))
        if is_set(error):
            found.append((at_ns, "error"))
            continue
        # Only FD frames have these flags there.
        flags: tuple[bool, ...] = (is_set(extended), bool(brs), is_set(brs), is_set(esi))
        if ending == "blf":  # Wireshark 4.0 drops them; python-can's test has them
            flags = (is_set(extended),)
        asked = int(length, 0) if is_set(remote) else None
        found.append((at_ns, int(identifier, 0), flags, asked, "" if asked is not None else data))
    assert found == [as_packet(one, resolution_ns, fast=ending != "blf") for one in sent]


def is_set(flag: str) -> bool:
    """A flag as tshark 4.0 and as later ones write it."""
    return flag in {"1", "True"}


def as_packet(record: Record, resolution_ns: int, *, fast: bool) -> tuple[object, ...]:
    """What Wireshark says of a record."""
    at_ns = record.at_ns // resolution_ns * resolution_ns
    if not isinstance(record, CanFrame):
        return (at_ns, "error")
    header = record.header
    flags: tuple[bool, ...] = (header.extended,)
    if fast:
        flags += (header.fd, header.bit_rate_switch, record.error_state_indicator)
    return (at_ns, header.identifier, flags, record.remote, record.data.hex())


@pytest.mark.parametrize("ending", ["pcapng", "blf", "log", "asc"])
def test_what_is_written_is_read_back_equal(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"car.{ending}"
    sent = written(path)
    one = format_of(path)
    assert one.read is not None
    channels: list[Channel] = []
    with path.open("rb") as file:
        found = list(one.read(file, channels))
    rounded = [
        record._replace(at_ns=record.at_ns // one.resolution_ns * one.resolution_ns)
        for record in (map(undirected, sent) if ending == "log" else sent)
    ]
    assert found == rounded
    if ending != "blf":
        assert [channel.name for channel in channels] == ["comfort", "thermal"]


@pytest.mark.parametrize("ending", ["pcapng", "blf", "log", "asc"])
def test_a_log_with_a_largest_size_goes_on_in_a_new_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"car.{ending}"
    wires = (Channel(name="comfort"),)
    frames: list[Record] = [
        CanFrame(START_NS + number * 1_000_000, 0, FrameHeader(0x123), number.to_bytes(8))
        for number in range(20_000)
    ]
    with closing(Recorder(path, wires, start_ns=START_NS, max_size=65536, keep=2)) as log:
        for frame in frames:
            log.add(frame)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"car.1.{ending}", f"car.2.{ending}", f"car.{ending}"]
    assert all(file.stat().st_size <= 65536 for file in files)
    one = format_of(path)
    assert one.read is not None
    kept: list[Record] = []
    for file in (files[1], files[0], files[2]):
        with file.open("rb") as opened:
            kept += one.read(opened, [])
    assert kept == frames[-len(kept) :]


def test_a_log_that_is_full_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "car.log"
    with closing(recorder(path, {})) as empty:
        assert not empty.full
    log = Recorder(path, (Channel(name="can"),), start_ns=START_NS, max_size=65536)
    log.extend([CanFrame(START_NS + n, 0, FrameHeader(1), bytes(8)) for n in range(5000)])
    log.close()
    assert log.full
    assert 60_000 < path.stat().st_size <= 65536
