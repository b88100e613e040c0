"""A TCP conversation as the Ethernet frames that would carry it, for captures of a byte stream.

The simulated Ethernet wire carries bytes and their times. Handshake, segments, acknowledgements and
the ends of both directions follow from them as from a stack of RFC 9293 and RFC 5681: every second
segment is acknowledged at once, a single one after a while, and both by data if those come first.
Acknowledgements take no time of the simulated wire.
"""

import struct
from collections import deque
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from protocols.ip_frames import SEGMENT, Host, tcp_frame

#: Bytes of line time around an IPv4 packet: preamble, header, check sequence, interpacket gap.
_AROUND: Final = 38
#: The shortest packet that a frame can carry, padding included.
_SHORTEST: Final = 46
_HEADERS: Final = 40
#: An acknowledgement waits so long for data to ride on (RFC 9293 allows 0.5 s; stacks take this).
DELAYED_ACKNOWLEDGE_NS: Final = 40_000_000
#: So many segments are acknowledged at once.
_ACKNOWLEDGE_EVERY: Final = 2
_FIN, _SYN, _PSH, _ACK = 0x01, 0x02, 0x08, 0x10
_WINDOW: Final = 0xFFFF
#: Maximum segment size; window times 2**7, so that a burst stays inside it.
_SYN_OPTIONS: Final = bytes((2, 4)) + SEGMENT.to_bytes(2) + bytes((1, 3, 3, 7))
_SEQUENCE_NUMBERS: Final = 1 << 32

#: End of a frame in ns, and its bytes.
StampedFrame = tuple[int, bytes]


def line_bytes(payload: int, options: int = 0) -> int:
    """Bytes of line time of one segment."""
    return _AROUND + max(_SHORTEST, _HEADERS + options + payload)


#: Line time of the three frames of the handshake, in bytes.
HANDSHAKE: Final = (
    line_bytes(0, len(_SYN_OPTIONS)),
    line_bytes(0, len(_SYN_OPTIONS)),
    line_bytes(0),
)


@dataclass(frozen=True, slots=True)
class _Segment:
    start_ns: int
    end_ns: int
    payload: bytes
    flags: int

    @property
    def numbers(self) -> int:
        """Sequence numbers that it takes."""
        return len(self.payload) + bool(self.flags & (_SYN | _FIN))


class _Side:
    """A host: what it sends, and what it has of the other one."""

    def __init__(self, host: Host, initial_sequence_number: int) -> None:
        self.host = host
        self.sequence_number = initial_sequence_number
        #: Segments that are to be sent, in their order.
        self.outgoing: deque[_Segment] = deque()
        #: Segments that have come: when, and the sequence number that is expected after each.
        self.arrived: deque[tuple[int, int]] = deque()
        #: What it has acknowledged of them.
        self.acknowledged = 0
        #: End of an acknowledgement that carries nothing else; `None`: none is due.
        self.acknowledge_ns: int | None = None


class TcpConversation:
    """The frames of one connection, in the order of their ends.

    What is sent is told as soon as its time is known; `due` gives what has gone over the wire.
    Times are whole nanoseconds.
    """

    def __init__(
        self,
        client: Host,
        server: Host,
        *,
        ns_per_byte: float,
        initial: tuple[int, int] | None = None,
    ) -> None:
        """`initial`: the sequence numbers that client and server begin with."""
        numbers = initial or (_initial(client, server), _initial(server, client))
        self._client = _Side(client, numbers[0])
        self._server = _Side(server, numbers[1])
        self._ns_per_byte = ns_per_byte
        self._acknowledge_ns = round(line_bytes(0) * ns_per_byte)

    def opened(self, syn_ns: int, syn_acknowledge_ns: int, acknowledge_ns: int) -> None:
        """The handshake: the ends of its three frames."""
        for side, end_ns, flags in (
            (self._client, syn_ns, _SYN),
            (self._server, syn_acknowledge_ns, _SYN),
        ):
            start_ns = end_ns - round(HANDSHAKE[0] * self._ns_per_byte)
            side.outgoing.append(_Segment(start_ns, end_ns, b"", flags))
        self._client.acknowledge_ns = acknowledge_ns

    def carried(self, payload: bytes, *, from_client: bool, end_ns: int) -> None:
        """The last bit of `payload` is over the wire at `end_ns`; it went in full segments."""
        side, left = self._side(from_client=from_client), len(payload)
        for start in range(0, len(payload), SEGMENT):
            part = payload[start : start + SEGMENT]
            left -= len(part)
            behind = left // SEGMENT * line_bytes(SEGMENT)
            behind += line_bytes(left % SEGMENT) if left % SEGMENT else 0
            at_ns = end_ns - round(behind * self._ns_per_byte)
            self._put(side, part, 0 if left else _PSH, at_ns)

    def ended(self, *, from_client: bool, end_ns: int) -> None:
        """This side sends no more."""
        self._put(self._side(from_client=from_client), b"", _FIN, end_ns)

    def due(self, now_ns: int) -> list[StampedFrame]:
        """What has ended by now and was not given yet."""
        frames: list[StampedFrame] = []
        while True:
            at_ns, sends, side = min(self._next(), default=(now_ns + 1, True, "client"))
            if at_ns > now_ns:
                return frames
            one, other = self._client, self._server
            if side == "server":
                one, other = other, one
            frames += self._send(one, other) if sends else self._acknowledge(one, other)

    def next_deadline(self) -> int | None:
        """When something ends next."""
        return min((at_ns for at_ns, _, _ in self._next()), default=None)

    def _next(self) -> list[tuple[int, bool, str]]:
        """Ends of what each side sends next; of two at one time the bare acknowledgement first."""
        found = []
        for name, side in (("client", self._client), ("server", self._server)):
            if side.acknowledge_ns is not None:
                found.append((side.acknowledge_ns, False, name))
            if side.outgoing:
                found.append((side.outgoing[0].end_ns, True, name))
        return found

    def _side(self, *, from_client: bool) -> _Side:
        return self._client if from_client else self._server

    def _put(self, side: _Side, payload: bytes, flags: int, end_ns: int) -> None:
        start_ns = end_ns - round(line_bytes(len(payload)) * self._ns_per_byte)
        side.outgoing.append(_Segment(start_ns, end_ns, payload, flags))

    def _send(self, side: _Side, other: _Side) -> list[StampedFrame]:
        segment = side.outgoing.popleft()
        frame = self._frame(side, other, segment)
        other.arrived.append((segment.end_ns, side.sequence_number))
        at_once = len(other.arrived) >= _ACKNOWLEDGE_EVERY or segment.flags & (_SYN | _FIN)
        wait_ns = 0 if at_once else DELAYED_ACKNOWLEDGE_NS
        if not segment.flags & _SYN:  # the handshake has its own times
            due_ns = segment.end_ns + wait_ns + self._acknowledge_ns
            known_ns = other.acknowledge_ns
            other.acknowledge_ns = due_ns if known_ns is None else min(known_ns, due_ns)
        return [(segment.end_ns, frame)]

    def _acknowledge(self, side: _Side, other: _Side) -> list[StampedFrame]:
        """By itself, unless data have begun by then."""
        end_ns, side.acknowledge_ns = side.acknowledge_ns, None
        if end_ns is None or (side.outgoing and side.outgoing[0].start_ns < end_ns):
            return []
        segment = _Segment(end_ns - self._acknowledge_ns, end_ns, b"", 0)
        return [(end_ns, self._frame(side, other, segment))]

    def _frame(self, side: _Side, other: _Side, segment: _Segment) -> bytes:
        """It acknowledges what had come when it began."""
        opens = segment.flags & _SYN
        while side.arrived and side.arrived[0][0] <= segment.start_ns:
            side.acknowledged = side.arrived.popleft()[1]
        if side.arrived:
            # Something came while it was on its way.
            at_once = len(side.arrived) >= _ACKNOWLEDGE_EVERY
            wait_ns = 0 if at_once else DELAYED_ACKNOWLEDGE_NS
            side.acknowledge_ns = segment.end_ns + wait_ns + self._acknowledge_ns
        elif not opens:
            side.acknowledge_ns = None
        options = _SYN_OPTIONS if opens else b""
        acknowledges = not opens or side is self._server
        head = struct.pack(
            ">HHIIBBHHH",
            side.host.port,
            other.host.port,
            side.sequence_number,
            side.acknowledged if acknowledges else 0,
            (20 + len(options)) // 4 << 4,
            segment.flags | _ACK * acknowledges,
            _WINDOW,
            0,
            0,
        )
        side.sequence_number = (side.sequence_number + segment.numbers) % _SEQUENCE_NUMBERS
        return tcp_frame(side.host, other.host, head + options + segment.payload)


def _initial(host: Host, peer: Host) -> int:
    """An initial sequence number that follows from the ends (RFC 6528, without its secret)."""
    ends = (host.ip, host.port.to_bytes(2), peer.ip, peer.port.to_bytes(2))
    return crc32(b"".join(ends))
