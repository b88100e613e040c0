"""udsoncan's own client on a simulated ECU, and a note of which of its methods a test calls."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import udsoncan
from udsoncan.client import Client

from canota.bench import running_vehicle
from canota.testing import BenchEcu, Setup, VirtualClock
from canota.testing.vehicle import bench_vehicle
from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle
from tests.support.ecu import IMAGE_PUBLIC_KEY
from tests.support.udsoncan_codecs import Raw

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
    ecu: BenchEcu
    client: Noted
    clock: VirtualClock

    @property
    def node(self) -> EcuNode:
        return self.ecu.node

    def key(self, level: int, seed: bytes) -> bytes:
        return self.ecu.key(level, seed)

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

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
    setup = Setup(ecus=(ecu,), images={ecu: image}, image_public_keys=(IMAGE_PUBLIC_KEY,))
    with VirtualClock() as clock:
        simulation = clock.enter(running_vehicle(setup.options(state)))
        if prepare is not None:
            clock.run(prepare(simulation, simulation.nodes[ecu]))
        on = bench_vehicle(clock, simulation).ecu(ecu)
        clock.run(on.node.booted())
        with on.udsoncan(_config(on.node)) as client:
            yield OnEcu(on, Noted(client), clock)


def _config(node: EcuNode) -> dict[str, Anything]:
    ecu = node.ecu
    return {
        "data_identifiers": {"default": Raw}
        | {did: f"{live.length}s" for did, live in ecu.live_values.items()}
        # 2 bytes, signed, tenths.
        | dict.fromkeys(ecu.calibrations, ">h"),
        "input_output": _OUTPUTS,
        "server_address_format": 32,
        "server_memorysize_format": 32,
        "extended_data_size": 1,
        "p2_timeout": 0.2,
    }
