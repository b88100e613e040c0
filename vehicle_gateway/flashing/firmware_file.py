"""Firmware files from the disk: what is programmed, and the secondary boot loader."""

from collections.abc import Sequence as Segments
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from protocols.firmware.formats import Content, FormatError, Image, detect
from vehicle_gateway.flashing.load import LoadError, Part
from vehicle_gateway.flashing.sequence import Sequence

#: A text format needs up to some three bytes for each of its image.
FILE_LIMIT: Final = 128 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """A file, read."""

    path: Path
    format: str
    #: Whether the file said where its bytes go.
    addressed: bool
    #: Whether its name ends as files of this format do.
    named: bool
    content: Content

    def placed(self, address: int) -> "Firmware":
        """At an address of its own, for a file that says none."""
        image = replace(self.content.segments[0], address=address)
        return replace(self, addressed=True, content=replace(self.content, segments=(image,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderParts:
    parts: tuple[Part, ...] = ()
    entry: int | None = None
    data_format: int = 0


def read_firmware(path: Path) -> Firmware:
    """`LoadError` names the file and the line of what is wrong with it."""
    try:
        with path.open("rb") as opened:
            data = opened.read(FILE_LIMIT + 1)
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from error
    if len(data) > FILE_LIMIT:
        raise LoadError(f"{path}: more than {FILE_LIMIT} bytes")
    try:
        kind = detect(path.name, data)
        content = kind.content(data)
    except FormatError as error:
        line = "" if error.line is None else f":{error.line}"
        raise LoadError(f"{path}{line}: {error.reason}") from error
    return Firmware(
        path=path,
        format=kind.name,
        addressed=kind.carries_address,
        named=path.suffix.lower() in kind.suffixes,
        content=content,
    )


def loader_of(sequence: Sequence, path: Path | None = None) -> LoaderParts:
    """The secondary boot loader of a sequence, from `path` or from the file that it names."""
    if sequence.loader is None:
        if path is not None:
            raise LoadError(f"{path}: the sequence has no secondary boot loader ([loader])")
        return LoaderParts()
    if path is None:
        if not sequence.loader.file:
            raise LoadError("the sequence needs a secondary boot loader: --loader FILE")
        path = (sequence.folder or Path()) / sequence.loader.file
    firmware = read_firmware(path)
    if not firmware.addressed:
        if sequence.loader.address is None:
            raise LoadError(f"{path}: says no address, and loader.address is not given")
        firmware = firmware.placed(sequence.loader.address)
    segments = firmware.content.segments
    parts = tuple(
        Part(
            name=f"loader 0x{one.address:08X}",
            address=one.address,
            data=sequence.memory.aligned(one.data),
            index=number,
        )
        for number, one in enumerate(segments)
    )
    entry = firmware.content.entry
    return LoaderParts(
        parts=parts,
        entry=segments[0].address if entry is None else entry,
        data_format=firmware.content.data_format,
    )


def taken_together(
    files: Segments[Firmware], sequence: Sequence
) -> tuple[tuple[Image, ...], Sequence]:
    """All ranges of all files, and the sequence with the data format that they are in.

    `LoadError` if two fill one address, or are in different data formats.
    """
    ranges = sorted(
        (one.address, one.end, file.path.name) for file in files for one in file.content.segments
    )
    for (_, end, first), (start, _, second) in pairwise(ranges):
        if start < end:
            raise LoadError(f"{first} and {second} both fill 0x{start:08X}")
    segments = tuple(one for file in files for one in file.content.segments)
    found = {file.content.data_format for file in files}
    if len(found) > 1:
        told = ", ".join(f"{file.path.name} {file.content.data_format:02X}" for file in files)
        raise LoadError(f"files in different data formats: {told}")
    data_format = found.pop()
    if not data_format:
        return segments, sequence
    if len(segments) > 1 and not sequence.by_block:
        raise LoadError(
            f"{len(segments)} blocks in data format {data_format:02X}, and the sequence has no"
            " each_block for them"
        )
    return segments, replace(sequence, memory=replace(sequence.memory, data_format=data_format))
