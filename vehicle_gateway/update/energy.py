"""For how long an update puts ECUs out of use, by a simple bound from the vehicle description."""

from math import ceil
from typing import Final

from dbc.vehicle import EcuDescription, VehicleDescription
from vehicle_gateway.update.offer import Offer, OfferedImage

#: Bits on the wire for each byte of an image: CAN frames, flow control and UDS included.
_BITS_PER_BYTE: Final = 17
#: Sessions, security access, checks and dependencies, seconds.
_OVERHEAD_S: Final = 5.0


def out_of_use_s(offer: Offer, vehicle: VehicleDescription) -> float:
    """Seconds until all ECUs of the offer work again, single slots one after the other."""
    concerned = [
        (one, ecu) for one in offer.images if (ecu := vehicle.ecus.get(one.ecu)) is not None
    ]
    waits = [_single_s(one, ecu, vehicle) for one, ecu in concerned if ecu.single_slot]
    boots = [ecu.boot_s for _, ecu in concerned if not ecu.single_slot]
    return sum(waits) + (max(boots) + _OVERHEAD_S if boots else 0.0)


def _single_s(one: OfferedImage, ecu: EcuDescription, vehicle: VehicleDescription) -> float:
    size = one.image.image_size
    memory_s = ceil(size / max(1, ecu.sector_size)) * ecu.erase_s
    memory_s += ceil(size / max(1, ecu.page_size)) * ecu.program_s
    if ecu.staging_area:  # What an agent copies comes over no wire.
        return memory_s + ecu.boot_s + _OVERHEAD_S
    wire_s = size * _BITS_PER_BYTE / max(1, vehicle.wires[ecu.wire].bit_rate)
    return memory_s + wire_s + ecu.boot_s + _OVERHEAD_S
