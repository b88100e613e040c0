"""Where one fault is let into a real update: the journal, the wires, the cloud's calls, the flash.

`Instruments` count what happens at each of these places, over all restarts of the gateway, and do
the one fault where its point comes. Nothing behind them knows of it.
"""

import asyncio
import logging
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
from grpc.aio import AioRpcError, Metadata

from canota.chaos.faults import (
    ALL,
    Fault,
    How,
    Kind,
    Message,
    Outage,
    Points,
    Reset,
    Write,
)
from dbc import EcuDescription
from ecu_sim.boot import ResetReason
from ecu_sim.memory import Cut
from ecu_sim.node import EcuNode
from vehicle_gateway.update.journal import Entry, Journal
from vehicle_gateway.update.journal import Kind as EntryKind
from vehicle_gateway.wires import (
    AnswerReceived,
    AnswerStarted,
    Channel,
    ChannelEvent,
    LinkError,
    Wire,
)

#: Takes what is told, line by line.
Log = Callable[[str], None]

#: Seconds for which an ECU's supply is gone, and for which the cloud is away.
POWER_OFF_S: Final = 1.0
AWAY_S: Final = 90.0


def quiet() -> None:
    """What the programs log of faults that are made on purpose is no news."""
    logging.getLogger().addHandler(logging.NullHandler())


class KilledError(BaseException):
    """The gateway's process is gone: no handler of its own may see an error in it."""


class Life:
    """One life of a gateway's process. Once it is dead, nothing leaves it any more."""

    def __init__(self, state: Path, remains: Path) -> None:
        self.state = state
        #: What a new process finds: the state directory as it was at the moment of death.
        self.remains = remains
        self.died = asyncio.Event()

    def end(self) -> None:
        if not self.died.is_set():
            shutil.copytree(self.state, self.remains)
            self.died.set()


@dataclass(slots=True)
class Instruments:
    """Counters of an update's points, and the fault that is to happen (None: only count)."""

    fault: Fault | None
    rng: random.Random
    #: Told of everything that is counted; None: nobody listens.
    tell: Log | None = None
    nodes: Mapping[str, EcuNode] = field(default_factory=dict)
    #: Whether points are counted: they are from the campaign's start on.
    armed: bool = False
    #: Whether the fault has happened.
    hit: bool = False
    entries: list[Entry] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)
    exchanges: Counter[str] = field(default_factory=Counter)
    answered: dict[str, list[int]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    away_until: float = 0.0

    @property
    def wants_flash(self) -> bool:
        """Whether the flash's operations matter: each has to be a step of its own then."""
        return self.fault is None or self.fault.kind is Kind.FLASH

    def log(self, line: str) -> None:
        if self.tell is not None:
            self.tell(line)

    def due(self, kind: Kind, place: str, number: int) -> How | None:
        """What happens at this point; None: all goes well."""
        fault = self.fault
        if fault is None or self.hit or not self.armed:
            return None
        met = (fault.kind, fault.place, fault.number) == (kind, place, number)
        return fault.how if met else None

    def happens(self) -> None:
        self.hit = True
        self.log(f"fault {self.fault}")

    def points(self) -> Points:
        """What was counted."""
        kinds = [entry.kind for entry in self.entries]
        commit = kinds.index(EntryKind.COMMIT) + 1
        confirmed = {
            entry.ecu: number
            for number, entry in enumerate(self.entries, start=1)
            if entry.kind is EntryKind.CONFIRMED
        }
        return Points(
            entries=tuple(kind.value for kind in kinds),
            operations=dict(sorted(self.operations.items())),
            exchanges=dict(sorted(self.exchanges.items())),
            answered={place: tuple(self.answered.get(place, ())) for place in self.exchanges},
            calls=dict(sorted(self.calls.items())),
            unconfirmed={
                ecu: tuple(range(commit, number)) for ecu, number in sorted(confirmed.items())
            },
        )

    # The journal

    def wrote(self, entry: Entry) -> None:
        """One more entry is on the disk; resets come here."""
        self.entries.append(entry)
        number = len(self.entries)
        self.log(f"entry {number} {entry.kind.value} {entry.ecu}")
        for place in (*self.nodes, ALL):
            if (how := self.due(Kind.RESET, place, number)) is not None:
                self.happens()
                self._reset(place, how)

    def _reset(self, place: str, how: object) -> None:
        for name, node in self.nodes.items():
            if place not in (ALL, name):
                continue
            match how:
                case Reset.POWER:
                    node.lose_power(POWER_OFF_S)
                case Reset.SOFTWARE:
                    node.reset_by_fault()
                case Reset.WATCHDOG:
                    node.reset(ResetReason.WATCHDOG)


class FaultyJournal(Journal):
    """A journal whose writes are counted, and at one of which the gateway dies."""

    def __init__(self, path: Path, instruments: Instruments, life: Life) -> None:
        super().__init__(path)
        self._instruments = instruments
        self._life = life

    def append(self, entry: Entry, *, sync: bool = True) -> None:
        if self._life.died.is_set():
            raise KilledError
        instruments = self._instruments
        how = instruments.due(Kind.GATEWAY, ALL, len(instruments.entries) + 1)
        if how is not None:
            instruments.happens()
        if how is Write.BEFORE:
            self._life.end()
            raise KilledError
        before = self.path.stat().st_size
        super().append(entry, sync=sync)
        if how is not None:
            self._life.end()
            if how is Write.TORN:
                journal = self._life.remains / self.path.name
                content = journal.read_bytes()
                journal.write_bytes(content[: (before + len(content)) // 2])
            raise KilledError
        instruments.wrote(entry)


class FaultyWire:
    """A wire whose messages are counted, and one of which something happens to."""

    def __init__(self, name: str, wire: Wire, instruments: Instruments, life: Life) -> None:
        self._name = name
        self._wire = wire
        self._instruments = instruments
        self._life = life
        self._channels: dict[str, FaultyChannel] = {}
        self._held: bytes | None = None

    def channel(self, ecu: EcuDescription) -> Channel:
        if ecu.name not in self._channels:
            inner = self._wire.channel(ecu)
            self._channels[ecu.name] = FaultyChannel(ecu.name, inner, self._instruments, self._life)
        return self._channels[ecu.name]

    async def broadcast(self, request: bytes) -> float:
        return await _send(
            self._wire.broadcast, request, self._name, self._instruments, self._life, self
        )

    def wake(self) -> None:
        self._wire.wake()

    async def close(self) -> None:
        await self._wire.close()

    def hold(self, request: bytes) -> None:
        self._held = request

    def held(self) -> bytes | None:
        held, self._held = self._held, None
        return held

    def expect(self, how: Message | None, number: int) -> None:
        """Answers to everyone come in on the channels."""


class FaultyChannel:
    """One ECU's messages."""

    def __init__(self, name: str, inner: Channel, instruments: Instruments, life: Life) -> None:
        self._name = name
        self._inner = inner
        self._instruments = instruments
        self._life = life
        self._held: bytes | None = None
        #: What is done to the next answer, and the exchange that it belongs to.
        self._how: Message | None = None
        self._number = 0
        self._ready: list[ChannelEvent] = []
        #: An answer that comes after the next request.
        self._late: ChannelEvent | None = None

    @property
    def longest_request(self) -> int | None:
        return self._inner.longest_request

    async def send(self, request: bytes) -> float:
        sent_at_s = await _send(
            self._inner.send, request, self._name, self._instruments, self._life, self
        )
        if self._late is not None:
            self._ready.append(self._late)
            self._late = None
        return sent_at_s

    async def receive(self) -> ChannelEvent:
        while True:
            if self._ready:
                return self._ready.pop(0)
            event = await self._inner.receive()
            instruments = self._instruments
            if isinstance(event, AnswerStarted) and self._how is not None:
                continue  # With its answer, if that comes at all.
            if not isinstance(event, AnswerReceived):
                return event
            answered = instruments.answered.setdefault(self._name, [])
            if instruments.armed and self._number not in answered[-1:]:
                answered.append(self._number)
            how, self._how = self._how, None
            if how is None:
                return event
            instruments.happens()
            match how:
                case Message.ANSWER_DOUBLED:
                    self._ready.append(event)
                    return event
                case Message.ANSWER_REORDERED:
                    self._late = event
                case Message.ANSWER_CORRUPTED:
                    return AnswerReceived(_corrupted(event.message, instruments.rng), event.at_s)

    def discard(self) -> None:
        self._ready.clear()
        self._inner.discard()

    def hold(self, request: bytes) -> None:
        self._held = request

    def held(self) -> bytes | None:
        held, self._held = self._held, None
        return held

    def expect(self, how: Message | None, number: int) -> None:
        self._how, self._number = how, number


async def _send(
    send: Callable[[bytes], Awaitable[float]],
    request: bytes,
    place: str,
    instruments: Instruments,
    life: Life,
    end: FaultyWire | FaultyChannel,
) -> float:
    """Send a request, or do to it what is to happen to it; at what loop time it was sent."""
    if life.died.is_set():
        raise LinkError(f"{place}: the gateway is dead")
    if not instruments.armed:
        return await send(request)
    instruments.exchanges[place] += 1
    number = instruments.exchanges[place]
    how = instruments.due(Kind.MESSAGE, place, number)
    instruments.log(f"{place} {number} {request[:8].hex(' ')}")
    end.expect(how if isinstance(how, Message) and how.is_answer else None, number)
    late = end.held()
    if isinstance(how, Message) and not how.is_answer:
        instruments.happens()
    loop = asyncio.get_running_loop()
    match how:
        case Message.REQUEST_LOST:
            return loop.time()
        case Message.REQUEST_REORDERED:
            end.hold(request)
            return loop.time()
        case Message.REQUEST_CORRUPTED:
            return await send(_corrupted(request, instruments.rng))
        case Message.REQUEST_DOUBLED:
            await send(request)
            return await send(request)
    sent_at_s = await send(request)
    if late is not None:
        await send(late)
    return sent_at_s


def _corrupted(message: bytes, rng: random.Random) -> bytes:
    """With one byte inverted."""
    at = rng.randrange(len(message))
    return message[:at] + bytes((message[at] ^ 0xFF,)) + message[at + 1 :]


if TYPE_CHECKING:
    _Unary = grpc.aio.UnaryUnaryClientInterceptor[Any, Any]  # Any: all messages pass here
    _Stream = grpc.aio.UnaryStreamClientInterceptor[Any, Any]  # Any: all messages pass here
else:
    _Unary = grpc.aio.UnaryUnaryClientInterceptor
    _Stream = grpc.aio.UnaryStreamClientInterceptor


class FaultyCalls(_Unary, _Stream):
    """Calls of the cloud: counted by method, and one of which something happens to."""

    def __init__(self, instruments: Instruments, life: Life) -> None:
        self._instruments = instruments
        self._life = life

    async def intercept_unary_unary(
        self,
        continuation: Callable[[Any, Any], Any],  # Any: all messages pass here
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # noqa: ANN401 all messages pass here
    ) -> Any:  # noqa: ANN401 all messages pass here
        how = self._asked(client_call_details)
        call = await continuation(client_call_details, request)
        if how is Outage.ANSWER_LOST:
            await call
            raise _unavailable("the answer got lost")
        return call

    async def intercept_unary_stream(
        self,
        continuation: Callable[[Any, Any], Any],  # Any: all messages pass here
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # noqa: ANN401 all messages pass here
    ) -> Any:  # noqa: ANN401 all messages pass here
        how = self._asked(client_call_details)
        call = await continuation(client_call_details, request)
        if how is Outage.ANSWER_LOST:
            return _broken_off(call)
        return call

    def _asked(self, details: grpc.aio.ClientCallDetails) -> object:
        """What happens to this call; raises where it does not go out at all."""
        if self._life.died.is_set():
            raise _unavailable("the gateway is dead")
        instruments = self._instruments
        if not instruments.armed:
            return None
        # The library hands on bytes, whatever its types say.
        method = cast("bytes", details.method).rpartition(b"/")[2].decode()
        instruments.calls[method] += 1
        now = asyncio.get_running_loop().time()
        instruments.log(f"call {method} {instruments.calls[method]}")
        if now < instruments.away_until:
            raise _unavailable("away")
        how = instruments.due(Kind.CLOUD, method, instruments.calls[method])
        if how is not None:
            instruments.happens()
        if how is Outage.AWAY:
            instruments.away_until = now + AWAY_S
        if how in (Outage.AWAY, Outage.REQUEST_LOST):
            raise _unavailable("the request got lost")
        return how


async def _broken_off(call: Any) -> AsyncIterator[Any]:  # noqa: ANN401 all messages pass here
    """The first message of a stream, and no more."""
    async for message in call:
        yield message
        break
    raise _unavailable("the stream broke off")


def _unavailable(details: str) -> AioRpcError:
    return AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(), details, None)


def as_interceptor(calls: FaultyCalls) -> grpc.aio.ClientInterceptor:
    """The same, by the type that channels ask for."""
    return cast("grpc.aio.ClientInterceptor", calls)  # the stubs know no base of all four kinds


class FaultySupply:
    """The supply of one ECU's chips (`ecu_sim.memory.PowerSupply`)."""

    def __init__(self, ecu: str, instruments: Instruments) -> None:
        self._ecu = ecu
        self._instruments = instruments
        self._gone_until = 0.0

    def draw(self) -> Cut | None:
        now = asyncio.get_running_loop().time()
        if now < self._gone_until:
            return Cut.BEFORE
        instruments = self._instruments
        if not instruments.armed:
            return None
        instruments.operations[self._ecu] += 1
        how = instruments.due(Kind.FLASH, self._ecu, instruments.operations[self._ecu])
        if not isinstance(how, Cut):
            return None
        instruments.happens()
        self._gone_until = now + POWER_OFF_S
        instruments.nodes[self._ecu].lose_power(POWER_OFF_S)
        return how
