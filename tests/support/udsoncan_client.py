"""udsoncan's own client on a simulated ECU, and a note of which of its methods a test calls."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import udsoncan.configs
from udsoncan.client import Client

from clock import VirtualLoop
from dbc import EcuDescription, describe_vehicle
from ecu_sim.ecus import ecu_type
from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle
from protocols.uds.security_access import compute_key, derive_key
from tests.support.flashing import SimLinks
from tests.support.udsoncan_codecs import Raw
from tests.support.vehicle import new_vehicle
from vehicle_gateway.wires.testers import Testers
from vehicle_gateway.wires.udsoncan_connection import UdsoncanConnection

if TYPE_CHECKING:
    from udsoncan.Response import Response

#: What the client's methods take and give has no common type.
Anything = Any


#: What is done to an ECU before the client comes.
Prepare = Callable[[Vehicle, EcuNode], Awaitable[None]]


@dataclass(slots=True)
class Noted:
    """Stands before the client: gives what it has, and notes the names of what was called."""

    client: Client
    called: set[str] = field(default_factory=set)

    def __getattr__(self, name: str) -> Anything:
        self.called.add(name)
        return getattr(self.client, name)


@dataclass(slots=True)
class OnEcu:
    node: EcuNode
    client: Noted
    loop: asyncio.AbstractEventLoop

    def key(self, level: int, seed: bytes) -> bytes:
        return key_of(self.node, level, seed)

    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def refused(self, call: Callable[[], object], code: int) -> None:
        """The call must be answered with this negative response code."""
        try:
            call()
        except udsoncan.exceptions.NegativeResponseException as error:
            response: Response = error.response
            assert response.code == code, response
            return
        raise AssertionError(f"not refused with {code:02X}")


def public_methods() -> set[str]:
    """Of `Client` itself, nested classes aside."""
    return {
        name
        for name, _ in inspect.getmembers(Client, inspect.isroutine)
        if not name.startswith("_")
    }


def _description(name: str, node: EcuNode) -> EcuDescription:
    """An ECU type that is in no vehicle, as a tester must know it."""
    address, like = node.ecu.can_addresses[0], describe_vehicle().ecus["blower"]
    return replace(like, name=name, request_id=address.request_id, response_id=address.response_id)


#: Outputs of the climate control unit.
_OUTPUTS: Final = {
    0x0181: {
        "codec": "BBB",
        "mask": {"blower": 0x80, "blend": 0x40, "recirculation": 0x20},
        "mask_size": 1,
    }
}


@contextmanager
def udsoncan_on(
    state: Path, ecu: str, image: bytes, *, prepare: Prepare | None = None
) -> Iterator[OnEcu]:
    """The client, opened, on one running ECU; time stands still between its calls."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def start() -> tuple[Vehicle, Testers]:
            vehicle = new_vehicle(state, ecu)
            vehicle.provision(ecu, image)
            await vehicle.start()
            if prepare is not None:
                await prepare(vehicle, vehicle.nodes[ecu])
            description = describe_vehicle()
            if ecu not in description.ecus:
                ecus = {**description.ecus, ecu: _description(ecu, vehicle.nodes[ecu])}
                description = replace(description, ecus=ecus)
            return vehicle, Testers(description, SimLinks(vehicle))

        async def stop(vehicle: Vehicle, testers: Testers) -> None:
            await testers.close()
            await vehicle.stop()

        vehicle, testers = runner.run(start())
        try:
            node = vehicle.nodes[ecu]
            runner.run(node.booted())
            connection = UdsoncanConnection(runner.get_loop(), testers, ecu)
            client = Client(connection, config=_config(node, ecu))
            client.open()
            try:
                yield OnEcu(node, Noted(client), runner.get_loop())
            finally:
                client.close()
        finally:
            runner.run(stop(vehicle, testers))


def key_of(node: EcuNode, level: int, seed: bytes) -> bytes:
    identity = node.hardware.identity
    key = derive_key(identity.diagnostics_master, identity.serial, level)
    return compute_key(key, level=level, ecu_id=identity.serial, seed=seed)


def _config(node: EcuNode, ecu: str) -> Anything:
    def security_algo(level: int, seed: bytes) -> bytes:
        return key_of(node, level, seed)

    return udsoncan.configs.default_client_config | {
        "data_identifiers": {"default": Raw}
        | {did: f"{live.length}s" for did, live in ecu_type(ecu).live_values.items()}
        # 2 bytes, signed, tenths.
        | dict.fromkeys(ecu_type(ecu).calibrations, ">h"),
        "input_output": _OUTPUTS,
        "security_algo": security_algo,
        "server_address_format": 32,
        "server_memorysize_format": 32,
        "extended_data_size": 1,
        "p2_timeout": 0.2,
        # An overall limit by the wall clock: not for a clock that stands still.
        "request_timeout": None,
        "standard_version": int(node.ecu.editions.uds),
    }
