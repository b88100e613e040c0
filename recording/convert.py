"""A log in another format: the same records in the same order, as far as the format holds them."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from recording.formats import format_of
from recording.reading import LogReader, channel_number
from recording.records import Channel, EthernetFrame, LogError, Record
from recording.selection import Selection
from recording.summary import summary

_CHUNK: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    written: int
    #: Ethernet frames that the format has no place for.
    left_out: int
    channels: tuple[Channel, ...]


def convert(
    source: Path,
    target: Path,
    *,
    selection: Selection,
    names: Mapping[str, str],
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> Converted:
    """Write `target` whole, or leave what was there; `LogError` names file and place.

    `names` gives channels (by name, or number from 1) new ones. The log is read twice: which
    channels it has and when it begins stands at the beginning of other formats. `on_progress` is
    told of bytes read and bytes in both passes.
    """
    kind = format_of(target)
    with LogReader(source) as reader:
        found = summary(_told(reader, on_progress, before=0), reader.channels)
    channels = _renamed(reader.channels, names, source)
    piece = target.with_name(f".{target.name}.{os.getpid()}.part")
    written = left_out = 0
    try:
        with piece.open("wb+") as file, LogReader(source) as reader:
            writer = kind.write(file, channels, found.first_ns)
            records = _told(reader, on_progress, before=reader.size)
            chosen = iter(selection.take(records, reader.channels))
            while chunk := list(islice(chosen, _CHUNK)):
                kept = chunk if kind.carries_ethernet else _can(chunk)
                left_out += len(chunk) - len(kept)
                written += len(kept)
                writer.write(kept)
            writer.close()
        piece.replace(target)
    except OSError as error:
        raise LogError(f"{target}: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            piece.unlink()
    return Converted(written=written, left_out=left_out, channels=channels)


def _can(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if not isinstance(record, EthernetFrame)]


def _renamed(
    channels: Sequence[Channel], names: Mapping[str, str], source: Path
) -> tuple[Channel, ...]:
    made = list(channels)
    for old, new in names.items():
        number = channel_number(channels, old)
        if number is None:
            known = ", ".join(channel.name for channel in channels) or "none"
            raise LogError(f"{source}: no channel {old!r}; there are: {known}")
        made[number] = replace(made[number], name=new)
    return tuple(made)


def _told(
    reader: LogReader, on_progress: Callable[[int, int], None], *, before: int
) -> Iterable[Record]:
    for number, record in enumerate(reader):
        if number % _CHUNK == 0:
            on_progress(before + reader.position, 2 * reader.size)
        yield record
