"""Any file that an operator hands to the command line is read, or refused with a `CommandError`."""

import json
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from canota.cli.exits import CommandError
from canota.cli.firmware_files import collect
from canota.cli.vehicle import read_rows, registration
from fuzz import Harness

_FOLDER: Final = Path(mkdtemp(prefix="canota-fuzz-"))
_ROWS: Final = _FOLDER / "ecus.json"
_LIST: Final = _FOLDER / "release.toml"
_FIRMWARE: Final = _FOLDER / "a.hex"
_FIRMWARE.write_text(":0100000001FE\n:00000001FF\n", encoding="ascii")


def prove(data: bytes) -> None:
    _ROWS.write_bytes(data)
    with suppress(CommandError):
        registration("WCANHVAC000000001", "m", read_rows(_ROWS), source="ecus.json")
    _LIST.write_bytes(data)
    with suppress(CommandError):
        collect([str(_LIST)])


_ECUS: Final = [
    {
        "ecu": "ccu",
        "hardware_id": "CCU-2",
        "serial_number": "1",
        "wire": "comfort",
        "single_slot": False,
        "application_base": 0x0804_0000,
        "slot_size": 0x8_0000,
        "public_key": "00",
    }
]
HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        json.dumps(_ECUS).encode(),
        b"[" + b"1" * 5000 + b"]",
        b'[[images]]\nhardware_id = "CCU-2"\nfile = "a.hex"\naddress = 0x10\n',
        b"[" * 600,
        b"a = " + b"[" * 600,
    ),
    max_length=6000,
)
