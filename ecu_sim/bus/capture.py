"""Records what goes over simulated wires, for Wireshark: a pcapng file with all of them.

A capture listens like one more node that never sends and acknowledges nothing: it hears every
frame at its last bit, and no wire is slower for it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import BinaryIO, Final

from ecu_sim.bus.can import CanWire
from ecu_sim.bus.ethernet import EthernetWire, wire_bytes
from ecu_sim.bus.faults import ErrorFrame, Fate
from protocols import pcapng
from protocols.can import FrameHeader
from protocols.can.bits import NS_PER_S
from protocols.pcapng import CanError, LinkType
from protocols.tcp_frames import SEGMENT, Host, TcpConversation

_NODE: Final = "capture"
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
#: The segments of one event on an Ethernet wire end before it, and are told of at it.
_LATE_NS: Final = 50_000_000
#: Where a DoIP entity listens.
_SERVER_PORT: Final = 13400
#: Ports that a caller may have (RFC 6335: dynamic ports), used one after the other.
_CALLER_PORTS: Final = range(49152, 65536)


class Capture:
    """Writes to `file` from now until `close`; the wires live on the running loop.

    `start_date` is the date at loop time 0. Frames of all wires share one time line and stand in
    the file in the order of their last bits. The caller opens `file` and closes it after `close`.
    """

    def __init__(
        self,
        file: BinaryIO,
        wires: Mapping[str, CanWire | EthernetWire],
        *,
        start_date: datetime,
        application: str = "canota",
    ) -> None:
        self._file = file
        self._epoch_ns = (start_date - _EPOCH) // timedelta(microseconds=1) * 1000
        self._stops: list[Callable[[], None]] = []
        self._connections = 0
        #: (ns of loop time, number, interface, frame) not in the file yet, as a heap.
        self._pending: list[tuple[int, int, int, bytes]] = []
        self._packets = 0
        self._closed = False
        file.write(pcapng.section(application))
        for number, (name, wire) in enumerate(wires.items()):
            if isinstance(wire, CanWire):
                self._add_can(number, name, wire)
            else:
                self._add_ethernet(number, name, wire)

    def close(self) -> None:
        """Stop listening and hand the rest to the file."""
        for stop in self._stops:
            stop()
        self._stops.clear()
        self._closed = True
        while self._pending:
            self._write_earliest()
        self._file.flush()

    def add(self, interface: int, frame: bytes, *, at_ns: int) -> None:
        """One frame with its last bit at `at_ns` of loop time."""
        heappush(self._pending, (at_ns, self._packets, interface, frame))
        self._packets += 1
        while self._pending[0][0] < at_ns - _LATE_NS:
            self._write_earliest()

    def _write_earliest(self) -> None:
        at_ns, _, interface, frame = heappop(self._pending)
        self._file.write(pcapng.packet(interface, frame, at_ns=self._epoch_ns + at_ns))

    def _add_can(self, interface: int, name: str, wire: CanWire) -> None:
        self._file.write(pcapng.interface(name, LinkType.CAN_SOCKETCAN, bit_rate=wire.bit_rate))

        def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
            self.add(interface, pcapng.can_frame(header, data), at_ns=round(at_s * NS_PER_S))

        def hear_error(error: ErrorFrame) -> None:
            if error.fate is Fate.UNACKNOWLEDGED:
                frame = pcapng.can_error_frame(CanError.NO_ACKNOWLEDGEMENT)
            else:
                frame = pcapng.can_error_frame(CanError.PROTOCOL_VIOLATION)
            if not self._closed:
                self.add(interface, frame, at_ns=round(error.at_s * NS_PER_S))

        wire.on_error_frame(hear_error)
        # Frame by frame, not run by run: so the wires' frames come in the order of their bits.
        self._stops.append(wire.port(_NODE).listen(hear))

    def _add_ethernet(self, interface: int, name: str, wire: EthernetWire) -> None:
        self._file.write(pcapng.interface(name, LinkType.ETHERNET, bit_rate=round(wire.bit_rate)))

        def connected(at_ns: int) -> "_TcpTap":
            port = _CALLER_PORTS[self._connections % len(_CALLER_PORTS)]
            self._connections += 1
            return _TcpTap(self, interface, wire, caller_port=port, at_ns=at_ns)

        def stop() -> None:
            wire.tap = None

        wire.tap = connected
        self._stops.append(stop)


class _TcpTap:
    """One connection on an Ethernet wire (`ecu_sim.bus.ethernet.StreamTap`)."""

    def __init__(
        self, capture: Capture, interface: int, wire: EthernetWire, *, caller_port: int, at_ns: int
    ) -> None:
        self._capture = capture
        self._interface = interface
        self._ns_per_byte = 8 * NS_PER_S / wire.bit_rate
        self._talk = TcpConversation(
            Host(mac=_mac(interface, 1), ip=_ip(interface, 1), port=caller_port),
            Host(mac=_mac(interface, 2), ip=_ip(interface, 2), port=_SERVER_PORT),
        )
        for frame in self._talk.open():
            capture.add(interface, frame, at_ns=at_ns)

    def carried(self, data: bytes, *, from_caller: bool, at_ns: int) -> None:
        left = len(data)
        for frame in self._talk.data(data, from_client=from_caller):
            left -= min(SEGMENT, left)
            after_ns = round(wire_bytes(left) * self._ns_per_byte)
            self._capture.add(self._interface, frame, at_ns=at_ns - after_ns)

    def ended(self, *, from_caller: bool, at_ns: int) -> None:
        self._capture.add(self._interface, self._talk.close(from_client=from_caller), at_ns=at_ns)


def _mac(interface: int, host: int) -> bytes:
    """A locally administered address."""
    return bytes((0x02, 0, 0, 0, interface, host))


def _ip(interface: int, host: int) -> bytes:
    """An address of the block for documentation and examples, 198.51.100.0/24 (RFC 5737)."""
    return bytes((198, 51, 100, (interface * 8 + host) & 0xFF))
