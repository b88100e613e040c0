"""What a wire carries does not depend on who looks: bursts as one event against frame by frame.

One scenario is played twice on the virtual loop. The first time everybody takes runs of frames; the
second time an observer wants each frame, so that the wire handles them one by one. Frames, their
nanoseconds, the messages at either end of the ISO-TP connection, and the wire's counters have to
be the same.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import clock
from clock import VirtualLoop
from ecu_sim.bus import BusLoad, CanWire, WireFaults
from ecu_sim.transport import Addresses, IsoTpBinding
from protocols.can import FrameHeader
from protocols.can.bits import NS_PER_S, burst_ns
from protocols.isotp import IsoTpParameters, segment
from tests.support.can import seeded

#: Between those that win against them and those that lose.
REQUEST, RESPONSE = 0x400, 0x408
#: A burst of 585 frames takes some 140 ms.
MS = 1_000_000
_END_S = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    at_ns: int
    size: int
    #: From the ECU to the tester.
    back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cyclic:
    first_ns: int
    period_ns: int
    identifier: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    messages: tuple[Message, ...]
    cyclic: tuple[Cyclic, ...] = ()
    #: From when to when somebody else wants each frame of the requests.
    onlooker_ns: tuple[int, int] | None = None
    #: When the ECU is switched off, in the middle of whatever comes, and on again.
    off_ns: tuple[int, int] | None = None
    #: When the tester breaks off and begins anew: what it handed to the wire still goes out.
    abort_ns: int | None = None
    #: From when on the tries of these numbers are lost, or end in error frames.
    faults_ns: int | None = None
    lost: frozenset[int] = frozenset()
    corrupted: frozenset[int] = frozenset()
    #: When the wire's bit rate becomes 250 kbit/s.
    slower_ns: int | None = None
    parameters: IsoTpParameters = IsoTpParameters()  # noqa: RUF009 frozen


@dataclass(slots=True)
class Played:
    frames: list[tuple[int, int, bytes]] = field(default_factory=list)
    #: What the onlooker heard of them.
    looked_at: list[tuple[int, int, bytes]] = field(default_factory=list)
    #: Messages with the loop's time in ns and who had them.
    received: list[tuple[str, int, bytes]] = field(default_factory=list)
    errors: list[tuple[int, str]] = field(default_factory=list)
    load: BusLoad | None = None


def play(scenario: Scenario, *, runs: bool) -> tuple[Played, int]:
    """What happened, and how often the observer was called."""
    return clock.run(_play(scenario, runs=runs), virtual=True)


async def _play(scenario: Scenario, *, runs: bool) -> tuple[Played, int]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    played, calls = Played(), [0]
    wire = CanWire("wire", bit_rate=500_000, data_bit_rate=2_000_000, loop=loop)

    def observe(header: FrameHeader, data: bytes, at_s: float) -> None:
        calls[0] += 1
        played.frames.append((round(at_s * NS_PER_S), header.identifier, data))

    def observe_run(header: FrameHeader, payloads: Sequence[bytes], times: Sequence[float]) -> None:
        calls[0] += 1
        for data, at_s in zip(payloads, times, strict=True):
            played.frames.append((round(at_s * NS_PER_S), header.identifier, data))

    def look(header: FrameHeader, data: bytes, at_s: float) -> None:
        played.looked_at.append((round(at_s * NS_PER_S), header.identifier, data))

    wire.on_error_frame(lambda error: played.errors.append((loop.now_ns, error.node)))
    wire.port("observer").listen(observe, receive_run=observe_run if runs else None)
    tester = _End(wire, played, scenario.parameters, "tester")
    ecu = _End(wire, played, scenario.parameters, "ecu")

    def at(at_ns: int, act: Callable[[], object]) -> None:
        loop.call_at(at_ns / NS_PER_S, act)

    for message in scenario.messages:
        at(message.at_ns, partial((ecu if message.back else tester).send, message.size))
    for number, cyclic in enumerate(scenario.cyclic):
        port, header = wire.port(f"car {number}"), FrameHeader(cyclic.identifier)
        for place in range(cyclic.count):
            at_ns = cyclic.first_ns + place * cyclic.period_ns
            at(at_ns, partial(port.send, header, (place.to_bytes(8),)))
    if scenario.onlooker_ns is not None:
        begin_ns, end_ns = scenario.onlooker_ns
        port = wire.port("onlooker")
        at(begin_ns, lambda: at(end_ns, port.listen(look, *tester.headers)))
    if scenario.off_ns is not None:
        off_ns, on_ns = scenario.off_ns
        at(off_ns, ecu.close)
        at(on_ns, ecu.open)
    if scenario.abort_ns is not None:
        at(scenario.abort_ns, tester.begin_anew)
    if scenario.faults_ns is not None:
        plan = WireFaults(lost=scenario.lost, corrupted=scenario.corrupted)
        at(scenario.faults_ns, partial(wire.begin_faults, plan))
    if scenario.slower_ns is not None:
        at(scenario.slower_ns, partial(wire.set_bit_rate, 250_000))
    await asyncio.sleep(_END_S)
    played.load = wire.load()
    wire.close()
    return played, calls[0]


class _End:
    """One end of the connection, in the shell that the ECUs have; the ECU answers at length."""

    def __init__(
        self, wire: CanWire, played: Played, parameters: IsoTpParameters, name: str
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._wire, self._played, self._name = wire, played, name
        self._parameters = parameters
        self._rng = seeded(name)
        fd = parameters.tx_data_length > 8
        self.headers = tuple(
            FrameHeader(identifier, fd=fd, bit_rate_switch=fd) for identifier in (REQUEST, RESPONSE)
        )
        self.open()

    def send(self, size: int) -> None:
        self._binding.send(self._rng.randbytes(size))

    def close(self) -> None:
        self._binding.close()

    def begin_anew(self) -> None:
        self.close()
        self.open()

    def open(self) -> None:
        request, response = self.headers if self._name == "ecu" else reversed(self.headers)
        self._binding = IsoTpBinding(
            self._wire.port(self._name),
            Addresses(request=request, response=response),
            self._parameters,
            self._received,
        )

    def _received(self, message: bytes) -> None:
        now_ns = round(self._loop.time() * NS_PER_S)
        self._played.received.append((self._name, now_ns, message))
        if self._name == "ecu":
            self._binding.send(message[:40])


def test_a_block_that_nobody_interrupts_is_told_of_in_two_calls() -> None:
    scenario = Scenario(messages=(Message(at_ns=0, size=4095),))
    by_run, calls = play(scenario, runs=True)
    by_frame, each = play(scenario, runs=False)
    assert by_run == by_frame
    assert each == len(by_frame.frames) == 1 + 1 + 585 + 1 + 1 + 5
    # First frame, flow control, first of the block, the rest; and the answer likewise.
    assert calls == 4 + 4


def ends_ns() -> list[int]:
    """When the frames of the only block of such a scenario end, from the block's begin on."""
    frames = segment(seeded("tester").randbytes(4095), 8)
    flow_control = b"\x30\x00\x00".ljust(8, b"\xcc")
    before = [
        *burst_ns(FrameHeader(REQUEST), frames[:1], bit_rate=500_000).tolist(),
        *burst_ns(FrameHeader(RESPONSE), [flow_control], bit_rate=500_000).tolist(),
    ]
    lengths = burst_ns(FrameHeader(REQUEST), frames[1:], bit_rate=500_000)
    return [int(sum(before)), *(lengths.cumsum() + sum(before)).tolist()]


@pytest.mark.parametrize("identifier", [0x100, 0x404, 0x700])
@pytest.mark.parametrize("off_ns", [-6001, -6000, -5999, -1, 0, 1, 100_000])
def test_who_comes_at_any_nanosecond_of_a_block_meets_the_same_wire(
    identifier: int, off_ns: int
) -> None:
    at_ns = ends_ns()[300] + off_ns  # 3 bits, 6 us, of intermission end there
    scenario = Scenario(
        messages=(Message(at_ns=0, size=4095),),
        cyclic=(Cyclic(first_ns=at_ns, period_ns=MS, identifier=identifier, count=1),),
    )
    by_run, calls = play(scenario, runs=True)
    by_frame, _ = play(scenario, runs=False)
    assert by_run == by_frame
    assert calls < 14
    place = [frame[1] for frame in by_run.frames].index(identifier)
    assert (place < 400) == (identifier < REQUEST)


times = st.integers(0, 400 * MS)
#: The nanoseconds at which a frame starts, and its last bit: where orders of events meet.
edges = st.sampled_from(ends_ns()).flatmap(lambda end: st.sampled_from((end, end - 6000)))
moments = times | edges
spans = st.tuples(moments, st.integers(0, 100 * MS)).map(lambda span: (span[0], sum(span)))
sizes = st.sampled_from((1, 7, 8, 50, 700, 4095))
numbers = st.frozensets(st.integers(0, 700), max_size=4)
scenarios = st.builds(
    Scenario,
    messages=st.lists(
        st.builds(Message, at_ns=moments, size=sizes, back=st.booleans()), min_size=1, max_size=3
    ).map(lambda more: (Message(at_ns=0, size=4095), *more)),
    cyclic=st.lists(
        st.builds(
            Cyclic,
            first_ns=moments,
            period_ns=st.integers(MS // 5, 50 * MS),
            identifier=st.integers(0, 0x3FF) | st.integers(0x409, 0x7FF),
            count=st.integers(1, 60),
        ),
        max_size=4,
        unique_by=lambda cyclic: cyclic.identifier,
    ).map(tuple),
    onlooker_ns=st.none() | spans,
    off_ns=st.none() | spans,
    abort_ns=st.none() | moments,
    faults_ns=st.none() | moments,
    lost=numbers,
    corrupted=numbers,
    slower_ns=st.none() | moments,
    parameters=st.builds(
        IsoTpParameters,
        tx_data_length=st.sampled_from((8, 8, 64)),
        n_cr_s=st.sampled_from((1.0, 1.0, 0.25, 0.1)),
        block_size=st.sampled_from((0, 0, 0, 20)),
        st_min=st.sampled_from((0, 0, 0, 0xF1)),
    ),
)


@settings(max_examples=40, deadline=None)
@given(scenario=scenarios)
# Between the last bit of a frame and the next start of frame.
@example(
    scenario=Scenario(
        messages=(Message(at_ns=0, size=4095),), faults_ns=936_001, corrupted=frozenset({0})
    )
)
def test_bursts_and_frames_one_by_one_are_the_same_wire(scenario: Scenario) -> None:
    by_run, _ = play(scenario, runs=True)
    by_frame, _ = play(scenario, runs=False)
    assert by_run == by_frame


@pytest.mark.parametrize("n_cr_s", [1.0, 0.3, 0.25, 0.1])
def test_a_block_held_up_by_others_runs_out_of_n_cr_at_the_same_moment(n_cr_s: float) -> None:
    # Others keep the wire for 270 ms in the middle of the block.
    scenario = Scenario(
        messages=(Message(at_ns=0, size=4095),),
        cyclic=(Cyclic(first_ns=60 * MS, period_ns=200_000, identifier=1, count=1050),),
        parameters=IsoTpParameters(n_cr_s=n_cr_s),
    )
    by_run, calls = play(scenario, runs=True)
    by_frame, _ = play(scenario, runs=False)
    assert by_run == by_frame
    assert ("ecu" in [name for name, _, _ in by_run.received]) == (n_cr_s >= 0.3)
    assert n_cr_s < 0.25 or calls < 1100
