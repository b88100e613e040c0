"""The DoIP edge node in front of the CAN ECUs: by it a tester on Ethernet reaches them.

It is an entity of its own (0x1000), routes to each ECU over ISO-TP on its wire, and fans the
functional address out to all wires. A request is acknowledged once it is queued for its ECU
(`EntitySettings.acknowledge` can make that its last bit on the wire); 78 comes from the ECU.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ecu_sim.diagnostics.doip import DoipNode
from ecu_sim.ecus import WIRES, EcuType, ecu_names, ecu_type
from ecu_sim.edge_route import EdgeRoute, RouteSettings, RouteTuning
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle
from protocols.can import CanPort, FrameHeader
from protocols.doip.entity import DoipEntity, EntitySettings, Request
from protocols.doip.messages import DiagnosticNack, NodeType
from protocols.isotp import IsoTpParameters, segment
from protocols.stream import ByteStream

LOGICAL_ADDRESS: Final = 0x1000
FUNCTIONAL_ADDRESS: Final = 0xE400
#: What the edge node calls itself on a CAN wire.
NODE: Final = "edge"
_CLASSIC: Final = 8
_FD: Final = 64
#: N_As: a functional request is on the wire by then, or gone.
_ON_WIRE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Wire:
    """A CAN wire as the edge node sends functional requests on it."""

    port: CanPort
    functional: FrameHeader
    tx_data_length: int


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
            name: _wire(vehicle, name) for name in dict.fromkeys(its.wire for its in fitted)
        }
        self._routes: dict[int, EdgeRoute] = {}
        self.entity = DoipEntity(settings or edge_settings(vehicle), objection=self._objection)
        self.node = DoipNode(self.entity, self._request, announce=announce)
        for its in fitted:
            self._routes[its.logical_address] = EdgeRoute(
                self._wires[its.wire].port,
                _route(its, tuning or RouteTuning()),
                is_there=partial(_is_there, vehicle.nodes[its.name]),
                respond=self._respond,
                delivered=self.node.delivered,
            )

    def start(self, *, announce_wait_s: float) -> None:
        """Announce after a random wait (0 to 0.5 s) that the caller draws."""
        self.node.start(announce_wait_s=announce_wait_s)

    def attach_stream(self, stream: ByteStream) -> None:
        self.node.attach(stream)

    async def close(self) -> None:
        """Hang up on every tester, and leave the wires."""
        await self.node.stop()
        for route in self._routes.values():
            route.close()

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
        else:
            self._routes[request.target].put(request)

    def _fan_out(self, request: Request) -> None:
        by = self._loop.time() + _ON_WIRE_S
        for route in self._routes.values():
            route.expect(request.source, request.payload, sent_by=by)
        left = len(self._wires)

        def sent(_: float) -> None:
            nonlocal left
            left -= 1
            if not left:
                self.node.delivered(request)

        for wire in self._wires.values():
            frames = segment(request.payload, wire.tx_data_length)
            wire.port.send(wire.functional, frames, sent)

    def _respond(self, answer: bytes, tester: int, source: int) -> None:
        self.node.respond(answer, tester=tester, source=source)


def _wire(vehicle: Vehicle, name: str) -> _Wire:
    fd = WIRES[name].kind == "canfd"
    return _Wire(
        vehicle.can_port(name, NODE),
        FrameHeader(WIRES[name].functional_id, fd=fd, bit_rate_switch=fd),
        _FD if fd else _CLASSIC,
    )


def _is_there(node: EcuNode) -> bool:
    return node.mode is not Mode.OFF


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
