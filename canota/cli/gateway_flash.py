"""`canota gateway flash`: one ECU programmed from a file, without a cloud."""

import asyncio
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

import clock
from canota.cli.arguments import hex_number, seconds
from canota.cli.bars import EcuBars, EcuStep
from canota.cli.exits import CommandError, Exit
from canota.cli.gateway_options import describe, master_secret
from canota.cli.output import Json, JsonOption, console, print_json, size, table
from dbc.vehicle import EcuDescription, VehicleDescription
from vehicle_gateway.flashing import keys_of, sequence_of
from vehicle_gateway.flashing.bound import wire_time
from vehicle_gateway.flashing.direct import (
    Report,
    TargetError,
    check_fits,
    described_by,
    flash,
    load_for,
    reached_over,
)
from vehicle_gateway.flashing.encoding import DownloadCipher
from vehicle_gateway.flashing.explain import Explainer, Line
from vehicle_gateway.flashing.firmware_file import (
    Firmware,
    loader_of,
    read_firmware,
    taken_together,
)
from vehicle_gateway.flashing.key_hook import KeyHookError, NoKeys
from vehicle_gateway.flashing.keys import DerivedKeys, Keys
from vehicle_gateway.flashing.load import Load, LoadError, parts_of
from vehicle_gateway.flashing.pace import Pace
from vehicle_gateway.flashing.sequence import Addressing, Sequence, SequenceError
from vehicle_gateway.flashing.sequence_file import load_sequence, packaged
from vehicle_gateway.flashing.site import Site
from vehicle_gateway.flashing.template import TemplateError
from vehicle_gateway.update import Progress, UpdateError
from vehicle_gateway.wires import LinkError, WireError
from vehicle_gateway.wires.testers import Testers
from vehicle_gateway.wires.uri import UriLinks

_DOIP: Final = frozenset({"doip", "doips"})


def flash_command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Firmware; where a file says no address: FILE@ADDRESS.",
        ),
    ],
    *,
    wire: Annotated[
        str,
        typer.Option(
            metavar="URI",
            help="The ECU's wire: can://bridge/HOST:PORT/WIRE, can://INTERFACE/CHANNEL, "
            "doip://HOST:PORT, doips://HOST:PORT?ca=FILE.",
        ),
    ],
    sequence: Annotated[
        str,
        typer.Option(
            metavar="FILE|NAME",
            help="How it is programmed: a flash sequence, or the name of one of ours.",
        ),
    ] = "",
    key: Annotated[
        str,
        typer.Option(
            metavar="HOOK",
            help="Its keys: FILE.py:FUNCTION, MODULE:FUNCTION or LIBRARY.so[:SYMBOL].",
        ),
    ] = "",
    ecu: Annotated[
        str, typer.Option(metavar="NAME", help="An ECU of the vehicle's description.")
    ] = "",
    tx: Annotated[
        int | None,
        typer.Option(parser=hex_number, metavar="ID", help="CAN identifier to the ECU (hex)."),
    ] = None,
    rx: Annotated[
        int | None,
        typer.Option(parser=hex_number, metavar="ID", help="CAN identifier from the ECU (hex)."),
    ] = None,
    functional: Annotated[
        int | None,
        typer.Option(
            parser=hex_number,
            metavar="ID",
            help="CAN identifier, or DoIP address, of all ECUs (hex).",
        ),
    ] = None,
    fd: Annotated[bool, typer.Option("--fd", help="The wire is CAN FD.")] = False,
    address: Annotated[
        int | None,
        typer.Option(
            parser=hex_number, metavar="ADDRESS", help="Logical address of the ECU (DoIP, hex)."
        ),
    ] = None,
    loader: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Secondary boot loader, where the sequence wants one."),
    ] = None,
    description: Annotated[
        Path | None, typer.Option(help="The vehicle's description; ours if left out.")
    ] = None,
    master_key: Annotated[
        Path | None,
        typer.Option(help="Diagnostics master secret, hexadecimal; the DEV ONLY one if left out."),
    ] = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the ECU may take to answer at first.")
    ] = 5.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the requests; touch no wire.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """
    Program one ECU from a file: no cloud, no vehicle, any wire.

    One of ours, beside `canota ecus serve`:
    `canota gateway flash blower.s19 --wire can://bridge/127.0.0.1:50091/comfort --ecu blower`

    Your own, by your own sequence and key:
    `canota gateway flash app.hex --wire can://socketcan/can0 --sequence my.toml --key my.py:key`

    The sequence file says which sessions, routines, levels and blocks your ECU has, and may say its
    addresses (`--tx`, `--rx` and `--address` go before it). Nothing else has to be written.

    Ctrl-Z holds a download at its next block, with the session kept open; once more lets it go on.
    """
    told = replace(
        Addressing(),
        request_id=tx,
        response_id=rx,
        functional_id=functional,
        functional_address=functional,
        fd=fd,
        ecu_address=address,
    )
    job = _prepare(
        files=files,
        wire=wire,
        sequence=sequence,
        key=key,
        ecu=ecu,
        told=told,
        loader=loader,
        description=description,
        master_key=master_key,
    )
    if dry_run:
        _print_plan(job, as_json=as_json)
        return
    report = clock.run(
        _run(job, wire, arrive_s=seconds(wait, option="--wait"), as_json=as_json), virtual=False
    )
    _print_report(report, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that is known before the wire is touched."""

    vehicle: VehicleDescription
    ecu: str
    sequence: Sequence
    load: Load
    keys: Keys


def _prepare(
    *,
    files: list[str],
    wire: str,
    sequence: str,
    key: str,
    ecu: str,
    told: Addressing,
    loader: Path | None,
    description: Path | None,
    master_key: Path | None,
) -> Job:
    """Read and check all that was told; `CommandError` names the file, key or option."""
    vehicle = describe(description)
    doip = wire.partition(":")[0] in _DOIP
    known = vehicle.ecus.get(ecu)
    if ecu and known is None and not sequence:
        raise CommandError(
            f"--ecu {ecu}: not in the vehicle's description, which has {', '.join(vehicle.ecus)};"
            " an ECU of your own needs --sequence",
            Exit.USAGE,
        )
    try:
        found = _sequence(sequence, known)
        if known is not None or (ecu and not _says_where(told, found, doip=doip)):
            vehicle = reached_over(vehicle, ecu, doip=doip)
            name = ecu
        else:
            addressing = _merged(found.addressing, told)
            vehicle = described_by(vehicle, found, addressing, name=ecu, doip=doip)
            name = next(iter(vehicle.ecus))
        keys = _keys(key, found, known=known is not None, master_key=master_key)
        read = [_file(source, found, vehicle, name) for source in files]
        segments, found = taken_together(read, found)
        parts = parts_of(segments, found)
        if known is not None and not found.blocks:
            check_fits(parts, vehicle.ecus[name])
        begun = loader_of(found, loader)
    except (SequenceError, LoadError) as error:
        raise CommandError(str(error), Exit.REFUSED) from error
    except (TargetError, KeyHookError) as error:
        raise CommandError(str(error), Exit.USAGE) from error
    return Job(
        vehicle=vehicle,
        ecu=name,
        sequence=found,
        load=load_for(parts, begun),
        keys=keys,
    )


def _says_where(told: Addressing, sequence: Sequence, *, doip: bool) -> bool:
    """Whether an ECU that no description knows can be reached all the same."""
    addressing = _merged(sequence.addressing, told)
    return (addressing.ecu_address if doip else addressing.request_id) is not None


def _merged(base: Addressing, told: Addressing) -> Addressing:
    """What the command line says goes before what the sequence says."""
    given = {name: value for name, value in asdict(told).items() if value not in {None, False}}
    if "request_id" in given:
        given["extended_ids"] = given["request_id"] > 0x7FF or base.extended_ids
    return replace(base, **given)


def _sequence(name: str, known: EcuDescription | None) -> Sequence:
    if not name:
        if known is None:
            raise TargetError("--sequence says how the ECU is programmed, or --ecu which of ours")
        return sequence_of(known)
    if name in packaged():
        return packaged()[name]
    path = Path(name)
    if not path.suffix and not path.exists():
        raise CommandError(
            f"--sequence {name}: no such file, and none of ours ({', '.join(packaged())})",
            Exit.NOT_FOUND,
        )
    if not path.exists():
        raise CommandError(f"{path}: no such file", Exit.NOT_FOUND)
    return load_sequence(path)


def _keys(key: str, sequence: Sequence, *, known: bool, master_key: Path | None) -> Keys:
    if key:
        sequence = replace(sequence, key=key, folder=None)
    if (found := keys_of(sequence)) is not None:
        return found
    if known or master_key is not None:
        return DerivedKeys(master_secret(master_key)[0])
    if sequence.unlocks:
        raise KeyHookError("the sequence unlocks the ECU: --key says what answers its seeds")
    return NoKeys()


def _file(source: str, sequence: Sequence, vehicle: VehicleDescription, ecu: str) -> Firmware:
    path, at = Path(source), None
    name, separator, text = source.rpartition("@")
    if separator and not path.exists():
        try:
            path, at = Path(name), int(text, 0)
        except ValueError as error:
            raise CommandError(f"{source}: {text!r} is not an address", Exit.USAGE) from error
    if not path.exists():
        raise CommandError(f"{path}: no such file", Exit.NOT_FOUND)
    found = read_firmware(path)
    if found.addressed:
        return found
    if at is None and not found.named:
        # Whatever is in no other format would be a raw image: a log, a key, a sequence file.
        raise CommandError(
            f"{path}: in no firmware format that is known; if it is raw binary, {path}@ADDRESS"
            " says so",
            Exit.REFUSED,
        )
    if at is None:
        at = _usual_address(sequence, vehicle, ecu)
    if at is None:
        raise CommandError(f"{path}: says no address; {path}@ADDRESS does", Exit.USAGE)
    return found.placed(at)


def _usual_address(sequence: Sequence, vehicle: VehicleDescription, ecu: str) -> int | None:
    """Where a raw file goes if there is only one place."""
    if sequence.blocks:
        return sequence.blocks[0].address if len(sequence.blocks) == 1 else None
    described = vehicle.ecus[ecu]
    return described.application_base if described.hardware_id else None


async def _run(job: Job, uri: str, *, arrive_s: float, as_json: bool) -> Report:
    loop_time = asyncio.get_running_loop().time()
    # JSON alone goes to the standard output.
    out = Console(stderr=True, highlight=False, markup=False) if as_json else console()
    bars = EcuBars(out)
    ecu = job.sequence.describe(job.vehicle.ecus[job.ecu])
    vehicle = replace(job.vehicle, ecus={**job.vehicle.ecus, ecu.name: ecu})
    try:
        async with AsyncExitStack() as stack:
            links = UriLinks({ecu.wire: uri})
            stack.push_async_callback(links.close)
            await links.open()
            testers = await stack.enter_async_context(Testers(vehicle, links))
            site = Site(
                ecu=ecu,
                sequence=job.sequence,
                testers=testers,
                keys=job.keys,
                start_date=datetime.now(UTC) - timedelta(seconds=loop_time),  # noqa: TID251 the one look at the calendar
                cipher=DownloadCipher(job.keys.master, secrets.token_bytes)
                if isinstance(job.keys, DerivedKeys)
                else None,
                pace=stack.enter_context(held_by_ctrl_z(out)),
            )
            stack.enter_context(bars)
            return await flash(
                site,
                job.load,
                progress=lambda note: bars.show([_step(note)]),
                on_step=lambda step: bars.show([EcuStep(ecu=ecu.name, step=step.name)]),
                arrive_s=arrive_s,
            )
    except UpdateError as error:
        away = error.step == "connecting" or isinstance(error.__cause__, LinkError)
        raise CommandError(str(error), Exit.UNREACHABLE if away else Exit.FAILED) from error
    except WireError as error:
        raise CommandError(str(error), Exit.UNREACHABLE) from error


@contextmanager
def held_by_ctrl_z(out: Console) -> Iterator[Pace]:
    """Ctrl-Z (SIGTSTP) holds the download at the next block, and lets it go on again.

    To be stopped like any other program would cost it its session in the ECU.
    """
    pace, loop = Pace(), asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        yield pace  # another program runs this command, and the signals are its own
        return

    def turn() -> None:
        if pace.held:
            pace.go_on()
            out.print("goes on")
        else:
            pace.hold()
            out.print("held at the next block, the session stays open; Ctrl-Z again goes on")

    loop.add_signal_handler(signal.SIGTSTP, turn)
    try:
        yield pace
    finally:
        loop.remove_signal_handler(signal.SIGTSTP)


def _step(note: Progress) -> EcuStep:
    return EcuStep(
        ecu=note.ecu,
        step=note.step,
        bytes_done=note.bytes_done,
        bytes_total=note.bytes_total,
        remaining_s=note.remaining_s,
    )


def _print_plan(job: Job, *, as_json: bool) -> None:
    ecu = job.sequence.describe(job.vehicle.ecus[job.ecu])
    explainer = Explainer(
        sequence=job.sequence,
        load=job.load,
        ecu=ecu,
        routines=job.vehicle.routines,
        wire=wire_time(job.vehicle.wires[ecu.wire], ecu),
        today=datetime.now(UTC),  # noqa: TID251 a date for people
    )
    try:
        lines = list(explainer.lines())
    except TemplateError as error:
        raise CommandError(str(error), Exit.REFUSED) from error
    if as_json:
        print_json(
            {
                "ecu": ecu.name,
                "sequence": job.sequence.name,
                "blocks": _blocks(job.load),
                "steps": [asdict(line) for line in lines],
            }
        )
        return
    total_s = sum(line.bound_s for line in lines)
    console().print(
        f"{ecu.name}: {job.sequence.name}, {size(job.load.size)} in {len(job.load.parts)} "
        f"block{'' if len(job.load.parts) == 1 else 's'}, transfers at least {total_s:.1f} s"
    )
    _print_lines(lines)


def _print_lines(lines: list[Line]) -> None:
    shown = table("phase", "step", "to", "request", "", "at least", right=("at least",))
    phase = ""
    for line in lines:
        shown.add_row(
            "" if line.phase == phase else line.phase,
            line.step,
            line.to,
            line.request,
            line.note,
            f"{line.bound_s:.1f} s" if line.bound_s else "",
        )
        phase = line.phase
    console().print(shown)


def _blocks(load: Load) -> list[Json]:
    return [
        {"name": part.name, "address": part.address, "size": len(part.data)} for part in load.parts
    ]


def _print_report(report: Report, *, as_json: bool) -> None:
    figures = report.figures
    if as_json:
        print_json(
            {
                "ecu": report.ecu,
                "sequence": report.sequence,
                "blocks": [
                    {"name": part.name, "address": part.address, "size": len(part.data)}
                    for part in report.parts
                ],
                "before": dict(report.before),
                "after": dict(report.after),
                "proved": report.proved,
                "transfer_s": figures.transfer_s,
                "bound_s": figures.bound_s,
                "out_of_use_s": figures.out_of_use_s,
            }
        )
        return
    total = sum(len(part.data) for part in report.parts)
    console().print(
        f"{report.ecu}: programmed, {size(total)} in {figures.transfer_s:.1f} s"
        f" ({figures.bound_s:.1f} s at least)"
        + (", and it proves that the new image runs" if report.proved else "")
    )
    rows = sorted({*report.before, *report.after})
    if rows:
        shown = table("", "before", "after")
        for name in rows:
            words = name.replace("_", " ")
            shown.add_row(words, report.before.get(name, ""), report.after.get(name, ""))
        console().print(shown)
