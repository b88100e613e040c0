"""Images, memories and a raw tester for tests of the ECU simulator."""

import asyncio
import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self

import wasmtime
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dbc import describe_vehicle
from ecu_sim.boot import BootMemory, Trust
from ecu_sim.boot.mcuboot_swap import status_size
from ecu_sim.memory import Flash, FlashGeometry, PowerSupply, TwoCopyRecord
from ecu_sim.transport import Addresses, IsoTpBinding
from firmware import dev_keys
from firmware.applications import APPLICATIONS
from protocols.can import CanPort, FrameHeader
from protocols.firmware.containers import cmac, crc32, mcuboot, sha512
from protocols.isotp import IsoTpParameters

IMAGE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FOREIGN_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
IMAGE_PUBLIC_KEY = IMAGE_KEY.public_key().public_bytes(
    Encoding.DER, PublicFormat.SubjectPublicKeyInfo
)
DIAGNOSTICS_MASTER = bytes(range(100, 132))
VIN = "WCANHVAC000000001"

_PLAIN = """
(module
  (import "io" "kick" (func $kick))
  (memory (export "memory") 1 1)
  (func (export "init"))
  (func (export "step") (param f64) {body}))
"""


@cache
def application(body: str = "(call $kick)") -> bytes:
    """A WebAssembly application whose step does `body`."""
    return bytes(wasmtime.wat2wasm(_PLAIN.format(body=body)))


def signed_image(
    payload: bytes | None = None,
    *,
    version: tuple[int, int, int] = (1, 0, 0),
    hardware_id: str = "CCU-2",
    security_counter: int = 1,
    key: Ed25519PrivateKey = IMAGE_KEY,
) -> bytes:
    """An MCUboot image as the signing tool would make it, from the format's description."""
    payload = application() if payload is None else payload
    protected = _area(
        mcuboot.PROTECTED_MAGIC,
        {
            mcuboot.Tlv.SECURITY_COUNTER: struct.pack("<I", security_counter),
            mcuboot.Tlv.HARDWARE_ID: hardware_id.encode(),
            mcuboot.Tlv.SOFTWARE_NUMBER: b"TST-SW-1",
            mcuboot.Tlv.SUPPLIER_VERSION: b"test",
        },
    )
    header = struct.pack(
        "<IIHHIIBBHII", mcuboot.MAGIC, 0, 32, len(protected), len(payload), 0, *version, 0, 0
    )
    signed = header + payload + protected
    digest = hashlib.sha256(signed).digest()
    return signed + _area(
        mcuboot.UNPROTECTED_MAGIC,
        {
            mcuboot.Tlv.SHA256: digest,
            mcuboot.Tlv.KEY_HASH: mcuboot.key_hash(key.public_key()),
            mcuboot.Tlv.ED25519: key.sign(digest),
        },
    )


def crc_image(
    payload: bytes | None = None,
    *,
    version: tuple[int, int, int] = (1, 0, 0),
    hardware_id: str = "BLW-1",
) -> bytes:
    return crc32.encode(_unsigned(payload, version=version, hardware_id=hardware_id))


def sha_image(
    payload: bytes | None = None,
    *,
    version: tuple[int, int, int] = (1, 0, 0),
    hardware_id: str = "FLP-1",
) -> bytes:
    return sha512.encode(_unsigned(payload, version=version, hardware_id=hardware_id))


def _unsigned(
    payload: bytes | None, *, version: tuple[int, int, int], hardware_id: str
) -> crc32.Crc32Image:
    return crc32.Crc32Image(
        hardware_id=hardware_id,
        software_number="TST-SW-1",
        supplier_version="test",
        version_numbers=(*version, 0),
        payload=application() if payload is None else payload,
    )


def cmac_image(
    payload: bytes | None = None,
    *,
    version: tuple[int, int, int] = (1, 0, 0),
    hardware_id: str = "PTC-1",
    security_counter: int = 1,
    key: bytes | None = None,
) -> bytes:
    """An image with a MAC; `key` is the model's from the development secret unless given."""
    image = cmac.CmacImage(
        hardware_id=hardware_id,
        software_number="TST-SW-1",
        supplier_version="test",
        version_numbers=(*version, 0),
        security_counter=security_counter,
        payload=application() if payload is None else payload,
    )
    return cmac.encode(cmac.protect(image, boot_mac_key(hardware_id) if key is None else key))


#: Container -> a small image in it.
MAKERS: Mapping[str, Callable[..., bytes]] = {
    "mcuboot": signed_image,
    "crc32": crc_image,
    "sha512": sha_image,
    "cmac": cmac_image,
}


def small_image(ecu: str, payload: bytes | None = None, **fields: Any) -> bytes:  # noqa: ANN401 the maker's own
    """An image of an ECU's container, for its hardware; `fields` as its maker takes them."""
    make = MAKERS[APPLICATIONS[ecu].container]
    return make(payload, hardware_id=describe_vehicle().ecus[ecu].hardware_id, **fields)


def boot_mac_key(hardware_id: str) -> bytes:
    return cmac.derive_key(dev_keys().boot_mac_master, hardware_id)


def _area(magic: int, entries: dict[mcuboot.Tlv, bytes]) -> bytes:
    body = b"".join(struct.pack("<HH", kind, len(data)) + data for kind, data in entries.items())
    return struct.pack("<HH", magic, 4 + len(body)) + body


TRUST = Trust(
    hardware_identifier="CCU-2",
    public_keys={mcuboot.key_hash(IMAGE_KEY.public_key()): IMAGE_KEY.public_key()},
)
SLOTS = FlashGeometry(size=0x1000, sector_size=0x100, page_size=0x40, erase_s=0.02, program_s=0.001)
RECORDS = FlashGeometry(size=0x200, sector_size=0x100, page_size=0x10, erase_s=0.004, program_s=0)
BASE = 0x0804_0000
#: A sector to swap through, and room for the marks of eight.
SCRATCH_SIZE = SLOTS.sector_size + status_size(
    sectors=8, sector_size=SLOTS.sector_size, page_size=SLOTS.page_size
)


@dataclass(slots=True)
class Cells:
    """What survives a power cut: two slots of 2 KiB and the boot record's two sectors."""

    slots: bytearray = field(default_factory=lambda: bytearray(b"\xff" * SLOTS.size))
    records: bytearray = field(default_factory=lambda: bytearray(b"\xff" * RECORDS.size))

    @classmethod
    def with_scratch(cls) -> Self:
        """As a boot loader needs it that swaps."""
        return cls(slots=bytearray(b"\xff" * (SLOTS.size + SCRATCH_SIZE)))

    def copy(self) -> Self:
        """Cells of their own with the same content."""
        return type(self)(slots=bytearray(self.slots), records=bytearray(self.records))

    def memory(self, *, slots: int = 2, power: PowerSupply | None = None) -> BootMemory:
        """Chips over these cells, powered by `power`."""
        return BootMemory(
            flash=Flash(self.slots, replace(SLOTS, size=len(self.slots)), power=power),
            slot_size=SLOTS.size // slots,
            base=BASE,
            record=TwoCopyRecord(
                Flash(self.records, RECORDS, power=power),
                address=0,
                copy_size=RECORDS.sector_size,
            ),
            scratch=SLOTS.size,
            scratch_size=len(self.slots) - SLOTS.size,
        )

    def with_worn_record(self) -> BootMemory:
        """The same memory, whose record can be read and no longer written."""
        records = Flash(self.records, RECORDS)
        for address in range(0, RECORDS.size, RECORDS.sector_size):
            records.spoil(address)
        record = TwoCopyRecord(records, address=0, copy_size=RECORDS.sector_size)
        return replace(self.memory(), record=record)


class RawTester:
    """A tester of ISO-TP messages and nothing more: sends, and keeps all that comes."""

    def __init__(
        self,
        port: CanPort,
        *,
        request: FrameHeader,
        response: FrameHeader,
        parameters: IsoTpParameters | None = None,
    ) -> None:
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        #: For frames that are no message.
        self.port = port
        self._binding = IsoTpBinding(
            port,
            Addresses(request=response, response=request),
            parameters or IsoTpParameters(tx_data_length=64 if request.fd else 8),
            self._answers.put_nowait,
        )

    @classmethod
    def can(cls, port: CanPort, request_id: int, response_id: int) -> "RawTester":
        return cls(port, request=FrameHeader(request_id), response=FrameHeader(response_id))

    @classmethod
    def canfd(
        cls, port: CanPort, request_id: int, response_id: int, *, extended: bool = False
    ) -> "RawTester":
        def header(identifier: int) -> FrameHeader:
            return FrameHeader(identifier, extended=extended, fd=True, bit_rate_switch=True)

        return cls(port, request=header(request_id), response=header(response_id))

    def send(self, request: bytes) -> None:
        self._binding.send(request)

    async def answer(self) -> bytes:
        """The next answer, response pending included; `TimeoutError` after 10 s."""
        async with asyncio.timeout(10.0):
            return await self._answers.get()

    async def ask(self, request: bytes) -> bytes:
        """Request and final answer (78 is waited out)."""
        self.send(request)
        for _ in range(100):
            answer = await self.answer()
            if answer[0] != 0x7F or answer[2] != 0x78:
                return answer
        raise AssertionError(f"no end of 78 to {request[:4].hex(' ')}")

    async def unlock(self, compute_key: Callable[[bytes], bytes]) -> None:
        seed = await self.ask(bytes.fromhex("27 01"))
        key = await self.ask(bytes.fromhex("27 02") + compute_key(seed[2:]))
        assert key == bytes.fromhex("67 02")

    def close(self) -> None:
        self._binding.close()
