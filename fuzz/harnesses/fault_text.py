"""Any text read as a fault gives a fault that is written and read as itself, or a `FaultError`."""

from typing import Final

from ecu_sim.faults import FaultError
from ecu_sim.faults.table import KINDS, parse_ecu_fault, text_of
from fuzz import Harness

_ECUS: Final = ("ccu", "rear")


def prove(data: bytes) -> None:
    try:
        found = parse_ecu_fault(data.decode("utf-8", "replace"), _ECUS)
    except FaultError:
        return
    for ecu, fault in found:
        if parse_ecu_fault(f"{ecu}:{text_of(fault)}", _ECUS) != [(ecu, fault)]:
            raise AssertionError(f"{ecu}: {text_of(fault)}")


HARNESS: Final = Harness(
    prove=prove,
    seeds=tuple(f"ccu:{kind.example}".encode() for kind in KINDS.values()),
    max_length=300,
)
