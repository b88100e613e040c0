"""A simulated 100BASE-T1 wire under TCP: a byte stream at the pace of its segments.

Each direction carries 1460 payload bytes in 1538 bytes of wire (preamble, Ethernet, IPv4, TCP,
frame check sequence, interpacket gap). Acknowledgements, losses and the slow start are left out:
a wire between two ECUs is short and its window always open.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from clock import VirtualLoop
from protocols.stream import ByteStream
from protocols.tcp_frames import SEGMENT

_NS_PER_S: Final = 1_000_000_000
#: Preamble 8, Ethernet 14, IPv4 20, TCP 20, frame check sequence 4, interpacket gap 12.
_OVERHEAD: Final = 78
#: A frame of the shortest payload, 46 bytes from the IPv4 header on.
_SHORTEST: Final = 84
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
    """What a listener on the wire hears of one connection. Times are ns of the loop."""

    def carried(self, data: bytes, *, from_caller: bool, at_ns: int) -> None:
        """The last bit of `data` is over the wire; longer data went in several segments."""

    def ended(self, *, from_caller: bool, at_ns: int) -> None:
        """This end sends no more."""


class EthernetWire:
    """A point to point wire; connections made on it share its two directions."""

    def __init__(self, *, bit_rate: float = 100e6, loop: asyncio.AbstractEventLoop) -> None:
        self.bit_rate = bit_rate
        #: Asked at each connection, with the moment in ns, for who is to hear of it.
        self.tap: Callable[[int], StreamTap] | None = None
        self._loop = loop
        self._forth = _Line(loop, bit_rate)
        self._back = _Line(loop, bit_rate)

    def connect(self) -> tuple[ByteStream, ByteStream]:
        """A connection: the caller's end and the other one."""
        tap = None if self.tap is None else self.tap(round(self._loop.time() * _NS_PER_S))
        forth = _Pipe(self._forth, tap, from_caller=True)
        back = _Pipe(self._back, tap, from_caller=False)
        return _End(forth, back), _End(back, forth)


class _Line:
    """One direction of the wire, shared by the connections on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bit_rate: float) -> None:
        self._loop = loop
        self._bit_rate = bit_rate
        self._ahead_s = 0.0 if isinstance(loop, VirtualLoop) else _AHEAD_S
        self._free_ns = 0

    def carry(self, payload: int, deliver: Callable[[int], None], *, not_before_ns: int) -> None:
        """Call `deliver` with the moment in ns of the last bit of `payload` bytes."""
        now_ns = round(self._loop.time() * _NS_PER_S)
        start_ns = max(now_ns, not_before_ns, self._free_ns)
        end_ns = start_ns + round(wire_bytes(payload) * 8 * _NS_PER_S / self._bit_rate)
        self._free_ns = end_ns
        self._loop.call_at(end_ns / _NS_PER_S - self._ahead_s, deliver, end_ns)


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
            if self._tap is not None:
                self._tap.carried(chunk, from_caller=self._from_caller, at_ns=at_ns)
            if not self.abandoned:
                self.arrived.append(chunk)
                self.readable.set()

        self.pending += len(chunk)
        self.line.carry(len(chunk), deliver, not_before_ns=not_before_ns)

    def end(self) -> None:
        def deliver(at_ns: int) -> None:
            if self._tap is not None:
                self._tap.ended(from_caller=self._from_caller, at_ns=at_ns)
            self.ended = True
            self.readable.set()

        self.line.carry(1, deliver, not_before_ns=0)

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
        self._out.end()
        self._in.abandoned = True
        self._in.take()
        self._in.readable.set()
