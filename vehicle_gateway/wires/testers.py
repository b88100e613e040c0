"""The testers of one vehicle: each link is opened when it is first needed, and closed together."""

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from dbc import VehicleDescription
from vehicle_gateway.wires import Channel, LinkError, Links, Wire
from vehicle_gateway.wires.doip import DoipWire
from vehicle_gateway.wires.isotp import IsoTpWire
from vehicle_gateway.wires.isotp_kernel import KernelIsoTpPort, KernelIsoTpWire
from vehicle_gateway.wires.tester import FunctionalTester, TesterTiming, UdsTester


class Testers:
    """One `UdsTester` per ECU and one `FunctionalTester` per wire."""

    def __init__(
        self,
        vehicle: VehicleDescription,
        links: Links,
        *,
        around_wire: Callable[[str, Wire], Wire] = lambda _name, wire: wire,
    ) -> None:
        """`around_wire` may put something around each wire as it is opened."""
        self.vehicle = vehicle
        self._around_wire = around_wire
        self._links = links
        self._wires: dict[str, Wire] = {}
        self._testers: dict[str, UdsTester] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def tester(self, ecu: str) -> UdsTester:
        """The tester of this ECU, one and the same at each call; `LinkError` without a link."""
        if ecu not in self._testers:
            description = self.vehicle.ecus[ecu]
            timing = TesterTiming(p2_s=description.p2_s, p2_star_s=description.p2_star_s)
            self._testers[ecu] = UdsTester(ecu, self.channel(ecu), timing)
        return self._testers[ecu]

    def channel(self, ecu: str) -> Channel:
        """The bare way to this ECU, for a tester of one's own; `LinkError` without a link."""
        description = self.vehicle.ecus[ecu]
        return self._wire(description.wire).channel(description)

    def functional(self, wire: str) -> FunctionalTester:
        """All ECUs of this wire at once; `LinkError` without a link."""
        names = [ecu.name for ecu in self.vehicle.on_wire(wire)]
        return FunctionalTester(self._wire(wire), [self.tester(name) for name in names])

    def wake(self) -> None:
        """Have what is said on the wires said for some seconds, where it sleeps otherwise."""
        for wire in self.vehicle.wires.values():
            if wire.network_management:
                with suppress(LinkError):  # A wire without a link says nothing, asleep or awake.
                    self._wire(wire.name).wake()

    async def close(self) -> None:
        for wire in self._wires.values():
            await wire.close()
        self._wires.clear()
        self._testers.clear()

    def _wire(self, name: str) -> Wire:
        if name not in self._wires:
            self._wires[name] = self._around_wire(name, self._open(name))
        return self._wires[name]

    def _open(self, name: str) -> Wire:
        description = self.vehicle.wires[name]
        match description.kind:
            case "can" | "canfd":
                port = self._links.can(name)
                if isinstance(port, KernelIsoTpPort):
                    return KernelIsoTpWire(port, description)
                return IsoTpWire(port, description)
            case "doip":
                return DoipWire(
                    lambda: self._links.stream(name),
                    description,
                    tester_address=self.vehicle.tester_address,
                )
            case kind:
                raise LinkError(f"{name}: no such kind of wire: {kind!r}")
