"""The vehicle: wires, ECUs, cabin and rest bus, joined on one event loop.

Flash lives in files of the state directory, mapped into memory: a process that is killed leaves
what its ECUs had written.
"""

import asyncio
import hashlib
import mmap
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from ecu_sim.boot import BootMemory, Trust
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.can_core import BusLoad
from ecu_sim.bus.errors import WireError
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.bus.faults import ErrorState, WireFaults
from ecu_sim.bus.interface import InterfacedWire
from ecu_sim.device import Identity
from ecu_sim.ecus import WIRES, EcuType, WireType, ecu_names, ecu_type
from ecu_sim.faults import Fault
from ecu_sim.faults.ecu import Begun
from ecu_sim.guest import Guest, GuestNode, Site
from ecu_sim.memory import Flash, FlashGeometry, TwoCopyRecord
from ecu_sim.memory.flash import ERASED
from ecu_sim.node import EcuNode
from ecu_sim.periodic import Periodic
from ecu_sim.plant import Cabin, Surroundings
from ecu_sim.program import Hardware
from ecu_sim.rest_bus import RestBus
from ecu_sim.traffic import CyclicFrame, TrafficError, plan
from protocols.can import CanPort, FrameHeader
from protocols.firmware.containers import cmac, mcuboot
from protocols.stream import ByteStream
from protocols.uds.slot_digest import derive_signing_key

#: The cabin model's step, seconds.
PLANT_STEP_S = 0.1
#: Data flash of every ECU: two sectors of boot record, then the two copies of the NVM.
DATA_FLASH = FlashGeometry(
    size=0x9000, sector_size=0x800, page_size=0x10, erase_s=0.004, program_s=0.00005
)
NVM_ADDRESS = 0x1000
NVM_COPY_SIZE = 0x4000


class VehicleError(Exception):
    """A vehicle that cannot be built or asked for; the message names ECU, wire or file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleOptions:
    #: 17 characters, as F190 reads.
    vin: str
    #: One file per ECU and memory; made if they are not there.
    state_directory: Path
    ecus: tuple[str, ...] = field(default_factory=ecu_names)
    #: ECU types in place of those of the same name: with another memory, say.
    types: Mapping[str, EcuType] = field(default_factory=dict)
    #: Repeats all random draws; None draws from the machine.
    seed: int | None = None
    #: DER SubjectPublicKeyInfo of each image signing key (ed25519) that secure boot trusts.
    image_public_keys: tuple[bytes, ...]
    #: Master secret from which each ECU's diagnostic and signing keys are derived.
    diagnostics_master: bytes = field(repr=False)
    #: Master secret of the boot MAC keys; without one, no image of such an ECU is good.
    boot_mac_master: bytes = field(default=b"", repr=False)
    #: Share of the time for which the rest of the car keeps each CAN wire busy, besides the
    #: messages of `vehicle.dbc`: 0.0 to 0.8.
    traffic: float = 0.0
    #: CAN wire -> URI of the interface that it is, in place of a simulated wire; real time only.
    interfaces: Mapping[str, str] = field(default_factory=dict)
    #: ECUs that are no types of ours, each on a CAN wire.
    guests: tuple[Guest, ...] = ()
    #: The day around the cabin.
    surroundings: Surroundings = field(default_factory=Surroundings)


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuIdentity:
    """What the back end must know of one ECU to trust its answers."""

    ecu: str
    hardware_id: str
    serial: str
    #: Raw ed25519 key of the slot digest, 32 bytes.
    public_key: bytes
    wire: str
    single_slot: bool
    #: Logical application area, address and bytes.
    base: int
    size: int


class Vehicle:
    """Make it inside a running loop; `start` powers everything on, `stop` off and closes files."""

    def __init__(self, options: VehicleOptions) -> None:
        self.options = options
        self.cabin = Cabin(options.surroundings)
        self._loop = asyncio.get_running_loop()
        self._files: list[mmap.mmap] = []
        types = [options.types.get(name) or _find(name) for name in options.ecus]
        _check_guests(options)
        fitted = {ecu.wire for ecu in types} | {guest.wire for guest in options.guests}
        if unknown := options.interfaces.keys() - {
            name for name in fitted if WIRES[name].kind != "doip"
        }:
            raise VehicleError(f"no CAN wire {', '.join(sorted(unknown))} in this vehicle")
        self._wires: dict[str, CanWire | InterfacedWire | EthernetWire] = {
            name: _make_wire(name, wire, self._loop, options.interfaces.get(name))
            for name, wire in WIRES.items()
            if name in fitted
        }
        self._types = {ecu.name: ecu for ecu in types}
        self._identities = {ecu.name: _identity(ecu, options) for ecu in types}
        options.state_directory.mkdir(parents=True, exist_ok=True)
        try:
            self._nodes = {ecu.name: self._build(ecu) for ecu in types}
            self._guests = {guest.name: self._build_guest(guest) for guest in options.guests}
        except BaseException:
            self._close_files()
            raise
        self.rest_bus = RestBus(
            self._loop,
            {
                name: wire.port("VEH")
                for name, wire in self._wires.items()
                if not isinstance(wire, EthernetWire)
            },
            traffic={
                name: _traffic(options.traffic, wire)
                for name, wire in self._wires.items()
                if not isinstance(wire, EthernetWire)
            },
        )
        self._plant = Periodic(self._loop, PLANT_STEP_S, self._step_plant)
        self._loads_at_start: dict[str, BusLoad] = {}

    @property
    def nodes(self) -> Mapping[str, EcuNode]:
        return MappingProxyType(self._nodes)

    @property
    def guests(self) -> Mapping[str, GuestNode]:
        """ECUs that are no types of ours."""
        return MappingProxyType(self._guests)

    @property
    def everyone(self) -> Mapping[str, EcuNode | GuestNode]:
        """Nodes and guests."""
        return MappingProxyType({**self._nodes, **self._guests})

    @property
    def wires(self) -> Mapping[str, CanWire | InterfacedWire | EthernetWire]:
        return MappingProxyType(self._wires)

    async def start(self) -> None:
        """Power on all ECUs; returns when each runs its application or its boot loader.

        `VehicleError` for an interface that cannot be opened.
        """
        try:
            for wire in self._wires.values():
                if isinstance(wire, InterfacedWire):
                    await wire.open()
        except WireError as error:
            raise VehicleError(str(error)) from error
        self._loads_at_start = self._loads()
        self._plant.start()
        self.rest_bus.start()
        for node in self.everyone.values():
            node.power_on()
        for node in self.everyone.values():
            if not node.faults.boots.hangs():
                await node.booted()

    def bus_loads(self) -> dict[str, float]:
        """Simulated CAN wire -> share of the time since `start` that it was busy, 0.0 to 1.0."""
        return {
            name: load.since(self._loads_at_start.get(name, load))
            for name, load in self._loads().items()
        }

    def _loads(self) -> dict[str, BusLoad]:
        return {
            name: wire.load() for name, wire in self._wires.items() if isinstance(wire, CanWire)
        }

    async def kill(self) -> None:
        """The battery is gone at once: nothing is written first. Then as after `stop`."""
        for node in self._nodes.values():
            node.kill()
        await self.stop()

    async def stop(self) -> None:
        """Power off, and close the files; a stopped vehicle is made anew, not started again."""
        for node in self._nodes.values():
            node.power_off()
            await node.closed()
        for guest in self._guests.values():
            guest.power_off()
        self.rest_bus.stop()
        self._plant.stop()
        for wire in self._wires.values():
            if isinstance(wire, CanWire):
                wire.close()
            elif isinstance(wire, InterfacedWire):
                await wire.close()
        self._close_files()

    def provision(self, ecu: str, image: bytes) -> None:
        """What the ECU's factory does: `image` into its first slot, as if it had never run.

        Only before `start`; `VehicleError` for an unknown ECU or an image that does not fit.
        """
        try:
            self._node(ecu).provision(image)
        except ValueError as error:
            raise VehicleError(str(error)) from error

    def is_provisioned(self, ecu: str) -> bool:
        """Whether the ECU's memory has ever held an image."""
        return self._node(ecu).hardware.memory.record.read() is not None

    def identities(self) -> list[EcuIdentity]:
        return [
            EcuIdentity(
                ecu=ecu.name,
                hardware_id=ecu.hardware_identifier,
                serial=identity.serial,
                public_key=identity.signing_key.public_key().public_bytes(
                    Encoding.Raw, PublicFormat.Raw
                ),
                wire=ecu.wire,
                single_slot=ecu.single_slot,
                base=ecu.application_base,
                size=ecu.slot.size,
            )
            for ecu, identity in (
                (self._types[name], identity) for name, identity in self._identities.items()
            )
        ]

    def can_port(self, wire: str, node: str) -> CanPort:
        """Access to a CAN wire for a node of that name (the gateway, a tester)."""
        found = self._wires.get(wire)
        if found is None or isinstance(found, EthernetWire):
            raise VehicleError(f"no CAN wire {wire!r} in this vehicle")
        return found.port(node)

    async def connect(self, wire: str) -> ByteStream:
        """A connection to the ECU on a DoIP wire; `ConnectionRefusedError` while it is silent."""
        found = self._ethernet(wire)
        node = next(node for node in self._nodes.values() if node.ecu.wire == wire)
        ours, theirs = found.connect()
        try:
            node.attach_stream(theirs)
        except ConnectionRefusedError:
            await theirs.close()
            await ours.close()
            raise
        return ours

    def begin_fault(self, ecu: str, fault: Fault | str) -> Begun:
        """Let something go wrong with an ECU from now on, until what is returned is ended.

        `VehicleError` for an unknown ECU, `FaultError` for a fault that this one cannot have.
        """
        found = self._guests.get(ecu)
        return (self._node(ecu) if found is None else found).faults.begin(fault)

    async def ask_all(self, wire: str, question: bytes) -> list[bytes]:
        """Broadcast a datagram on a DoIP wire, as discovery does; what its ECU answers."""
        return await self._ethernet(wire).ask(question)

    def _ethernet(self, name: str) -> EthernetWire:
        found = self._wires.get(name)
        if not isinstance(found, EthernetWire):
            raise VehicleError(f"no DoIP wire {name!r} in this vehicle")
        return found

    def _node(self, ecu: str) -> EcuNode:
        if ecu not in self._nodes:
            raise VehicleError(f"no ECU {ecu!r} in this vehicle: {', '.join(self._nodes)}")
        return self._nodes[ecu]

    def _build(self, ecu: EcuType) -> EcuNode:
        directory = self.options.state_directory
        chip = replace(ecu.slot, size=ecu.scratch_at + ecu.scratch_size)
        flash = self._chip(directory / f"{ecu.name}.flash", chip)
        data = self._chip(directory / f"{ecu.name}.nvm", DATA_FLASH)
        wire, kind = self._wires[ecu.wire], WIRES[ecu.wire].kind
        fd = kind == "canfd"
        node = EcuNode(
            Hardware(
                ecu=ecu,
                memory=BootMemory(
                    flash=flash,
                    slot_size=ecu.slot.size,
                    base=ecu.application_base,
                    record=TwoCopyRecord(data, address=0, copy_size=DATA_FLASH.sector_size),
                    scratch=ecu.scratch_at,
                    scratch_size=ecu.scratch_size,
                    hash_bytes_per_s=ecu.hash_bytes_per_s,
                ),
                data_flash=data,
                identity=self._identities[ecu.name],
                trust=Trust(
                    hardware_identifier=ecu.hardware_identifier,
                    public_keys=_pinned(self.options.image_public_keys),
                    boot_mac_key=_boot_mac_key(ecu, self.options.boot_mac_master),
                ),
                port=None if isinstance(wire, EthernetWire) else wire.port(ecu.name),
                corrupt=_corrupting(wire, ecu.name) if isinstance(wire, CanWire) else None,
                controller=_Controller(wire, ecu.name) if isinstance(wire, CanWire) else None,
                set_bit_rate=_link(wire, WIRES[ecu.wire]) if isinstance(wire, CanWire) else None,
                functional=None
                if isinstance(wire, EthernetWire)
                else FrameHeader(WIRES[ecu.wire].functional_id, fd=fd, bit_rate_switch=fd),
                functional_address=WIRES[ecu.wire].functional_id,
                cabin=self.cabin,
                random_bytes=_draws(self.options.seed, ecu.name),
            ),
            nvm_address=NVM_ADDRESS,
            nvm_size=NVM_COPY_SIZE,
        )
        if isinstance(wire, EthernetWire):
            node.announce, wire.answer = wire.announce, node.answer_datagram
        return node

    def _build_guest(self, guest: Guest) -> GuestNode:
        wire = self._wires[guest.wire]
        if isinstance(wire, EthernetWire):
            raise VehicleError(f"{guest.name}: {guest.wire} is no CAN wire")
        directory = self.options.state_directory
        return guest.build(
            Site(
                port=wire.port(guest.name),
                fd=WIRES[guest.wire].kind == "canfd",
                cells=lambda name, size: self._map(directory / f"{guest.name}.{name}", size),
                random_bytes=_draws(self.options.seed, guest.name),
                corrupt=_corrupting(wire, guest.name) if isinstance(wire, CanWire) else None,
            )
        )

    def _chip(self, path: Path, geometry: FlashGeometry) -> Flash:
        """A chip over its file; how worn it is stands in a file beside it."""
        wear = path.with_suffix(f"{path.suffix}.wear")
        return Flash(
            self._map(path, geometry.size), geometry, wear=self._map(wear, geometry.wear_size, 0)
        )

    def _map(self, path: Path, size: int, fill: int = ERASED) -> mmap.mmap:
        """The file as memory cells, made erased if it is not there."""
        try:
            if not path.exists() or path.stat().st_size == 0:
                unfinished = path.with_suffix(path.suffix + ".new")
                unfinished.write_bytes(bytes((fill,)) * size)
                unfinished.replace(path)
            if path.stat().st_size != size:
                raise VehicleError(f"{path}: {path.stat().st_size} bytes, the chip has {size}")
            with path.open("r+b") as file:
                cells = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise VehicleError(f"{path}: {error.strerror}") from error
        self._files.append(cells)
        return cells

    def _close_files(self) -> None:
        for cells in self._files:
            cells.close()
        self._files = []

    def _step_plant(self) -> None:
        self.cabin.step(PLANT_STEP_S)


def _check_guests(options: VehicleOptions) -> None:
    names = [*options.ecus, *(guest.name for guest in options.guests)]
    for guest in options.guests:
        if names.count(guest.name) > 1:
            raise VehicleError(f"two ECUs are called {guest.name!r}")
        if guest.wire not in WIRES or WIRES[guest.wire].kind == "doip":
            known = ", ".join(name for name, its in WIRES.items() if its.kind != "doip")
            raise VehicleError(f"{guest.name}: no CAN wire {guest.wire!r}; there are: {known}")


def _find(name: str) -> EcuType:
    try:
        return ecu_type(name)
    except LookupError as error:
        raise VehicleError(str(error)) from error


def _make_wire(
    name: str, wire: WireType, loop: asyncio.AbstractEventLoop, interface: str | None
) -> CanWire | InterfacedWire | EthernetWire:
    if wire.kind == "doip":
        return EthernetWire(bit_rate=wire.bit_rate, loop=loop)
    rates = {"bit_rate": wire.bit_rate, "data_bit_rate": wire.data_bit_rate}
    if interface is None:
        return CanWire(name, **rates, loop=loop)
    try:
        return InterfacedWire(name, interface, **rates)
    except WireError as error:
        raise VehicleError(str(error)) from error


def _traffic(load: float, wire: CanWire | InterfacedWire) -> tuple[CyclicFrame, ...]:
    try:
        return plan(load, bit_rate=wire.bit_rate, data_bit_rate=wire.data_bit_rate)
    except TrafficError as error:
        raise VehicleError(f"{wire.name}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Controller:
    """The CAN controller of a node (`ecu_sim.values.CanController`)."""

    wire: CanWire
    node: str

    @property
    def bus_off(self) -> bool:
        return self.wire.error_counters(self.node).state is ErrorState.BUS_OFF

    @property
    def bus_offs(self) -> int:
        return self.wire.bus_offs(self.node)


def _link(wire: CanWire, kind: WireType) -> Callable[[int | None], None]:
    return lambda bit_rate: wire.set_bit_rate(bit_rate or kind.bit_rate)


def _corrupting(wire: CanWire, ecu: str) -> Callable[[float, random.Random | None], None]:
    def corrupt(share: float, rng: random.Random | None) -> None:
        plan = WireFaults(corruption=share, rng=rng, senders=frozenset({ecu})) if share else None
        wire.begin_faults(plan, owner=f"fault of {ecu}")

    return corrupt


def _identity(ecu: EcuType, options: VehicleOptions) -> Identity:
    """Serial numbers follow from the VIN, so that a vehicle keeps its ECUs over restarts."""
    digest = hashlib.sha256(f"{options.vin}/{ecu.name}".encode()).hexdigest()[:8].upper()
    serial = f"{ecu.hardware_identifier}-{digest}"
    return Identity(
        vin=options.vin,
        serial=serial,
        diagnostics_master=options.diagnostics_master,
        signing_key=derive_signing_key(options.diagnostics_master, serial),
    )


def _pinned(public_keys: tuple[bytes, ...]) -> dict[bytes, Ed25519PublicKey]:
    pinned: dict[bytes, Ed25519PublicKey] = {}
    for number, der in enumerate(public_keys, start=1):
        key = load_der_public_key(der)
        if not isinstance(key, Ed25519PublicKey):
            raise VehicleError(f"image public key {number} is not an ed25519 key")
        pinned[mcuboot.key_hash(key)] = key
    return pinned


def _boot_mac_key(ecu: EcuType, master: bytes) -> bytes:
    return cmac.derive_key(master, ecu.hardware_identifier) if master else b""


def _draws(seed: int | None, name: str) -> Callable[[int], bytes]:
    """Random bytes of one ECU: repeated by its seed, or the machine's own."""
    if seed is None:
        return random.SystemRandom().randbytes
    return random.Random(f"{seed}/{name}").randbytes  # noqa: S311 a seeded run must repeat
