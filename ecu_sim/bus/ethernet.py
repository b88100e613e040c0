"""A simulated 100BASE-T1 wire: byte streams at the pace of TCP segments, and UDP datagrams.

Each direction carries 1460 payload bytes in 1538 bytes of wire (preamble, Ethernet, IPv4, TCP,
frame check sequence, interpacket gap). A connection begins with the three frames of the handshake.
Acknowledgements, losses and the slow start are left out: a wire between two ECUs is short and its
window always open.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from clock import VirtualLoop
from protocols.ip_frames import SEGMENT
from protocols.stream import ByteStream
from protocols.tcp_frames import HANDSHAKE

_NS_PER_S: Final = 1_000_000_000
#: Preamble 8, Ethernet 14, IPv4 20, TCP 20, frame check sequence 4, interpacket gap 12.
_OVERHEAD: Final = 78
#: A frame of the shortest payload, 46 bytes from the IPv4 header on.
_SHORTEST: Final = 84
#: The same of a datagram: UDP has 8 bytes where TCP has 20.
_DATAGRAM_OVERHEAD: Final = 66
#: Bytes that arrive in one event: whole segments, seen at the last bit of the last one.
_EVENT_BYTES: Final = 44 * SEGMENT
#: Bytes on the wire and not read, before a sender waits (the receiver's window).
_WINDOW: Final = 4 * _EVENT_BYTES
#: As on a simulated CAN wire: see `ecu_sim.bus.can`.
_AHEAD_S: Final = 0.001


def wire_bytes(payload: int) -> int:
    """Bytes of line time that a TCP payload of this many bytes takes."""
    full, rest = divmod(payload, SEGMENT)
    last = max(_SHORTEST, rest + _OVERHEAD) if rest else 0
    return full * (SEGMENT + _OVERHEAD) + last


class StreamTap(Protocol):
    """What a listener on the wire hears of one connection, told ahead. Times are ns of the loop."""

    def carried(self, data: bytes, *, from_caller: bool, at_ns: int) -> None:
        """The last bit of `data` is over the wire then; longer data goes in several segments."""

    def ended(self, *, from_caller: bool, at_ns: int) -> None:
        """This end sends no more from then on."""


class WireTap(Protocol):
    """Who listens on a wire."""

    def connected(self, *handshake_ns: int) -> StreamTap:
        """A connection is made: the ends of the handshake's three frames."""

    def datagram(self, data: bytes, *, from_caller: bool, asker: int | None, at_ns: int) -> None:
        """The last bit of a datagram: broadcast, or an answer to the number that an asker has."""


class EthernetWire:
    """A point to point wire; connections made on it share its two directions."""

    def __init__(self, *, bit_rate: float = 100e6, loop: asyncio.AbstractEventLoop) -> None:
        self.bit_rate = bit_rate
        self.tap: WireTap | None = None
        #: The entity's end: datagrams that come for it, and what it answers.
        self.answer: Callable[[bytes], list[bytes]] = lambda _data: []
        self._askers = 0
        self._loop = loop
        self._forth = _Line(loop, bit_rate)
        self._back = _Line(loop, bit_rate)

    def connect(self) -> tuple[ByteStream, ByteStream]:
        """A connection: the caller's end and the other one. Data wait for the handshake."""
        syn, syn_acknowledge, acknowledge = HANDSHAKE
        first_ns = self._forth.reserve(syn)
        second_ns = self._back.reserve(syn_acknowledge, not_before_ns=first_ns)
        third_ns = self._forth.reserve(acknowledge, not_before_ns=second_ns)
        tap = None if self.tap is None else self.tap.connected(first_ns, second_ns, third_ns)
        forth = _Pipe(self._forth, tap, from_caller=True)
        back = _Pipe(self._back, tap, from_caller=False)
        forth.handled_ns = third_ns
        return _End(forth, back), _End(back, forth)

    def overheard(self) -> StreamTap | None:
        """A connection by real sockets begins: who hears of it, if anybody. No time passes here."""
        if self.tap is None:
            return None
        ends_ns = [round(self._loop.time() * _NS_PER_S)]
        for line_bytes in HANDSHAKE[:0:-1]:
            ends_ns.append(ends_ns[-1] - round(line_bytes * 8 * _NS_PER_S / self.bit_rate))
        return self.tap.connected(*reversed(ends_ns))

    def overhear_datagram(self, data: bytes, *, from_caller: bool, asker: int | None) -> None:
        """The same of a datagram by real sockets; `asker` is its port."""
        if self.tap is not None:
            now_ns = round(self._loop.time() * _NS_PER_S)
            self.tap.datagram(data, from_caller=from_caller, asker=asker, at_ns=now_ns)

    def announce(self, data: bytes) -> None:
        """The entity broadcasts a datagram."""
        self._datagram(self._back, data, asker=None)

    async def ask(self, question: bytes) -> list[bytes]:
        """A tester broadcasts a datagram; the answers once they are over the wire."""
        self._askers += 1
        asker = self._askers
        await self._over(self._datagram(self._forth, question, asker=asker))
        answers = self.answer(question)
        ends = [self._datagram(self._back, answer, asker=asker) for answer in answers]
        await self._over(max(ends, default=0))
        return answers

    def _datagram(self, line: "_Line", data: bytes, *, asker: int | None) -> int:
        end_ns = line.reserve(max(_SHORTEST, len(data) + _DATAGRAM_OVERHEAD))
        if self.tap is not None:
            self.tap.datagram(data, from_caller=line is self._forth, asker=asker, at_ns=end_ns)
        return end_ns

    async def _over(self, end_ns: int) -> None:
        over = asyncio.Event()
        self._loop.call_at(end_ns / _NS_PER_S, over.set)
        await over.wait()


class _Line:
    """One direction of the wire, shared by the connections on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bit_rate: float) -> None:
        self._loop = loop
        self._bit_rate = bit_rate
        self._ahead_s = 0.0 if isinstance(loop, VirtualLoop) else _AHEAD_S
        self._free_ns = 0

    def reserve(self, line_bytes: int, *, not_before_ns: int = 0) -> int:
        """The moment in ns of the last bit of so many bytes of line time."""
        now_ns = round(self._loop.time() * _NS_PER_S)
        start_ns = max(now_ns, not_before_ns, self._free_ns)
        self._free_ns = start_ns + round(line_bytes * 8 * _NS_PER_S / self._bit_rate)
        return self._free_ns

    def carry(self, payload: int, deliver: Callable[[int], None], *, not_before_ns: int) -> int:
        """Call `deliver` with the moment in ns of the last bit of `payload` bytes; that moment."""
        end_ns = self.reserve(wire_bytes(payload), not_before_ns=not_before_ns)
        self._loop.call_at(end_ns / _NS_PER_S - self._ahead_s, deliver, end_ns)
        return end_ns


class _Pipe:
    """One direction of a connection: what is on the wire, and what has arrived and is unread."""

    def __init__(self, line: _Line, tap: StreamTap | None, *, from_caller: bool) -> None:
        self.line = line
        self._tap = tap
        self._from_caller = from_caller
        self.arrived: deque[bytes] = deque()
        #: The writer has closed, and its last byte has arrived.
        self.ended = False
        #: The reader has closed: what still comes is dropped, and the writer is told.
        self.abandoned = False
        #: Bytes on the wire or unread.
        self.pending = 0
        #: Last bit that the reader has been given, in ns: it cannot answer before.
        self.handled_ns = 0
        self.readable = asyncio.Event()
        self.writable = asyncio.Event()

    def put(self, chunk: bytes, *, not_before_ns: int) -> None:
        def deliver(at_ns: int) -> None:
            self.handled_ns = at_ns
            if not self.abandoned:
                self.arrived.append(chunk)
                self.readable.set()

        self.pending += len(chunk)
        at_ns = self.line.carry(len(chunk), deliver, not_before_ns=not_before_ns)
        if self._tap is not None:
            self._tap.carried(chunk, from_caller=self._from_caller, at_ns=at_ns)

    def end(self, *, not_before_ns: int) -> None:
        def deliver(_at_ns: int) -> None:
            self.ended = True
            self.readable.set()

        at_ns = self.line.carry(1, deliver, not_before_ns=not_before_ns)
        if self._tap is not None:
            self._tap.ended(from_caller=self._from_caller, at_ns=at_ns)

    def take(self) -> bytes:
        chunks = b"".join(self.arrived)
        self.arrived.clear()
        self.pending -= len(chunks)
        self.writable.set()
        return chunks


class _End:
    """One end of a connection (`protocols.stream.ByteStream`)."""

    def __init__(self, outgoing: _Pipe, incoming: _Pipe) -> None:
        self._out = outgoing
        self._in = incoming
        self._closed = False

    async def receive(self) -> bytes:
        pipe = self._in
        while not pipe.arrived:
            if pipe.ended or self._closed:
                return b""
            pipe.readable.clear()
            await pipe.readable.wait()
        return pipe.take()

    async def send(self, data: bytes) -> None:
        """Hand over `data`, waiting while the window is full; `ConnectionError` once closed."""
        pipe = self._out
        for start in range(0, len(data), _EVENT_BYTES):
            chunk = bytes(data[start : start + _EVENT_BYTES])
            while pipe.pending and pipe.pending + len(chunk) > _WINDOW and not pipe.abandoned:
                pipe.writable.clear()
                await pipe.writable.wait()
            if self._closed or pipe.abandoned:
                raise ConnectionResetError("the connection on the simulated wire is closed")
            pipe.put(chunk, not_before_ns=self._in.handled_ns)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._out.end(not_before_ns=self._in.handled_ns)
        self._in.abandoned = True
        self._in.take()
        self._in.readable.set()
