"""The vehicle as a program of its own: its wires as sockets, in real time, for outside peers.

Each CAN wire is offered over the socket bridge, or is an interface of the machine; each DoIP ECU,
and an edge node in front of the CAN ECUs, over TCP and UDP, and over TLS where there is a
certificate.
"""

import asyncio
import fcntl
import logging
import os
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from ecu_sim.bus.bridge import serve_bridge
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.capture import Capture, channels_of
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.bus.interface import InterfacedWire
from ecu_sim.bus.socketcand import SocketcandServer
from ecu_sim.diagnostics.doip_server import DoipServer, serve_doip
from ecu_sim.diagnostics.doip_tls import entity_context
from ecu_sim.edge_node import EdgeNode, edge_settings
from ecu_sim.faults import Fault, FaultError
from ecu_sim.faults.ecu import FaultEvent
from ecu_sim.node import EcuNode
from ecu_sim.periodic import Periodic
from ecu_sim.scenario import Scenario, ScenarioError
from ecu_sim.scenario.player import Player
from ecu_sim.vehicle import Vehicle, VehicleError, VehicleOptions
from protocols.can.bits import NS_PER_S
from protocols.doip.settings import EntitySettings
from protocols.editions import DoipEdition
from protocols.stream import ByteStream
from recording import Channel, LogError
from recording.recorder import Recorder
from recording.records import EPOCH, since_epoch_ns

_LOG: Final = logging.getLogger(__name__)
#: What is recorded is in the file at most so many seconds later, and one.
_FLUSH_S: Final = 1.0
#: The edge node among the ports.
EDGE: Final = "edge"
#: ISO 13400-2 A_DoIP_Announce_Wait: up to so many seconds, at random.
_ANNOUNCE_WAIT_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """DoIP over TLS: PEM files, and ports."""

    certificate: Path
    key: Path
    #: Testers have to show a certificate of this authority.
    client_ca: Path | None = None
    #: Wire (or `EDGE`) -> TCP port; 0 or no entry takes a free one.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: Routing activation over plain TCP is answered 07.
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchEvent:
    """Something that the bench has done to its ECUs: what the log has a line of."""

    date: datetime
    #: fault_begins, fault_acts, fault_ends, ...
    event: str
    #: ECU, fault, ...
    words: Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    vehicle: VehicleOptions
    host: str = "127.0.0.1"
    #: Wire (or `EDGE`) -> TCP port; 0 or no entry takes a free one.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: Factory images of ECUs whose memory has never held one: ECU -> image bytes.
    factory_images: Mapping[str, bytes] = field(default_factory=dict)
    #: Further addresses that DoIP listens on, IPv4 or IPv6.
    doip_hosts: tuple[str, ...] = ()
    #: Address and UDP port of each receiver of vehicle announcements.
    announce_to: tuple[tuple[str, int], ...] = ()
    #: An answer to a vehicle identification request waits up to so long, at random (0.5 by
    #: ISO 13400-2, so that not all entities of a network answer at once).
    identification_wait_s: float = 0.0
    #: From the 2019 edition on.
    tls: TlsOptions | None = None
    #: TCP port of a socketcand server for the simulated CAN wires; 0 takes a free one.
    socketcand_port: int | None = None
    #: An edge node in front of the CAN ECUs.
    edge: bool = True
    #: What goes wrong from the start on, and with which ECU.
    faults: tuple[tuple[str, Fault], ...] = ()
    #: What happens to the ECUs while they run.
    scenario: Scenario | None = None
    #: Told of every fault that begins, acts for the first time, or ends.
    on_event: Callable[[BenchEvent], None] = lambda _: None
    #: Opens the log of the wires: its channels, and its start in ns since 1970.
    record: Callable[[Sequence[Channel], int], Recorder] | None = None
    #: The date at loop time 0, for what is recorded.
    start_date: datetime = EPOCH


class EcuServer:
    """An async context manager: inside, the vehicle runs and its wires are reachable."""

    def __init__(self, options: ServeOptions) -> None:
        self.options = options
        self._stack = AsyncExitStack()
        self._endpoints: dict[str, str] = {}
        self._doors: dict[str, str] = {}
        self._random = random.SystemRandom()
        self._lock = _lock(options.vehicle.state_directory)
        try:
            self.vehicle = Vehicle(options.vehicle)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def endpoints(self) -> Mapping[str, str]:
        """Wire -> URI under which a gateway opens it."""
        return MappingProxyType(self._endpoints)

    @property
    def doors(self) -> Mapping[str, str]:
        """Further ways in, for testers: the edge node, DoIP over TLS, socketcand."""
        return MappingProxyType(self._doors)

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            stack.callback(os.close, self._lock)
            stack.push_async_callback(self.vehicle.stop)
            for ecu, image in self.options.factory_images.items():
                if not self.vehicle.is_provisioned(ecu):
                    self.vehicle.provision(ecu, image)
            doip = [its for its in self.vehicle.nodes.values() if its.hardware.port is None]
            for node in doip:
                node.adapt_entity = self._adapt
            self._record(stack)
            self._begin_faults()
            player = self._open_scenario()
            # Only then the doors: who finds one open finds ECUs that answer.
            await self.vehicle.start()
            for name, wire in self.vehicle.wires.items():
                if isinstance(wire, CanWire):
                    await self._open_bridge(stack, name, wire)
                elif isinstance(wire, InterfacedWire):
                    self._endpoints[name] = wire.uri
            if self.options.socketcand_port is not None:
                await self._open_socketcand(stack, self.options.socketcand_port)
            for node in doip:
                await self._open_doip(stack, node)
            if self.options.edge:
                await self._open_edge(stack)
            if player is not None:
                player.start()
                stack.callback(player.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def _begin_faults(self) -> None:
        for node in self.vehicle.everyone.values():
            node.faults.on_event.append(self._tell_of_fault)
        try:
            for ecu, fault in self.options.faults:
                self.vehicle.begin_fault(ecu, fault)
        except FaultError as error:
            raise VehicleError(str(error)) from error

    def _open_scenario(self) -> Player | None:
        if self.options.scenario is None:
            return None
        vehicle = self.vehicle
        try:
            return Player(
                self.options.scenario, vehicle.everyone, vehicle.rest_bus, tell=self._tell
            )
        except ScenarioError as error:
            raise VehicleError(str(error)) from error

    def _tell_of_fault(self, event: FaultEvent) -> None:
        words: dict[str, str | int] = {"ecu": event.ecu, "fault": event.fault}
        if event.hits is not None:
            words["hits"] = event.hits
        self._tell(event.event, **words)

    def _tell(self, event: str, **words: str | int) -> None:
        """One line in the log, and one event for who listens."""
        _LOG.info("%s %s", event, " ".join(f"{key}={value}" for key, value in words.items()))
        at_s = asyncio.get_running_loop().time()
        date = self.options.start_date + timedelta(seconds=at_s)
        self.options.on_event(BenchEvent(date=date, event=event, words=words))

    def _record(self, stack: AsyncExitStack) -> None:
        if self.options.record is None:
            return
        epoch_ns = since_epoch_ns(self.options.start_date)
        loop = asyncio.get_running_loop()
        start_ns = epoch_ns + round(loop.time() * NS_PER_S)
        try:
            recorder = self.options.record(channels_of(self.vehicle.wires), start_ns)
        except LogError as error:
            raise VehicleError(str(error)) from error
        stack.callback(recorder.close)
        capture = Capture(recorder, self.vehicle.wires, start_date=self.options.start_date)
        stack.callback(capture.close)

        def flush() -> None:
            try:
                recorder.flush(epoch_ns + round(loop.time() * NS_PER_S))
            except LogError as error:
                # The ECUs go on without their log: somebody is at work with them.
                _LOG.error("recording_ended cause=%s", error)
                capture.close()

        flushing = Periodic(loop, _FLUSH_S, flush)
        flushing.start()
        stack.callback(flushing.stop)

    async def _open_bridge(self, stack: AsyncExitStack, name: str, wire: CanWire) -> None:
        host, port = self.options.host, self.options.ports.get(name, 0)
        try:
            server = await serve_bridge(wire, host, port)
        except OSError as error:
            raise VehicleError(f"wire {name}: {host}:{port}: {error.strerror}") from error
        stack.push_async_callback(server.close)
        self._endpoints[name] = f"can://bridge/{_authority(host, server.port)}/{name}"

    async def _open_socketcand(self, stack: AsyncExitStack, port: int) -> None:
        host, vehicle = self.options.host, self.vehicle
        wires = {name: wire for name, wire in vehicle.wires.items() if isinstance(wire, CanWire)}
        if not wires:
            raise VehicleError("socketcand: no simulated CAN wire in this vehicle")
        epoch_s = since_epoch_ns(self.options.start_date) / NS_PER_S
        server = SocketcandServer(wires, epoch_s=epoch_s)
        try:
            await server.start(host, port)
        except OSError as error:
            raise VehicleError(f"socketcand: {host}:{port}: {error.strerror}") from error
        stack.push_async_callback(server.close)
        for name in wires:
            uri = f"can://socketcand/{_authority(host, server.port)}/{name}"
            self._doors[f"{name} over socketcand"] = uri

    async def _open_doip(self, stack: AsyncExitStack, node: EcuNode) -> None:
        name, has_tls = node.ecu.wire, node.ecu.editions.doip >= DoipEdition.E2019
        wire = self.vehicle.wires[name]
        server = await self._serve(
            stack,
            name,
            node.serve_stream,
            node.answer_datagram,
            has_tls=has_tls,
            wire=wire if isinstance(wire, EthernetWire) else None,
        )
        node.announce = server.announce
        node.announce_vehicle()
        self._endpoints[name] = f"doip://{_authority(self.options.host, server.tcp_port)}"

    async def _open_edge(self, stack: AsyncExitStack) -> None:
        announcing: list[DoipServer] = []

        def announce(data: bytes) -> None:
            for server in announcing:
                server.announce(data)

        edge = EdgeNode(self.vehicle, self._adapt(edge_settings(self.vehicle)), announce=announce)
        stack.push_async_callback(edge.close)
        server = await self._serve(
            stack, EDGE, edge.node.serve, edge.node.receive_datagram, has_tls=True
        )
        announcing.append(server)
        edge.start(announce_wait_s=self._random.uniform(0, _ANNOUNCE_WAIT_S))
        self._doors["edge node"] = f"doip://{_authority(self.options.host, server.tcp_port)}"

    async def _serve(
        self,
        stack: AsyncExitStack,
        name: str,
        accept: Callable[[ByteStream], Awaitable[None]],
        answer: Callable[[bytes], list[bytes]],
        *,
        has_tls: bool,
        wire: EthernetWire | None = None,
    ) -> DoipServer:
        options = self.options
        port, tls = options.ports.get(name, 0), options.tls if has_tls else None
        try:
            server = await serve_doip(
                accept,
                answer,
                hosts=(options.host, *options.doip_hosts),
                port=port,
                announce_to=options.announce_to,
                tls=_context(tls),
                tls_port=0 if tls is None else tls.ports.get(name, 0),
                answer_wait=lambda: self._random.uniform(0, options.identification_wait_s),
                wire=wire,
            )
        except OSError as error:
            where = _authority(options.host, port)
            raise VehicleError(f"wire {name}: {where}: {error.strerror or error}") from error
        stack.push_async_callback(server.stop)
        if server.tls_port is not None:
            self._doors[f"{name} over TLS"] = f"doips://{_authority(options.host, server.tls_port)}"
        return server

    def _adapt(self, settings: EntitySettings) -> EntitySettings:
        tls = self.options.tls
        return replace(settings, tls_only=tls is not None and tls.required)


def _context(tls: TlsOptions | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    try:
        return entity_context(tls.certificate, tls.key, client_ca=tls.client_ca)
    except OSError as error:
        files = ", ".join(str(path) for path in (tls.certificate, tls.key, tls.client_ca) if path)
        raise VehicleError(f"TLS: {files}: {error.strerror or error}") from error


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _lock(directory: Path) -> int:
    """Take the directory for this process until the descriptor is closed: a chip has one CPU."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise VehicleError(f"{directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise VehicleError(
            f"{directory}: other ECUs run on this memory, in another process"
        ) from error
    return descriptor


async def serve(
    options: ServeOptions, *, stopped: asyncio.Event, opened: Callable[[Mapping[str, str]], None]
) -> None:
    """Run until `stopped` is set; `opened` gets the ways in once all ECUs have booted."""
    async with EcuServer(options) as server:
        opened({**server.endpoints, **server.doors})
        await stopped.wait()
