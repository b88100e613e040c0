"""What a sequence brings to an ECU, block by block, and the values that its requests speak of."""

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Segments
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from protocols.firmware.formats import Content, FormatError, Image
from vehicle_gateway.flashing.checksums import CHECKSUMS
from vehicle_gateway.flashing.sequence import Block, Sequence
from vehicle_gateway.flashing.template import Filling, Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes that go to the ECU in one download."""

    name: str
    address: int
    data: bytes
    #: What the ECU calls the block.
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    #: What is programmed, in this order.
    parts: tuple[Part, ...] = ()
    #: The secondary boot loader, and the address at which it is started.
    loader: tuple[Part, ...] = ()
    entry: int | None = None
    #: dataFormatIdentifier of the loader's bytes.
    loader_format: int = 0
    #: SHA-256 of the image that is to run, and of the one that ran before.
    new_sha256: bytes = b""
    old_sha256: bytes = b""
    nonce: bytes = bytes(16)

    @property
    def size(self) -> int:
        return sum(len(part.data) for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Values(Mapping[str, Filling]):
    """`{name}` -> value, worked out when it is asked for."""

    sequence: Sequence
    load: Load
    today: datetime
    #: The block that a step is for; None outside of blocks where there are several.
    part: Part | None = None
    #: So many bytes of it are in the ECU already.
    offset: int = 0

    def __getitem__(self, name: str) -> Filling:
        memory = self.sequence.memory
        match name:
            case "date":
                return bytes.fromhex(self.today.strftime("%y%m%d"))
            case "date_long":
                return bytes.fromhex(self.today.strftime("%Y%m%d"))
            case "length_format":
                return Number(value=memory.length_format, width=1)
            case "data_format":
                return Number(value=memory.data_format, width=1)
            case "blocks":
                return Number(value=len(self.load.parts), width=1)
            case "entry" if self.load.entry is not None:
                return Number(value=self.load.entry, width=memory.address_bytes)
            case _ if self.part is not None and name in BLOCK_VALUES:
                return self._of(self.part, name)
            case _:
                raise KeyError(name)

    def _of(self, part: Part, name: str) -> Filling:
        memory = self.sequence.memory
        match name:
            case "address":
                return Number(value=part.address + self.offset, width=memory.address_bytes)
            case "size":
                return Number(value=len(part.data) - self.offset, width=memory.size_bytes)
            case "block_address":
                return Number(value=part.address, width=memory.address_bytes)
            case "block_size":
                return Number(value=len(part.data), width=memory.size_bytes)
            case "block_end":
                last = part.address + len(part.data) - 1
                return Number(value=last, width=memory.address_bytes)
            case "index":
                return Number(value=part.index, width=1)
            case "checksum" if self.sequence.checksum is not None:
                return self.sequence.checksum(part.data)
            case _ if name in CHECKSUMS:
                return CHECKSUMS[name](part.data)
            case _:
                raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in VALUES if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        try:
            self[str(name)]
        except KeyError:
            return False
        return True


#: Values of the block that a step is for.
BLOCK_VALUES: Final[Mapping[str, str]] = {
    "address": "first address that is still to be written (of the block, or where it goes on)",
    "size": "bytes that are still to be written",
    "block_address": "first address of the block",
    "block_size": "bytes of the block",
    "block_end": "last address of the block",
    "index": "what the ECU calls the block, one byte (`blocks.index`)",
    "checksum": "checksum of the block by the table `checksum`",
    "crc32": "CRC-32 of the block, four bytes",
    "crc16": "CRC-16 of the block (polynomial 1021, start FFFF), two bytes",
    "sum8": "sum of the block's bytes, one byte",
    "sum16": "the same, two bytes",
    "sum32": "the same, four bytes",
    "sha1": "SHA-1 of the block",
    "sha256": "SHA-256 of the block",
    "sha512": "SHA-512 of the block",
}
#: Every place that a template may have -> what goes there.
VALUES: Final[Mapping[str, str]] = {
    **BLOCK_VALUES,
    "date": "today, BCD: year in the century, month, day",
    "date_long": "today, BCD: year in two bytes, month, day",
    "length_format": "addressAndLengthFormatIdentifier of the table `memory`",
    "data_format": "dataFormatIdentifier of the table `memory`",
    "blocks": "number of blocks that are programmed, one byte",
    "entry": "address at which the secondary boot loader is started",
}


class LoadError(Exception):
    """Firmware that does not go into this ECU; the message names address and block."""


def parts_of(segments: Segments[Image], sequence: Sequence) -> tuple[Part, ...]:
    """What is downloaded, block by block; `LoadError` for bytes that belong to no block."""
    if not segments:
        raise LoadError("nothing to program")
    if not sequence.blocks:
        found = _whole(segments) if not sequence.by_block else segments
        return tuple(
            Part(
                name=f"0x{one.address:08X}",
                address=one.address,
                data=sequence.memory.aligned(one.data),
                index=number,
            )
            for number, one in enumerate(found)
        )
    parts: list[Part] = []
    placed = 0
    for block in sequence.blocks:
        pieces = [piece for one in segments if (piece := _within(one, block)) is not None]
        placed += sum(len(piece.data) for piece in pieces)
        if pieces:
            parts.append(_part(block, pieces, sequence))
    if placed != sum(len(one.data) for one in segments):
        raise LoadError(_astray(segments, sequence.blocks))
    if len(parts) > 1 and not sequence.by_block:
        raise LoadError(
            f"the file fills {len(parts)} blocks, and the sequence has no each_block for them"
        )
    return tuple(parts)


def _whole(segments: Segments[Image]) -> tuple[Image, ...]:
    try:
        return (Content(segments=tuple(segments)).joined(),)
    except FormatError as error:
        raise LoadError(str(error)) from error


def _within(image: Image, block: Block) -> Image | None:
    start = max(image.address, block.address)
    end = min(image.end, block.address + block.size)
    if start >= end:
        return None
    return Image(address=start, data=image.data[start - image.address : end - image.address])


def _part(block: Block, pieces: list[Image], sequence: Sequence) -> Part:
    pieces = sorted(pieces, key=lambda piece: piece.address)
    fill = bytes([sequence.memory.fill])
    data = bytearray()
    for piece in pieces:
        data += fill * (piece.address - pieces[0].address - len(data)) + piece.data
    return Part(
        name=block.name,
        address=pieces[0].address,
        data=sequence.memory.aligned(bytes(data)),
        index=block.index,
    )


def _astray(segments: Segments[Image], blocks: Segments[Block]) -> str:
    for one in segments:
        at = one.address
        while at < one.end:
            inside = [b for b in blocks if b.address <= at < b.address + b.size]
            if not inside:
                return f"0x{at:08X} is in none of the blocks {', '.join(b.name for b in blocks)}"
            at = inside[0].address + inside[0].size
    return "two files fill one address"
