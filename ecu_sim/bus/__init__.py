"""Simulated wires with bit timing, and the bridge that lends their ports to other processes.

CAN and CAN FD with arbitration (`can`), 100BASE-T1 under TCP (`ethernet`).
"""

from ecu_sim.bus.bridge import BridgeServer, serve_bridge
from ecu_sim.bus.can import CanWire
from ecu_sim.bus.can_core import BusLoad
from ecu_sim.bus.errors import WireError
from ecu_sim.bus.ethernet import EthernetWire
from ecu_sim.bus.faults import ErrorCounters, ErrorFrame, ErrorState, WireFaults
from ecu_sim.bus.interface import InterfacedWire

__all__ = [
    "BridgeServer",
    "BusLoad",
    "CanWire",
    "ErrorCounters",
    "ErrorFrame",
    "ErrorState",
    "EthernetWire",
    "InterfacedWire",
    "WireError",
    "WireFaults",
    "serve_bridge",
]
