"""Times, identifiers and bytes as operators type them."""

import re
from typing import Final

from google.protobuf.duration_pb2 import Duration

from canota.cli.exits import CommandError, Exit

_TIME: Final = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str, option: str) -> Duration:
    """`500ms`, `30s`, `10m`, `2h`, `7d`."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise CommandError(
            f"{option} {text!r}: a time like 30s, 10m, 2h or 7d expected", Exit.USAGE
        )
    milliseconds = round(float(found[1]) * _SECONDS[found[2]] * 1000)
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def identifier(text: str, option: str, *, greatest: int = 0xFFFF) -> int:
    """Hexadecimal digits, with or without 0x."""
    try:
        number = int(text, 16)
    except ValueError:
        number = -1
    if not 0 <= number <= greatest:
        raise CommandError(f"{option} {text!r}: hex digits up to {greatest:X} expected", Exit.USAGE)
    return number


def hex_bytes(text: str, option: str) -> bytes:
    """Pairs of hexadecimal digits, with or without spaces."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise CommandError(f"{option} {text!r}: bytes in hex expected", Exit.USAGE) from error
