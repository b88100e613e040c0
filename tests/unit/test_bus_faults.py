"""Faults on a simulated CAN wire: error frames and counters to the bit, bus-off and recovery."""

import random
from collections.abc import Callable, Sequence

import pytest

from ecu_sim.bus.can_core import CanWireCore
from ecu_sim.bus.errors import WireError
from ecu_sim.bus.faults import ErrorCounters, ErrorFrame, ErrorState, Fate, WireFaults
from protocols.can import FrameHeader, arbitration_key
from protocols.can.bits import NS_PER_S, frame_ns

RATE = 500_000
BIT_NS = NS_PER_S // RATE
HEADER = FrameHeader(0x7A0)
FRAME = b"\x01\x02\x03\x04"
FRAME_NS = frame_ns(HEADER, FRAME, bit_rate=RATE)
EVERY = frozenset(range(10_000))


class Wire:
    """One wire with what was heard on it."""

    def __init__(self, plan: WireFaults | None, *, listeners: Sequence[str] = ("b",)) -> None:
        self.core = CanWireCore("wire", bit_rate=RATE)
        self.heard: list[tuple[int, int, bytes]] = []
        self.sent: list[int] = []
        self.errors: list[ErrorFrame] = []
        self.states: list[tuple[int, str, ErrorState]] = []
        self.stops = [self.listen(node) for node in listeners]
        self.core.on_error_frame.append(self.errors.append)
        self.core.on_error_state.append(
            lambda node, state: self.states.append((self.core.now_ns, node, state))
        )
        self.core.begin_faults(plan, now_ns=0)

    def listen(self, node: str) -> Callable[[], None]:
        def receive(header: FrameHeader, data: bytes, at_s: float) -> None:
            self.heard.append((round(at_s * NS_PER_S), header.identifier, data))

        stop = self.core.listen(node, receive, (), None, now_ns=0)
        return lambda: stop(self.core.now_ns)

    def send(
        self, count: int = 1, *, node: str = "a", header: FrameHeader = HEADER, at_ns: int = 0
    ) -> None:
        self.core.send(
            node,
            header,
            (FRAME,) * count,
            lambda at: self.sent.append(round(at * NS_PER_S)),
            now_ns=at_ns,
        )

    def drain(self, until_ns: int | None = None) -> None:
        while (due := self.core.next_event()) is not None:
            if until_ns is not None and due > until_ns:
                return
            self.core.handle()

    def run(self, tries: int) -> None:
        for _ in range(tries):
            assert self.core.next_event() is not None
            self.core.handle()


def corrupting(*numbers: int) -> WireFaults:
    return WireFaults(corrupted=frozenset(numbers))


def test_a_corrupted_frame_costs_error_flags_and_delimiter_and_is_sent_again() -> None:
    wire = Wire(corrupting(0))
    wire.send()
    wire.drain()
    # ACK delimiter, EOF and intermission (11) give way to 6 + 1 bits of flags, 8 of delimiter, 3.
    again_ns = FRAME_NS + 7 * BIT_NS
    assert [round(error.at_s * NS_PER_S) for error in wire.errors] == [again_ns - 3 * BIT_NS]
    assert wire.heard == [(again_ns + FRAME_NS - 3 * BIT_NS, 0x7A0, FRAME)]
    assert wire.sent == [wire.heard[0][0]]
    assert wire.core.error_counters("a") == ErrorCounters(transmit=7)
    assert wire.core.error_counters("b") == ErrorCounters(receive=0)


def test_a_lower_identifier_wins_the_arbitration_after_an_error_frame() -> None:
    wire = Wire(WireFaults(corrupted=frozenset({0}), senders=frozenset({"a"})))
    wire.send()
    wire.core.next_event()
    wire.send(node="c", header=FrameHeader(0x100), at_ns=10)
    wire.drain()
    assert [identifier for _, identifier, _ in wire.heard] == [0x100, 0x7A0]
    assert wire.heard[0][0] == (
        FRAME_NS + 7 * BIT_NS + frame_ns(FrameHeader(0x100), FRAME, bit_rate=RATE) - 3 * BIT_NS
    )


def test_a_lost_frame_is_sent_and_not_heard() -> None:
    wire = Wire(WireFaults(lost=frozenset({1})))
    wire.send(3)
    wire.drain()
    assert [at for at, _, _ in wire.heard] == [FRAME_NS - 3 * BIT_NS, 3 * FRAME_NS - 3 * BIT_NS]
    assert wire.sent == [3 * FRAME_NS - 3 * BIT_NS]
    assert wire.errors == []


def test_a_frame_that_nobody_acknowledges_is_sent_again_until_somebody_does() -> None:
    wire = Wire(WireFaults(acknowledgement=True), listeners=())
    wire.send()
    wire.run(3)
    assert [error.fate for error in wire.errors] == [Fate.UNACKNOWLEDGED] * 3
    assert wire.core.now_ns == 3 * (FRAME_NS + 6 * BIT_NS) - 3 * BIT_NS
    assert wire.core.error_counters("a").transmit == 24
    wire.listen("b")
    wire.drain()
    assert len(wire.sent) == 1


def test_who_is_alone_on_the_wire_becomes_error_passive_and_never_bus_off() -> None:
    wire = Wire(WireFaults(acknowledgement=True), listeners=("a", "capture"))
    wire.send()
    wire.run(100)
    assert wire.core.error_counters("a") == ErrorCounters(transmit=128, state=ErrorState.PASSIVE)
    assert wire.states == [(16 * (FRAME_NS + 6 * BIT_NS) - 3 * BIT_NS, "a", ErrorState.PASSIVE)]


def test_an_error_passive_sender_leaves_the_wire_eight_bits_to_the_others() -> None:
    wire = Wire(WireFaults(corrupted=frozenset(range(16))))
    wire.send()
    wire.run(16)
    assert wire.core.error_counters("a").state is ErrorState.PASSIVE
    free_ns = wire.core.now_ns + 3 * BIT_NS
    wire.send(node="c", header=FrameHeader(0x7FF), at_ns=free_ns + BIT_NS)
    wire.drain()
    lasts = frame_ns(FrameHeader(0x7FF), FRAME, bit_rate=RATE)
    ends = [free_ns + BIT_NS + lasts, free_ns + BIT_NS + lasts + FRAME_NS]
    assert wire.heard == [
        (ends[0] - 3 * BIT_NS, 0x7FF, FRAME),
        (ends[1] - 3 * BIT_NS, 0x7A0, FRAME),
    ]
    assert wire.core.error_counters("a") == ErrorCounters(transmit=127)


def test_an_error_passive_sender_alone_with_its_frames_starts_eight_bits_late() -> None:
    wire = Wire(WireFaults(corrupted=frozenset(range(16))))
    wire.send()
    wire.run(16)
    free_ns = wire.core.now_ns + 3 * BIT_NS
    wire.drain()
    assert wire.sent == [free_ns + 8 * BIT_NS + FRAME_NS - 3 * BIT_NS]


def test_counters_walk_from_active_over_passive_to_bus_off_and_what_is_queued_is_lost() -> None:
    wire = Wire(WireFaults(corrupted=EVERY, senders=frozenset({"a"}), recovery=False))
    wire.send(5)
    seen = []
    while wire.core.error_counters("a").state is not ErrorState.BUS_OFF:
        wire.run(1)
        seen.append(wire.core.error_counters("a"))
    assert [counters.transmit for counters in seen] == list(range(8, 257, 8))
    assert [counters.state for counters in seen] == [
        *[ErrorState.ACTIVE] * 15,
        *[ErrorState.PASSIVE] * 16,
        ErrorState.BUS_OFF,
    ]
    assert wire.core.error_counters("b").receive == 32
    assert wire.core.next_event() is None
    wire.send(at_ns=wire.core.now_ns)
    assert wire.core.next_event() is None
    assert wire.sent == []


def bus_off(*, recovery: bool) -> Wire:
    wire = Wire(WireFaults(corrupted=EVERY, senders=frozenset({"a"}), recovery=recovery))
    wire.send()
    wire.run(32)
    assert wire.core.error_counters("a").state is ErrorState.BUS_OFF
    wire.core.begin_faults(WireFaults(recovery=recovery), now_ns=wire.core.now_ns)
    return wire


def test_a_node_recovers_from_bus_off_after_128_times_11_recessive_bits() -> None:
    wire = bus_off(recovery=True)
    free_ns = wire.core.now_ns + 3 * BIT_NS
    assert wire.core.next_event() == free_ns + 128 * 11 * BIT_NS
    wire.core.handle()
    assert wire.states[-1] == (free_ns + 128 * 11 * BIT_NS, "a", ErrorState.ACTIVE)
    assert wire.core.error_counters("a") == ErrorCounters()
    wire.send(at_ns=wire.core.now_ns)
    wire.drain()
    assert len(wire.sent) == 1


def test_on_a_busy_wire_each_frame_counts_as_one_of_the_128_sequences() -> None:
    wire = bus_off(recovery=True)
    begin_ns = wire.core.now_ns + 3 * BIT_NS
    wire.send(200, node="c", header=FrameHeader(0x100), at_ns=wire.core.now_ns)
    wire.drain()
    lasts = frame_ns(FrameHeader(0x100), FRAME, bit_rate=RATE)
    (at_ns,) = [at for at, node, state in wire.states if (node, state) == ("a", ErrorState.ACTIVE)]
    assert at_ns == begin_ns + 128 * lasts - 3 * BIT_NS


def test_a_node_that_is_to_ask_for_its_recovery_stays_off_until_it_does() -> None:
    wire = bus_off(recovery=False)
    wire.drain()
    assert wire.core.error_counters("a").state is ErrorState.BUS_OFF
    ask_ns = wire.core.now_ns + NS_PER_S
    wire.core.ask_recovery("a", now_ns=ask_ns)
    wire.drain()
    assert wire.states[-1] == (ask_ns + 128 * 11 * BIT_NS, "a", ErrorState.ACTIVE)


def test_a_node_that_is_bus_off_hears_nothing() -> None:
    wire = Wire(
        WireFaults(corrupted=EVERY, senders=frozenset({"a"}), recovery=False), listeners=("a", "b")
    )
    wire.send()
    wire.run(32)
    wire.send(node="c", header=FrameHeader(0x100), at_ns=wire.core.now_ns)
    wire.drain()
    assert len(wire.heard) == 1


def test_receivers_become_error_passive_and_return_with_good_frames() -> None:
    wire = Wire(WireFaults(corrupted=EVERY, recovery=False))
    for number in range(4):  # 32 errors make a sender bus-off, and its frame is lost
        wire.send(node=f"n{number}", header=FrameHeader(0x100 + number), at_ns=wire.core.now_ns)
        wire.run(32)
    assert wire.core.error_counters("b") == ErrorCounters(receive=128, state=ErrorState.PASSIVE)
    wire.core.begin_faults(None, now_ns=wire.core.now_ns)
    wire.send(8, at_ns=wire.core.now_ns)
    wire.run(1)
    assert wire.core.error_counters("b") == ErrorCounters(receive=127)
    wire.drain()
    assert wire.core.error_counters("b") == ErrorCounters(receive=120)
    assert wire.core.load(now_ns=wire.core.now_ns).error_frames == 128


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_repeats_its_losses_and_corruptions(seed: int) -> None:
    def play() -> Wire:
        plan = WireFaults(loss=0.05, corruption=0.05, rng=random.Random(seed))  # noqa: S311 a seeded plan
        wire = Wire(plan)
        wire.send(400)
        wire.drain()
        return wire

    first, second = play(), play()
    assert first.heard == second.heard
    assert first.errors == second.errors
    assert 5 < len(first.errors) < 45
    assert 350 < len(first.heard) < 400
    assert len(first.sent) == 1


def test_a_wire_whose_faults_are_over_goes_back_to_whole_runs() -> None:
    wire = Wire(corrupting(0), listeners=())
    runs: list[int] = []
    wire.core.listen(
        "r",
        lambda *_: runs.append(1),
        (arbitration_key(HEADER),),
        lambda _, payloads, __: runs.append(len(payloads)),
        now_ns=0,
    )
    wire.send(20)
    wire.run(5)
    wire.core.begin_faults(None, now_ns=wire.core.now_ns)
    wire.drain()
    assert runs == [*[1] * 8, 12]


def test_a_plan_without_faults_leaves_every_nanosecond_as_it_was() -> None:
    plain, planned = Wire(None), Wire(WireFaults(acknowledgement=True))
    for wire in (plain, planned):
        wire.send(30)
        wire.send(10, node="c", header=FrameHeader(0x100), at_ns=5 * FRAME_NS + 1)
        wire.drain()
    assert plain.heard == planned.heard
    assert plain.sent == planned.sent


@pytest.mark.parametrize(
    "shares", [{"loss": 0.6, "corruption": 0.6}, {"loss": -0.1}, {"corruption": 0.1}]
)
def test_shares_that_are_none_or_that_nobody_draws_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(WireError):
        WireFaults(**shares)  # type: ignore[arg-type] # both are shares
