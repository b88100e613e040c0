"""The gateway's own software: two slots of signed packages, of which a launcher starts one.

It is a part of a release like the software of any ECU: staged beside the one that runs, tried,
and kept only when the new one has itself checked in with the cloud. What decides stands in one
record on disk (`record.py`); `slots.py` keeps record and packages, `launcher.py` starts what they
say and watches it, `updater.py` is the gateway's end as an `EcuUpdater`.
"""

from typing import Final

from dbc.vehicle import EcuDescription
from vehicle_gateway.update import GATEWAY

HARDWARE_ID: Final = "TGW-1"
#: A process that ends with it asks its launcher for a new start.
RESTART_CODE: Final = 75
#: Largest package, and what it may unpack to.
SLOT_SIZE: Final = 64 << 20
UNPACKED_LIMIT: Final = 256 << 20


class SoftwareError(Exception):
    """Software that cannot be kept, read or started; names the file."""


def description() -> EcuDescription:
    """The gateway's software as a part of the vehicle: two slots, and no wire that leads to it."""
    return EcuDescription(
        name=GATEWAY,
        hardware_id=HARDWARE_ID,
        wire="",
        logical_address=0,
        single_slot=False,
        application_base=0,
        slot_size=SLOT_SIZE,
        sector_size=SLOT_SIZE,
        page_size=1,
        erase_s=0.0,
        program_s=0.0,
        max_block_length=0,
        security_level=0,
        p2_s=0.0,
        p2_star_s=0.0,
        s3_s=0.0,
        boot_s=0.0,
        dtcs={},
        data_identifiers={},
    )
