"""What several commands of the gateway are told: the vehicle's description and its secret."""

from pathlib import Path
from typing import Final

from canota.cli.exits import CommandError, Exit
from dbc.vehicle import DescriptionError, VehicleDescription, describe_vehicle
from firmware import dev_keys

#: Bytes of a diagnostics master secret, at least: those of the keys made of it.
_SECRET_LENGTH: Final = 16


def describe(path: Path | None) -> VehicleDescription:
    try:
        return describe_vehicle() if path is None else describe_vehicle(path)
    except DescriptionError as error:
        raise CommandError(str(error), Exit.REFUSED) from error


def master_secret(path: Path | None) -> tuple[bytes, bool]:
    """The diagnostics master secret, and whether it is the one that everybody has."""
    published = dev_keys().diagnostics_master
    if path is None:
        return published, True
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: cannot be read: {error}", Exit.REFUSED) from error
    digits = "".join(line for line in text.splitlines() if not line.startswith("#"))
    try:
        secret = bytes.fromhex(digits)
    except ValueError as error:
        raise CommandError(f"{path}: not hexadecimal", Exit.REFUSED) from error
    if len(secret) < _SECRET_LENGTH:
        raise CommandError(
            f"{path}: {len(secret)} bytes; a master secret has at least {_SECRET_LENGTH}",
            Exit.REFUSED,
        )
    return secret, secret == published
