"""`canota vehicle`: the vehicles that the cloud knows."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.text import Text

from canota.cli.arguments import address
from canota.cli.client import Operator
from canota.cli.consent import consent
from canota.cli.exits import CommandError, Exit
from canota.cli.output import (
    DEFAULT_CLOUD,
    CloudOption,
    JsonOption,
    console,
    group,
    plain,
    print_json,
    print_messages,
    size,
    table,
    time_text,
)
from protocols.fleet.v1 import vehicles_pb2

app = group()

T = TypeVar("T")


@app.callback()
def vehicle() -> None:
    """
    Register vehicles and look at them.

    A vehicle's gateway can check in only after its vehicle is registered with the public keys of
    its ECUs, for the cloud believes no read-back that these keys did not sign.
    """


app.command(name="consent")(consent)


@app.command()
def register(
    vin: Annotated[str, typer.Argument(metavar="VIN", help="17 characters, ISO 3779.")],
    identities: Annotated[
        Path,
        typer.Argument(
            metavar="IDENTITIES",
            help="JSON as `canota ecus identities` prints it; `-` reads the standard input.",
        ),
    ],
    *,
    model: Annotated[str, typer.Option(help="The vehicle's model, for people.")] = "",
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Register a vehicle with its ECUs.

    `canota ecus identities WCANHVAC000000001 | canota vehicle register WCANHVAC000000001 -`
    """
    made = registration(vin, model, read_rows(identities), source=_source(identities))
    with Operator(cloud) as operator:
        created = operator.create_vehicle(made)
    if as_json:
        print_json(plain(created))
        return
    console().print(f"{created.name}: registered with {len(created.ecus)} ECUs")


@app.command(name="list")
def list_(*, cloud: CloudOption = DEFAULT_CLOUD, as_json: JsonOption = False) -> None:
    """List vehicles by VIN."""
    with Operator(cloud) as operator:
        vehicles = list(operator.vehicles())
    if as_json:
        print_messages(vehicles)
        return
    shown = table("VIN", "model", "ECUs", "versions", "last seen", "campaign")
    for one in vehicles:
        versions = sorted({ecu.software_version for ecu in one.ecus if ecu.software_version})
        shown.add_row(
            one.vin,
            one.model,
            ", ".join(ecu.ecu for ecu in one.ecus),
            ", ".join(versions) or "unknown",
            time_text(one.last_seen_time) or "never",
            one.campaign.removeprefix("campaigns/"),
        )
    console().print(shown)


@app.command(name="replace-ecu")
def replace_ecu(
    vin: Annotated[str, typer.Argument(metavar="VIN", help="The vehicle's VIN.")],
    ecu: Annotated[str, typer.Argument(metavar="ECU", help="The ECU's name in the vehicle.")],
    *,
    serial: Annotated[str, typer.Option(help="The new part's serial number (F18C).")],
    key: Annotated[str, typer.Option(help="Its Ed25519 public key: 64 hexadecimal digits.")],
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Register the part that a workshop has put in the place of an ECU.

    Until then the part is shown with its own serial number, proves nothing and is offered nothing.

    `canota vehicle replace-ecu WCANHVAC000000001 ccu --serial CCU-0002 --key 3b6a...`
    """
    try:
        public_key = bytes.fromhex(key)
    except ValueError as error:
        raise CommandError(f"--key: {key!r} is not hexadecimal", Exit.USAGE) from error
    with Operator(cloud) as operator:
        found = operator.replace_ecu(vin, ecu, serial_number=serial, public_key=public_key)
    if as_json:
        print_json(plain(found))
        return
    console().print(f"{found.name}: {ecu} is {serial} now")


@app.command()
def show(
    vin: Annotated[str, typer.Argument(metavar="VIN", help="The vehicle's VIN.")],
    *,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Show one vehicle and what its ECUs run, as last reported."""
    with Operator(cloud) as operator:
        found = operator.vehicle(vin)
    if as_json:
        print_json(plain(found))
        return
    seen = time_text(found.last_seen_time) or "never"
    console().print(Text(found.vin, style="bold"), f"{found.model}, last seen {seen}")
    columns = (
        *("ECU", "hardware", "serial number", "wire", "slots", "area"),
        *("version", "software", "image SHA-256"),
    )
    shown = table(*columns)
    for ecu in found.ecus:
        shown.add_row(
            ecu.ecu,
            ecu.hardware_id,
            _part(ecu),
            ecu.wire,
            "1" if ecu.single_slot else "2",
            f"0x{ecu.application_base:08X} + {size(ecu.slot_size)}",
            ecu.software_version or "unknown",
            ecu.software_number,
            ecu.image_sha256.hex()[:16],
        )
    console().print(shown)


def _part(ecu: vehicles_pb2.Ecu) -> str:
    """The registered part, and the one that reports in its place."""
    reported = ecu.reported_serial_number or ecu.serial_number
    if reported == ecu.serial_number:
        return ecu.serial_number
    return f"{reported} (registered: {ecu.serial_number})"


def registration(
    vin: str, model: str, rows: Sequence[Mapping[str, object]], *, source: str
) -> vehicles_pb2.Vehicle:
    """Make what the cloud takes of what `canota ecus identities` prints.

    `CommandError` names `source`, row and field.
    """
    ecus = [_read_ecu(row, f"{source}: [{number}]") for number, row in enumerate(rows)]
    return vehicles_pb2.Vehicle(vin=vin, model=model, ecus=ecus)


def _source(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


def read_rows(path: Path) -> list[dict[str, object]]:
    """The rows of a file; `CommandError` names it, and the line of what is no JSON."""
    name = _source(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        listed = json.loads(text)
    except FileNotFoundError as error:
        raise CommandError(f"{name}: no such file", Exit.NOT_FOUND) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name}: cannot be read: {error}", Exit.REFUSED) from error
    except RecursionError as error:
        raise CommandError(f"{name}: nested too deep", Exit.REFUSED) from error
    except json.JSONDecodeError as error:
        raise CommandError(f"{name}:{error.lineno}: not JSON: {error.msg}", Exit.REFUSED) from error
    except ValueError as error:  # a number of thousands of digits
        raise CommandError(f"{name}: cannot be read: {error}", Exit.REFUSED) from error
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise CommandError(f"{name}: not a list of ECUs", Exit.REFUSED)
    return listed


def _read_ecu(row: Mapping[str, object], where: str) -> vehicles_pb2.Ecu:
    made = vehicles_pb2.Ecu(
        ecu=_typed(row, "ecu", str, where),
        hardware_id=_typed(row, "hardware_id", str, where),
        serial_number=_typed(row, "serial_number", str, where),
        wire=_typed(row, "wire", str, where),
        single_slot=_typed(row, "single_slot", bool, where),
        application_base=address(row.get("application_base"), where=f"{where}.application_base"),
        slot_size=address(row.get("slot_size"), where=f"{where}.slot_size"),
    )
    key = _typed(row, "public_key", str, where)
    try:
        made.public_key = bytes.fromhex(key)
    except ValueError as error:
        raise CommandError(f"{where}.public_key: not hexadecimal", Exit.REFUSED) from error
    return made


def _typed(row: Mapping[str, object], key: str, kind: type[T], where: str) -> T:
    value = row.get(key)
    if not isinstance(value, kind):
        raise CommandError(f"{where}.{key}: {kind.__name__} expected", Exit.REFUSED)
    return value
