"""Small ECUs and small firmware: the vehicle's own types with a flash of a few sectors."""

import hashlib
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import wasmtime
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dbc.vehicle import VehicleDescription, describe_vehicle
from ecu_sim.ecus import EcuType, ecu_names, ecu_type
from firmware import KEYS, dev_keys
from firmware.applications import APPLICATIONS
from protocols.firmware.containers import cmac, crc32, mcuboot, sha512

#: One slot, its sectors, and the most that a page has.
SLOT_BYTES: Final = 0x8000
SECTOR_BYTES: Final = 0x1000
PAGE_BYTES: Final = 0x200
#: Major versions of the release that a car leaves its factory with, and of the one it gets.
OLD: Final = 1
NEW: Final = 2
#: An image has so many bytes: five sectors, the last one begun.
IMAGE_BYTES: Final = 17_000

#: Drives its first output by its first input, ten times a second, and reports that it is well.
_APPLICATION: Final = """
(module
  (import "io" "read" (func $read (param i32) (result f64)))
  (import "io" "write" (func $write (param i32 f64)))
  (import "io" "report_dtc" (func $report (param i32 i32)))
  (import "io" "kick" (func $kick))
  (memory (export "memory") 1 1)
  (func (export "init"))
  (func (export "step") (param f64)
    (call $write (i32.const 0) (f64.mul (call $read (i32.const 0)) (f64.const 0.001)))
    (call $report (i32.const 0) (i32.const {dtc}))
    (call $kick)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """What one version of one ECU's software is made of."""

    ecu: EcuType
    version: tuple[int, int, int]
    module: bytes


def small_types(names: tuple[str, ...] | None = None) -> dict[str, EcuType]:
    """The vehicle's ECU types, with slots of `SLOT_BYTES` and short self-tests."""
    return {name: _small(ecu_type(name)) for name in names or ecu_names()}


def described(types: Mapping[str, EcuType]) -> VehicleDescription:
    """The vehicle with these ECUs alone, as its gateway knows it."""
    whole = describe_vehicle()
    ecus = {
        name: replace(
            whole.ecus[name],
            slot_size=ecu.slot.size,
            sector_size=ecu.slot.sector_size,
            page_size=ecu.slot.page_size,
        )
        for name, ecu in types.items()
    }
    return replace(whole, ecus=ecus)


@cache
def image(name: str, version: int, *, failed: bool = False) -> bytes:
    """A small image of version `version`.0.0; one with `failed` sets the ECU's first DTC."""
    ecu = _small(ecu_type(name))
    made = Firmware(ecu=ecu, version=(version, 0, 0), module=module(name, version, failed=failed))
    return ENCODERS[APPLICATIONS[name].container](made)


def module(name: str, version: int, *, size: int = IMAGE_BYTES, failed: bool = False) -> bytes:
    """A WebAssembly application that runs in any ECU, with so many bytes."""
    runs = bytes(wasmtime.wat2wasm(_APPLICATION.format(dtc=int(failed))))
    return _padded(runs, f"{name}/{version}", size)


def _small(ecu: EcuType) -> EcuType:
    slot = replace(
        ecu.slot,
        size=SLOT_BYTES,
        sector_size=SECTOR_BYTES,
        page_size=min(ecu.slot.page_size, PAGE_BYTES),
    )
    # A self-test that moves something would be the longest wait of an update: it moves by little.
    self_test = tuple(replace(one, first=0.0, last=0.2, step_s=0.2) for one in ecu.self_test)
    return replace(ecu, slot=slot, self_test=self_test)


def _padded(runs: bytes, seed: str, size: int) -> bytes:
    """The module with a custom section of random bytes, so that it fills `size` bytes."""
    # Five bytes in LEB128, whatever the length, so that it is known beforehand.
    content = b"\x03pad" + random.Random(seed).randbytes(  # noqa: S311 repeatable
        size - len(runs)
    )
    length = len(content)
    leb128 = bytes((length >> 7 * part & 0x7F) | (0x80 if part < 4 else 0) for part in range(5))
    return runs + b"\x00" + leb128 + content


def _crc32(made: Firmware) -> bytes:
    return crc32.encode(_crc32_image(made))


def _sha512(made: Firmware) -> bytes:
    return sha512.encode(_crc32_image(made))


def _crc32_image(made: Firmware) -> crc32.Crc32Image:
    return crc32.Crc32Image(
        hardware_id=made.ecu.hardware_identifier,
        software_number=_number(made),
        supplier_version="CHAOS",
        version_numbers=(*made.version, 0),
        payload=made.module,
    )


def _mcuboot(made: Firmware) -> bytes:
    """As the signing tool makes it, with the published key."""
    protected = _area(
        mcuboot.PROTECTED_MAGIC,
        {
            mcuboot.Tlv.SECURITY_COUNTER: struct.pack("<I", made.version[0]),
            mcuboot.Tlv.HARDWARE_ID: made.ecu.hardware_identifier.encode(),
            mcuboot.Tlv.SOFTWARE_NUMBER: _number(made).encode(),
            mcuboot.Tlv.SUPPLIER_VERSION: b"CHAOS",
        },
    )
    sizes = (32, len(protected), len(made.module))
    header = struct.pack("<IIHHIIBBHII", mcuboot.MAGIC, 0, *sizes, 0, *made.version, 0, 0)
    signed = header + made.module + protected
    digest = hashlib.sha256(signed).digest()
    key = _signing_key()
    return signed + _area(
        mcuboot.UNPROTECTED_MAGIC,
        {
            mcuboot.Tlv.SHA256: digest,
            mcuboot.Tlv.KEY_HASH: mcuboot.key_hash(key.public_key()),
            mcuboot.Tlv.ED25519: key.sign(digest),
        },
    )


def _cmac(made: Firmware) -> bytes:
    """With the MAC of the ECU model's published key."""
    image = cmac.CmacImage(
        hardware_id=made.ecu.hardware_identifier,
        software_number=_number(made),
        supplier_version="CHAOS",
        version_numbers=(*made.version, 0),
        security_counter=made.version[0],
        payload=made.module,
    )
    key = cmac.derive_key(dev_keys().boot_mac_master, made.ecu.hardware_identifier)
    return cmac.encode(cmac.protect(image, key))


#: Image container -> what makes one that the ECU accepts.
ENCODERS: Final[Mapping[str, Callable[[Firmware], bytes]]] = {
    "cmac": _cmac,
    "crc32": _crc32,
    "mcuboot": _mcuboot,
    "sha512": _sha512,
}


def _number(made: Firmware) -> str:
    return f"{made.ecu.hardware_identifier}-SW"


def _area(magic: int, entries: Mapping[mcuboot.Tlv, bytes]) -> bytes:
    body = b"".join(struct.pack("<HH", kind, len(data)) + data for kind, data in entries.items())
    return struct.pack("<HH", magic, 4 + len(body)) + body


@cache
def _signing_key() -> Ed25519PrivateKey:
    key = load_pem_private_key((KEYS / "image-signing.dev-only.pem").read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError("the published image key is not an ed25519 key")
    return key
