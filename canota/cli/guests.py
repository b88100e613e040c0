"""The options of `canota ecus serve` for ECUs that are not ours: from a PDX, or from a log."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from canota.cli.exits import CommandError, Exit
from canota.cli.serving import say
from ecu_sim.described import DescribedEcu, DescriptionError
from ecu_sim.described.guest import DescribedGuest
from ecu_sim.described.node import KeyHook, complement
from ecu_sim.described.options import EcuOptions, applied, read_options
from ecu_sim.described.pdx import read_pdx
from ecu_sim.guest import Guest
from ecu_sim.recorded import RecordedEcu, RecordedError
from ecu_sim.recorded.conversations import Addresses, recorded_ecus
from ecu_sim.recorded.node import RecordedGuest
from recording import LogError
from recording.reading import LogReader

DEFAULT_WIRE: Final = "comfort"
_LARGEST_ID: Final = 0x1FFF_FFFF

PdxOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--pdx",
        metavar="FILE",
        help="Serve the ECU of an ODX package (PDX) too, with the identifiers that it has there.",
        dir_okay=False,
        exists=True,
    ),
]
VariantOption: TypeAlias = Annotated[
    str,
    typer.Option("--variant", metavar="NAME", help="The package's layer; the base variant if not."),
]
EcuOptionsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--ecu-options",
        metavar="FILE",
        help="What the package does not tell: memory, identifiers, data, key function (TOML).",
        dir_okay=False,
        exists=True,
    ),
]
RecordedOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--recorded",
        metavar="LOG",
        help="Serve the ECUs that answer in a log too: they answer what they were heard to answer.",
        dir_okay=False,
        exists=True,
    ),
]
RecordedIdsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--recorded-ids",
        metavar="REQUEST:RESPONSE[:FUNCTIONAL]",
        help="The log's CAN identifiers in hex (7A0:7A8); found if left out.",
    ),
]
GuestWireOption: TypeAlias = Annotated[
    str, typer.Option("--guest-wire", metavar="WIRE", help="The CAN wire that these are on.")
]


def described_guest(
    pdx: Path | None, *, variant: str, options: Path | None, wire: str
) -> list[Guest]:
    """The ECU of a package, or none."""
    if pdx is None:
        if variant or options is not None:
            raise CommandError("--variant and --ecu-options need --pdx", Exit.USAGE)
        return []
    try:
        given = EcuOptions()
        if options is not None:
            given = read_options(options.read_text("utf-8"), name=str(options))
        ecu = applied(read_pdx(pdx.read_bytes(), name=str(pdx), variant=variant), given)
    except UnicodeDecodeError as error:
        raise CommandError(f"{options}: not UTF-8 (byte {error.start})", Exit.REFUSED) from error
    except DescriptionError as error:
        raise CommandError(str(error), Exit.REFUSED) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    key = complement if not given.key else _key_hook(given.key, options)
    say(_described_line(ecu, pdx))
    return [DescribedGuest(ecu=ecu, wire=wire, key=key)]


def recorded_guests(log: Path | None, *, ids: str | None, wire: str) -> list[Guest]:
    """Every ECU that answers in a log, or none."""
    if log is None:
        if ids is not None:
            raise CommandError("--recorded-ids needs --recorded", Exit.USAGE)
        return []
    addresses = None if ids is None else _addresses(ids)
    try:
        with LogReader(log) as reader:
            found = recorded_ecus(reader, reader.channels, name=str(log), addresses=addresses)
    except (LogError, RecordedError) as error:
        raise CommandError(str(error), Exit.REFUSED) from error
    for ecu in found:
        say(_recorded_line(ecu))
    return [RecordedGuest(ecu=ecu, wire=wire) for ecu in found]


def _described_line(ecu: DescribedEcu, pdx: Path) -> str:
    services = len(ecu.data) + len(ecu.routines) + len(ecu.stock)
    return (
        f"{ecu.name}: {ecu.request_id:X} -> {ecu.response_id:X}, {services} identifiers, routines"
        f" and answers of {pdx.name}"
    )


def _recorded_line(ecu: RecordedEcu) -> str:
    unasked = f", {ecu.unasked} messages unasked left out" if ecu.unasked else ""
    return (
        f"{ecu.name}: {ecu.request_id:X} -> {ecu.response_id:X}, {ecu.requests} requests in"
        f" {len(ecu.exchanges)} exchanges{unasked}"
    )


def _addresses(text: str) -> Addresses:
    parts = text.split(":")
    try:
        numbers = [int(part, 16) for part in parts]
    except ValueError:
        numbers = []
    fits = len(numbers) in (2, 3) and all(0 <= number <= _LARGEST_ID for number in numbers)
    if not fits or numbers[0] == numbers[1]:
        raise CommandError(
            f"--recorded-ids {text}: two or three CAN identifiers in hex expected, 7A0:7A8",
            Exit.USAGE,
        )
    return Addresses(
        request_id=numbers[0],
        response_id=numbers[1],
        functional_id=numbers[2] if numbers[2:] else None,
    )


def _key_hook(text: str, options: Path | None) -> KeyHook:
    """`python:FILE:FUNCTION`; FILE is looked for beside the options. Runs the user's own code."""
    kind, _, rest = text.partition(":")
    name, _, function = rest.rpartition(":")
    if kind != "python" or not name or not function:
        raise CommandError(f"{options}: key: python:FILE:FUNCTION expected, not {text!r}")
    path = (options.parent if options is not None else Path()) / name
    spec = importlib.util.spec_from_file_location("canota_key_hook", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise CommandError(f"{options}: key: no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = getattr(module, function)
    except Exception as error:  # the user's own code may raise anything
        raise CommandError(f"{path}: {function}: {type(error).__name__}: {error}") from error

    def key(level: int, seed: bytes) -> bytes:
        return bytes(found(level, seed))

    return key


def fitted(ecus: Sequence[str], chosen: Sequence[str]) -> tuple[str, ...]:
    """The vehicle's ECUs that are asked for: all if none are named."""
    if not chosen:
        return tuple(ecus)
    if list(chosen) == ["none"]:
        return ()
    unknown = [name for name in chosen if name not in ecus]
    if unknown:
        known = ", ".join((*ecus, "none"))
        raise CommandError(f"--ecu {unknown[0]}: one of {known} expected", Exit.USAGE)
    return tuple(name for name in ecus if name in chosen)
