"""Who speaks on a CAN wire: directions of ISO-TP by identifier, databases, network management."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cantools.database.can import Database

from dbc import EcuDescription, WireDescription, load
from protocols import network_management as nm
from protocols.can import FrameHeader
from recording.records import LogError
from recording.trace.names import EVERYBODY, TESTER, EcuNames, VehicleNames
from recording.trace.signals import SignalNames

#: ISO 15765-4: requests to all, to one of eight ECUs (answers are 8 higher), and the same with 29
#: bits, where the last two bytes are target and source.
_OBD_FUNCTIONAL: Final = 0x7DF
_OBD_REQUESTS: Final = range(0x7E0, 0x7E8)
_OBD_RESPONSES: Final = range(0x7E8, 0x7F0)
_FIXED_PHYSICAL, _FIXED_FUNCTIONAL = 0x18DA, 0x18DB
_EXTERNAL_TESTER: Final = 0xF1


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """The frames of one identifier that carry ISO-TP."""

    source: str
    target: str
    names: EcuNames
    #: None: the service identifier has to tell.
    request: bool | None


@dataclass(frozen=True, slots=True)
class IsoTpPair:
    """Identifiers of an ECU that no description has."""

    request_id: int
    response_id: int
    extended: bool


class WireNames:
    """What is known of one channel."""

    def __init__(
        self, names: VehicleNames, wires: Sequence[WireDescription], pairs: Sequence[IsoTpPair]
    ) -> None:
        self._known: dict[tuple[int, bool], Direction] = {}
        self._nodes: dict[int, str] = {}
        databases: list[Database] = []
        for wire in wires:
            for ecu in names.vehicle.on_wire(wire.name):
                self._add(ecu, names.ecus[ecu.name])
                if wire.network_management:
                    self._nodes[nm.node_of(ecu.logical_address)] = ecu.name
            self._functional(wire.functional_id)
            if wire.network_management:
                self._nodes[nm.node_of(names.vehicle.tester_address)] = "gateway"
            databases += [_database(name) for name in wire.databases]
        for pair in pairs:
            self._pair(pair)
        self._managed = bool(self._nodes)
        self.signals = SignalNames(databases)

    def direction(self, header: FrameHeader) -> Direction | None:
        """Who sends ISO-TP with this identifier to whom; None: nobody."""
        identifier = header.identifier
        found = self._known.get((identifier, header.extended))
        if found is not None:
            return found
        return _fixed(identifier) if header.extended else _obd(identifier)

    def node(self, header: FrameHeader) -> str | None:
        """The node whose network management PDU this is; None: it is none."""
        number = header.identifier - nm.BASE_IDENTIFIER
        if not self._managed or header.extended or not 0 <= number < nm.NODES:
            return None
        return self._nodes.get(number, f"node {number:02X}")

    def _add(self, ecu: EcuDescription, names: EcuNames) -> None:
        self._known[ecu.request_id, ecu.request_id > 0x7FF] = Direction(
            source=TESTER, target=ecu.name, names=names, request=True
        )
        self._known[ecu.response_id, ecu.response_id > 0x7FF] = Direction(
            source=ecu.name, target=TESTER, names=names, request=False
        )

    def _functional(self, identifier: int) -> None:
        self._known[identifier, identifier > 0x7FF] = Direction(
            source=TESTER, target=EVERYBODY, names=EcuNames(name=EVERYBODY), request=True
        )

    def _pair(self, pair: IsoTpPair) -> None:
        name = f"ECU {pair.request_id:X}"
        names = EcuNames(name=name)
        self._known[pair.request_id, pair.extended] = Direction(
            source=TESTER, target=name, names=names, request=True
        )
        self._known[pair.response_id, pair.extended] = Direction(
            source=name, target=TESTER, names=names, request=False
        )


def _obd(identifier: int) -> Direction | None:
    if identifier == _OBD_FUNCTIONAL:
        names = EcuNames(name=EVERYBODY)
        return Direction(source=TESTER, target=EVERYBODY, names=names, request=True)
    for requests, is_request in ((_OBD_REQUESTS, True), (_OBD_RESPONSES, False)):
        if identifier in requests:
            name = f"ECU {_OBD_REQUESTS[identifier - requests.start]:X}"
            source, target = (TESTER, name) if is_request else (name, TESTER)
            names = EcuNames(name=name)
            return Direction(source=source, target=target, names=names, request=is_request)
    return None


def _fixed(identifier: int) -> Direction | None:
    kind, target, source = identifier >> 16, identifier >> 8 & 0xFF, identifier & 0xFF
    if kind not in {_FIXED_PHYSICAL, _FIXED_FUNCTIONAL}:
        return None
    receiver = EVERYBODY if kind == _FIXED_FUNCTIONAL else _fixed_name(target)
    ecu = target if source == _EXTERNAL_TESTER else source
    names = EcuNames(name=receiver if kind == _FIXED_FUNCTIONAL else _fixed_name(ecu))
    return Direction(source=_fixed_name(source), target=receiver, names=names, request=None)


def _fixed_name(address: int) -> str:
    return TESTER if address == _EXTERNAL_TESTER else f"ECU {address:02X}"


def _database(name: str) -> Database:
    try:
        return load(name)
    except FileNotFoundError as error:
        raise LogError(str(error)) from error


def wires_of(
    channel: str, number: int, names: VehicleNames, given: Mapping[str, str]
) -> tuple[WireDescription, ...]:
    """The vehicle's CAN wires that a channel may be: one by name or by number, else all of them.

    Formats that keep no names call channels by number from 1, in the order of the wires.
    """
    described = names.vehicle.wires
    name = given.get(channel) or given.get(str(number + 1)) or channel
    if name in described:
        return (described[name],) if described[name].kind != "doip" else ()
    can = tuple(wire for wire in described.values() if wire.kind != "doip")
    if channel == str(number + 1) and number < len(described):
        wire = tuple(described.values())[number]
        return (wire,) if wire.kind != "doip" else can
    return can
