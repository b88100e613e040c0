"""A port with faults, between an ECU's node and a wire that only takes notes."""

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest

from clock import run
from ecu_sim.faults import FaultError, Hits
from ecu_sim.faults.readings import Direction, read_time, write_time
from ecu_sim.faults.table import KINDS, kind_of, parse_ecu_fault, parse_fault, text_of
from ecu_sim.faults.wire import (
    FaultyPort,
    LateFrames,
    LostConsecutiveFrame,
    LostFrames,
)
from protocols.can import FrameHeader, Receive, ReceiveRun, Sent

HEADER = FrameHeader(0x7A8)


class NotingPort:
    """Implements `CanPort`: what is sent is noted, and what is to be heard is given by hand."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.receive: Receive | None = None
        self.receive_run: ReceiveRun | None = None

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        del header
        self.sent += payloads
        if sent is not None:
            sent(asyncio.get_running_loop().time())

    def listen(
        self, receive: Receive, *headers: FrameHeader, receive_run: ReceiveRun | None = None
    ) -> Callable[[], None]:
        del headers
        self.receive, self.receive_run = receive, receive_run
        return lambda: None


def on_port(test: Callable[[NotingPort, FaultyPort], object], **offsets: int) -> None:
    async def main() -> None:
        below = NotingPort()
        port = FaultyPort(below, offsets={0x7A8: offsets.get("offset", 0)}, corrupt=None)
        result = test(below, port)
        if asyncio.iscoroutine(result):
            await result

    run(main(), virtual=True)


def frames(count: int) -> list[bytes]:
    return [bytes((number,)) * 8 for number in range(count)]


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 a seeded plan


def test_the_same_seed_loses_the_same_frames_and_another_one_others() -> None:
    def test(below: NotingPort, port: FaultyPort) -> None:
        lost = []
        for seed in (1, 1, 2):
            end = port.begin(LostFrames(share=0.5), Hits(), rng(seed))
            below.sent.clear()
            port.send(HEADER, frames(64))
            lost.append(list(below.sent))
            end()
        assert lost[0] == lost[1] != lost[2]
        assert 16 < len(lost[0]) < 48
        below.sent.clear()
        port.send(HEADER, frames(64))
        assert below.sent == frames(64)

    on_port(test)


def test_a_sender_whose_frames_are_all_lost_goes_on_as_if_they_were_out() -> None:
    async def test(below: NotingPort, port: FaultyPort) -> None:
        hits = Hits()
        port.begin(LostFrames(share=1.0), hits, rng(1))
        told: list[float] = []
        port.send(HEADER, frames(3), told.append)
        assert told == []
        await asyncio.sleep(0)
        assert len(told) == 1
        assert below.sent == []
        assert hits.count == 3

    on_port(test)


def test_a_run_of_frames_is_thinned_out_and_a_single_one_comes_alone() -> None:
    def test(below: NotingPort, port: FaultyPort) -> None:
        alone: list[bytes] = []
        runs: list[tuple[list[bytes], list[float]]] = []
        port.listen(
            lambda _, data, __: alone.append(data),
            receive_run=lambda _, run, times: runs.append((list(run), list(times))),
        )
        assert below.receive_run is not None
        end = port.begin(LostConsecutiveFrame(number=2, direction=Direction.RX), Hits(), rng(1))
        run_of = [b"\x10\x20", b"\x21", b"\x22", b"\x23"]
        below.receive_run(HEADER, run_of, [0.1, 0.2, 0.3, 0.4])
        assert runs == [([b"\x10\x20", b"\x21", b"\x23"], [0.1, 0.2, 0.4])]
        below.receive_run(HEADER, [b"\x10\x20", b"\x21"], [0.5, 0.6])
        assert len(runs) == 2
        below.receive_run(HEADER, [b"\x22", b"\x23"], [0.7, 0.8])
        assert alone == [b"\x23"]
        end()
        below.receive_run(HEADER, run_of, [0.1, 0.2, 0.3, 0.4])
        assert runs[-1][0] == run_of

    on_port(test)


def test_the_protocol_byte_stands_behind_an_address_extension() -> None:
    def test(below: NotingPort, port: FaultyPort) -> None:
        port.begin(LostConsecutiveFrame(number=1), Hits(), rng(1))
        port.send(HEADER, [b"\x21\x10\x20", b"\x21\x21", b"\x21\x22"])
        assert below.sent == [b"\x21\x10\x20", b"\x21\x22"]

    on_port(test, offset=1)


def test_frames_that_are_late_are_not_overtaken_once_the_fault_is_over() -> None:
    async def test(below: NotingPort, port: FaultyPort) -> None:
        end = port.begin(LateFrames(by_s=0.1), Hits(), rng(1))
        port.send(HEADER, [b"first"])
        end()
        port.send(HEADER, [b"second"])
        assert below.sent == []
        await asyncio.sleep(0.11)
        assert below.sent == [b"first", b"second"]

    on_port(test)


@pytest.mark.parametrize("name", KINDS)
def test_the_text_of_a_fault_is_read_as_the_same_fault(name: str) -> None:
    fault = parse_fault(KINDS[name].example)
    assert kind_of(fault).name == name
    assert parse_fault(text_of(fault)) == fault
    assert KINDS[name].summary.endswith(".")


@pytest.mark.parametrize(("text", "seconds"), [("300ms", 0.3), ("50us", 5e-5), ("1.5min", 90.0)])
def test_times_are_read_and_written(text: str, seconds: float) -> None:
    assert read_time(text) == pytest.approx(seconds)
    assert read_time(write_time(seconds)) == pytest.approx(seconds)


def test_a_star_is_every_ecu_and_an_unknown_one_is_told_the_known() -> None:
    assert [ecu for ecu, _ in parse_ecu_fault("*:silent", ("ccu", "rear"))] == ["ccu", "rear"]
    with pytest.raises(FaultError, match="x:silent: ECU:FAULT expected, ECU one of ccu, rear, \\*"):
        parse_ecu_fault("x:silent", ("ccu", "rear"))
