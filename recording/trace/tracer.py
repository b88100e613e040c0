"""Records in, lines in words out: frames, signals, ISO-TP, UDS, DoIP, network management.

A pure core without a clock: a record's own stamp is its time. Memory is bounded whatever comes:
conversations and streams are followed up to a number, and the one that was silent longest goes.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from cantools.database.can import Database

from protocols import network_management as nm
from protocols.can import FrameHeader
from protocols.doip.decoder import HeaderFault, decode_datagram
from protocols.doip.messages import PORT, TLS_PORT, DiagnosticMessage
from protocols.doip.messages import Message as DoipMessage
from protocols.isotp.codec import FlowControl, FlowStatus
from protocols.pcapng import CanError
from protocols.uds.enums import POSITIVE_RESPONSE
from recording.records import CanErrorFrame, CanFrame, Channel, EthernetFrame, Record
from recording.trace import doip_words, uds_words
from recording.trace.isotp_listener import KEPT, Broken, IsoTpListener, Message, words_of
from recording.trace.lines import Kind, Line
from recording.trace.names import EVERYBODY, VehicleNames
from recording.trace.signals import SignalNames, SignalValue
from recording.trace.tcp_listener import TcpListener, packet
from recording.trace.wires import Direction, IsoTpPair, WireNames, wires_of

#: ISO-TP directions, requests, and messages of signals that are kept at once.
_KEPT_AT_ONCE: Final = 1024
_ERRORS: Final = {
    CanError.NO_ACKNOWLEDGEMENT: "nobody acknowledged",
    CanError.PROTOCOL_VIOLATION: "protocol violation",
}

K = TypeVar("K")
V = TypeVar("V")


class _Latest(OrderedDict[K, V]):
    """The entries that were used last."""

    def keep(self, key: K, make: Callable[[], V]) -> V:
        if key not in self:
            self.put(key, make())
        self.move_to_end(key)
        return self[key]

    def put(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        while len(self) > _KEPT_AT_ONCE:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """What is shown, and what is known besides the vehicle's description."""

    #: Every frame with its bytes, ISO-TP's among them, and acknowledgements.
    frames: bool = False
    #: Signals and network management only when they change; of signals those alone that do.
    changes: bool = False
    #: Channel by name, or number from 1 -> wire of the vehicle.
    wires: Mapping[str, str] = field(default_factory=dict)
    #: Channel by name, or number from 1 -> databases; under "" those of every channel.
    databases: Mapping[str, Sequence[Database]] = field(default_factory=dict)
    isotp: Sequence[IsoTpPair] = ()


@dataclass(slots=True, kw_only=True)
class Counts:
    """What has passed, for the end."""

    records: int = 0
    uds: int = 0
    refused: int = 0
    errors: int = 0


class Tracer:
    """The lines of one or more wires; `channels` may grow meanwhile, as a reader's do."""

    def __init__(
        self, channels: Sequence[Channel], names: VehicleNames, options: TraceOptions
    ) -> None:
        self.counts = Counts()
        self._channels = channels
        self._names = names
        self._options = options
        self._wires: dict[int, WireNames] = {}
        self._signals: dict[int, SignalNames] = {}
        self._listeners: _Latest[tuple[int, FrameHeader], IsoTpListener] = _Latest()
        #: (channel, ECU) -> stamp and beginning of the last request.
        self._asked: _Latest[tuple[int, str], tuple[int, bytes]] = _Latest()
        self._before: _Latest[tuple[int, FrameHeader], tuple[SignalValue, ...]] = _Latest()
        self._awake: _Latest[tuple[int, FrameHeader], bytes] = _Latest()
        self._tcp = TcpListener()

    def lines(self, record: Record) -> Iterator[Line]:
        """What there is to say about one record; nothing, for most frames of a long message."""
        self.counts.records += 1
        match record:
            case CanErrorFrame(at_ns, channel, kind):
                self.counts.errors += 1
                yield Line(
                    at_ns=at_ns,
                    wire=self._channels[channel].name,
                    kind=Kind.ERROR,
                    name="error frame",
                    text=_ERRORS[kind],
                    alarming=True,
                )
            case EthernetFrame():
                yield from self._ethernet(record)
            case CanFrame():
                yield from self._can(record)

    def _can(self, frame: CanFrame) -> Iterator[Line]:
        wire = self._wire(frame.channel)
        if frame.remote is not None:
            asked = f"{frame.remote} bytes asked for"
            yield self._frame_line(frame, name="remote frame", text=asked)
            return
        direction = wire.direction(frame.header)
        if direction is not None:
            yield from self._isotp(frame, direction)
            return
        node = wire.node(frame.header)
        if node is not None:
            yield from self._managed(frame, node)
            return
        yield from self._signal_lines(frame)

    def _wire(self, channel: int) -> WireNames:
        found = self._wires.get(channel)
        if found is None:
            name = self._channels[channel].name
            wires = wires_of(name, channel, self._names, self._options.wires)
            found = self._wires[channel] = WireNames(self._names, wires, self._options.isotp)
            own = [
                database
                for key in ("", name, str(channel + 1))
                for database in self._options.databases.get(key, ())
            ]
            self._signals[channel] = SignalNames(own) if own else found.signals
        return found

    def _frame_line(
        self,
        frame: CanFrame,
        *,
        name: str = "",
        text: str = "",
        direction: Direction | None = None,
    ) -> Line:
        header = frame.header
        flags = "".join(
            (
                " FD" if header.fd else "",
                " BRS" if header.bit_rate_switch else "",
                " ESI" if frame.error_state_indicator else "",
                " Tx" if not frame.received else "",
            )
        )
        bytes_text = f"[{len(frame.data)}]{flags} {frame.data.hex(' ').upper()}".rstrip()
        return Line(
            at_ns=frame.at_ns,
            wire=self._channels[frame.channel].name,
            kind=Kind.FRAME,
            identifier=identifier_text(header),
            source="" if direction is None else direction.source,
            target="" if direction is None else direction.target,
            name=name,
            text=f"{bytes_text}  {text}".rstrip() if frame.remote is None else text,
            data=frame.data,
            length=len(frame.data),
        )

    def _signal_lines(self, frame: CanFrame) -> Iterator[Line]:
        signals = self._signals[frame.channel]
        name = signals.name(frame)
        if self._options.frames:
            yield self._frame_line(frame, name=name)
        values = signals.values(frame) if name else None
        if values is None:
            if not self._options.frames:
                text = "not as the database has it" if name else ""
                yield self._frame_line(frame, name=name, text=text)
            return
        if self._options.changes:
            key = (frame.channel, frame.header)
            before = self._before.get(key)
            self._before.put(key, values)
            if before is not None:
                old = {one.name: one for one in before}
                values = tuple(one for one in values if old.get(one.name) != one)
                if not values:
                    return
        yield Line(
            at_ns=frame.at_ns,
            wire=self._channels[frame.channel].name,
            kind=Kind.SIGNALS,
            identifier=identifier_text(frame.header),
            name=name,
            text="  ".join(f"{one.name} {one.text}" for one in values),
            signals=values,
            data=frame.data,
            length=len(frame.data),
        )

    def _managed(self, frame: CanFrame, node: str) -> Iterator[Line]:
        if self._options.changes:
            key = (frame.channel, frame.header)
            if self._awake.get(key) == frame.data:
                return
            self._awake.put(key, frame.data)
        try:
            control = nm.decode(frame.data).control
        except nm.PduError:
            text = frame.data.hex(" ").upper()
        else:
            flags = [one.name.lower().replace("_", " ") for one in control if one.name]
            text = ", ".join(("keeps the wire awake", *flags))
        yield Line(
            at_ns=frame.at_ns,
            wire=self._channels[frame.channel].name,
            kind=Kind.NM,
            identifier=identifier_text(frame.header),
            source=node,
            name="network management",
            text=text,
            data=frame.data,
            length=len(frame.data),
        )

    def _isotp(self, frame: CanFrame, direction: Direction) -> Iterator[Line]:
        key = (frame.channel, frame.header)
        listener = self._listeners.keep(key, IsoTpListener)
        found, heard = listener.receive(frame.data, frame.at_ns)
        if self._options.frames:
            text = "" if found is None else words_of(found)
            yield self._frame_line(frame, text=text, direction=direction)
        for one in heard:
            match one:
                case Message():
                    yield self._uds(
                        direction,
                        one.data,
                        length=one.length,
                        frames=one.frames,
                        at_ns=frame.at_ns,
                        channel=frame.channel,
                        identifier=identifier_text(frame.header),
                    )
                case Broken(reason=reason):
                    yield self._transport(frame, direction, reason)
                case FlowControl(status) if status != FlowStatus.CONTINUE_TO_SEND:
                    yield self._transport(frame, direction, words_of(one))
                case FlowControl():
                    pass  # told as a frame, where frames are told

    def _transport(self, frame: CanFrame, direction: Direction, text: str) -> Line:
        return Line(
            at_ns=frame.at_ns,
            wire=self._channels[frame.channel].name,
            kind=Kind.ISOTP,
            identifier=identifier_text(frame.header),
            source=direction.source,
            target=direction.target,
            name="ISO-TP",
            text=text,
            data=frame.data,
            length=len(frame.data),
            alarming=True,
        )

    def _uds(
        self,
        direction: Direction,
        data: bytes,
        *,
        length: int,
        frames: int,
        at_ns: int,
        channel: int,
        identifier: str,
    ) -> Line:
        self.counts.uds += 1
        is_request = direction.request
        if is_request is None:
            is_request = not data[0] & POSITIVE_RESPONSE
        after_ns: int | None = None
        if is_request:
            said = uds_words.request(data, direction.names, length=length)
            self._asked.put((channel, direction.target), (at_ns, data[:KEPT]))
        else:
            asked = self._request_of(channel, direction.source)
            after_ns = None if asked is None else at_ns - asked[0]
            said = uds_words.response(
                data, direction.names, length=length, asked=b"" if asked is None else asked[1]
            )
        self.counts.refused += said.refused
        return Line(
            at_ns=at_ns,
            wire=self._channels[channel].name,
            kind=Kind.UDS,
            identifier=identifier,
            source=direction.source,
            target=direction.target,
            name=said.service,
            text=said.text,
            said=said,
            data=data[:KEPT],
            length=length,
            frames=frames,
            after_ns=after_ns,
            alarming=said.refused,
        )

    def _request_of(self, channel: int, ecu: str) -> tuple[int, bytes] | None:
        """The last request to this ECU, or to all."""
        own = self._asked.get((channel, ecu))
        common = self._asked.get((channel, EVERYBODY))
        return max((one for one in (own, common) if one is not None), default=None)

    def _ethernet(self, frame: EthernetFrame) -> Iterator[Line]:
        found = packet(frame.data)
        if found is None:
            return
        if not found.tcp:
            if PORT in {found.source_port, found.target_port}:
                message = decode_datagram(found.data)
                if message is not None:
                    yield self._doip(frame, message)
        elif PORT in {found.source_port, found.target_port}:
            decoder, data = self._tcp.receive(found)
            for message in decoder.receive(data):
                yield from self._doip_stream(frame, message)
        elif TLS_PORT in {found.source_port, found.target_port} and self._options.frames:
            text = f"{len(found.data)} bytes of TLS"
            yield self._doip_line(frame, doip_words.DoipSaid(name="DoIP over TLS", text=text))

    def _doip_stream(
        self, frame: EthernetFrame, message: DoipMessage | HeaderFault
    ) -> Iterator[Line]:
        if not isinstance(message, DiagnosticMessage):
            told = doip_words.said(message, self._names)
            if self._options.frames or not told.routine:
                yield self._doip_line(frame, told)
            return
        source, target = message.source_address, message.target_address
        request = self._names.is_tester(source)
        names = self._names.ecu(target if request else source)
        direction = Direction(
            source=self._names.node(source),
            target=self._names.node(target),
            names=names,
            request=request,
        )
        yield self._uds(
            direction,
            message.user_data[:KEPT],
            length=len(message.user_data),
            frames=1,
            at_ns=frame.at_ns,
            channel=frame.channel,
            identifier="",
        )

    def _doip(self, frame: EthernetFrame, message: DoipMessage | HeaderFault) -> Line:
        return self._doip_line(frame, doip_words.said(message, self._names))

    def _doip_line(self, frame: EthernetFrame, told: doip_words.DoipSaid) -> Line:
        return Line(
            at_ns=frame.at_ns,
            wire=self._channels[frame.channel].name,
            kind=Kind.DOIP,
            source=told.source,
            target=told.target,
            name=told.name,
            text=told.text,
            alarming=told.alarming,
        )


def identifier_text(header: FrameHeader) -> str:
    """Three digits, or eight for an extended identifier."""
    return f"{header.identifier:08X}" if header.extended else f"{header.identifier:03X}"
