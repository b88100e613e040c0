"""Which piece of hardware answers for each ECU: a workshop may replace one at any time."""

import logging
from dataclasses import dataclass
from typing import Self

from vehicle_gateway.update import Inventory
from vehicle_gateway.update.journal import Entry, Kind
from vehicle_gateway.update.ledger import Ledger

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of hardware; empty fields are not known."""

    serial_number: str
    hardware_id: str

    @classmethod
    def of(cls, inventory: Inventory) -> Self:
        return cls(serial_number=inventory.serial_number, hardware_id=inventory.hardware_id)

    @classmethod
    def told(cls, entry: Entry) -> Self:
        """The part that a `REPLACED` entry tells of."""
        names = ("serial_number", "hardware_id")
        serial_number, hardware_id = (str(entry.fields.get(name, "")) for name in names)
        return cls(serial_number=serial_number, hardware_id=hardware_id)


class Parts:
    """The part that answers for each ECU, from the opening and from what has been replaced."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._parts = {one.ecu: Part.of(one) for one in ledger.opening.before}
        for entry in ledger.entries:
            if entry.kind is Kind.REPLACED:
                self._parts[entry.ecu] = Part.told(entry)

    def hardware_id(self, ecu: str) -> str:
        return self._parts[ecu].hardware_id

    def is_replaced(self, inventory: Inventory) -> bool:
        """Whether another part than the known one says this."""
        known, said = self._parts[inventory.ecu], inventory.serial_number
        return bool(known.serial_number and said and known.serial_number != said)

    def replace(self, inventory: Inventory) -> None:
        """Have the journal tell it; from now on the new part is the known one."""
        old, new = self._parts[inventory.ecu], Part.of(inventory)
        cause = f"serial number {new.serial_number} in the place of {old.serial_number}"
        _LOG.warning("ecu_replaced ecu=%s cause=%s", inventory.ecu, cause)
        self._ledger.note(
            Kind.REPLACED,
            inventory.ecu,
            step="replaced",
            cause=cause,
            serial_number=new.serial_number,
            hardware_id=new.hardware_id,
        )
        self._parts[inventory.ecu] = new
