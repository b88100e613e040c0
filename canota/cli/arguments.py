"""What arguments of commands may be, where their type alone does not say it."""

import math
import re
from typing import Final

import typer

from canota.cli.exits import CommandError, Exit
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import check_vin
from protocols.link import Profile, UnknownProfileError, profile_named

PORT_LIMIT: Final = 0xFFFF
#: What firmware and memory lie in: addresses of 32 bits.
ADDRESS_LIMIT: Final = 1 << 32
#: A CAN identifier of 29 bits, all ones.
LARGEST_ID: Final = 0x1FFF_FFFF

#: Bytes with or without a unit.
_BYTES: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([kMGmg]?)(?:i?B)?")
#: A name or an address (IPv6 in brackets), and a port.
_TARGET: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})")


def target(value: str) -> str:
    """The address of a cloud, `HOST:PORT`."""
    found = _TARGET.fullmatch(value)
    if found is None or not 0 < int(found[1]) <= PORT_LIMIT:
        raise CommandError(f"--cloud {value!r}: HOST:PORT expected", Exit.USAGE)
    return value


def vin(value: str) -> str:
    """A vehicle identification number as ISO 3779 writes it."""
    try:
        return check_vin(value, field="VIN")
    except InvalidFieldError as error:
        raise CommandError(str(error), Exit.REFUSED) from error


def seconds(value: float, *, option: str) -> float:
    """A time to wait: finite, and not negative."""
    if not math.isfinite(value) or value < 0:
        raise CommandError(f"{option} {value}: seconds expected, not below 0", Exit.USAGE)
    return value


def byte_count(value: str, *, option: str) -> int:
    """A number of bytes: `20M`, `1.5 GiB`, `300k`, `4096`; k, M and G count by 1024."""
    found = _BYTES.fullmatch(value.strip())
    if found is None:
        raise CommandError(f"{option} {value!r}: bytes expected, as 300k, 20M or 1G", Exit.USAGE)
    factor: int = 1 << 10 * " kmg".index(found[2].lower() or " ")
    return round(float(found[1]) * factor)


def address(value: object, *, where: str) -> int:
    """An address in a file that people write."""
    # A bool is an int to isinstance, and TOML and JSON have both.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < ADDRESS_LIMIT:
        raise CommandError(f"{where}: {value!r} is not a 32-bit address", Exit.REFUSED)
    return value


def hex_number(text: str) -> int:
    """A CAN identifier or logical address: hexadecimal, with or without 0x."""
    try:
        number = int(text, 16)
    except ValueError:
        number = -1
    if not 0 <= number <= LARGEST_ID:
        raise typer.BadParameter(f"{text!r}: hex digits up to {LARGEST_ID:X} expected")
    return number


def link_profile(name: str, *, option: str) -> Profile:
    """A wireless link by its name."""
    try:
        return profile_named(name)
    except UnknownProfileError as error:
        raise CommandError(f"{option} {error}", Exit.USAGE) from error


def host_and_port(value: str, *, option: str, free: bool) -> tuple[str, int]:
    """`HOST:PORT` (IPv6 in brackets); port 0 only where a `free` one may be taken."""
    found = _TARGET.fullmatch(value)
    if found is None or not (0 if free else 1) <= int(found[1]) <= PORT_LIMIT:
        raise CommandError(f"{option} {value!r}: HOST:PORT expected", Exit.USAGE)
    return value.rpartition(":")[0].strip("[]"), int(found[1])
