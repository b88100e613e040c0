"""Any journal is read up to its sound end, or refused with a `JournalError`.

Each line of the input gets its right sum: what is hard to guess is behind it.
"""

import zlib
from pathlib import Path
from typing import Final

from fuzz import Draw, Harness
from vehicle_gateway.update import journal
from vehicle_gateway.update.journal import Entry, JournalError, Kind

_PATH: Final = Path("journal.jsonl")


def prove(data: bytes) -> None:
    draw = Draw(data)
    torn = draw.byte()
    lines = [b"%08x %s\n" % (zlib.crc32(text), text) for text in draw.rest().split(b"\n")]
    content = b"".join(lines)
    for one in (data, content, content[: len(content) - torn]):
        try:
            entries, end = journal._read(_PATH, one)  # noqa: SLF001 without its file: a sync for each input leaves no time
        except JournalError:
            continue
        if end > len(one) or len(entries) > one.count(b"\n"):
            raise AssertionError(f"{len(entries)} entries end at {end} of {len(one)} bytes")


def _texts(*entries: Entry) -> bytes:
    lines = (journal._line(number, entry) for number, entry in enumerate(entries))  # noqa: SLF001 the lines as they are written
    return b"\n".join(line.rstrip(b"\n").partition(b" ")[2] for line in lines)


_WHOLE: Final = _texts(
    Entry(kind=Kind.OFFERED, time_us=1, fields={"release": "hvac-2.0.0", "jobs": [1, None, {}]}),
    Entry(kind=Kind.STAGING, ecu="ccu", time_us=2),
)
HARNESS: Final = Harness(prove=prove, seeds=(b"\0" + _WHOLE, b"\x05" + _WHOLE), max_length=4096)
