"""A log goes onto a wire again: to the nanosecond in virtual time, through the bridge in real."""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import can
import pytest

import clock
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.capture import Capture
from protocols.can import CanPort, FrameHeader
from protocols.can.bits import NS_PER_S
from protocols.isotp import segment
from protocols.pcapng import CanError
from recording import CanErrorFrame, CanFrame, Channel, EthernetFrame, Record
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from recording.replay import Replay, Replayed, ReplayError, Target
from tests.support.cli import canota
from tests.support.flashing import START
from tests.support.logs import read, recorder, served_wire

START_NS = since_epoch_ns(START)
RATES = {"bit_rate": 500_000, "data_bit_rate": 2_000_000}
CYCLIC, FAST = FrameHeader(0x210), FrameHeader(0x7B0, fd=True, bit_rate_switch=True)


async def busy(wire: CanWire) -> None:
    """Cyclic frames in the middle of long messages: arbitration, and frames back to back."""
    wire.port("tester").send(FAST, segment(bytes(range(256)) * 12, 64))
    wire.port("tester").send(FrameHeader(0x7A0), segment(bytes(range(200)), 8))
    for number in range(20):
        wire.port("ecu").send(CYCLIC, (bytes((number,) * 8),))
        await asyncio.sleep(0.00213)
    await asyncio.sleep(0.1)


async def played(wire: CanWire, records: Iterable[Record], *, speed: float = 1.0) -> Replayed:
    target = Target(name="bench", port=wire.port("replay"), **RATES)
    return await Replay({0: target}, speed=speed).run(records)


def recorded(file: Path, records: Iterable[Record] | None, *, speed: float = 1.0) -> list[Record]:
    """What a wire carries by itself, or with a replay on it."""

    async def main() -> None:
        wire = CanWire("bench", **RATES, loop=asyncio.get_running_loop())
        with closing(recorder(file, {"bench": wire})) as log:
            capture = Capture(log, {"bench": wire}, start_date=START)
            await (busy(wire) if records is None else played(wire, records, speed=speed))
            capture.close()
        wire.close()

    clock.run(main(), virtual=True)
    return read(file)[1]


@pytest.mark.parametrize("ending", ["pcapng", "asc", "blf"])
def test_a_log_that_is_replayed_and_recorded_again_is_the_same_to_the_nanosecond(
    tmp_path: Path, ending: str
) -> None:
    first = recorded(tmp_path / f"first.{ending}", None)
    again = recorded(tmp_path / f"again.{ending}", first)
    assert len(first) == 20 + 49 + 29
    assert again == first


def test_a_log_without_nanoseconds_keeps_its_times_within_a_frame(tmp_path: Path) -> None:
    first = recorded(tmp_path / "first.log", None)
    again = recorded(tmp_path / "again.log", first)
    assert [record[1:] for record in again] == [record[1:] for record in first]
    shift_ns = again[0].at_ns - first[0].at_ns
    assert all(
        abs(new.at_ns - old.at_ns - shift_ns) < 300_000
        for new, old in zip(again, first, strict=True)
    )


def test_twice_the_speed_takes_half_the_time(tmp_path: Path) -> None:
    frames = [CanFrame(START_NS + n * 100_000_000, 0, CYCLIC, bytes((n,))) for n in range(5)]
    found = recorded(tmp_path / "fast.pcapng", frames, speed=2.0)
    gaps = {new.at_ns - old.at_ns for old, new in pairwise(found)}
    assert all(abs(gap_ns - 50_000_000) < 10_000 for gap_ns in gaps)
    back_to_back = recorded(tmp_path / "fastest.pcapng", frames, speed=0.0)
    assert back_to_back[-1].at_ns - back_to_back[0].at_ns < 1_000_000


def test_what_no_port_can_send_is_counted_and_a_long_pause_is_cut() -> None:
    records: list[Record] = [
        CanFrame(START_NS, 0, CYCLIC, b"first"),
        CanErrorFrame(START_NS + 1, 0),
        CanFrame(START_NS + 2, 0, CYCLIC, b"", remote=4),
        EthernetFrame(START_NS + 3, 1, bytes(60)),
        CanFrame(START_NS + 4, 7, CYCLIC, b"no wire"),
        CanFrame(START_NS + 86_400 * NS_PER_S, 0, CYCLIC, b"last"),
    ]

    async def main() -> tuple[Replayed, float]:
        wire = CanWire("bench", **RATES, loop=asyncio.get_running_loop())
        wire.port("listener").listen(lambda *_: None)
        target = Target(name="bench", port=wire.port("replay"))
        done = await Replay({0: target}, longest_gap_s=2.0).run(records)
        wire.close()
        return done, asyncio.get_running_loop().time()

    done, took_s = clock.run(main(), virtual=True)
    assert (done.sent, done.error_frames, done.remote_frames) == (2, 1, 1)
    assert (done.ethernet_frames, done.without_wire) == (1, 1)
    assert took_s == pytest.approx(2.0, abs=0.01)


def test_a_wire_that_takes_nothing_ends_the_replay() -> None:
    class Dead:
        def send(self, *_: object) -> None: ...

        def listen(self, *_: object, **__: object) -> object: ...

    frames = (CanFrame(START_NS, 0, CYCLIC, b""),)
    port: CanPort = Dead()  # type: ignore[assignment]  # a controller that is bus-off
    replay = Replay({0: Target(name="bench", port=port)})
    with pytest.raises(ReplayError, match="bench: the wire has taken no frame for 5 s; 1 wait"):
        clock.run(replay.run(frames), virtual=True)


def log_of(path: Path, frames: list[Record], *names: str) -> Path:
    channels = [Channel(name=name) for name in names]
    with closing(Recorder(path, channels, start_ns=START_NS)) as log:
        log.extend(frames)
    return path


def test_the_command_replays_one_channel_through_the_bridge(tmp_path: Path) -> None:
    heard: list[tuple[int, bytes]] = []
    frames: list[Record] = [
        CanFrame(START_NS + 10_000_000 * n, n % 2, FrameHeader(0x100 + n), bytes((n,)))
        for n in range(8)
    ]
    file = log_of(tmp_path / "two.asc", frames, "left", "right")

    def prepare(wire: CanWire) -> None:
        wire.port("listener").listen(
            lambda header, data, _: heard.append((header.identifier, data))
        )

    with served_wire(prepare) as uri:
        ended = canota("log", "replay", str(file), "--wire", f"right={uri}", "--id", "100-105")
    assert ended.code == 0, ended.err
    assert ended.out == "3 frames sent; left out: 3 frames of other channels\n"
    assert heard == [(0x101, b"\x01"), (0x103, b"\x03"), (0x105, b"\x05")]


def test_the_command_plays_a_log_again(tmp_path: Path) -> None:
    heard: list[bytes] = []
    file = log_of(tmp_path / "one.blf", [CanFrame(START_NS, 0, CYCLIC, b"again")], "left")

    def prepare(wire: CanWire) -> None:
        wire.port("listener").listen(lambda _, data, __: heard.append(data))

    with served_wire(prepare) as uri:
        ended = canota("log", "replay", str(file), "--wire", uri, "--loop", "3", "--speed", "0")
    assert ended.code == 0, ended.err
    assert heard == [b"again"] * 3


def test_the_command_says_what_is_wrong_with_a_log_or_a_wire(tmp_path: Path) -> None:
    file = tmp_path / "bad.log"
    file.write_text("(1.000000) can0 123#00\nwhat is this\n")
    with served_wire(lambda _: None) as uri:
        ended = canota("log", "replay", str(file), "--wire", uri)
        assert ended.code == 5
        assert f"{file}: line 2: no frame as candump -L writes it: 'what is this'" in ended.err
        good = log_of(tmp_path / "one.blf", [CanFrame(START_NS, 0, CYCLIC, b"")], "left")
        ended = canota("log", "replay", str(good), "--wire", f"7={uri}")
        assert ended.code == 2
        assert f"--wire 7=...: {good} has no such channel; there are: 1" in ended.err
    ended = canota("log", "replay", str(good), "--wire", uri)
    assert ended.code == 4
    assert uri in ended.err
    assert canota("log", "replay", str(tmp_path / "none.asc"), "--wire", uri).code in {3, 4}


def test_the_command_records_a_wire_of_another_process(tmp_path: Path) -> None:
    file = tmp_path / "bench.blf"

    def prepare(wire: CanWire) -> None:
        loop = asyncio.get_running_loop()

        def send(number: int = 0) -> None:
            wire.port("ecu").send(FAST, (bytes((number & 0xFF,) * 12),))
            loop.call_later(0.005, send, number + 1)

        send()

    with served_wire(prepare) as uri:
        ended = canota("log", "record", str(file), "--wire", f"bench={uri}", "--for", "0.3")
    assert ended.code == 0, ended.err
    found = read(file)[1]
    assert ended.out.splitlines()[-1] == f"{file}: {len(found)} records"
    assert len(found) > 10
    assert {record.header for record in found if isinstance(record, CanFrame)} == {FAST}
    numbers = [record.data[0] for record in found if isinstance(record, CanFrame)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@contextmanager
def speaking(channel: str, *messages: can.Message) -> Iterator[None]:
    """Another program that says these again and again on python-can's virtual interface."""
    over = threading.Event()

    def speak() -> None:
        with can.Bus(interface="virtual", channel=channel) as bus:
            while not over.wait(0.01):
                for message in messages:
                    bus.send(message)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_any_interface_of_python_can_is_recorded_errors_included(tmp_path: Path) -> None:
    file = tmp_path / "theirs.pcapng"
    fast = can.Message(
        arbitration_id=0x18DA2010, is_fd=True, bitrate_switch=True, data=bytes(range(12))
    )
    plain = can.Message(arbitration_id=0x123, is_extended_id=False, data=b"abc")
    error = can.Message(is_error_frame=True, arbitration_id=0x20, data=bytes(8))
    with speaking("recorded", fast, plain, error):
        wire = "theirs=can://virtual/recorded?fd=true"
        ended = canota("log", "record", str(file), "--wire", wire, "--for", "0.4")
    assert ended.code == 0, ended.err
    channels, found = read(file)
    assert [channel.name for channel in channels] == ["theirs"]
    extended = FrameHeader(0x18DA2010, extended=True, fd=True, bit_rate_switch=True)
    assert {record[1:] for record in found} == {
        CanFrame(0, 0, extended, bytes(range(12)))[1:],
        CanFrame(0, 0, FrameHeader(0x123), b"abc")[1:],
        CanErrorFrame(0, 0, CanError.NO_ACKNOWLEDGEMENT)[1:],
    }


def test_a_log_is_replayed_onto_any_interface_of_python_can(tmp_path: Path) -> None:
    frames: list[Record] = [
        CanFrame(START_NS + n * 1_000_000, 0, FAST, bytes((n,) * 12)) for n in range(20)
    ]
    file = log_of(tmp_path / "one.blf", frames, "any")
    with can.Bus(interface="virtual", channel="replayed") as bus:
        uri = "can://virtual/replayed?fd=true"
        ended = canota("log", "replay", str(file), "--wire", uri)
        heard = [bus.recv(5.0) for _ in frames]
    assert ended.out == "20 frames sent\n"
    assert [bytes(one.data) for one in heard if one] == [bytes((n,) * 12) for n in range(20)]
    assert all(one and one.is_fd and one.bitrate_switch for one in heard)
