"""Vehicles and their ECUs."""

from datetime import datetime

from cloud.fleet.names import campaign_name, vehicle_name
from cloud.fleet.vehicles import Ecu, Vehicle
from cloud.messages.times import to_timestamp
from protocols.fleet.v1 import vehicles_pb2


def to_vehicle(vehicle: Vehicle) -> vehicles_pb2.Vehicle:
    return vehicles_pb2.Vehicle(
        name=vehicle_name(vehicle.vin),
        vin=vehicle.vin,
        model=vehicle.model,
        ecus=[_to_ecu(ecu) for ecu in vehicle.ecus],
        create_time=to_timestamp(vehicle.create_time),
        last_seen_time=to_timestamp(vehicle.last_seen_time),
        campaign="" if vehicle.campaign_id is None else campaign_name(vehicle.campaign_id),
    )


def from_vehicle(message: vehicles_pb2.Vehicle, *, now: datetime) -> Vehicle:
    """Return a vehicle as somebody registers it: what vehicles report is left out."""
    return Vehicle(
        vin=message.vin,
        model=message.model,
        ecus=tuple(
            Ecu(
                name=ecu.ecu,
                hardware_id=ecu.hardware_id,
                serial_number=ecu.serial_number,
                public_key=ecu.public_key,
                wire=ecu.wire,
                single_slot=ecu.single_slot,
                application_base=ecu.application_base,
                slot_size=ecu.slot_size,
            )
            for ecu in message.ecus
        ),
        create_time=now,
    )


def _to_ecu(ecu: Ecu) -> vehicles_pb2.Ecu:
    return vehicles_pb2.Ecu(
        ecu=ecu.name,
        hardware_id=ecu.hardware_id,
        serial_number=ecu.serial_number,
        public_key=ecu.public_key,
        wire=ecu.wire,
        single_slot=ecu.single_slot,
        application_base=ecu.application_base,
        slot_size=ecu.slot_size,
        software_number=ecu.software_number,
        software_version=ecu.software_version,
        supplier_version=ecu.supplier_version,
        image_sha256=ecu.image_sha256 or b"",
        reported_hardware_id=ecu.reported_hardware_id,
        reported_serial_number=ecu.reported_serial_number,
    )
