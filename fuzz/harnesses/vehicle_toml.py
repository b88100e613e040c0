"""Any file in place of `vehicle.toml` gives a vehicle or a `DescriptionError`."""

from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from dbc.vehicle import DescriptionError, describe_vehicle
from fuzz import Harness

_FILE: Final = Path(mkdtemp(prefix="canota-fuzz-")) / "vehicle.toml"


def prove(data: bytes) -> None:
    _FILE.write_bytes(data)
    try:
        vehicle = describe_vehicle(_FILE)
    except DescriptionError:
        return
    for ecu in vehicle.ecus.values():
        if ecu not in vehicle.on_wire(ecu.wire):
            raise AssertionError(f"{ecu.name} is on no wire")
        # Who reads these never asks what they are.
        if not ecu.p2_s + ecu.p2_star_s + ecu.s3_s + ecu.boot_s < float("inf"):
            raise AssertionError(f"{ecu.name}: times without end")


_SMALL: Final = b"""model = "m"
tester_address = 0x0F00
[routines]
erase_memory = 1
check_memory = 2
check_dependencies = 3
check_preconditions = 4
activate = 5
confirm = 6
revert = 7
self_test = 8
slot_digest = 9
[wires.w]
kind = "can"
bit_rate = 500_000
functional_id = 0x7DF
[ecus.e]
hardware_id = "E"
wire = "w"
logical_address = 1
single_slot = true
application_base = 0
slot_size = 1
sector_size = 1
page_size = 1
erase_s = 0.1
program_s = 0.1
max_block_length = 1
security_level = 1
p2_s = 0.05
p2_star_s = 5.0
s3_s = 5.0
boot_s = 1
[ecus.e.dtcs]
"9A0100" = "x"
[ecus.e.data_identifiers]
"F190" = "VIN"
[ecus.e.scalings]
"F190" = { scale = 0.1, unit = "V", signed = true }
"""
HARNESS: Final = Harness(prove=prove, seeds=(_SMALL, b"a = [[1]]\n"), max_length=4096)
