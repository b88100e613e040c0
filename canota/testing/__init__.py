"""Bench tests with pytest: a simulated vehicle, its gateway and cloud as fixtures.

Where canota is installed the fixtures are there, without an import:

| fixture | what it is |
|---|---|
| `virtual_clock` | the time of the bench; it passes only where a test says so, or waits |
| `vehicle` | ECUs on their wires, switched on, in a car whose rest bus sends |
| `ecu` | one of them: requests, udsoncan's client, power, memory |
| `wire` | the wire of `ecu`: frames recorded and sent, load, error counters |
| `faults` | what goes wrong with the ECUs on purpose |
| `cloud` | a real cloud on loopback, and an operator's calls |
| `gateway` | the vehicle's real gateway, known to `cloud` |

`@pytest.mark.canota(...)` says what the bench is to be: see `Setup`. A test may be a plain
function, whose calls run the clock until they have their answer, or `async def`, which runs on the
clock and awaits what lies beneath (`vehicle.simulation`, `ecu.tester`).
"""

from canota.testing.clock import VirtualClock
from canota.testing.cloud import BenchCloud, BenchGateway
from canota.testing.setup import Setup
from canota.testing.vehicle import BenchEcu, BenchFaults, BenchVehicle, BenchWire, Heard
from vehicle_gateway.wires import NoAnswerError
from vehicle_gateway.wires.tester import NegativeResponseError

__all__ = [
    "BenchCloud",
    "BenchEcu",
    "BenchFaults",
    "BenchGateway",
    "BenchVehicle",
    "BenchWire",
    "Heard",
    "NegativeResponseError",
    "NoAnswerError",
    "Setup",
    "VirtualClock",
]
