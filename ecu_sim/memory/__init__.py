"""Memory that erases in sectors, programs in pages, wears, takes time and can lose power.

The cells are handed in (a `bytearray` in a sweep, a mapped file in a running ECU), so nothing here
opens a file.
"""

from ecu_sim.memory.cells import Cells
from ecu_sim.memory.errors import MemoryFaultError
from ecu_sim.memory.flash import Flash, FlashGeometry
from ecu_sim.memory.nvm import Nvm
from ecu_sim.memory.power import Cut, PowerBudget, PowerLossError, PowerSupply, Tear, Torn
from ecu_sim.memory.record import TwoCopyRecord

__all__ = [
    "Cells",
    "Cut",
    "Flash",
    "FlashGeometry",
    "MemoryFaultError",
    "Nvm",
    "PowerBudget",
    "PowerLossError",
    "PowerSupply",
    "Tear",
    "Torn",
    "TwoCopyRecord",
]
