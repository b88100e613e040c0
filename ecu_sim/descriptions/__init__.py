"""Descriptions of the ECUs for other tools, made from the tables that their servers run on.

`pdx` is the ODX 2.2 package (PDX) of one ECU type, `summary` the same as plain data for JSON. The
operations themselves, one per service, sub-function and identifier, are in `operations`.
"""

from ecu_sim.descriptions.flash import APPLICATION, FlashImageError
from ecu_sim.descriptions.package import pdx
from ecu_sim.descriptions.summary import summary

__all__ = ["APPLICATION", "FlashImageError", "pdx", "summary"]
