"""The vehicle as a program of its own: its wires as sockets, in real time, for outside peers.

Each CAN wire is offered over the socket bridge, each DoIP ECU over TCP and UDP.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from ecu_sim.bus.bridge import serve_bridge
from ecu_sim.bus.can import CanWire
from ecu_sim.diagnostics.doip_server import serve_doip
from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle, VehicleError, VehicleOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    vehicle: VehicleOptions
    host: str = "127.0.0.1"
    #: Wire -> TCP port; 0 or no entry takes a free one.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: Factory images of ECUs whose memory has never held one: ECU -> image bytes.
    factory_images: Mapping[str, bytes] = field(default_factory=dict)
    #: Further addresses that DoIP listens on, IPv4 or IPv6.
    doip_hosts: tuple[str, ...] = ()
    #: Address and UDP port of each receiver of vehicle announcements.
    announce_to: tuple[tuple[str, int], ...] = ()


class EcuServer:
    """An async context manager: inside, the vehicle runs and its wires are reachable."""

    def __init__(self, options: ServeOptions) -> None:
        self.options = options
        self._stack = AsyncExitStack()
        self._endpoints: dict[str, str] = {}
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

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            stack.callback(os.close, self._lock)
            stack.push_async_callback(self.vehicle.stop)
            for ecu, image in self.options.factory_images.items():
                if not self.vehicle.is_provisioned(ecu):
                    self.vehicle.provision(ecu, image)
            for name, wire in self.vehicle.wires.items():
                if isinstance(wire, CanWire):
                    await self._open_bridge(stack, name, wire)
            for node in self.vehicle.nodes.values():
                if node.hardware.port is None:
                    await self._open_doip(stack, node)
            await self.vehicle.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _open_bridge(self, stack: AsyncExitStack, name: str, wire: CanWire) -> None:
        host, port = self.options.host, self.options.ports.get(name, 0)
        try:
            server = await serve_bridge(wire, host, port)
        except OSError as error:
            raise VehicleError(f"wire {name}: {host}:{port}: {error.strerror}") from error
        stack.push_async_callback(server.close)
        self._endpoints[name] = f"can://bridge/{host}:{server.port}/{name}"

    async def _open_doip(self, stack: AsyncExitStack, node: EcuNode) -> None:
        name = node.ecu.wire
        host, port = self.options.host, self.options.ports.get(name, 0)
        try:
            server = await serve_doip(
                node.serve_stream,
                node.answer_datagram,
                hosts=(host, *self.options.doip_hosts),
                port=port,
                announce_to=self.options.announce_to,
            )
        except OSError as error:
            raise VehicleError(f"wire {name}: {host}:{port}: {error.strerror}") from error
        stack.push_async_callback(server.stop)
        node.announce = server.announce
        self._endpoints[name] = f"doip://{host}:{server.tcp_port}"


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
        raise VehicleError(f"{directory}: other ECUs run on this memory") from error
    return descriptor


async def serve(
    options: ServeOptions, *, stopped: asyncio.Event, opened: Callable[[Mapping[str, str]], None]
) -> None:
    """Run until `stopped` is set; `opened` gets the endpoints once all ECUs have booted."""
    async with EcuServer(options) as server:
        opened(server.endpoints)
        await stopped.wait()
