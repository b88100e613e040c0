"""The ECU applications: C sources, the images built from them, and the development keys.

What runs in an ECU is what stands in `images/`; `python -m firmware.build` makes them from `src/`
and needs a compiler, nothing else here does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

_FOLDER: Final = Path(__file__).parent
IMAGES: Final = _FOLDER / "images"
KEYS: Final = _FOLDER / "keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevKeys:
    """DEV ONLY: published with the sources, so they prove nothing to anyone."""

    #: DER SubjectPublicKeyInfo of the ed25519 key that signs images.
    image_public_key: bytes
    #: 32 bytes from which each ECU's diagnostic keys are derived.
    diagnostics_master: bytes
    #: 32 bytes from which the boot MAC key of each ECU model is derived.
    boot_mac_master: bytes


def image_path(ecu: str, version: str) -> Path:
    """The built image file; `FileNotFoundError` names those that exist."""
    for path in IMAGES.glob(f"{ecu}-{version}.*"):
        return path
    known = ", ".join(sorted(path.stem for path in IMAGES.iterdir()))
    raise FileNotFoundError(f"no firmware image {ecu}-{version}; known: {known}")


def dev_keys() -> DevKeys:
    """The development keys that the images here are signed for."""
    public_key = load_pem_public_key((KEYS / "image-signing.dev-only.pub.pem").read_bytes())
    return DevKeys(
        image_public_key=public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        diagnostics_master=_secret("diagnostics-master"),
        boot_mac_master=_secret("boot-mac-master"),
    )


def _secret(name: str) -> bytes:
    lines = (KEYS / f"{name}.dev-only.hex").read_text(encoding="ascii").splitlines()
    return bytes.fromhex("".join(line for line in lines if not line.startswith("#")))
