"""How the values of faults are written: times, shares, numbers, addresses, requests."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ecu_sim.faults import Reading

#: In microseconds: no time is finer.
_UNITS: Final = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}
_TIME: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(us|ms|s|min)")
_LONGEST_US: Final = 86_400_000_000
_REQUEST: Final = re.compile(r"(?:0x)?((?:[0-9A-Fa-f]{2}){1,32})(?::([1-9]\d{0,8}))?")


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests that begin with these bytes: each of them, or the one of that number."""

    start: bytes = b""
    #: Counted from 1, from the begin of the fault on; 0: each.
    number: int = 0

    def __str__(self) -> str:
        return self.start.hex().upper() + (f":{self.number}" if self.number else "")


class Direction(Enum):
    BOTH = "both"
    #: What the ECU sends.
    TX = "tx"
    #: What it receives.
    RX = "rx"


def _refuse_other(condition: bool) -> None:  # noqa: FBT001 one thing to tell
    if not condition:
        raise ValueError


def _share(text: str) -> float:
    value = float(text)
    _refuse_other(0.0 <= value <= 1.0)
    return value


def read_time(text: str) -> float:
    """Seconds of `300ms`, `2s`, `1.5min`; `ValueError` for anything else."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(text)
    value_us = round(float(found[1]) * _UNITS[found[2]])
    _refuse_other(value_us <= _LONGEST_US)
    return value_us / 1_000_000


def write_time(value: float) -> str:
    """The shortest way to write it that reads the same."""
    value_us = round(value * 1_000_000)
    unit = next(unit for unit in ("s", "ms", "us") if value_us % _UNITS[unit] == 0)
    return f"{value_us // _UNITS[unit]}{unit}"


def read_requests(text: str) -> Requests:
    """`36`, `0x36:5`, `3101FF00`; `ValueError` for anything else."""
    found = _REQUEST.fullmatch(text.replace(" ", ""))
    if found is None:
        raise ValueError(text)
    return Requests(bytes.fromhex(found[1]), int(found[2] or 0))


def whole(low: int, high: int) -> Reading:
    """A whole number, decimal or with 0x."""

    def read(text: str) -> int:
        value = int(text, 16) if text[:2] in ("0x", "0X") else int(text)
        _refuse_other(low <= value <= high and "_" not in text)
        return value

    return Reading("N", f"a whole number from {low} to {high}", read)


def one_of(members: type[Enum]) -> Reading:
    words = {str(one.value): one for one in members}

    def read(text: str) -> Enum:
        if text not in words:
            raise ValueError(text)
        return words[text]

    return Reading("|".join(words), f"one of {', '.join(words)}", read, lambda one: str(one.value))


def _hexadecimal(width: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        digits = text.removeprefix("0x")
        _refuse_other(0 < len(digits) <= width and digits.isalnum() and digits.isascii())
        value = int(digits, 16)
        _refuse_other(value <= high)
        return value

    return read


def _plain(value: float) -> str:
    return repr(value).removesuffix(".0")


def _factor(text: str) -> float:
    value = float(text)
    _refuse_other(math.isfinite(value) and 1.0 <= value <= 1000.0)
    return value


SHARE: Final = Reading("SHARE", "a share from 0 to 1", _share, _plain)
TIME: Final = Reading("TIME", "a time such as 300ms, 2s or 1min", read_time, write_time)
FACTOR: Final = Reading("FACTOR", "a factor from 1 to 1000", _factor, _plain)
REQUESTS: Final = Reading(
    "REQUEST[:N]", "the first bytes of a request in hex, and :N for the Nth of them", read_requests
)
SEED: Final = whole(0, (1 << 63) - 1)
COUNT: Final = whole(1, 1_000_000)
NRC: Final = Reading(
    "CODE", "a negative response code in hex", _hexadecimal(2, 0xFF), "{:02X}".format
)
ADDRESS: Final = Reading(
    "ADDRESS",
    "an address in hex, as requests have it, or from the start of the application area",
    _hexadecimal(8, 0xFFFF_FFFF),
    "0x{:X}".format,
)
IDENTIFIER: Final = Reading(
    "IDENTIFIER", "a CAN identifier in hex", _hexadecimal(8, 0x1FFF_FFFF), "0x{:X}".format
)
