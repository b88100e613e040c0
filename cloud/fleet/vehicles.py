"""A vehicle and its ECUs, as registered and as last reported."""

from dataclasses import dataclass
from datetime import datetime

from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import check_ecu, check_hardware_id, check_printable, check_vin

PUBLIC_KEY_LENGTH = 32
#: Addresses are 32 bits wide: four bytes in addressAndLengthFormatIdentifier.
ADDRESS_LIMIT = 1 << 32
ECU_LIMIT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Ecu:
    """One ECU: who it is (registered), and what it runs (reported, None or empty before)."""

    name: str
    hardware_id: str
    serial_number: str
    #: Ed25519, raw.
    public_key: bytes
    wire: str
    single_slot: bool
    #: First address and bytes of the application area as a tester addresses it.
    application_base: int
    slot_size: int
    software_number: str = ""
    software_version: str = ""
    supplier_version: str = ""
    #: SHA-256 of the running image, proved by the boot loader's signature; None without a proof.
    image_sha256: bytes | None = None
    #: Why the last inventory of this ECU cannot be used; empty if it can.
    inventory_error: str = ""
    inventory_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    vin: str
    model: str
    ecus: tuple[Ecu, ...]
    create_time: datetime
    last_seen_time: datetime | None = None
    #: The running campaign that it has not finished, or None.
    campaign_id: str | None = None

    def ecu(self, name: str) -> Ecu | None:
        return next((ecu for ecu in self.ecus if ecu.name == name), None)


def check_vehicle(vehicle: Vehicle) -> Vehicle:
    """Return a vehicle that may be registered; `InvalidFieldError` names the field."""
    check_vin(vehicle.vin, field="vehicle.vin")
    check_printable(vehicle.model, field="vehicle.model")
    if not vehicle.ecus:
        raise InvalidFieldError("vehicle.ecus", "a vehicle has at least one ECU")
    if len(vehicle.ecus) > ECU_LIMIT:
        raise InvalidFieldError("vehicle.ecus", f"{len(vehicle.ecus)} ECUs; at most {ECU_LIMIT}")
    seen: dict[str, int] = {}
    for index, ecu in enumerate(vehicle.ecus):
        field = f"vehicle.ecus[{index}]"
        _check_ecu(ecu, field)
        if (first := seen.setdefault(ecu.name, index)) != index:
            raise InvalidFieldError(
                f"{field}.ecu", f"{ecu.name!r} is also the name of vehicle.ecus[{first}]"
            )
    return vehicle


def _check_ecu(ecu: Ecu, field: str) -> None:
    check_ecu(ecu.name, field=f"{field}.ecu")
    check_hardware_id(ecu.hardware_id, field=f"{field}.hardware_id")
    if not ecu.serial_number:
        raise InvalidFieldError(f"{field}.serial_number", f"{ecu.name} has none")
    check_printable(ecu.serial_number, field=f"{field}.serial_number")
    check_printable(ecu.wire, field=f"{field}.wire")
    if len(ecu.public_key) != PUBLIC_KEY_LENGTH:
        raise InvalidFieldError(
            f"{field}.public_key",
            f"{ecu.name}: {len(ecu.public_key)} bytes; an Ed25519 key has {PUBLIC_KEY_LENGTH}",
        )
    if ecu.slot_size <= 0:
        raise InvalidFieldError(f"{field}.slot_size", f"{ecu.name}: {ecu.slot_size} bytes")
    if ecu.application_base + ecu.slot_size > ADDRESS_LIMIT:
        raise InvalidFieldError(
            f"{field}.slot_size", f"{ecu.name}: the slot ends behind address 0xFFFFFFFF"
        )
