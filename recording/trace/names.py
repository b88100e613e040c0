"""Names for the numbers on the wires of one vehicle, and how they are written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeVar

from dbc import EcuDescription, VehicleDescription
from protocols.uds.dtc import display
from protocols.uds.enums import DataIdentifier, Nrc, RoutineId, ServiceId

#: Logical addresses of external test equipment (ISO 13400-2, table 13).
_TESTERS: Final = range(0x0E00, 0x1000)
#: Data bytes of a record that are written out; of more there is only the number.
_SHOWN: Final = 24
#: Parts of names that the standard writes in capitals.
_CAPITALS: Final = re.compile(r"Dtcs?|Ecu|Wwh|Obd|Vin|Rx|Tx")

TESTER: Final = "tester"
EVERYBODY: Final = "all"

E = TypeVar("E", bound=IntEnum)


def camel(name: str) -> str:
    """`READ_DTC_INFORMATION` as the standard writes it: ReadDTCInformation."""
    words = name.title().replace("_", "")
    return _CAPITALS.sub(lambda found: found[0][:3].upper() + found[0][3:], words)


def words(name: str) -> str:
    """`ENABLE_RX_DISABLE_TX` as people say it."""
    return name.lower().replace("_", " ")


def word(kind: type[E], value: int) -> str:
    """A member in words with its number, or the number alone."""
    try:
        return f"{words(kind(value).name)} ({value:02X})"
    except ValueError:
        return f"{value:02X}"


def service(service_id: int) -> str:
    try:
        return camel(ServiceId(service_id).name)
    except ValueError:
        return f"service {service_id:02X}"


def refusal(code: int) -> str:
    """A negative response code as the standard writes it."""
    try:
        name = camel(Nrc(code).name)
    except ValueError:
        return f"code {code:02X}"
    return f"{name[0].lower()}{name[1:]} ({code:02X})"


def record(data: bytes) -> str:
    """A data record: text where it is text, else its bytes or their number."""
    if not data:
        return "nothing"
    if len(data) > 1 and all(0x20 <= byte < 0x7F for byte in data.rstrip(b"\0")) and data[0]:
        return repr(data.rstrip(b"\0").decode("ascii"))
    if len(data) > _SHOWN:
        return f"{len(data)} bytes"
    return data.hex(" ").upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuNames:
    """What one ECU's numbers mean; an ECU that is not described has the standard's names alone."""

    name: str = ""
    ecu: EcuDescription | None = None
    routines: Mapping[int, str] = field(default_factory=dict)

    def did(self, number: int) -> str:
        known = "" if self.ecu is None else self.ecu.data_identifiers.get(number, "")
        if not known:
            try:
                known = words(DataIdentifier(number).name)
            except ValueError:
                return f"DID {number:04X}"
        return f"{known} ({number:04X})"

    def value(self, number: int, data: bytes) -> str:
        scaling = None if self.ecu is None else self.ecu.scalings.get(number)
        return record(data) if scaling is None or not data else scaling.physical(data[:8])

    def routine(self, number: int) -> str:
        known = self.routines.get(number)
        if known is None:
            try:
                known = words(RoutineId(number).name)
            except ValueError:
                return f"routine {number:04X}"
        return f"{known} ({number:04X})"

    def dtc(self, code: int) -> str:
        text = "" if self.ecu is None else self.ecu.dtcs.get(code, "")
        return f"{display(code)} {text}".rstrip()


class VehicleNames:
    """Who has which address in a vehicle."""

    def __init__(self, vehicle: VehicleDescription) -> None:
        self.vehicle = vehicle
        routines = {
            getattr(vehicle.routines, name): words(name) for name in vehicle.routines.__slots__
        }
        self.ecus = {
            name: EcuNames(name=name, ecu=ecu, routines=routines)
            for name, ecu in vehicle.ecus.items()
        }
        self._by_address = {
            ecu.logical_address: self.ecus[name] for name, ecu in vehicle.ecus.items()
        }
        self._functional = {
            wire.functional_id for wire in vehicle.wires.values() if wire.kind == "doip"
        }

    def ecu(self, logical_address: int) -> EcuNames:
        """The names of the ECU that is the other end of a diagnostic message."""
        return self._by_address.get(logical_address) or EcuNames(name=self.node(logical_address))

    def node(self, logical_address: int) -> str:
        """The name of whoever has a logical address."""
        found = self._by_address.get(logical_address)
        if found is not None:
            return found.name
        if logical_address == self.vehicle.tester_address:
            return TESTER
        if logical_address in self._functional:
            return EVERYBODY
        kind = f"{TESTER} " if logical_address in _TESTERS else ""
        return f"{kind}{logical_address:04X}"

    def is_tester(self, logical_address: int) -> bool:
        return logical_address in _TESTERS or logical_address == self.vehicle.tester_address
