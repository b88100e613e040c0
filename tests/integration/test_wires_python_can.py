"""python-can's bus on a simulated wire behind the bridge, in real time and in threads."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import can
import pytest

import clock
from ecu_sim.bus.bridge import serve_bridge
from ecu_sim.bus.can import CanWire
from protocols.can import FrameHeader

T = TypeVar("T")


def against_a_wire(tester: Callable[[str], T], *, data_bit_rate: int = 2_000_000) -> T:
    """Run a blocking tester beside a wire where a node answers 0x100 with 0x200, data reversed."""

    async def main() -> T:
        loop = asyncio.get_running_loop()
        wire = CanWire("bench", bit_rate=500_000, data_bit_rate=data_bit_rate, loop=loop)
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
