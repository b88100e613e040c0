"""The vehicle of a bench test, its ECUs and wires, with calls that run the clock."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

import udsoncan.configs
from cantools.database.can import Message
from udsoncan.client import Client

from canota.bench import SimulatedLinks
from canota.testing.clock import VirtualClock
from dbc import EcuDescription, VehicleDescription, database_names, describe_vehicle, load
from ecu_sim.bus.can import CanWire
from ecu_sim.faults import Fault
from ecu_sim.faults.ecu import Begun
from ecu_sim.node import EcuNode, Mode
from ecu_sim.vehicle import Vehicle
from protocols.can import FrameHeader
from protocols.uds.security_access import compute_key, derive_key
from vehicle_gateway.wires import Channel, NoAnswerError
from vehicle_gateway.wires.tester import NegativeResponseError, UdsTester
from vehicle_gateway.wires.testers import Testers
from vehicle_gateway.wires.udsoncan_connection import UdsoncanConnection

_Found = TypeVar("_Found")
#: Longest wait for an answer, response pending included, in seconds on the clock.
_ANSWER_S = 60.0


def as_bytes(message: bytes | str) -> bytes:
    """Bytes, or their hexadecimal digits: `22 f1 89`; `ValueError` for what is neither."""
    if not isinstance(message, str):
        return bytes(message)
    try:
        return bytes.fromhex(message)
    except ValueError:
        raise ValueError(f"{message!r}: two hexadecimal digits for each byte expected") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A frame on a CAN wire."""

    identifier: int
    data: bytes
    extended: bool
    #: When its last bit was on the wire, in seconds on the clock.
    at_s: float


class BenchWire:
    """One wire of the vehicle; what is sent here comes from a node of its own, `test`."""

    def __init__(self, clock: VirtualClock, vehicle: Vehicle, name: str) -> None:
        self.name = name
        self._clock = clock
        self._vehicle = vehicle

    @property
    def simulation(self) -> CanWire:
        """The wire itself; `TypeError` for DoIP, which has no frames of CAN."""
        wire = self._vehicle.wires[self.name]
        if not isinstance(wire, CanWire):
            raise TypeError(f"{self.name} is no CAN wire")
        return wire

    def record(self, *identifiers: int, extended: bool = False) -> list[Heard]:
        """A list that grows from now on by every frame, or by those with these identifiers."""
        heard: list[Heard] = []

        def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
            heard.append(
                Heard(identifier=header.identifier, data=data, extended=header.extended, at_s=at_s)
            )

        headers = [FrameHeader(one, extended=extended) for one in identifiers]
        self.simulation.port("test listener").listen(hear, *headers)
        return heard

    def send(
        self, identifier: int, data: bytes | str, *, extended: bool = False, fd: bool = False
    ) -> float:
        """Send one frame and let time pass up to its last bit, whose time it gives."""
        header = FrameHeader(identifier, extended=extended, fd=fd, bit_rate_switch=fd)

        async def sent() -> float:
            done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            self.simulation.port("test").send(header, (as_bytes(data),), done.set_result)
            return await done

        return self._clock.run(sent())

    def signal(self, message: str, signal: str, *, within_s: float = 5.0) -> float:
        """The physical value in the next frame of this message of our databases.

        `KeyError` names a message that there is not; `TimeoutError` if none comes `within_s`.
        """
        found = _messages().get(message)
        if found is None:
            raise KeyError(message)
        heard = self.record(found.frame_id, extended=found.is_extended_frame)
        self._clock.until(lambda: heard, within_s=within_s)
        decoded = found.decode_simple(heard[-1].data, decode_choices=False)
        value = decoded[signal]
        if not isinstance(value, int | float):
            raise TypeError(f"{message}.{signal} is no number: {value!r}")
        return float(value)

    @property
    def load(self) -> float:
        """Share of the time since the vehicle started in which the wire was busy, 0.0 to 1.0."""
        return self._vehicle.bus_loads()[self.name]


class BenchEcu:
    """One ECU, and a tester on its wire."""

    def __init__(self, clock: VirtualClock, vehicle: "BenchVehicle", name: str) -> None:
        self.name = name
        #: For tests that are `async def`.
        self.tester: UdsTester = vehicle.testers.tester(name)
        #: Messages to and from the ECU, below the rules of UDS.
        self.channel: Channel = vehicle.testers.channel(name)
        self._clock = clock
        self._vehicle = vehicle

    def __repr__(self) -> str:
        return f"<BenchEcu {self.name}>"

    @property
    def node(self) -> EcuNode:
        """The simulated ECU itself."""
        return self._vehicle.simulation.nodes[self.name]

    @property
    def wire(self) -> BenchWire:
        return self._vehicle.wire(self.node.ecu.wire)

    def ask(self, request: bytes | str) -> bytes:
        """The final answer, positive or negative; response pending (78) is waited out.

        `NoAnswerError` if none comes within the ECU's P2 or P2*.
        """
        return self._clock.run(self._ask(as_bytes(request)), within_s=_ANSWER_S)

    async def _ask(self, request: bytes) -> bytes:
        async with self.tester.lock:
            sent_s = await self.channel.send(request)
            try:
                return await self.tester.collect(request, sent_s)
            except NegativeResponseError as error:
                return bytes((0x7F, error.service, error.code))

    def tell(self, request: bytes | str) -> None:
        """Send, and let time pass up to the last bit; nothing is waited for."""
        self._clock.run(self.tester.tell(as_bytes(request)))

    def is_silent(self, request: bytes | str) -> bool:
        """Whether no answer at all comes to the request."""
        with suppress(NoAnswerError):
            self.ask(request)
            return False
        return True

    def request(self, request: bytes | str) -> bytes:
        """The positive answer; `NegativeResponseError` says the code in words."""
        return self._clock.run(self.tester.request(as_bytes(request)), within_s=_ANSWER_S)

    def read(self, identifier: int) -> bytes:
        """The record of a data identifier (22)."""
        return self.request(b"\x22" + identifier.to_bytes(2))[3:]

    def enter(self, session: int) -> None:
        """Change the session (10), and wait for the reset that belongs to it."""
        self.request(bytes((0x10, session)))
        self._clock.run(self.node.booted(), within_s=_ANSWER_S)

    def unlock(self, level: int | None = None) -> None:
        """Security access (27) with the right key; the type's own level by default."""
        chosen = self.node.ecu.security_level if level is None else level
        seed = self.request(bytes((0x27, chosen)))[2:]
        if any(seed):
            self.request(bytes((0x27, chosen + 1)) + self.key(chosen, seed))

    def key(self, level: int, seed: bytes) -> bytes:
        """The right answer to a seed, for tests that send it wrong, late or twice."""
        return key_of(self.node, level, seed)

    def dtcs(self, mask: int = 0x08) -> dict[int, int]:
        """DTC -> status, by 19 02 with this mask; the confirmed ones by default."""
        records = self.request(bytes((0x19, 0x02, mask)))[3:]
        return {
            int.from_bytes(records[at : at + 3]): records[at + 3]
            for at in range(0, len(records), 4)
        }

    def udsoncan(self, config: Mapping[str, Any] | None = None) -> Client:
        """Open udsoncan's own client, with `config` over its settings for this ECU.

        It knows the seed's algorithm; codecs of data identifiers are for the test to give.
        """
        connection = UdsoncanConnection(self._clock.loop, self._vehicle.testers, self.name)
        settings = {
            "security_algo": self.key,
            # The transport's timers run on the clock; an overall limit would run on the wall's.
            "request_timeout": None,
            "standard_version": int(self.node.ecu.editions.uds),
        }
        chosen: Any = udsoncan.configs.default_client_config | settings | dict(config or {})
        client = Client(connection, config=chosen)
        client.open()
        return client

    @property
    def mode(self) -> Mode:
        return self.node.mode

    @property
    def version(self) -> str:
        """Software version of the running application (F189)."""
        return self.read(0xF189).decode("ascii").rstrip("\0 ")

    def power_on(self) -> None:
        """Switch on, and let time pass until application or boot loader runs."""
        self.node.power_on()
        self._clock.run(self.node.booted(), within_s=_ANSWER_S)

    def power_off(self) -> None:
        """Key off: the ECU keeps what it has to keep, and goes."""
        self._clock.run(_called(self.node.power_off))

    def cut_power(self) -> None:
        """The supply is gone at once: what is in flash and NVM remains, as it is."""
        self._clock.run(_called(self.node.kill))

    def reset(self) -> None:
        """Hard reset (11 01), and let time pass until the ECU runs again."""
        self.request("11 01")
        self._clock.until(lambda: self.mode is Mode.BOOTING)
        self._clock.run(self.node.booted(), within_s=_ANSWER_S)

    def flash(self, address: int | None = None, size: int | None = None) -> bytes:
        """What is in program memory at a chip address; all of it by default."""
        chip = self.node.hardware.memory.flash
        start = address or 0
        return chip.read(start, chip.geometry.size - start if size is None else size)


class BenchVehicle:
    """The simulated vehicle, and testers on its wires; made on the running clock."""

    def __init__(self, clock: VirtualClock, simulation: Vehicle, testers: Testers) -> None:
        self._clock = clock
        self.simulation = simulation
        self.testers = testers
        self._ecus = {name: BenchEcu(clock, self, name) for name in simulation.nodes}
        self._wires = {name: BenchWire(clock, simulation, name) for name in simulation.wires}

    @property
    def ecus(self) -> Mapping[str, BenchEcu]:
        return MappingProxyType(self._ecus)

    @property
    def wires(self) -> Mapping[str, BenchWire]:
        return MappingProxyType(self._wires)

    def ecu(self, name: str) -> BenchEcu:
        """`KeyError` names an ECU that is not in the vehicle, and those that are."""
        return _of(self._ecus, name, "ECU")

    def wire(self, name: str) -> BenchWire:
        """`KeyError` names a wire that is not in the vehicle, and those that are."""
        return _of(self._wires, name, "wire")

    def set(self, signal: str, value: float) -> None:
        """What the rest of the car says from its next cycle on (`vehicle.dbc`), physical.

        `KeyError` names a signal that there is not.
        """

        async def put() -> None:
            self.simulation.rest_bus.set(signal, value)

        self._clock.run(put())

    def ask_all(self, wire: str, request: bytes | str) -> dict[str, bytes]:
        """Answers to a functional request, by ECU; who stays silent is left out."""

        async def asked() -> dict[str, bytes]:
            answers = await self.testers.functional(wire).request(as_bytes(request))
            return {
                ecu: bytes((0x7F, answer.service, answer.code))
                if isinstance(answer, NegativeResponseError)
                else answer
                for ecu, answer in answers.items()
            }

        return self._clock.run(asked(), within_s=_ANSWER_S)

    @property
    def cabin_c(self) -> float:
        """Temperature of the cabin's air."""
        return self.simulation.cabin.cabin_temperature_c


class BenchFaults:
    """What goes wrong with the ECUs on purpose (`canota ecus faults` lists what there is)."""

    def __init__(self, clock: VirtualClock, vehicle: BenchVehicle) -> None:
        self._clock = clock
        self._vehicle = vehicle
        self._begun: list[Begun] = []

    def begin(self, ecu: BenchEcu | str, fault: Fault | str) -> Begun:
        """From now on, until `end`, the end of a `with` block or of the test.

        A fault is a value (`ecu_sim.faults`) or its text, `late=80ms@22`. `FaultError` says why
        this ECU cannot have it.
        """
        name = ecu if isinstance(ecu, str) else ecu.name

        async def begun() -> Begun:
            return self._vehicle.simulation.begin_fault(name, fault)

        self._begun.append(self._clock.run(begun()))
        return self._begun[-1]

    def end(self) -> None:
        """All of them."""

        async def ended() -> None:
            while self._begun:
                self._begun.pop().end()

        self._clock.run(ended())


def _of(there: Mapping[str, _Found], name: str, kind: str) -> _Found:
    if name not in there:
        raise KeyError(f"no {kind} {name!r} in this vehicle; there are: {', '.join(there)}")
    return there[name]


def bench_vehicle(clock: VirtualClock, simulation: Vehicle) -> BenchVehicle:
    """The facade of a vehicle that runs on this clock; its testers are closed with the clock."""
    testers = clock.enter(_testers(simulation))

    async def made() -> BenchVehicle:
        return BenchVehicle(clock, simulation, testers)

    return clock.run(made())


def _testers(vehicle: Vehicle) -> Testers:
    """Testers of every ECU that is in this vehicle, bench ECUs too."""
    known = describe_vehicle()
    ecus: dict[str, EcuDescription] = {}
    for name, node in vehicle.nodes.items():
        ecus[name] = known.ecus[name] if name in known.ecus else _described(known, node)
    return Testers(replace(known, ecus=ecus), SimulatedLinks(vehicle, node="tester"))


def _described(known: VehicleDescription, node: EcuNode) -> EcuDescription:
    """A bench ECU as a tester must know it."""
    ecu = node.ecu
    address = ecu.can_addresses[0]
    return replace(
        known.ecus["blower"],
        name=ecu.name,
        hardware_id=ecu.hardware_identifier,
        wire=ecu.wire,
        request_id=address.request_id,
        response_id=address.response_id,
        logical_address=ecu.logical_address,
        application_base=ecu.application_base,
        max_block_length=ecu.max_block_length,
        security_level=ecu.security_level,
        dtcs=ecu.dtcs,
    )


def key_of(node: EcuNode, level: int, seed: bytes) -> bytes:
    """The key that this ECU accepts for the seed of a level of 27."""
    identity = node.hardware.identity
    secret = derive_key(identity.diagnostics_master, identity.serial, level)
    return compute_key(secret, level=level, ecu_id=identity.serial, seed=seed)


@cache
def _messages() -> Mapping[str, Message]:
    """Every message of our databases, by name."""
    return {one.name: one for name in database_names() for one in load(name).messages}


async def _called(call: Any) -> None:  # noqa: ANN401 a method without arguments
    call()
