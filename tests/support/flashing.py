"""A simulated vehicle with the gateway's testers on its wires, on the virtual loop."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from dbc import VehicleDescription, describe_vehicle
from ecu_sim.vehicle import Vehicle, VehicleOptions
from firmware import dev_keys, image_path
from protocols.can import CanPort, FrameHeader, Receive, ReceiveRun, Sent
from protocols.firmware import formats
from protocols.stream import ByteStream
from vehicle_gateway.flashing import updaters
from vehicle_gateway.update import EcuUpdater, Inventory, Progress, UpdateJob
from vehicle_gateway.wires import Links
from vehicle_gateway.wires.testers import Testers

NONCE = bytes(range(32))
START = datetime(2026, 6, 1, 8, tzinfo=UTC)
VIN = "WCANHVAC000000001"

#: A frame that the gateway wants to send: whether it gets lost on the way.
Lost = Callable[[FrameHeader, Sequence[bytes]], bool]


@cache
def image(ecu: str, version: str) -> bytes:
    """A built image, as it goes into the ECU."""
    path = image_path(ecu, version)
    data = path.read_bytes()
    return formats.detect(path.name, data).decode(data).data


def job(ecu: str, *, before: str = "1.0.0", after: str = "2.0.0") -> UpdateJob:
    description = describe_vehicle().ecus[ecu]
    new, old = image(ecu, after), image(ecu, before)
    return UpdateJob(
        ecu=ecu,
        image=new,
        address=description.application_base,
        image_sha256=hashlib.sha256(new).digest(),
        version=after,
        nonce=NONCE,
        before_sha256=hashlib.sha256(old).digest(),
        present=old if description.single_slot else None,
        present_address=description.application_base,
    )


class LossyPort:
    """A CAN port whose wire loses what a test says; sender and receiver are told nothing."""

    def __init__(self, port: CanPort, *, outgoing: Lost, incoming: Lost) -> None:
        self._port = port
        self._outgoing = outgoing
        self._incoming = incoming

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        if self._outgoing(header, payloads):
            # The frame was on the wire, and nobody there could read it.
            header = FrameHeader(0x7FE, fd=header.fd, bit_rate_switch=header.bit_rate_switch)
        self._port.send(header, payloads, sent)

    def listen(
        self,
        receive: Receive,
        *headers: FrameHeader,
        receive_run: ReceiveRun | None = None,  # noqa: ARG002 frame by frame, to lose single ones
    ) -> Callable[[], None]:
        def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
            if not self._incoming(header, (data,)):
                receive(header, data, at_s)

        return self._port.listen(hear, *headers)


def nothing_lost(_header: FrameHeader, _payloads: Sequence[bytes]) -> bool:
    return False


@dataclass(slots=True)
class SimLinks:
    vehicle: Vehicle
    outgoing: Lost = nothing_lost
    incoming: Lost = nothing_lost

    def can(self, wire: str) -> CanPort:
        port = self.vehicle.can_port(wire, "gateway")
        return LossyPort(port, outgoing=self.outgoing, incoming=self.incoming)

    async def stream(self, wire: str) -> ByteStream:
        return await self.vehicle.connect(wire)


@dataclass(slots=True)
class Bench:
    """The vehicle, its testers and updaters, and what the wires were told."""

    vehicle: Vehicle
    testers: Testers
    updaters: dict[str, EcuUpdater]
    notes: list[Progress] = field(default_factory=list)
    _noted: asyncio.Event = field(default_factory=asyncio.Event)

    def progress(self, note: Progress) -> None:
        self.notes.append(note)
        self._noted.set()

    async def verified(self, least: int) -> int:
        """Wait until so many bytes are in an ECU for certain; how many there are."""
        while not self.notes or self.notes[-1].verified < least:
            self._noted.clear()
            await self._noted.wait()
        return self.notes[-1].verified


async def update(
    links: Links, ecu: str, what: UpdateJob, *, vehicle: VehicleDescription | None = None
) -> Inventory:
    """The whole update of one ECU on these links; what it says of itself afterwards."""
    async with Testers(vehicle or describe_vehicle(), links) as testers:
        master = dev_keys().diagnostics_master
        updater = updaters(testers, diagnostics_master=master, start_date=START)[ecu]
        await updater.stage(what, resume_from=0, progress=lambda _: None)
        await updater.activate(what, resume_from=0, progress=lambda _: None)
        await updater.confirm(what)
        return await updater.inventory(what.nonce)


def plainly_flashed() -> VehicleDescription:
    """The vehicle, as if no ECU took compressed data: blocks are the image, and many."""
    vehicle = describe_vehicle()
    ecus = {name: replace(ecu, data_formats={}) for name, ecu in vehicle.ecus.items()}
    return replace(vehicle, ecus=ecus)


@asynccontextmanager
async def bench(
    state: Path,
    *ecus: str,
    version: str = "1.0.0",
    description: VehicleDescription | None = None,
    outgoing: Lost = nothing_lost,
    incoming: Lost = nothing_lost,
) -> AsyncIterator[Bench]:
    """A started vehicle of these ECUs, each with its image of `version`."""
    keys = dev_keys()
    vehicle = Vehicle(
        VehicleOptions(
            vin=VIN,
            state_directory=state,
            ecus=ecus,
            seed=7,
            image_public_keys=(keys.image_public_key,),
            diagnostics_master=keys.diagnostics_master,
            boot_mac_master=keys.boot_mac_master,
        )
    )
    for ecu in ecus:
        vehicle.provision(ecu, image(ecu, version))
    await vehicle.start()
    links = SimLinks(vehicle, outgoing, incoming)
    try:
        async with Testers(description or describe_vehicle(), links) as testers:
            yield Bench(
                vehicle=vehicle,
                testers=testers,
                updaters=updaters(
                    testers, diagnostics_master=keys.diagnostics_master, start_date=START
                ),
            )
    finally:
        await vehicle.stop()


@dataclass(slots=True)
class Line:
    """What the gateway sends to a CAN wire, request by request, and what gets lost on it."""

    #: (identifier, first bytes of the request), in order.
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    #: Asked for every frame that goes out, with the start of the request it begins.
    lose_request: Callable[[int, bytes], bool] = lambda _identifier, _request: False
    #: Asked for every frame that comes in.
    lose_answer: Callable[[int, bytes], bool] = lambda _identifier, _frame: False

    def outgoing(self, header: FrameHeader, payloads: Sequence[bytes]) -> bool:
        begun = _begun(payloads[0])
        if begun is None or header.identifier < _DIAGNOSTICS:
            return False
        self.requests.append((header.identifier, begun))
        return self.lose_request(header.identifier, begun)

    def incoming(self, header: FrameHeader, payloads: Sequence[bytes]) -> bool:
        return self.lose_answer(header.identifier, payloads[0])

    def sequence(self, identifier: int) -> list[str]:
        """Requests to one identifier as hex of at most four bytes, runs of 36 as one."""
        found: list[str] = []
        for sent_to, begun in self.requests:
            if sent_to != identifier:
                continue
            text = "36" if begun[0] == 0x36 else _start(begun).hex(" ").upper()
            if text != "36" or found[-1:] != ["36"]:
                found.append(text)
        return found


#: Lower identifiers are network management, and no requests.
_DIAGNOSTICS = 0x700


def _begun(frame: bytes) -> bytes | None:
    """The start of the message that a single or a first frame begins (classic frames)."""
    match frame[0] >> 4:
        case 0x0:
            return frame[1 : 1 + frame[0]]
        case 0x1:
            return frame[2:]
    return None


def _start(request: bytes) -> bytes:
    return request[: {0x31: 4, 0x22: 3, 0x2E: 3, 0x34: 1, 0x27: 2, 0x28: 3}.get(request[0], 2)]
