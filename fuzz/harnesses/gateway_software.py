"""The gateway's slot record and its packages are read, or refused with a `SoftwareError`."""

import io
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from fuzz import Harness
from vehicle_gateway.software import SoftwareError
from vehicle_gateway.software.record import SlotRecord
from vehicle_gateway.software.unpack import unpack

_FOLDER: Final = Path(mkdtemp(prefix="canota-fuzz-"))


def prove(data: bytes) -> None:
    with suppress(ValueError):
        record = SlotRecord.decode(data)
        if SlotRecord.decode(record.encode()) != record:
            raise AssertionError(f"{record} does not come back")
    slot = _FOLDER / "slots" / "slot-0"
    with suppress(SoftwareError):
        unpack(data, slot)
    outside = [path for path in _FOLDER.rglob("*") if path.is_file() and slot not in path.parents]
    if outside:
        raise AssertionError(f"written outside of its folder: {outside}")
    shutil.rmtree(slot, ignore_errors=True)


def _zip(names: tuple[str, ...], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as opened:
        for name in names:
            opened.writestr(zipfile.ZipInfo(name), b"print(1)\n" * 9, compress_type=compression)
    return made.getvalue()


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        SlotRecord(slot=1, starts=2, security_counter=3).encode(),
        _zip(("gateway/__main__.py", "gateway/app.py")),
        _zip(("../a.py",), compression=zipfile.ZIP_STORED),
    ),
    max_length=2000,
)
