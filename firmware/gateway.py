"""Packs and signs the gateway's own software, as a release carries it to a vehicle.

    python -m firmware.gateway --version 0.2.0 --security-counter 2 --output gateway-0.2.0.bin

The package is an MCUboot image whose payload is a ZIP archive of this project's packages: the same
sources give the same bytes. Signed with the DEV ONLY key unless `--key` names another one. Needs
imgtool (dependency group `firmware`).
"""

import argparse
import contextlib
import io
import re
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import imgtool.main

from firmware import KEYS
from protocols.firmware.containers.mcuboot import Tlv
from vehicle_gateway.software import HARDWARE_ID, SLOT_SIZE

_ROOT: Final = Path(__file__).parents[1]
_SIGNING_KEY: Final = KEYS / "image-signing.dev-only.pem"
#: The packages of a gateway, and those that its command line needs beside them.
_ROOMS: Final = (
    *("canota", "can_interfaces", "clock", "cloud", "dbc", "ecu_sim", "firmware", "protocols"),
    *("recording", "vehicle_gateway"),
)
#: What is no part of a program: images and sources for ECUs, and what Python made of sources.
_LEFT_OUT: Final = frozenset({"images", "src", "faulty", "__pycache__"})
_SOFTWARE_NUMBER: Final = "TGW1-APP-01"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def pack(root: Path = _ROOT) -> bytes:
    """The archive of the packages below `root`; no date of today gets into it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path in sorted(path for room in _ROOMS for path in (root / room).rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and not _LEFT_OUT & set(name.parts):
                member = zipfile.ZipInfo(name.as_posix(), _EPOCH)
                archive.writestr(member, path.read_bytes(), compress_type=zipfile.ZIP_DEFLATED)
    return made.getvalue()


def sign(archive: bytes, *, version: str, security_counter: int, key: Path = _SIGNING_KEY) -> bytes:
    """The image of an archive, signed with the key in a PEM file."""
    entries = {
        Tlv.HARDWARE_ID: HARDWARE_ID,
        Tlv.SOFTWARE_NUMBER: _SOFTWARE_NUMBER,
        Tlv.SUPPLIER_VERSION: f"canota {version}",
    }
    arguments = ["sign", "--key", str(key), "--version", version, "--align", "8"]
    arguments += ["--header-size", "0x20", "--pad-header", "--slot-size", str(SLOT_SIZE)]
    arguments += ["--security-counter", str(security_counter)]
    for kind, text in entries.items():
        arguments += ["--custom-tlv", f"0x{kind:04X}", text]
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        source, target = Path(folder) / "archive.zip", Path(folder) / "signed.bin"
        source.write_bytes(archive)
        with contextlib.redirect_stdout(io.StringIO()):  # it reports every signature it makes
            imgtool.main.imgtool.main([*arguments, str(source), str(target)], standalone_mode=False)
        return target.read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m firmware.gateway",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", required=True, help="three numbers, for example 0.2.0")
    parser.add_argument("--security-counter", type=int, default=1)
    parser.add_argument("--key", type=Path, default=_SIGNING_KEY, help="ed25519 key, PEM")
    parser.add_argument("--root", type=Path, default=_ROOT, help="where the packages are")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,5}", arguments.version):
        parser.error("--version: three numbers expected, for example 0.2.0")
    image = sign(
        pack(arguments.root),
        version=arguments.version,
        security_counter=arguments.security_counter,
        key=arguments.key,
    )
    arguments.output.write_bytes(image)
    print(f"{arguments.output}: {len(image)} bytes")  # noqa: T201 what the command is for
    return 0


if __name__ == "__main__":
    sys.exit(main())
