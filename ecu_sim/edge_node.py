"""The DoIP edge node in front of the CAN ECUs: by it a tester on Ethernet reaches them.

It is an entity of its own (0x1000), routes to each ECU over ISO-TP on its wire, and fans the
functional address out to all wires. A request is acknowledged once it is queued for its ECU
(`EntitySettings.acknowledge` can make that its last bit on the wire); 78 comes from the ECU.
A request wakes a wire that sleeps: a physical one waits until its ECU has booted, a functional one
is heard by those that are awake.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from ecu_sim.bus.can import CanWire
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.bus.faults import ErrorState
from ecu_sim.bus.interface import InterfacedWire
from ecu_sim.diagnostics.doip import DoipNode
from ecu_sim.ecus import WIRES, EcuType, WireType, ecu_names, ecu_type
from ecu_sim.edge_route import EdgeRoute, RouteSettings, RouteTuning
from ecu_sim.network import NetworkNode
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle
from protocols.can import FrameHeader
from protocols.doip.entity import DoipEntity, EntitySettings, Request
from protocols.doip.messages import DiagnosticNack, NodeType
from protocols.isotp import IsoTpParameters, segment
from protocols.network_management import NODES
from protocols.stream import ByteStream

LOGICAL_ADDRESS: Final = 0x1000
FUNCTIONAL_ADDRESS: Final = 0xE400
#: What the edge node calls itself on a CAN wire.
NODE: Final = "edge"
_CLASSIC: Final = 8
_FD: Final = 64
#: Its number in network management: beside the gateway's 0 and the car's 63.
_NETWORK_NODE: Final = NODES - 2
#: N_As: a functional request is on the wire by then, or gone.
_ON_WIRE_S: Final = 1.0


class _Wire:
    """A CAN wire as the edge node uses it: functional requests, and network management."""

    def __init__(self, wire: CanWire | InterfacedWire, kind: WireType) -> None:
        fd = kind.kind == "canfd"
        self.port = wire.port(NODE)
        self.functional = FrameHeader(kind.functional_id, fd=fd, bit_rate_switch=fd)
        self.tx_data_length = _FD if fd else _CLASSIC
        self.routes: list[EdgeRoute] = []
        self._wire = wire
        self._network = NetworkNode(self.port, node=_NETWORK_NODE, wanted=self._in_use)
        self._managed = False

    @property
    def is_off(self) -> bool:
        """Our own controller is bus-off."""
        return self._wire.error_counters(NODE).state is ErrorState.BUS_OFF

    def use(self) -> None:
        """Wake the wire, and keep it awake while a tester works through us."""
        if self._managed:
            self._network.poll()
        else:
            self._managed = True
            self._network.start()

    def close(self) -> None:
        if self._managed:
            self._network.stop()

    def _in_use(self) -> bool:
        return any(route.in_use for route in self.routes)


def edge_settings(vehicle: Vehicle) -> EntitySettings:
    """The edge node of a vehicle as it is by default."""
    vin, ecus = vehicle.options.vin, _types(vehicle)
    return EntitySettings(
        vin=vin,
        logical_address=LOGICAL_ADDRESS,
        node_type=NodeType.GATEWAY,
        # A locally administered address, as MAC addresses without a vendor are.
        eid=b"\x02" + hashlib.sha256(f"{vin}/edge".encode()).digest()[:5],
        gid=b"\x02" + hashlib.sha256(vin.encode()).digest()[:5],
        targets=frozenset(its.logical_address for its in ecus),
        functional_addresses=frozenset({FUNCTIONAL_ADDRESS}),
        max_request=max((its.max_block_length for its in ecus), default=0),
    )


class EdgeNode:
    """Made inside a running loop, on a vehicle whose wires it joins; `close` ends it.

    What is to be different from `edge_settings` is replaced there.
    """

    def __init__(
        self,
        vehicle: Vehicle,
        settings: EntitySettings | None = None,
        tuning: RouteTuning | None = None,
        *,
        announce: Callable[[bytes], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        fitted = [its for its in _types(vehicle) if its.name in vehicle.nodes]
        self._wires = {
            name: _Wire(wire, WIRES[name])
            for name, wire in vehicle.wires.items()
            if not isinstance(wire, EthernetWire) and any(its.wire == name for its in fitted)
        }
        self._routes: dict[int, EdgeRoute] = {}
        self._nodes: dict[int, EcuNode] = {}
        self._watchers: dict[int, Callable[[Mode], None]] = {}
        self.entity = DoipEntity(settings or edge_settings(vehicle), objection=self._objection)
        self.node = DoipNode(self.entity, self._request, announce=announce)
        for its in fitted:
            self._add(its, vehicle.nodes[its.name], tuning or RouteTuning())

    def start(self, *, announce_wait_s: float) -> None:
        """Announce after a random wait (0 to 0.5 s) that the caller draws."""
        self.node.start(announce_wait_s=announce_wait_s)

    def attach_stream(self, stream: ByteStream) -> None:
        self.node.attach(stream)

    async def close(self) -> None:
        """Hang up on every tester, and leave the wires."""
        await self.node.stop()
        for address, route in self._routes.items():
            self._nodes[address].on_mode.remove(self._watchers.pop(address))
            route.close()
        for wire in self._wires.values():
            wire.close()

    def _add(self, ecu: EcuType, node: EcuNode, tuning: RouteTuning) -> None:
        wire, address = self._wires[ecu.wire], ecu.logical_address
        route = EdgeRoute(
            wire.port,
            _route(ecu, tuning),
            is_there=lambda: node.mode is not Mode.OFF and not wire.is_off,
            respond=self._respond,
            delivered=self.node.delivered,
        )
        wire.routes.append(route)
        self._routes[address], self._nodes[address] = route, node

        def watch(mode: Mode) -> None:
            if mode not in (Mode.ASLEEP, Mode.BOOTING):
                route.release()

        self._watchers[address] = watch
        node.on_mode.append(watch)

    def _objection(self, target: int, request: bytes) -> DiagnosticNack | None:
        if target in self.entity.settings.functional_addresses:
            return self._functional_objection(request)
        route = self._routes.get(target)
        # An ECU that this model has, and this vehicle has not.
        return DiagnosticNack.TARGET_UNREACHABLE if route is None else route.objection(request)

    def _functional_objection(self, request: bytes) -> DiagnosticNack | None:
        """A functional request is one frame on every wire, and somebody has to hear it."""
        if any(len(segment(request, wire.tx_data_length)) > 1 for wire in self._wires.values()):
            return DiagnosticNack.TRANSPORT_PROTOCOL_ERROR
        objections = [route.objection(request) for route in self._routes.values()]
        unreachable = DiagnosticNack.TARGET_UNREACHABLE
        return unreachable if all(its is unreachable for its in objections) else None

    def _request(self, request: Request) -> None:
        if request.functional:
            self._fan_out(request)
            return
        node, route = self._nodes[request.target], self._routes[request.target]
        if node.mode is Mode.ASLEEP:
            route.hold()
        route.put(request)
        self._wires[node.ecu.wire].use()

    def _fan_out(self, request: Request) -> None:
        by = self._loop.time() + _ON_WIRE_S
        for route in self._routes.values():
            route.expect(request.source, request.payload, sent_by=by)
        left = set(self._wires)

        def failed() -> None:
            if left:
                self.node.delivered(request, DiagnosticNack.TRANSPORT_PROTOCOL_ERROR)

        late = self._loop.call_at(by, failed)

        def sent(name: str, _: float) -> None:
            left.discard(name)
            if not left and not late.cancelled() and self._loop.time() < by:
                late.cancel()
                self.node.delivered(request)

        for name, wire in self._wires.items():
            wire.use()
            frames = segment(request.payload, wire.tx_data_length)
            wire.port.send(wire.functional, frames, partial(sent, name))

    def _respond(self, answer: bytes, tester: int, source: int) -> None:
        self.node.respond(answer, tester=tester, source=source)


def _route(ecu: EcuType, tuning: RouteTuning) -> RouteSettings:
    address, fd = ecu.can_addresses[0], WIRES[ecu.wire].kind == "canfd"
    header = FrameHeader(address.request_id, extended=address.extended, fd=fd, bit_rate_switch=fd)
    return RouteSettings(
        ecu=ecu.name,
        logical_address=ecu.logical_address,
        request=header,
        response=replace(header, identifier=address.response_id),
        parameters=IsoTpParameters(tx_data_length=_FD if fd else _CLASSIC),
        max_request=ecu.max_block_length,
        p2_s=ecu.p2_s,
        p2_star_s=ecu.p2_star_s,
        tuning=tuning,
    )


def _types(vehicle: Vehicle) -> list[EcuType]:
    """The ECUs on CAN that the model has, fitted or not, and those that are there beside them."""
    names = dict.fromkeys((*ecu_names(), *vehicle.nodes))
    return [its for its in map(ecu_type, names) if its.can_addresses]
