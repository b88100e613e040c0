"""The software that a launcher has started: its slot, and who this gateway is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from vehicle_gateway.software import HARDWARE_ID, SLOT_SIZE, SoftwareError
from vehicle_gateway.software.slots import Package, SoftwareSlots
from vehicle_gateway.update import GATEWAY

_KEY: Final = "key.pem"
_SERIAL: Final = "serial-number"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareIdentity:
    """What the cloud knows the gateway's read-back by."""

    serial_number: str
    key: Ed25519PrivateKey

    @classmethod
    def load(cls, folder: Path) -> Self:
        """`SoftwareError` names the file that is missing or no good."""
        try:
            key = load_pem_private_key((folder / _KEY).read_bytes(), password=None)
            serial = (folder / _SERIAL).read_text(encoding="ascii").strip()
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise SoftwareError(f"{folder}: the gateway's identity: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SoftwareError(f"{folder / _KEY}: not an ed25519 key")
        return cls(serial_number=serial, key=key)

    def store(self, folder: Path) -> None:
        """Written before the first package: a gateway without software has an identity."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / _KEY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(pem)
            (folder / _SERIAL).write_text(f"{self.serial_number}\n", encoding="ascii")
        except OSError as error:
            raise SoftwareError(f"{folder}: {error.strerror}") from error

    def registration(self) -> dict[str, Any]:
        """The gateway as one of a vehicle's parts, in the form in which a vehicle is registered."""
        public_key = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {
            "ecu": GATEWAY,
            "hardware_id": HARDWARE_ID,
            "serial_number": self.serial_number,
            "public_key": public_key.hex(),
            "wire": "",
            "single_slot": False,
            "application_base": 0,
            "slot_size": SLOT_SIZE,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSoftware:
    slots: SoftwareSlots
    #: What runs in this process.
    package: Package
    identity: SoftwareIdentity

    @classmethod
    def of(cls, folder: Path, slot: int, public_keys: Mapping[bytes, Ed25519PublicKey]) -> Self:
        """What a launcher has started from `slot`; `SoftwareError` if that cannot be."""
        slots = SoftwareSlots(folder, public_keys)
        if slot != slots.record.starting:
            raise SoftwareError(f"{folder}: slot {slot} is not the one that was started")
        return cls(slots=slots, package=slots.package(slot), identity=SoftwareIdentity.load(folder))
