"""`canota ecus`: a vehicle's simulated ECUs as a process, for gateways and testers elsewhere."""

import asyncio
import ipaddress
import logging
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, cast

import typer

import clock
from canota.cli import firmware_files
from canota.cli.arguments import PORT_LIMIT
from canota.cli.arguments import vin as check_vin
from canota.cli.captures import CaptureOption, KeepOption, MaxSizeOption, recording_to
from canota.cli.exits import CommandError, Exit
from canota.cli.faults import (
    EventsOption,
    FaultOption,
    ScenarioOption,
    events_to,
    faults_of,
    scenario_of,
    show_fault,
    show_faults,
)
from canota.cli.guests import (
    DEFAULT_WIRE,
    EcuOptionsOption,
    GuestWireOption,
    PdxOption,
    RecordedIdsOption,
    RecordedOption,
    VariantOption,
    described_guest,
    fitted,
    recorded_guests,
)
from canota.cli.output import Json, JsonOption, group, print_json, write_file
from canota.cli.serving import log_to_stderr, say, until_stopped
from canota.identities import as_rows
from dbc.vehicle import describe_vehicle
from ecu_sim.app import EDGE, EcuServer, ServeOptions, TlsOptions
from ecu_sim.descriptions import APPLICATION, FlashImageError, summary
from ecu_sim.descriptions import pdx as make_pdx
from ecu_sim.diagnostics.doip_certificates import dev_certificates, make_dev_certificates
from ecu_sim.ecus import EcuType, ecu_names, ecu_type
from ecu_sim.edge_node import LOGICAL_ADDRESS as EDGE_ADDRESS
from ecu_sim.faults.table import KINDS
from ecu_sim.faults.table import summary as table_of_faults
from ecu_sim.vehicle import EcuIdentity, Vehicle, VehicleError, VehicleOptions
from firmware import dev_keys, image_path
from protocols.firmware.formats import Image, detect
from protocols.uds.security_access import SEED_LENGTH, compute_key, derive_key
from recording import LogError

app = group()
_log: Final = logging.getLogger(__name__)

VinArgument = Annotated[
    str, typer.Argument(metavar="VIN", help="17 characters, as F190 reads.", callback=check_vin)
]
_ECUS: Final = ecu_names()


@app.callback()
def ecus() -> None:
    """
    Run a vehicle's simulated ECUs.

    CAN wires are offered over a socket bridge or are interfaces of this machine, the rear zone is
    offered over DoIP; the command prints the URIs that `canota gateway run --wire` takes. Real
    time only: others wait at the other end.
    """


@app.command()
def serve(
    vin: VinArgument,
    *,
    state: Annotated[
        Path, typer.Option(help="Where the ECUs' flash and NVM are kept.", file_okay=False)
    ] = Path("canota-ecus"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WIRE=PORT",
            help="A wire's TCP port, or that of the DoIP edge node (edge); a free one if left out.",
        ),
    ] = None,
    doip_host: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="A further address for DoIP, IPv4 or IPv6 (::1)."),
    ] = None,
    announce: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS:PORT",
            help="Where vehicle announcements go: 255.255.255.255:13400, [ff02::1]:13400.",
        ),
    ] = None,
    tls: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Offer DoIP over TLS too, with the folder of `canota ecus certificates`.",
            file_okay=False,
            exists=True,
        ),
    ] = None,
    tls_port: Annotated[
        list[str] | None,
        typer.Option(metavar="WIRE=PORT", help="As --port, for TLS (3496 in the standard)."),
    ] = None,
    tls_clients: Annotated[
        bool, typer.Option("--tls-clients", help="Testers have to show a certificate.")
    ] = False,
    tls_only: Annotated[
        bool, typer.Option("--tls-only", help="Refuse routing activation without TLS (code 07).")
    ] = False,
    socketcand: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            help="Offer the simulated CAN wires over socketcand too (29536 by custom; 0: any).",
            min=0,
            max=PORT_LIMIT,
        ),
    ] = None,
    wire: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WIRE=URI",
            help="A CAN interface in place of a simulated wire: can://socketcan/vcan0, or any that"
            " python-can knows (can://INTERFACE/CHANNEL?option=value).",
        ),
    ] = None,
    factory: Annotated[
        str, typer.Option(help="Firmware of ECUs that have never held any.")
    ] = "1.0.0",
    ecu: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ECU",
            help="Serve these of the vehicle's ECUs only (none: none of them); all if left out.",
        ),
    ] = None,
    bench: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ECU",
            help="Fit a test bench's ECU too (bench, bench_2013, bench_overwrite, bench_swap): in"
            " its boot loader until it is programmed.",
        ),
    ] = None,
    pdx: PdxOption = None,
    variant: VariantOption = "",
    ecu_options: EcuOptionsOption = None,
    recorded: RecordedOption = None,
    recorded_ids: RecordedIdsOption = None,
    guest_wire: GuestWireOption = DEFAULT_WIRE,
    fault: FaultOption = None,
    scenario: ScenarioOption = None,
    events: EventsOption = None,
    capture: CaptureOption = None,
    max_size: MaxSizeOption = None,
    keep: KeepOption = 0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """
    Serve the ECUs until interrupted; what they have in flash outlives the process.

    `canota ecus serve WCANHVAC000000001 --port comfort=50091 --port rear=13400`

    `canota ecus serve WCANHVAC000000001 --fault 'ccu:late=300ms@31' --fault '*:lost-cf=2'`

    `canota ecus serve WCANHVAC000000001 --ecu none --pdx brakes.pdx --recorded car.blf`

    `canota ecus serve WCANHVAC000000001 --wire comfort=can://socketcan/vcan0`
    """
    log_to_stderr(verbose=verbose)
    own = (*fitted(_ECUS, ecu or []), *map(_bench, bench or []))
    guests = (
        *described_guest(pdx, variant=variant, options=ecu_options, wire=guest_wire),
        *recorded_guests(recorded, ids=recorded_ids, wire=guest_wire),
    )
    everyone = (*own, *(guest.name for guest in guests))
    options = ServeOptions(
        vehicle=replace(
            _options(vin, state),
            ecus=own,
            guests=guests,
            interfaces=dict(_interface(argument) for argument in wire or []),
        ),
        faults=faults_of(fault or [], everyone),
        scenario=scenario_of(scenario, everyone),
        on_event=events_to(events),
        host=host,
        edge=bool(own),
        ports=dict(_port(argument, "--port") for argument in port or []),
        socketcand_port=socketcand,
        doip_hosts=tuple(doip_host or ()),
        announce_to=tuple(_target(argument) for argument in announce or []),
        tls=_tls(tls, tls_port or [], clients=tls_clients, only=tls_only),
        factory_images={name: _factory_image(name, factory) for name in own if name in _ECUS},
        record=recording_to(capture, max_size=max_size, keep=keep),
    )
    try:
        clock.run(_serve(options), virtual=False)
    except (VehicleError, LogError) as error:
        raise CommandError(str(error)) from error


@app.command()
def certificates(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Made if it is not there.", file_okay=False)
    ],
    *,
    tester: Annotated[
        list[str] | None,
        typer.Option(metavar="HEX", help="Logical address of a tester; 0E80 if left out."),
    ] = None,
) -> None:
    """
    Make certificates for DoIP over TLS: an authority, the entities' and a tester's. DEV ONLY.

    `canota ecus certificates certificates --tester 0E80`
    """
    entities = [ecu_type(name).logical_address for name in _ECUS]
    try:
        made = make_dev_certificates(
            folder,
            entities=[EDGE_ADDRESS, *entities],
            testers=[_address(argument) for argument in tester or ["0E80"]],
        )
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}") from error
    for path in (
        made.authority,
        *(made.entity.certificate, made.entity.key),
        *(made.tester.certificate, made.tester.key),
    ):
        say(str(path))
    say("for development only: whoever has these files is trusted")


@app.command()
def identities(vin: VinArgument) -> None:
    """
    Print what the cloud must know of the ECUs, as JSON.

    `canota ecus identities VIN | canota vehicle register VIN -`
    """
    with tempfile.TemporaryDirectory(prefix="canota-") as folder:
        found = clock.run(_identities(_options(vin, Path(folder))), virtual=True)
    print_json([{**row} for row in as_rows(found)])


@app.command()
def key(
    serial: Annotated[str, typer.Argument(metavar="SERIAL", help="As F18C of the ECU reads.")],
    seed: Annotated[str, typer.Argument(metavar="SEED", help="The answer to 27, in hex.")],
    *,
    level: Annotated[
        int, typer.Option(min=1, max=0x7D, help="The odd sub-function that was asked: 1, 3, ...")
    ] = 1,
) -> None:
    """
    Print the key to a seed (27) of one of our ECUs: for testers that take one by hand. DEV ONLY.

    `canota ecus key CCU-2-1F0C3A55 "67 01 8A 42 ..."`, with or without the `67 01`
    """
    try:
        given = bytes.fromhex(seed)
    except ValueError as error:
        raise CommandError(f"{seed}: hex digits expected", Exit.USAGE) from error
    if given[:2] == bytes((0x67, level)):
        given = given[2:]
    if not level % 2:
        raise CommandError(f"--level {level}: the level of a seed is odd", Exit.USAGE)
    if len(given) != SEED_LENGTH:
        raise CommandError(f"a seed has {SEED_LENGTH} bytes, not {len(given)}", Exit.USAGE)
    secret = derive_key(dev_keys().diagnostics_master, serial, level)
    say(compute_key(secret, level=level, ecu_id=serial, seed=given).hex(" ").upper())


@app.command()
def describe(
    ecu: Annotated[str, typer.Argument(metavar="ECU", help="An ECU type: ccu, blower, ...")],
    *,
    pdx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the ODX 2.2 package.", dir_okay=False)
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[AREA=]FILE",
            help="Firmware that the package brings, for the application if no area is named: with"
            " its checksum, its signature, and what it says of itself.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """
    Describe an ECU for other tools, from the tables that its server runs on.

    `canota ecus describe ccu --pdx ccu.pdx --image ccu-2.0.0.hex`
    """
    found = _type(ecu)
    if pdx is None and not json:
        raise CommandError("describe: --pdx FILE or --json is needed", Exit.USAGE)
    if image and pdx is None:
        raise CommandError("describe: --image goes into the package of --pdx", Exit.USAGE)
    if pdx is not None:
        try:
            content = make_pdx(found, dict(map(_area_image, image or [])))
        except FlashImageError as error:
            raise CommandError(str(error), Exit.REFUSED) from error
        write_file(pdx, content)
        if not json:
            say(f"{pdx}: {len(content)} bytes")
    if json:
        print_json({**summary(found)})


@app.command()
def faults(
    name: Annotated[
        str | None, typer.Argument(metavar="FAULT", help="One of them, with its parameters.")
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """
    List what can go wrong with an ECU: `--fault ECU:FAULT` of `canota ecus serve`.

    `canota ecus faults late`
    """
    if name is not None and name not in KINDS:
        raise CommandError(f"no fault {name!r}; there are {', '.join(KINDS)}", Exit.NOT_FOUND)
    if json:
        rows = {str(row["name"]): row for row in table_of_faults()}
        print_json(cast("Json", list(rows.values()) if name is None else rows[name]))
    elif name is None:
        show_faults()
    else:
        show_fault(name)


def _area_image(argument: str) -> tuple[str, Image]:
    area, equals, name = argument.partition("=")
    if not equals or Path(argument).exists():
        area, name = APPLICATION, argument
    path = Path(name)
    return area, firmware_files.decode(path, firmware_files.read(path))[1]


def _type(name: str) -> EcuType:
    try:
        return ecu_type(name)
    except LookupError as error:
        raise CommandError(str(error), Exit.NOT_FOUND) from error


def _bench(name: str) -> str:
    if _type(name).in_vehicle:
        raise CommandError(f"--bench {name}: every vehicle has it already", Exit.USAGE)
    return name


async def _serve(options: ServeOptions) -> None:
    loop_time = asyncio.get_running_loop().time()
    now = datetime.now(UTC)  # noqa: TID251 the one look at the calendar
    options = replace(options, start_date=now - timedelta(seconds=loop_time))
    async with EcuServer(options) as server:
        for name, uri in server.endpoints.items():
            say(f"{name}={uri}")
        for name, uri in server.doors.items():
            say(f"{name}: {uri}")
        say(f"ecus of {options.vehicle.vin} run")
        await until_stopped()
        for wire, load in server.vehicle.bus_loads().items():
            _log.info("%s: %.1f %% bus load on the average", wire, 100 * load)


async def _identities(options: VehicleOptions) -> list[EcuIdentity]:
    vehicle = Vehicle(options)
    try:
        return vehicle.identities()
    finally:
        await vehicle.stop()


def _options(vin: str, state: Path) -> VehicleOptions:
    keys = dev_keys()
    return VehicleOptions(
        vin=vin,
        state_directory=state,
        ecus=_ECUS,
        image_public_keys=(keys.image_public_key,),
        diagnostics_master=keys.diagnostics_master,
        boot_mac_master=keys.boot_mac_master,
    )


def _factory_image(ecu: str, version: str) -> bytes:
    try:
        path = image_path(ecu, version)
    except FileNotFoundError as error:
        raise CommandError(f"--factory {version}: {error}", Exit.NOT_FOUND) from error
    content = path.read_bytes()
    return detect(path.name, content).decode(content).data


def _port(argument: str, option: str) -> tuple[str, int]:
    name, _, number = argument.partition("=")
    known = (*describe_vehicle().wires, EDGE)
    if name not in known:
        raise CommandError(
            f"{option} {argument}: WIRE=PORT expected, with one of {', '.join(known)}", Exit.USAGE
        )
    if not (number.isascii() and number.isdecimal()) or int(number) > PORT_LIMIT:
        raise CommandError(f"{option} {argument}: a port is 0 to {PORT_LIMIT}", Exit.USAGE)
    return name, int(number)


def _interface(argument: str) -> tuple[str, str]:
    name, _, uri = argument.partition("=")
    known = [name for name, its in describe_vehicle().wires.items() if its.kind != "doip"]
    if name not in known or not uri:
        raise CommandError(
            f"--wire {argument}: WIRE=URI expected, with one of {', '.join(known)}", Exit.USAGE
        )
    return name, uri


def _target(argument: str) -> tuple[str, int]:
    host, _, number = argument.rpartition(":")
    try:
        host = str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError as error:
        raise CommandError(f"--announce {argument}: ADDRESS:PORT expected", Exit.USAGE) from error
    if not (number.isascii() and number.isdecimal()) or not 0 < int(number) <= PORT_LIMIT:
        raise CommandError(f"--announce {argument}: a port is 1 to {PORT_LIMIT}", Exit.USAGE)
    return host, int(number)


def _tls(folder: Path | None, ports: list[str], *, clients: bool, only: bool) -> TlsOptions | None:
    if folder is None:
        if ports or clients or only:
            raise CommandError("--tls-port, --tls-clients and --tls-only need --tls", Exit.USAGE)
        return None
    files = dev_certificates(folder)
    return TlsOptions(
        certificate=files.entity.certificate,
        key=files.entity.key,
        client_ca=files.authority if clients else None,
        ports=dict(_port(argument, "--tls-port") for argument in ports),
        required=only,
    )


def _address(argument: str) -> int:
    try:
        address = int(argument, 16)
    except ValueError:
        address = -1
    if not 0 <= address <= 0xFFFF:
        raise CommandError(f"--tester {argument}: four hex digits expected", Exit.USAGE)
    return address
