"""Small images in the containers, made by the tool that signs real ones (imgtool)."""

from collections.abc import Mapping
from pathlib import Path

import imgtool.main
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from protocols.firmware.containers import crc32, sha512

SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PAYLOAD = b"\x00asm\x01\x00\x00\x00" + bytes(range(24))

#: What `signed_image` passes to imgtool unless a test says otherwise; None drops an option.
OPTIONS: Mapping[str, str | None] = {
    "--version": "2.3.4",
    "--align": "8",
    "--header-size": "0x20",
    "--slot-size": "0x10000",
    "--security-counter": "7",
}
ENTRIES: Mapping[str, str] = {"0x00A0": "CCU-2", "0x00A1": "CCU2-APP-01", "0x00A2": "S26.06"}


def key_file(folder: Path, key: Ed25519PrivateKey = SIGNING_KEY) -> Path:
    path = folder / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def signed_image(
    folder: Path,
    *,
    payload: bytes = PAYLOAD,
    key: Ed25519PrivateKey | None = SIGNING_KEY,
    entries: Mapping[str, str] = ENTRIES,
    flags: tuple[str, ...] = (),
    **changes: str | None,
) -> bytes:
    """An image as imgtool makes it; `changes` are options with `_` for `-`."""
    options = {**OPTIONS, **{f"--{name.replace('_', '-')}": to for name, to in changes.items()}}
    arguments = ["sign", "--pad-header", *flags]
    for name, value in options.items():
        arguments += [] if value is None else [name, value]
    for kind, text in entries.items():
        arguments += ["--custom-tlv", kind, text]
    if key is not None:
        arguments += ["--key", str(key_file(folder, key))]
    source, target = folder / "payload.bin", folder / "image.bin"
    source.write_bytes(payload)
    imgtool.main.imgtool.main([*arguments, str(source), str(target)], standalone_mode=False)
    return target.read_bytes()


def crc32_image(payload: bytes = PAYLOAD) -> bytes:
    return crc32.encode(_unsigned(payload, hardware_id="BLW-1", software_number="BLW1-APP-01"))


def sha512_image(payload: bytes = PAYLOAD) -> bytes:
    return sha512.encode(_unsigned(payload, hardware_id="FLP-1", software_number="FLP1-APP-01"))


def _unsigned(payload: bytes, *, hardware_id: str, software_number: str) -> crc32.Crc32Image:
    return crc32.Crc32Image(
        hardware_id=hardware_id,
        software_number=software_number,
        supplier_version="S26.06",
        version_numbers=(2, 3, 4, 0),
        payload=payload,
    )
