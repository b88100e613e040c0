"""The simulated CAN wire: arbitration, nanoseconds, and runs that equal single frames."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from clock import VirtualLoop, run
from ecu_sim.bus import CanWire, WireError
from ecu_sim.bus.can_core import CanWireCore
from protocols.can import FrameHeader, arbitration_key
from protocols.can.bits import NS_PER_S, burst_ns, frame_ns
from tests.support.can import arbitration_bits, seeded

RATE = 500_000
INTERMISSION_NS = 3 * NS_PER_S // RATE

Heard = list[tuple[int, int, bytes]]


def drain(core: CanWireCore, until_ns: int | None = None) -> None:
    while (due := core.next_event()) is not None and (until_ns is None or due <= until_ns):
        core.handle()


def hear_all(core: CanWireCore, *, runs: bool, node: str = "listener", since_ns: int = 0) -> Heard:
    heard: Heard = []

    def receive(header: FrameHeader, data: bytes, at: float) -> None:
        heard.append((round(at * NS_PER_S), header.identifier, data))

    def receive_run(header: FrameHeader, payloads: Sequence[bytes], times: Sequence[float]) -> None:
        for data, at in zip(payloads, times, strict=True):
            receive(header, data, at)

    core.listen(node, receive, (), receive_run if runs else None, now_ns=since_ns)
    return heard


@dataclass(frozen=True)
class Order:
    at_ns: int
    node: str
    header: FrameHeader
    payloads: tuple[bytes, ...]


def play(orders: Sequence[Order], *, runs: bool, data_bit_rate: int = 0) -> tuple[Heard, Heard]:
    """What was heard and when, and when each burst's `sent` came."""
    core = CanWireCore("wire", bit_rate=RATE, data_bit_rate=data_bit_rate)
    heard = hear_all(core, runs=runs)
    sent: Heard = []

    def note(order: Order) -> Callable[[float], None]:
        return lambda at: sent.append((round(at * NS_PER_S), order.header.identifier, b""))

    for order in sorted(orders, key=lambda order: order.at_ns):
        drain(core, order.at_ns)
        core.send(order.node, order.header, order.payloads, note(order), now_ns=order.at_ns)
    drain(core)
    return heard, sent


def frames(count: int, seed: int, length: int = 8) -> tuple[bytes, ...]:
    rng = seeded(seed)
    return tuple(rng.randbytes(length) for _ in range(count))


def test_frames_of_a_burst_follow_each_other_without_a_gap() -> None:
    header, payloads = FrameHeader(0x7A0), frames(50, 1)
    heard, sent = play([Order(1000, "a", header, payloads)], runs=True)
    at, expected = 1000, []
    for data in payloads:
        at += frame_ns(header, data, bit_rate=RATE)
        expected.append((at - INTERMISSION_NS, 0x7A0, data))
    assert heard == expected
    assert sent == [(expected[-1][0], 0x7A0, b"")]


@pytest.mark.parametrize("seed", range(20))
def test_runs_have_the_nanoseconds_of_single_frames_whatever_contends(seed: int) -> None:
    rng = seeded(seed)
    orders = [
        Order(
            rng.randrange(20_000_000),
            f"node {identifier}",
            FrameHeader(identifier, fd=fd, bit_rate_switch=fd),
            frames(rng.choice((1, 1, 3, 40, 200)), seed * 100 + identifier, rng.choice((3, 8))),
        )
        for identifier in rng.sample(range(0x100, 0x110), 8)
        for fd in (rng.random() < 0.3,)
    ]
    by_run = play(orders, runs=True, data_bit_rate=2_000_000)
    assert by_run == play(orders, runs=False, data_bit_rate=2_000_000)
    assert len(by_run[0]) == sum(len(order.payloads) for order in orders)


def test_a_lower_identifier_takes_the_wire_between_two_frames_of_a_burst() -> None:
    low, burst = FrameHeader(0x100), FrameHeader(0x7A0)
    payloads = frames(40, 2)
    ends = burst_ns(burst, payloads, bit_rate=RATE).cumsum().tolist()
    middle = ends[9] + 1  # one ns into the eleventh frame
    heard, _ = play([Order(0, "a", burst, payloads), Order(middle, "b", low, (b"now",))], runs=True)
    assert [identifier for _, identifier, _ in heard[:13]] == [*[0x7A0] * 11, 0x100, 0x7A0]
    assert heard[11][0] == ends[10] + frame_ns(low, b"now", bit_rate=RATE) - INTERMISSION_NS


def test_a_frame_queued_at_the_very_start_of_another_still_competes() -> None:
    low, burst = FrameHeader(0x100), FrameHeader(0x7A0)
    payloads = frames(40, 2)
    ends = burst_ns(burst, payloads, bit_rate=RATE).cumsum().tolist()
    heard, _ = play(
        [Order(0, "a", burst, payloads), Order(ends[9], "b", low, (b"now",))], runs=True
    )
    assert [identifier for _, identifier, _ in heard].index(0x100) == 10


def test_a_higher_identifier_waits_for_the_end_of_the_burst() -> None:
    payloads = frames(40, 2)
    heard, _ = play(
        [
            Order(0, "a", FrameHeader(0x100), payloads),
            Order(5, "b", FrameHeader(0x101), (b"later",)),
        ],
        runs=True,
    )
    assert heard[-1][1] == 0x101


def test_the_lowest_arbitration_field_wins_bit_by_bit() -> None:
    rng = seeded(3)
    headers = [FrameHeader(rng.getrandbits(11)) for _ in range(40)]
    headers += [FrameHeader(rng.getrandbits(29), extended=True) for _ in range(40)]
    headers += [FrameHeader(header.identifier << 18, extended=True) for header in headers[:40]]
    by_key = sorted(set(headers), key=arbitration_key)
    by_bits = sorted(set(headers), key=lambda header: (*arbitration_bits(header), 0, 0))
    assert by_key == by_bits


def test_a_burst_that_nobody_wants_frame_by_frame_is_its_first_frame_and_a_run() -> None:
    core = CanWireCore("wire", bit_rate=RATE)
    heard = hear_all(core, runs=True)
    core.send("a", FrameHeader(0x7A0), frames(585, 4), None, now_ns=0)
    events = 0
    while core.next_event() is not None:
        core.handle()
        events += 1
    assert (events, len(heard)) == (2, 585)


def test_a_listener_that_joins_in_mid_run_hears_what_ends_after_that() -> None:
    header, payloads = FrameHeader(0x7A0), frames(40, 5)
    ends = burst_ns(header, payloads, bit_rate=RATE).cumsum().tolist()
    for runs in (True, False):
        core = CanWireCore("wire", bit_rate=RATE)
        core.send("a", header, payloads, None, now_ns=0)
        core.next_event()
        late = hear_all(core, runs=runs, node="late", since_ns=ends[9] + 5)
        drain(core)
        assert [data for _, _, data in late] == list(payloads[10:])


def test_a_listener_that_ends_in_mid_run_has_heard_what_ended_before() -> None:
    header, payloads = FrameHeader(0x7A0), frames(40, 5)
    ends = burst_ns(header, payloads, bit_rate=RATE).cumsum().tolist()
    # At the very end of a frame it is the earlier of the two.
    for at_ns, count in ((ends[9] + 5, 10), (ends[9] - INTERMISSION_NS, 9), (ends[0], 1)):
        for runs in (True, False):
            core = CanWireCore("wire", bit_rate=RATE)
            heard: list[bytes] = []

            def receive(_header: FrameHeader, data: bytes, _at: float, to: list[bytes]) -> None:
                to.append(data)

            def receive_run(
                _header: FrameHeader, run: Sequence[bytes], _at: Sequence[float], to: list[bytes]
            ) -> None:
                to += run

            stop = core.listen(
                "early",
                partial(receive, to=heard),
                (),
                partial(receive_run, to=heard) if runs else None,
                now_ns=0,
            )
            core.send("a", header, payloads, None, now_ns=0)
            drain(core, at_ns - 1)
            core.next_event()
            stop(at_ns)
            drain(core)
            assert heard == list(payloads[:count])


def test_a_node_does_not_hear_itself_and_others_hear_only_what_they_listen_to() -> None:
    core = CanWireCore("wire", bit_rate=RATE)
    own = hear_all(core, runs=False, node="a")
    other: list[bytes] = []
    stop = core.listen(
        "b",
        lambda _, data, __: other.append(data),
        (arbitration_key(FrameHeader(2)),),
        None,
        now_ns=0,
    )
    core.send("a", FrameHeader(1), (b"one",), None, now_ns=0)
    core.send("a", FrameHeader(2), (b"two",), None, now_ns=0)
    drain(core)
    stop(core.now_ns)
    core.send("a", FrameHeader(2), (b"three",), None, now_ns=core.now_ns)
    drain(core)
    assert (own, other) == ([], [b"two"])


def test_bus_load_counts_the_frame_on_the_wire_so_far() -> None:
    core = CanWireCore("wire", bit_rate=RATE)
    payloads = frames(10, 6)
    ends = burst_ns(FrameHeader(1), payloads, bit_rate=RATE).cumsum().tolist()
    before = core.load(now_ns=0)
    core.send("a", FrameHeader(1), payloads, None, now_ns=0)
    drain(core, ends[4])
    core.next_event()
    middle = core.load(now_ns=ends[4] + 10)
    assert (middle.frames, middle.busy_ns, middle.since(before)) == (5, ends[4] + 10, 1.0)
    drain(core)
    after = core.load(now_ns=2 * ends[-1])
    assert (after.frames, after.busy_ns) == (10, ends[-1])
    assert after.since(before) == 0.5


@pytest.mark.parametrize(
    ("header", "payloads", "word"),
    [
        (FrameHeader(1), (), "without frames"),
        (FrameHeader(1), (bytes(9),), "9 data bytes"),
        (FrameHeader(1, fd=True), (b"",), "classic wire"),
        (FrameHeader(7), (b"x",), "while other does"),
    ],
)
def test_what_no_wire_carries_is_refused_by_name(
    header: FrameHeader, payloads: tuple[bytes, ...], word: str
) -> None:
    core = CanWireCore("comfort", bit_rate=RATE)
    core.send("other", FrameHeader(7), (b"x",), None, now_ns=0)
    with pytest.raises(WireError, match=word) as caught:
        core.send("ccu", header, payloads, None, now_ns=0)
    assert "comfort" in str(caught.value)
    assert "ccu" in str(caught.value)


def test_a_queue_without_end_is_refused() -> None:
    core = CanWireCore("comfort", bit_rate=RATE)
    for _ in range(1024):
        core.send("ccu", FrameHeader(1), (b"x",), None, now_ns=0)
    with pytest.raises(WireError, match="bursts queued"):
        core.send("ccu", FrameHeader(2), (b"x",), None, now_ns=0)


@pytest.mark.parametrize("virtual", [True, False])
def test_a_wire_on_either_loop_keeps_the_time_of_its_bits(virtual: bool) -> None:  # noqa: FBT001 a parameter
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        wire = CanWire("wire", bit_rate=RATE, loop=loop)
        port, other = wire.port("a"), wire.port("b")
        done: asyncio.Future[float] = loop.create_future()
        other.listen(lambda *_: None, FrameHeader(5))
        payloads = frames(100, 7)
        start = loop.time()
        port.send(FrameHeader(5), payloads, done.set_result)
        took = await done - start
        wire.close()
        length = int(burst_ns(FrameHeader(5), payloads, bit_rate=RATE).sum())
        return took, (length - INTERMISSION_NS) / NS_PER_S

    took, expected = run(main(), virtual=virtual)
    assert took == pytest.approx(expected, abs=1e-9 if virtual else 0.05)


def test_on_a_virtual_loop_timers_and_frames_come_in_the_order_of_time() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        wire = CanWire("wire", bit_rate=RATE, loop=loop)
        times: list[float] = []
        wire.port("b").listen(lambda *_: times.append(loop.time()))
        wire.port("a").send(FrameHeader(5), frames(200, 8))
        for _ in range(40):
            await asyncio.sleep(0.001)
            times.append(loop.time())
        wire.close()
        return times

    times = run(main(), virtual=True)
    assert times == sorted(times)
    assert len(times) > 200
