"""Logical blocks beside the application, and the part of a boot loader that comes into RAM.

Each block has its own range of addresses and holds one image in a CRC32 container. Its state is in
the NVM. The application starts only while every block fits it: same hardware, same major version.
A secondary boot loader holds what erases and programs the flash: until it has been downloaded to
RAM and started, only RAM takes a download. It is gone with the next reset.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, Protocol

from ecu_sim.boot import BootMemory, NotNowError, Operations, OptionError, RangeError
from ecu_sim.diagnostics import Job, Nrc, Refusal
from ecu_sim.ecus import EcuType, LogicalBlock, SecondaryLoader
from ecu_sim.memory import Nvm
from protocols.firmware.containers import ContainerError, Declared, crc32
from protocols.uds.routine_status import CheckStatus

#: What the software number of a secondary boot loader begins with.
LOADER_PREFIX: Final = "SBL"
_STATE: Final = struct.Struct(">BI")
_ADDRESS: Final = struct.Struct(">I")
_CHECK: Final = struct.Struct(">II")


class BlockState(IntEnum):
    """One byte in the NVM."""

    EMPTY = 0
    #: Erased, or being written: an interrupted download leaves this behind.
    PROGRAMMING = 1
    WRITTEN = 2


class Sink(Protocol):
    """A download that does not go to the application area."""

    def transfer(self, data: bytes) -> Job: ...
    def transfer_exit(self) -> Job: ...


class LogicalBlocks:
    """What of an ECU's program memory is not the application; empty for most ECU types."""

    def __init__(self, ecu: EcuType, memory: BootMemory, nvm: Nvm) -> None:
        self._ecu = ecu
        self._flash = memory.flash
        self._nvm = nvm
        self._loader_image: bytes | None = None
        self._loader_runs = False
        at = ecu.areas * ecu.slot.size
        #: Where each block begins in the flash: behind slots and staging area, one after the other.
        self._places: dict[LogicalBlock, int] = {}
        for block in ecu.blocks:
            self._places[block] = at
            at += block.size

    # Secondary boot loader

    def require_loader(self) -> None:
        """`Refusal` while what programs the flash is not in RAM yet."""
        if self._ecu.secondary_loader is not None and not self._loader_runs:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "the secondary boot loader does not run")

    def start_loader(self, option: bytes) -> Job:
        """0301: its address u32 as option record; the status record is a `CheckStatus`."""
        yield from ()
        area = self._ecu.secondary_loader
        if area is None or len(option) != _ADDRESS.size:
            raise OptionError("the option record is the address of the secondary boot loader")
        if _ADDRESS.unpack(option)[0] != area.start:
            raise RangeError(f"the secondary boot loader starts at 0x{area.start:08X}")
        if self._loader_image is None:
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, "no secondary boot loader was downloaded")
        yield len(self._loader_image) / self._ecu.hash_bytes_per_s
        status, declared = self._judge(self._loader_image)
        if declared is not None and not declared.software_number.startswith(LOADER_PREFIX):
            status = CheckStatus.NOT_AN_IMAGE
        self._loader_runs = status is CheckStatus.CORRECT
        return bytes([status])

    def keep_loader(self, image: bytes) -> None:
        """A download to RAM is complete."""
        self._loader_image = image

    # Blocks

    def erasing(self, address: int, size: int) -> Operations | None:
        """Erase in one block; None if the range is not in any."""
        found = self._find(address, size, boundary=self._flash.geometry.sector_size)
        if found is None:
            return None
        block, place = found
        return self._erase(block, place, size)

    def download(self, address: int, size: int) -> Sink | None:
        """Accept a download to RAM or to one block; None if the range is in neither."""
        area = self._ecu.secondary_loader
        if area is not None and area.start <= address < area.start + area.size:
            download = _RamDownload(self, area, address, size)
            self._loader_image, self._loader_runs = None, False
            return download
        self.require_loader()
        found = self._find(address, size, boundary=self._flash.geometry.page_size)
        return None if found is None else _BlockDownload(self, *found, size)

    @property
    def page_size(self) -> int:
        return self._flash.geometry.page_size

    def place_of(self, block: LogicalBlock) -> int:
        """Where the block begins in the flash."""
        return self._places[block]

    def programming(self, place: int, data: bytes) -> Operations:
        return self._flash.program(place, data)

    def storing(self, block: LogicalBlock, state: BlockState, length: int) -> Operations:
        return self._nvm.writing(_key(block), _STATE.pack(state, length))

    def check(self, option: bytes) -> CheckStatus | None:
        """0202 with address and CRC32 of a block's image; None if the record names no block."""
        if len(option) != _CHECK.size:
            return None
        address, expected = _CHECK.unpack(option)
        found = self._find(address, 1, boundary=1)
        if found is None:
            raise RangeError(f"no block at 0x{address:08X}")
        image = self._image(found[0])
        if image is None:
            raise NotNowError(f"block {found[0].name}: no finished download")
        if zlib.crc32(image) != expected:
            return CheckStatus.WRONG_CHECKSUM
        return self._judge(image)[0]

    def check_dependencies(self, application: bytes) -> CheckStatus:
        """FF01 over everything: the image in the application area, and every block with it."""
        if not self._places:
            return CheckStatus.CORRECT
        status, declared = self._judge(application)
        if declared is None:
            return status
        return next((status for _, status in self._misfits(declared)), CheckStatus.CORRECT)

    def hindrance(self, application: Declared) -> str:
        """Why this application cannot start with these blocks; "" if it can."""
        return next(
            (
                f"block {block.name} does not fit: {status.name.lower()}"
                for block, status in self._misfits(application)
            ),
            "",
        )

    def _misfits(self, application: Declared) -> Iterator[tuple[LogicalBlock, CheckStatus]]:
        for block in self._places:
            image = self._image(block)
            status, declared = (
                (CheckStatus.NOT_AN_IMAGE, None) if image is None else (self._judge(image))
            )
            if declared is not None and _major(declared) != _major(application):
                status = CheckStatus.WRONG_DEPENDENCY
            if status is not CheckStatus.CORRECT:
                yield block, status

    def _judge(self, image: bytes) -> tuple[CheckStatus, Declared | None]:
        if not crc32.CONTAINER.recognizes(image):
            return CheckStatus.NOT_AN_IMAGE, None
        try:
            declared = crc32.CONTAINER.declared(image)
        except ContainerError:
            return CheckStatus.DAMAGED, None
        if declared.hardware_id != self._ecu.hardware_identifier:
            return CheckStatus.WRONG_HARDWARE, None
        return CheckStatus.CORRECT, declared

    def _image(self, block: LogicalBlock) -> bytes | None:
        state, length = _STATE.unpack(self._nvm.read(_key(block)) or bytes(_STATE.size))
        if state != BlockState.WRITTEN:
            return None
        return self._flash.read(self._places[block], length)

    def _erase(self, block: LogicalBlock, place: int, size: int) -> Operations:
        sector = self._flash.geometry.sector_size
        yield from self.storing(block, BlockState.PROGRAMMING, 0)
        yield from self._flash.erase(place, -(-size // sector) * sector)

    def _find(self, address: int, size: int, *, boundary: int) -> tuple[LogicalBlock, int] | None:
        """The block that holds the whole range, and where that is in the flash."""
        for block, place in self._places.items():
            offset = address - block.start
            if not 0 <= offset < block.size:
                continue
            if size < 1 or offset + size > block.size or offset % boundary:
                raise RangeError(f"0x{address:08X} + 0x{size:X} is not a range of {block.name}")
            return block, place + offset
        return None


class _RamDownload:
    def __init__(
        self, blocks: LogicalBlocks, area: SecondaryLoader, address: int, size: int
    ) -> None:
        if address != area.start or size > area.size:
            raise RangeError(f"RAM takes 0x{area.size:X} bytes at 0x{area.start:08X}")
        self._blocks = blocks
        self._image = bytearray()

    def transfer(self, data: bytes) -> Job:
        yield from ()
        self._image += data
        return b""

    def transfer_exit(self) -> Job:
        yield from ()
        self._blocks.keep_loader(bytes(self._image))
        return b""


class _BlockDownload:
    """Whole pages are programmed as they come; the rest waits for more, or for the end."""

    def __init__(self, blocks: LogicalBlocks, block: LogicalBlock, place: int, size: int) -> None:
        self._blocks = blocks
        self._block = block
        self._place = place
        self._rest = b""
        self._left = size

    def transfer(self, data: bytes) -> Job:
        if len(data) > self._left:
            raise Refusal(Nrc.TRANSFER_DATA_SUSPENDED, "more data than announced")
        self._left -= len(data)
        page = self._blocks.page_size
        pending = self._rest + data
        whole = len(pending) - len(pending) % page
        yield from self._blocks.programming(self._place, pending[:whole])
        self._place += whole
        self._rest = pending[whole:]
        return b""

    def transfer_exit(self) -> Job:
        yield from self._blocks.programming(self._place, self._rest)
        length = self._place + len(self._rest) - self._blocks.place_of(self._block)
        yield from self._blocks.storing(self._block, BlockState.WRITTEN, length)
        return b""


def _key(block: LogicalBlock) -> str:
    return f"block.{block.name}"


def _major(declared: Declared) -> str:
    return declared.software_version.partition(".")[0]
