"""What a simulated vehicle's ECUs are, in the form in which a vehicle is registered."""

from collections.abc import Iterable

from ecu_sim.vehicle import EcuIdentity


def as_rows(identities: Iterable[EcuIdentity]) -> list[dict[str, str | int | bool]]:
    """One JSON object for each ECU; the public key in hexadecimal."""
    return [
        {
            "ecu": identity.ecu,
            "hardware_id": identity.hardware_id,
            "serial_number": identity.serial,
            "public_key": identity.public_key.hex(),
            "wire": identity.wire,
            "single_slot": identity.single_slot,
            "application_base": identity.base,
            "slot_size": identity.size,
        }
        for identity in identities
    ]
