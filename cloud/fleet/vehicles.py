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
    #: SHA-256 of the image that it should run: the last that it proved, or the one that an update
    #: had committed to. What stays in its boot loader is repaired with it.
    intended_sha256: bytes | None = None
    #: What the part in the vehicle last said of itself; another one than is registered was
    #: replaced. Empty before.
    reported_hardware_id: str = ""
    reported_serial_number: str = ""
    #: Why the last inventory of this ECU cannot be used; empty if it can.
    inventory_error: str = ""
    inventory_time: datetime | None = None

    @property
    def in_boot_loader(self) -> bool:
        """Whether it has answered, and without an application."""
        return (
            self.inventory_time is not None
            and not self.inventory_error
            and not (self.software_number or self.software_version or self.image_sha256)
        )


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
    _check_key(ecu, field)
    if ecu.slot_size <= 0:
        raise InvalidFieldError(f"{field}.slot_size", f"{ecu.name}: {ecu.slot_size} bytes")
    if ecu.application_base + ecu.slot_size > ADDRESS_LIMIT:
        raise InvalidFieldError(
            f"{field}.slot_size", f"{ecu.name}: the slot ends behind address 0xFFFFFFFF"
        )


def replaced(ecu: Ecu, *, serial_number: str, public_key: bytes) -> Ecu:
    """Return the ECU with another part in it; `InvalidFieldError` names the field.

    What the part runs is not known before it is reported; what it should run stays.
    """
    if (serial_number, public_key) == (ecu.serial_number, ecu.public_key):
        return ecu
    if not serial_number:
        raise InvalidFieldError("serial_number", f"{ecu.name} has none")
    check_printable(serial_number, field="serial_number")
    part = Ecu(
        name=ecu.name,
        hardware_id=ecu.hardware_id,
        serial_number=serial_number,
        public_key=public_key,
        wire=ecu.wire,
        single_slot=ecu.single_slot,
        application_base=ecu.application_base,
        slot_size=ecu.slot_size,
        intended_sha256=ecu.intended_sha256,
        reported_hardware_id=ecu.reported_hardware_id,
        reported_serial_number=ecu.reported_serial_number,
    )
    _check_key(part, "")
    return part


def _check_key(ecu: Ecu, field: str) -> None:
    if len(ecu.public_key) != PUBLIC_KEY_LENGTH:
        raise InvalidFieldError(
            f"{field}.public_key".removeprefix("."),
            f"{ecu.name}: {len(ecu.public_key)} bytes; an Ed25519 key has {PUBLIC_KEY_LENGTH}",
        )
