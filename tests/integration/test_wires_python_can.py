"""python-can's bus on a simulated wire behind the bridge, in real time and in threads."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import can
import pytest

import clock
from ecu_sim.bus.bridge import serve_bridge
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.faults import WireFaults
from protocols.can import FrameHeader

T = TypeVar("T")


def against_a_wire(
    tester: Callable[[str], T],
    *,
    data_bit_rate: int = 2_000_000,
    faults: WireFaults | None = None,
) -> T:
    """Run a blocking tester beside a wire where a node answers 0x100 with 0x200, data reversed."""

    async def main() -> T:
        loop = asyncio.get_running_loop()
        wire = CanWire("bench", bit_rate=500_000, data_bit_rate=data_bit_rate, loop=loop)
        wire.begin_faults(faults)
        port = wire.port("echo")

        def answer(header: FrameHeader, data: bytes, _: float) -> None:
            reply = FrameHeader(0x200, fd=header.fd, bit_rate_switch=header.bit_rate_switch)
            port.send(reply, (data[::-1],))

        port.listen(answer, FrameHeader(0x100))
        server = await serve_bridge(wire, "127.0.0.1", 0)
        try:
            return await asyncio.to_thread(tester, f"tcp://127.0.0.1:{server.port}/bench")
        finally:
            await server.close()
            wire.close()

    return clock.run(main(), virtual=False)


@pytest.mark.parametrize("fd", [False, True])
def test_a_bus_sends_and_hears_frames(*, fd: bool) -> None:
    data = bytes(range(64 if fd else 8))

    def tester(channel: str) -> None:
        with can.Bus(interface="canota", channel=channel) as bus:
            assert bus.protocol == can.CanProtocol.CAN_FD
            frame = can.Message(
                arbitration_id=0x100, is_extended_id=False, is_fd=fd, bitrate_switch=fd, data=data
            )
            bus.send(frame)
            heard = bus.recv(5.0)
            assert heard is not None
            assert (heard.arbitration_id, heard.is_rx) == (0x200, True)
            assert (heard.is_fd, heard.bitrate_switch) == (fd, fd)
            assert bytes(heard.data) == data[::-1]
            assert bus.recv(0) is None

    against_a_wire(tester)


def test_a_bus_that_wants_them_hears_its_own_frames_before_the_answer() -> None:
    def tester(channel: str) -> None:
        with can.Bus(
            interface="canota", channel=channel, confirmed=True, receive_own_messages=True
        ) as bus:
            bus.send(can.Message(arbitration_id=0x100, is_extended_id=False, data=b"ab"), 5.0)
            heard = [bus.recv(5.0), bus.recv(5.0)]
            assert [(one.arbitration_id, one.is_rx) for one in heard if one] == [
                (0x100, False),
                (0x200, True),
            ]

    against_a_wire(tester)


def test_more_frames_than_the_queue_holds_all_arrive_in_order() -> None:
    def tester(channel: str) -> None:
        with can.Bus(interface="canota", channel=channel) as bus:
            for number in range(300):
                data = number.to_bytes(2)
                bus.send(can.Message(arbitration_id=0x100, is_extended_id=False, data=data), 5.0)
            found: list[int] = []
            while len(found) < 300 and (heard := bus.recv(5.0)):
                found.append(int.from_bytes(heard.data[::-1]))
            assert found == list(range(300))

    against_a_wire(tester)


def test_filters_hide_what_was_not_asked_for() -> None:
    def tester(channel: str) -> None:
        wanted = [{"can_id": 0x123, "can_mask": 0x7FF}]
        with can.Bus(interface="canota", channel=channel, can_filters=wanted) as bus:
            bus.send(can.Message(arbitration_id=0x100, is_extended_id=False))
            assert bus.recv(0.05) is None

    against_a_wire(tester)


@pytest.mark.parametrize(
    "message",
    [
        can.Message(arbitration_id=0x100, is_remote_frame=True),
        can.Message(arbitration_id=0x100, is_error_frame=True),
    ],
)
def test_only_data_frames_can_be_sent(message: can.Message) -> None:
    def tester(channel: str) -> None:
        with (
            can.Bus(interface="canota", channel=channel) as bus,
            pytest.raises(can.CanOperationError, match="data frames"),
        ):
            bus.send(message)

    against_a_wire(tester)


@pytest.mark.parametrize(
    "channel", ["bench", "tcp://localhost/bench", "tcp://localhost:9x/bench", "can://bridge/h:1/w"]
)
def test_a_channel_that_is_none_is_refused_with_what_it_should_be(channel: str) -> None:
    with pytest.raises(can.CanInitializationError, match="tcp://HOST:PORT/WIRE expected"):
        can.Bus(interface="canota", channel=channel)


def test_a_wire_that_is_not_there_is_named_by_the_bridge() -> None:
    def tester(channel: str) -> None:
        with pytest.raises(can.CanInitializationError, match="no wire 'other' here"):
            can.Bus(interface="canota", channel=channel.replace("bench", "other"))

    against_a_wire(tester)


def test_a_bus_says_so_when_the_wire_is_gone() -> None:
    kept: list[can.BusABC] = []

    def tester(channel: str) -> None:
        kept.append(can.Bus(interface="canota", channel=channel))

    against_a_wire(tester)
    (bus,) = kept
    with pytest.raises(can.CanOperationError, match="the wire is closed"):
        bus.recv(5.0)
    with pytest.raises(can.CanOperationError, match="the wire is closed"):
        bus.send(can.Message(arbitration_id=0x100, is_extended_id=False))
    bus.shutdown()


def test_error_frames_of_the_wire_are_heard_as_socketcan_has_them() -> None:
    def tester(channel: str) -> list[can.Message]:
        with can.Bus(interface="canota", channel=channel) as bus:
            bus.send(can.Message(arbitration_id=0x100, is_extended_id=False, data=b"ab"))
            return [message for _ in range(2) if (message := bus.recv(5.0))]

    error, answer = against_a_wire(tester, faults=WireFaults(corrupted=frozenset({0})))
    assert (error.is_error_frame, error.arbitration_id, bytes(error.data)) == (
        True,
        0x088,
        bytes(8),
    )
    assert bytes(answer.data) == b"ba"


def test_a_notifier_brings_frames_to_listeners_and_ends_with_the_bus() -> None:
    def tester(channel: str) -> list[bytes]:
        heard: list[bytes] = []
        enough = threading.Event()

        def listen(message: can.Message) -> None:
            heard.append(bytes(message.data))
            if len(heard) == 5:
                enough.set()

        bus = can.Bus(interface="canota", channel=channel)
        notifier = can.Notifier(bus, [listen], timeout=0.1)
        for number in range(5):
            bus.send(
                can.Message(arbitration_id=0x100, is_extended_id=False, data=bytes((number, 0)))
            )
        assert enough.wait(5.0)
        notifier.stop()
        bus.shutdown()
        assert notifier.exception is None
        return heard

    assert against_a_wire(tester) == [bytes((0, number)) for number in range(5)]
    assert not [one for one in threading.enumerate() if "canota wire" in one.name]


def test_can_logger_writes_what_is_on_the_wire(tmp_path: Path) -> None:
    log = tmp_path / "wire.log"

    def tester(channel: str) -> None:
        command = [
            sys.executable,
            "-m",
            "can.logger",
            "-i",
            "canota",
            "-c",
            channel,
            "-f",
            str(log),
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as logger:  # noqa: S603 ours
            try:
                with can.Bus(interface="canota", channel=channel) as bus:
                    frame = can.Message(arbitration_id=0x100, is_extended_id=False, data=b"\1\2")
                    while logger.poll() is None and not (
                        log.exists() and "200#0201" in log.read_text()
                    ):
                        bus.send(frame)
                        bus.recv(0.05)
            finally:
                logger.terminate()

    against_a_wire(tester, faults=WireFaults(corrupted=frozenset({0})))
    # It was ended in the middle of its work: the last line may be a part of one.
    lines = [line.split() for line in log.read_text().splitlines()[:-1]]
    assert {content for _, _, content, *_ in lines} >= {"100#0102", "200#0201"}
    stamps = [float(stamp.strip("()")) for stamp, *_ in lines]
    assert stamps == sorted(stamps)
