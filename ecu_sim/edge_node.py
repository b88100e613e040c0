"""The DoIP edge node in front of the CAN ECUs: by it a tester on Ethernet reaches them.

It is an entity of its own (0x1000), routes to each ECU over ISO-TP on its wire, and fans the
functional address out to all wires. A request is acknowledged once it is queued for its ECU
(`EntitySettings.acknowledge` can make that its last bit on the wire); 78 comes from the ECU.
A request wakes a wire that sleeps, by network management, and waits until its ECU has booted; a
functional one on each wire until all ECUs there have.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from clock import Timer
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.bus.faults import ErrorState
from ecu_sim.bus.interface import InterfacedWire
from ecu_sim.diagnostics.doip import DoipNode
from ecu_sim.ecus import WIRES, EcuType, WireType, ecu_names, ecu_type
from ecu_sim.edge_route import EdgeRoute, RouteSettings, RouteTuning
from ecu_sim.edge_subscriptions import Asker
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


@dataclass(slots=True)
class _Functional:
    """A functional request on its way to the wires: delivered by the first that it is on.

    Whoever answers has heard it there, so that the acknowledgement is never late.
    """

    request: Request
    delivered: Callable[[Request, DiagnosticNack | None], None]
    #: Wires that it is still to go out on.
    left: int
    told: bool = False

    def over(self, *, sent: bool) -> None:
        """On one wire."""
        self.left -= 1
        if not self.told and (sent or not self.left):
            self.told = True
            nack = None if sent else DiagnosticNack.TRANSPORT_PROTOCOL_ERROR
            self.delivered(self.request, nack)


class _Wire:
    """A CAN wire as the edge node uses it: functional requests, wake-up, network management."""

    def __init__(self, wire: CanWire | InterfacedWire, kind: WireType, tuning: RouteTuning) -> None:
        fd = kind.kind == "canfd"
        self.port = wire.port(NODE)
        self.functional = FrameHeader(kind.functional_id, fd=fd, bit_rate_switch=fd)
        self.tx_data_length = _FD if fd else _CLASSIC
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._tuning = tuning
        self._members: list[tuple[EcuNode, EdgeRoute]] = []
        self._network = NetworkNode(self.port, node=_NETWORK_NODE, wanted=self._in_use)
        self._managed = False
        #: Routes whose ECUs are being woken, and functional requests that wait for all of them.
        self._waking: set[EdgeRoute] = set()
        self._waiting: deque[_Functional] = deque()
        #: Functional requests that are not on the wire yet: a lower identifier would overtake them.
        self._leaving = 0
        self._patience = Timer(self._loop, self._give_up)

    @property
    def is_off(self) -> bool:
        """Our own controller is bus-off."""
        return self._wire.error_counters(NODE).state is ErrorState.BUS_OFF

    @property
    def is_full(self) -> bool:
        """No functional request more can wait."""
        return len(self._waiting) >= self._tuning.queue_length

    def add(self, node: EcuNode, route: EdgeRoute) -> None:
        self._members.append((node, route))

    def put(self, request: Request, node: EcuNode, route: EdgeRoute) -> None:
        """A request for one ECU."""
        self._wake(node, route)
        route.put(request)
        self._use()

    def put_functional(self, request: _Functional) -> None:
        """A request for all ECUs: it is sent once all of them can hear it."""
        for node, route in self._members:
            self._wake(node, route)
        self._waiting.append(request)
        self._use()
        self._settle()

    def changed(self, mode: Mode, route: EdgeRoute) -> None:
        """An ECU has booted, or has ended."""
        if mode not in (Mode.APPLICATION, Mode.BOOTLOADER):
            route.restarted()
        if mode not in (Mode.ASLEEP, Mode.BOOTING):
            self._waking.discard(route)
            self._settle()

    def close(self) -> None:
        self._patience.cancel()
        self._waiting.clear()
        if self._managed:
            self._network.stop()

    def _wake(self, node: EcuNode, route: EdgeRoute) -> None:
        if node.mode is Mode.ASLEEP:
            route.hold()
            self._waking.add(route)
            if self._patience.deadline is None:
                self._patience.set(self._loop.time() + self._tuning.wake_s)

    def _settle(self) -> None:
        """Go on with what need not wait any more; nothing overtakes a functional request."""
        if not self._waking:
            self._patience.cancel()
            while self._waiting:
                self._send(self._waiting.popleft())
        if not self._waiting and not self._leaving:
            for _, route in self._members:
                if route not in self._waking:
                    route.release()

    def _give_up(self) -> None:
        """Some ECU does not wake: the others go on without it."""
        for route in self._waking:
            route.give_up()
        self._waking.clear()
        self._settle()

    def _send(self, functional: _Functional) -> None:
        request, by = functional.request, self._loop.time() + _ON_WIRE_S
        asker = Asker(request.source, request.connection)
        for _, route in self._members:
            route.hold()
            route.expect(asker, request.payload, sent_by=by)
        self._leaving += 1

        def over(*, sent: bool) -> None:
            late.cancel()
            functional.over(sent=sent)
            self._leaving -= 1
            self._settle()

        def sent(at_s: float) -> None:
            if at_s <= by and not late.cancelled():
                over(sent=True)

        late = self._loop.call_at(by, partial(over, sent=False))
        self.port.send(self.functional, segment(request.payload, self.tx_data_length), sent)

    def _use(self) -> None:
        """Wake the wire, and keep it awake while a tester works through us."""
        if self._managed:
            self._network.poll()
        else:
            self._managed = True
            self._network.start()

    def _in_use(self) -> bool:
        return bool(self._waiting) or any(route.in_use for _, route in self._members)


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
        tuning = tuning or RouteTuning()
        fitted = [its for its in _types(vehicle) if its.name in vehicle.nodes]
        self._wires = {
            name: _Wire(wire, WIRES[name], tuning)
            for name, wire in vehicle.wires.items()
            if not isinstance(wire, EthernetWire) and any(its.wire == name for its in fitted)
        }
        self._routes: dict[int, EdgeRoute] = {}
        self._nodes: dict[int, EcuNode] = {}
        self._watchers: dict[int, Callable[[Mode], None]] = {}
        self.entity = DoipEntity(settings or edge_settings(vehicle), objection=self._objection)
        self.node = DoipNode(
            self.entity, self._request, announce=announce, disconnected=self._forget
        )
        for its in fitted:
            self._add(its, vehicle.nodes[its.name], tuning)

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
            respond=partial(self._respond, address),
            delivered=self.node.delivered,
        )
        wire.add(node, route)
        self._routes[address], self._nodes[address] = route, node

        def watch(mode: Mode) -> None:
            wire.changed(mode, route)

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
        if any(wire.is_full for wire in self._wires.values()):
            return DiagnosticNack.OUT_OF_MEMORY
        objections = [route.objection(request) for route in self._routes.values()]
        unreachable = DiagnosticNack.TARGET_UNREACHABLE
        return unreachable if all(its is unreachable for its in objections) else None

    def _request(self, request: Request) -> None:
        if request.functional:
            functional = _Functional(request, self.node.delivered, left=len(self._wires))
            for wire in self._wires.values():
                wire.put_functional(functional)
        else:
            node, route = self._nodes[request.target], self._routes[request.target]
            self._wires[node.ecu.wire].put(request, node, route)

    def _respond(self, source: int, answer: bytes, asker: Asker) -> None:
        self.node.respond(answer, tester=asker.tester, source=source, connection=asker.connection)

    def _forget(self, connection: int) -> None:
        for route in self._routes.values():
            route.forget(connection)


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
        s3_s=ecu.s3_s,
        periodic=None
        if address.periodic_id is None or not _has_frames(ecu)
        else replace(header, identifier=address.periodic_id),
        tuning=tuning,
    )


def _has_frames(ecu: EcuType) -> bool:
    """Whether its periodic messages go in frames of their own (response type 2)."""
    return ecu.data.periodic is not None and ecu.data.periodic.unsegmented


def _types(vehicle: Vehicle) -> list[EcuType]:
    """The ECUs on CAN that the model has, fitted or not, and those that are there beside them."""
    names = dict.fromkeys((*ecu_names(), *vehicle.nodes))
    return [its for its in map(ecu_type, names) if its.can_addresses]
