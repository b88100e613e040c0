"""`protocols.can.CanPort`: the same promises at every wire, simulated, bridged or an interface.

The rows marked `vcan` need a kernel with SocketCAN (`tests/vcan`). `Wired.settled` is the one
allowance for a port that is elsewhere: its listeners count from then on.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from can_interfaces import InterfaceError
from can_interfaces.uri import parse
from can_interfaces.wire import InterfaceWire
from clock import run
from ecu_sim import bus
from ecu_sim.bus import BridgeServer, CanWire, serve_bridge
from protocols.can import CanPort, FrameHeader
from vehicle_gateway import wires
from vehicle_gateway.wires.bridge import BridgePort

#: Longest that a test may take on its clock, in seconds.
BOUND_S: Final = 10.0
#: A wire on a real loop handles its events up to this much early, in seconds.
AHEAD_S: Final = 0.001
REQUEST, ANSWER = FrameHeader(0x7A0), FrameHeader(0x7A8)
EXTENDED = FrameHeader(0x7A0, extended=True)
LOW, HIGH = FrameHeader(0x010), FrameHeader(0x7F0)
#: No test listens to it by name.
PROBE = FrameHeader(0x7FF)

Heard = list[tuple[FrameHeader, bytes]]


@dataclass(slots=True)
class Ear:
    """A listener that notes what it hears."""

    heard: Heard = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, header: FrameHeader, data: bytes, at_s: float) -> None:
        self.heard.append((header, data))
        self.times.append(at_s)
        self._changed.set()

    def run(self, header: FrameHeader, payloads: Sequence[bytes], times: Sequence[float]) -> None:
        assert len(payloads) == len(times) > 1
        self.runs.append(len(payloads))
        for data, at_s in zip(payloads, times, strict=True):
            self(header, data, at_s)

    async def count(self, frames: int) -> Heard:
        """Wait until so many frames were heard."""
        while len(self.heard) < frames:
            self._changed.clear()
            await self._changed.wait()
        return self.heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """A wire; `near` is the port that is put to the test, `same` another one of its node."""

    near: CanPort
    same: CanPort
    far: CanPort
    third: CanPort

    async def settled(self) -> None:
        """Every port has been told what its listeners want."""
        for port in (self.near, self.same):
            await sent(port, PROBE, [b""])


async def sent(port: CanPort, header: FrameHeader, payloads: Sequence[bytes]) -> float:
    """Send, and wait for the last bit."""
    done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    port.send(header, payloads, done.set_result)
    return await done


@asynccontextmanager
async def on_the_wire(data_bit_rate: int) -> AsyncIterator[Wired]:
    wire = CanWire(
        "comfort",
        bit_rate=500_000,
        data_bit_rate=data_bit_rate,
        loop=asyncio.get_running_loop(),
    )
    try:
        yield Wired(
            near=wire.port("gateway"),
            same=wire.port("gateway"),
            far=wire.port("ccu"),
            third=wire.port("blower"),
        )
    finally:
        wire.close()


@asynccontextmanager
async def over_the_bridge(data_bit_rate: int) -> AsyncIterator[Wired]:
    wire = CanWire(
        "comfort",
        bit_rate=500_000,
        data_bit_rate=data_bit_rate,
        loop=asyncio.get_running_loop(),
    )
    server = await serve_bridge(wire, "127.0.0.1", 0)
    ports = [
        BridgePort(
            "can://bridge/test", host=server.host, port=server.port, wire="comfort", node="gateway"
        )
        for _ in range(2)
    ]
    try:
        for port in ports:
            await port.open()
        yield Wired(near=ports[0], same=ports[1], far=wire.port("ccu"), third=wire.port("blower"))
    finally:
        for port in ports:
            await port.close()
        await server.close()
        wire.close()


@asynccontextmanager
async def on_interfaces(uri: str) -> AsyncIterator[Wired]:
    """Two programs' wires on one interface: the gateway's, and the ECUs'."""
    gateway, ecus = InterfaceWire(parse(uri)), InterfaceWire(parse(uri))
    try:
        await gateway.open()
        await ecus.open()
        yield Wired(
            near=gateway.port("gateway"),
            same=gateway.port("gateway"),
            far=ecus.port("ccu"),
            third=ecus.port("blower"),
        )
    finally:
        await gateway.close()
        await ecus.close()


@asynccontextmanager
async def on_python_can(data_bit_rate: int) -> AsyncIterator[Wired]:
    async with on_interfaces(f"can://virtual/contract?fd={bool(data_bit_rate)}") as wired:
        yield wired


@asynccontextmanager
async def on_socketcan(data_bit_rate: int) -> AsyncIterator[Wired]:
    async with on_interfaces(f"can://socketcan/vcan0?fd={bool(data_bit_rate)}") as wired:
        yield wired


@asynccontextmanager
async def beside_the_simulation(
    data_bit_rate: int, uri: Callable[[BridgeServer], str]
) -> AsyncIterator[Wired]:
    """A simulated wire that the gateway reaches by an interface of python-can."""
    wire = CanWire(
        "comfort",
        bit_rate=500_000,
        data_bit_rate=data_bit_rate,
        loop=asyncio.get_running_loop(),
    )
    server = await serve_bridge(wire, "127.0.0.1", 0)
    interface = InterfaceWire(parse(uri(server)))
    try:
        await interface.open()
        yield Wired(
            near=interface.port("gateway"),
            same=interface.port("gateway"),
            far=wire.port("ccu"),
            third=wire.port("blower"),
        )
    finally:
        await interface.close()
        await server.close()
        wire.close()


def over_our_interface(data_bit_rate: int) -> AbstractAsyncContextManager[Wired]:
    return beside_the_simulation(
        data_bit_rate, lambda server: f"can://canota/tcp://127.0.0.1:{server.port}/comfort"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    wired: Callable[[int], AbstractAsyncContextManager[Wired]]
    virtual: bool
    #: Root of the port's errors.
    error: type[Exception]
    #: Frames that a listener elsewhere may be behind the sender's `sent`.
    behind: int = 1
    #: ... and the seconds.
    lag_s: float = AHEAD_S

    def __call__(self, use: Callable[[Wired], Awaitable[None]], *, data_bit_rate: int = 0) -> None:
        async def main() -> None:
            async with asyncio.timeout(BOUND_S), self.wired(data_bit_rate) as wired:
                await use(wired)

        run(main(), virtual=self.virtual)


KINDS = {
    "simulated": Kind(wired=on_the_wire, virtual=True, error=bus.WireError),
    "simulated, real time": Kind(wired=on_the_wire, virtual=False, error=bus.WireError),
    "bridged": Kind(wired=over_the_bridge, virtual=False, error=wires.WireError),
    # Two threads bring the two ends what they hear, and no wire holds them together.
    "python-can": Kind(
        wired=on_python_can, virtual=False, error=InterfaceError, behind=21, lag_s=1.0
    ),
    "canota": Kind(wired=over_our_interface, virtual=False, error=InterfaceError),
}
NEEDS_VCAN = {
    "socketcan": Kind(
        wired=on_socketcan, virtual=False, error=InterfaceError, behind=21, lag_s=1.0
    ),
}


@pytest.fixture(
    params=[
        *(pytest.param(kind, id=name) for name, kind in KINDS.items()),
        *(pytest.param(kind, id=name, marks=pytest.mark.vcan) for name, kind in NEEDS_VCAN.items()),
    ]
)
def on(request: pytest.FixtureRequest) -> Kind:
    found = request.param
    assert isinstance(found, Kind)
    return found


def frames(count: int) -> list[bytes]:
    return [number.to_bytes(2) for number in range(count)]


def test_frames_arrive_in_the_order_in_which_they_were_sent(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        ear = Ear()
        wired.far.listen(ear, REQUEST)
        wired.near.send(REQUEST, frames(40))
        wired.near.send(REQUEST, [b"then"])
        wired.near.send(REQUEST, [b"last"])
        expected = [*frames(40), b"then", b"last"]
        assert await ear.count(42) == [(REQUEST, data) for data in expected]
        assert ear.times == sorted(ear.times)

    on(use)


def test_frames_are_heard_in_the_order_in_which_they_were_sent(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        ear = Ear()
        wired.near.listen(ear, ANSWER)
        await wired.settled()
        wired.far.send(ANSWER, frames(40))
        wired.far.send(ANSWER, [b"last"])
        assert await ear.count(41) == [(ANSWER, data) for data in [*frames(40), b"last"]]
        assert ear.times == sorted(ear.times)

    on(use)


def test_sent_follows_the_last_frame_once_and_in_order(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        ear = Ear()
        wired.far.listen(ear, REQUEST)
        order: list[int] = []
        heard_at_sent: list[int] = []

        def note(number: int) -> Callable[[float], None]:
            def take(_: float) -> None:
                order.append(number)
                heard_at_sent.append(len(ear.heard))

            return take

        wired.near.send(REQUEST, frames(20), note(0))
        wired.near.send(REQUEST, [b"one"], note(1))
        assert order == []
        last = await sent(wired.near, REQUEST, frames(5))
        assert order == [0, 1]
        # At one moment the sender may hear of it before the listener.
        assert heard_at_sent[0] >= 20 - on.behind
        assert heard_at_sent[1] >= 21 - on.behind
        assert len(await ear.count(26)) == 26
        assert last >= ear.times[-1] - on.lag_s

    on(use)


def test_the_time_of_sent_is_that_of_the_loop(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        told = await sent(wired.near, REQUEST, frames(10))
        assert before < told <= loop.time() + AHEAD_S

    on(use)


def test_a_listener_hears_its_headers_and_no_other(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        one, two, everything = Ear(), Ear(), Ear()
        wired.near.listen(one, ANSWER)
        wired.near.listen(two, LOW, EXTENDED)
        wired.same.listen(everything)
        await wired.settled()
        for header in (ANSWER, REQUEST, LOW, EXTENDED, HIGH):
            await sent(wired.far, header, [bytes((header.identifier & 0xFF,))])
        await everything.count(5)
        await two.count(2)
        assert [header for header, _ in await one.count(1)] == [ANSWER]
        assert [header for header, _ in two.heard] == [LOW, EXTENDED]
        assert [header for header, _ in everything.heard] == [
            ANSWER,
            REQUEST,
            LOW,
            EXTENDED,
            HIGH,
        ]

    on(use)


def test_two_listeners_of_one_header_both_hear_each_frame_once(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        one, two = Ear(), Ear()
        wired.near.listen(one, ANSWER)
        wired.near.listen(two, ANSWER, HIGH)
        await wired.settled()
        wired.far.send(ANSWER, frames(3))
        await sent(wired.far, HIGH, [b"end"])
        assert [data for _, data in await two.count(4)] == [*frames(3), b"end"]
        assert [data for _, data in await one.count(3)] == frames(3)

    on(use)


def test_a_listener_that_ended_hears_nothing_more_and_the_others_go_on(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        ended, other = Ear(), Ear()
        end = wired.near.listen(ended, ANSWER)
        wired.near.listen(other, ANSWER)
        await wired.settled()
        await sent(wired.far, ANSWER, [b"1"])
        await ended.count(1)
        end()
        await sent(wired.far, ANSWER, [b"2"])
        assert [data for _, data in await other.count(2)] == [b"1", b"2"]
        assert [data for _, data in ended.heard] == [b"1"]
        end()  # twice is once
        await wired.settled()
        await sent(wired.far, ANSWER, [b"3"])
        assert len(await other.count(3)) == 3
        assert len(ended.heard) == 1

    on(use)


def test_a_listener_may_end_itself_while_it_is_called(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        heard: list[bytes] = []
        other = Ear()

        def once(_header: FrameHeader, data: bytes, _at_s: float) -> None:
            heard.append(data)
            end()

        end = wired.near.listen(once, ANSWER)
        wired.near.listen(other, ANSWER)
        await wired.settled()
        for number in range(3):
            await sent(wired.far, ANSWER, [bytes((number,))])
        await other.count(3)
        assert heard == [b"\x00"]

    on(use)


def test_a_listener_may_answer_from_where_it_is_called(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        answers = Ear()
        wired.far.listen(answers, REQUEST)

        def answer(_header: FrameHeader, data: bytes, _at_s: float) -> None:
            wired.near.send(REQUEST, [data[::-1]])

        wired.near.listen(answer, ANSWER)
        await wired.settled()
        wired.far.send(ANSWER, [b"abc"])
        assert await answers.count(1) == [(REQUEST, b"cba")]

    on(use)


def test_a_node_does_not_hear_itself(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        own, same, far = Ear(), Ear(), Ear()
        wired.near.listen(own)
        wired.same.listen(same)  # another port of the same node
        wired.far.listen(far, REQUEST)
        await wired.settled()
        await sent(wired.near, REQUEST, frames(3))
        await far.count(3)
        await sent(wired.far, ANSWER, [b"end"])
        assert await own.count(1) == [(ANSWER, b"end")]
        assert await same.count(1) == [(ANSWER, b"end")]

    on(use)


def test_frames_for_others_are_no_frames_for_us(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        ear = Ear()
        wired.near.listen(ear, ANSWER)
        await wired.settled()
        await sent(wired.far, HIGH, frames(5))
        await sent(wired.third, LOW, frames(5))
        await sent(wired.far, ANSWER, [b"end"])
        assert await ear.count(1) == [(ANSWER, b"end")]

    on(use)


def test_the_lowest_identifier_wins_among_waiting_frames(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        ear, on_the_spot = Ear(), Ear()
        wired.near.listen(ear, LOW, HIGH)
        wired.third.listen(on_the_spot, HIGH, receive_run=on_the_spot.run)
        await wired.settled()
        wired.far.send(HIGH, frames(10))
        last = asyncio.get_running_loop().create_future()
        wired.third.send(LOW, [b"low"])
        asked_s = asyncio.get_running_loop().time()
        wired.far.send(HIGH, [b"end"], last.set_result)
        await last
        heard = [header for header, _ in await ear.count(12)]
        # At most one frame was on the wire already.
        assert sum(end_s > asked_s for end_s in on_the_spot.times[: heard.index(LOW)]) <= 1

    on(use)


def test_a_listener_of_runs_hears_the_same_frames(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        plain, runs = Ear(), Ear()
        wired.near.listen(runs, ANSWER, receive_run=runs.run)
        await wired.settled()
        wired.far.send(ANSWER, frames(500))
        await runs.count(500)
        wired.near.listen(plain, ANSWER)
        await wired.settled()
        wired.far.send(ANSWER, frames(500))
        assert await runs.count(1000) == [(ANSWER, data) for data in frames(500) * 2]
        assert await plain.count(500) == [(ANSWER, data) for data in frames(500)]
        assert runs.times == sorted(runs.times)

    on(use)


def test_fd_frames_keep_their_header_and_all_their_bytes(on: Kind) -> None:
    async def use(wired: Wired) -> None:
        near, far = Ear(), Ear()
        fast = [FrameHeader(0x7B0, fd=True, bit_rate_switch=True), FrameHeader(0x7B1, fd=True)]
        wired.near.listen(near, *fast)
        wired.far.listen(far, *fast)
        await wired.settled()
        for header in fast:
            await sent(wired.near, header, [bytes(64)])
            await sent(wired.far, header, [bytes(range(48)), b""])
        assert await far.count(2) == [(header, bytes(64)) for header in fast]
        assert await near.count(4) == [
            (header, data) for header in fast for data in (bytes(range(48)), b"")
        ]

    on(use, data_bit_rate=2_000_000)


@pytest.mark.parametrize(
    ("header", "payloads"),
    [(REQUEST, []), (REQUEST, [bytes(9)]), (FrameHeader(1, fd=True), [b"on a classic wire"])],
    ids=["no frames", "too long", "no such format"],
)
def test_what_no_wire_can_carry_is_an_error_and_the_port_is_of_use_still(
    on: Kind, header: FrameHeader, payloads: list[bytes]
) -> None:
    async def use(wired: Wired) -> None:
        told: list[float] = []
        with pytest.raises(on.error):
            wired.near.send(header, payloads, told.append)
        await sent(wired.near, REQUEST, [b"go on"])
        assert told == []

    on(use)
