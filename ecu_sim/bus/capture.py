"""Records what goes over simulated wires, all of them in one log (`recording`).

A capture listens like one more node that never sends and acknowledges nothing: it hears every
frame at its last bit, and no wire is slower for it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from ecu_sim.bus.can import CanWire
from ecu_sim.bus.ethernet import EthernetWire, wire_bytes
from ecu_sim.bus.faults import ErrorFrame, Fate
from ecu_sim.bus.interface import InterfacedWire
from protocols.can.bits import NS_PER_S
from protocols.pcapng import CanError
from protocols.tcp_frames import SEGMENT, Host, TcpConversation
from recording import CanErrorFrame, Channel, EthernetFrame
from recording.listening import listen
from recording.recorder import Recorder
from recording.records import since_epoch_ns

_NODE: Final = "capture"
#: Where a DoIP entity listens.
_SERVER_PORT: Final = 13400
#: Ports that a caller may have (RFC 6335: dynamic ports), used one after the other.
_CALLER_PORTS: Final = range(49152, 65536)


def channels_of(
    wires: Mapping[str, CanWire | InterfacedWire | EthernetWire],
) -> tuple[Channel, ...]:
    """The wires as a log names them, in their order."""
    return tuple(
        Channel(name=name, ethernet=isinstance(wire, EthernetWire), bit_rate=round(wire.bit_rate))
        for name, wire in wires.items()
    )


class Capture:
    """Records into `recorder` from now until `close`; the wires live on the running loop.

    Its channels are those of `channels_of(wires)`. `start_date` is the date at loop time 0. The
    caller closes the recorder after `close`.
    """

    def __init__(
        self,
        recorder: Recorder,
        wires: Mapping[str, CanWire | InterfacedWire | EthernetWire],
        *,
        start_date: datetime,
    ) -> None:
        self._recorder = recorder
        self._epoch_ns = since_epoch_ns(start_date)
        self._stops: list[Callable[[], None]] = []
        self._connections = 0
        self._closed = False
        for number, wire in enumerate(wires.values()):
            if isinstance(wire, EthernetWire):
                self._add_ethernet(number, wire)
            else:
                self._add_can(number, wire)

    def close(self) -> None:
        """Stop listening."""
        for stop in self._stops:
            stop()
        self._stops.clear()
        self._closed = True

    def add(self, channel: int, frame: bytes, *, at_ns: int) -> None:
        """One Ethernet frame with its last bit at `at_ns` of loop time."""
        self._recorder.add(EthernetFrame(self._epoch_ns + at_ns, channel, frame))

    def _add_can(self, channel: int, wire: CanWire | InterfacedWire) -> None:
        recorder, epoch_ns = self._recorder, self._epoch_ns

        def hear_error(error: ErrorFrame) -> None:
            kind = CanError.PROTOCOL_VIOLATION
            if error.fate is Fate.UNACKNOWLEDGED:
                kind = CanError.NO_ACKNOWLEDGEMENT
            if not self._closed:
                recorder.add(CanErrorFrame(epoch_ns + round(error.at_s * NS_PER_S), channel, kind))

        wire.on_error_frame(hear_error)
        self._stops.append(listen(recorder, channel, wire.port(_NODE), epoch_ns=epoch_ns))

    def _add_ethernet(self, interface: int, wire: EthernetWire) -> None:
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
