"""A record that is all old or all new whenever the power goes.

Two copies in flash areas of their own. A write goes to the older copy; the highest sequence number
with a right CRC32 wins.
"""

import struct
import zlib
from typing import Final

from ecu_sim.memory.errors import MemoryFaultError
from ecu_sim.memory.flash import Flash, Operations

_MAGIC: Final = b"CR2C"
#: Magic, sequence number, length of the content; CRC32 over these and the content follows.
_HEADER: Final = struct.Struct("<4sII")
_CRC: Final = struct.Struct("<I")


class TwoCopyRecord:
    """Bytes in two flash areas of `copy_size` each, beginning at `address` (whole sectors)."""

    def __init__(self, flash: Flash, *, address: int, copy_size: int) -> None:
        self._flash = flash
        self._addresses = (address, address + copy_size)
        self._copy_size = copy_size

    @property
    def capacity(self) -> int:
        return self._copy_size - _HEADER.size - _CRC.size

    def read(self) -> bytes | None:
        """Content of the newest whole copy; None on a chip that never held one."""
        copies = [copy for copy in map(self._copy, (0, 1)) if copy is not None]
        return max(copies)[1] if copies else None

    def write(self, content: bytes) -> Operations:
        if len(content) > self.capacity:
            raise MemoryFaultError(
                f"record: {len(content)} bytes do not fit into {self.capacity} bytes"
            )
        return self._write(content)

    def _write(self, content: bytes) -> Operations:
        sequences = [-1 if copy is None else copy[0] for copy in map(self._copy, (0, 1))]
        older = sequences.index(min(sequences))
        body = _HEADER.pack(_MAGIC, max(sequences) + 1, len(content)) + content
        yield from self._flash.erase(self._addresses[older], self._copy_size)
        yield from self._flash.program(self._addresses[older], body + _CRC.pack(zlib.crc32(body)))

    def _copy(self, which: int) -> tuple[int, bytes] | None:
        address = self._addresses[which]
        magic, sequence, length = _HEADER.unpack(self._flash.read(address, _HEADER.size))
        if magic != _MAGIC or length > self.capacity:
            return None
        body = self._flash.read(address, _HEADER.size + length)
        (crc,) = _CRC.unpack(self._flash.read(address + len(body), _CRC.size))
        return (sequence, body[_HEADER.size :]) if crc == zlib.crc32(body) else None
