"""Records what goes over simulated wires, all of them in one log (`recording`).

A capture listens like one more node that never sends and acknowledges nothing: it hears every
frame at its last bit, and no wire is slower for it.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from clock import Timer
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.bus.faults import ErrorFrame, Fate
from ecu_sim.bus.interface import InterfacedWire
from protocols.can.bits import NS_PER_S
from protocols.ip_frames import Host, broadcast, udp_frame
from protocols.pcapng import CanError
from protocols.tcp_frames import StampedFrame, TcpConversation
from recording import CanErrorFrame, Channel, EthernetFrame
from recording.listening import listen
from recording.recorder import Recorder
from recording.records import since_epoch_ns

_NODE: Final = "capture"
#: Where a DoIP entity listens.
_SERVER_PORT: Final = 13400
#: Ports that a caller may have (RFC 6335: dynamic ports), used one after the other.
_CALLER_PORTS: Final = range(49152, 65536)
#: Frames of a connection are written in one go if they end within this time.
_TOGETHER_NS: Final = 5_000_000


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
        tap = _EthernetTap(self, interface, wire)
        wire.tap = tap

        def stop() -> None:
            wire.tap = None
            tap.stop()

        self._stops.append(stop)


class _EthernetTap:
    """An Ethernet wire (`ecu_sim.bus.ethernet.WireTap`): its connections and datagrams."""

    def __init__(self, capture: Capture, interface: int, wire: EthernetWire) -> None:
        self._capture = capture
        self._interface = interface
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._ports = itertools.cycle(_CALLER_PORTS)
        self._streams: list[_TcpTap] = []
        #: Datagrams are told of ahead: those that are not over the wire yet.
        self._datagrams: list[asyncio.TimerHandle] = []

    def connected(self, *handshake_ns: int) -> "_TcpTap":
        stream = _TcpTap(
            self._add, self._host(1, next(self._ports)), self._host(2, _SERVER_PORT), self._wire
        )
        stream.opened(*handshake_ns)
        self._streams = [its for its in self._streams if not its.is_over]
        self._streams.append(stream)
        return stream

    def datagram(self, data: bytes, *, from_caller: bool, asker: int | None, at_ns: int) -> None:
        tester = None
        if asker is not None:
            tester = self._host(1, _CALLER_PORTS[asker % len(_CALLER_PORTS)])
        entity = self._host(2, _SERVER_PORT)
        if from_caller and tester is not None:
            frame = udp_frame(tester, broadcast(_SERVER_PORT), data)
        else:
            frame = udp_frame(entity, tester or broadcast(_SERVER_PORT), data)
        self._datagrams = [its for its in self._datagrams if its.when() > self._loop.time()]
        self._datagrams.append(self._loop.call_at(at_ns / NS_PER_S, self._add, [(at_ns, frame)]))

    def stop(self) -> None:
        for handle in self._datagrams:
            handle.cancel()
        for stream in self._streams:
            stream.stop()

    def _add(self, frames: Sequence[StampedFrame]) -> None:
        for at_ns, frame in frames:
            self._capture.add(self._interface, frame, at_ns=at_ns)

    def _host(self, number: int, port: int) -> Host:
        return Host(mac=_mac(self._interface, number), ip=_ip(self._interface, number), port=port)


class _TcpTap:
    """One connection (`ecu_sim.bus.ethernet.StreamTap`): what is sent is told of ahead."""

    def __init__(
        self,
        add: Callable[[Sequence[StampedFrame]], None],
        caller: Host,
        entity: Host,
        wire: EthernetWire,
    ) -> None:
        self._add = add
        self._loop = asyncio.get_running_loop()
        self._talk = TcpConversation(caller, entity, ns_per_byte=8 * NS_PER_S / wire.bit_rate)
        self._timer = Timer(self._loop, self._write)
        self._open_ends = 2

    @property
    def is_over(self) -> bool:
        return not self._open_ends and self._talk.next_deadline() is None

    def opened(self, *handshake_ns: int) -> None:
        self._talk.opened(*handshake_ns)
        self._arm()

    def carried(self, data: bytes, *, from_caller: bool, at_ns: int) -> None:
        self._talk.carried(data, from_client=from_caller, end_ns=at_ns)
        self._arm()

    def ended(self, *, from_caller: bool, at_ns: int) -> None:
        self._talk.ended(from_client=from_caller, end_ns=at_ns)
        self._open_ends -= 1
        self._arm()

    def stop(self) -> None:
        """What is over the wire by now is the last that is written."""
        self._write()
        self._timer.cancel()

    def _write(self) -> None:
        self._add(self._talk.due(round(self._loop.time() * NS_PER_S)))
        self._arm()

    def _arm(self) -> None:
        """Write together what ends at about one time; a later end never puts it off."""
        due_ns = self._talk.next_deadline()
        if self._timer.deadline is None and due_ns is not None:
            self._timer.set((due_ns + _TOGETHER_NS) / NS_PER_S)


def _mac(interface: int, host: int) -> bytes:
    """A locally administered address."""
    return bytes((0x02, 0, 0, 0, interface, host))


def _ip(interface: int, host: int) -> bytes:
    """An address of the block for documentation and examples, 198.51.100.0/24 (RFC 5737)."""
    return bytes((198, 51, 100, (interface * 8 + host) & 0xFF))
