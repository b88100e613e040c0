"""`canota gateway`: a vehicle's telematics gateway as a process."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

import clock
from canota.cli.arguments import byte_count, host_and_port, link_profile, seconds
from canota.cli.arguments import vin as check_vin
from canota.cli.bars import EcuBars, EcuStep
from canota.cli.exits import CommandError, Exit
from canota.cli.gateway_flash import flash_command
from canota.cli.gateway_options import describe, master_secret
from canota.cli.gateway_software import (
    ImageKeyOption,
    boot_command,
    provision_command,
    started,
)
from canota.cli.output import DEFAULT_CLOUD, CloudOption, console, group
from canota.cli.serving import log_to_stderr, say, until_stopped
from canota.link_proxy import LinkProxy
from dbc.vehicle import VehicleDescription
from protocols.link import PROFILES, Link
from protocols.stream import ByteStream
from vehicle_gateway.app import CloudAwayError, Gateway, RestartRequiredError
from vehicle_gateway.assembly import GatewayError, GatewayOptions
from vehicle_gateway.calls.budget import DataLimits
from vehicle_gateway.software import RESTART_CODE
from vehicle_gateway.software.launcher import alive
from vehicle_gateway.software.running import RunningSoftware
from vehicle_gateway.update import Progress
from vehicle_gateway.update.consent import Choice, Question
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.wires import LinkAwayError, LinkError
from vehicle_gateway.wires.uri import UriLinks

_LOG = logging.getLogger(__name__)

app = group()

#: What the edge node is called among links of its own.
_EDGE: Final = "edge node"
#: Seconds before wires that nobody serves are tried again.
_WIRE_AGAIN_S: Final = 1.0
#: What stands behind `--` is another command's.
_PASSED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True}
#: Seconds between the signs of life that a launcher waits for.
_ALIVE_S: Final = 5.0
#: Outcome of an update that `--once` ended with -> how the command ends.
_EXITS: Final = {None: Exit.OK, Outcome.UPDATED: Exit.OK}


@app.callback()
def gateway() -> None:
    """Run a vehicle's telematics gateway, or program one ECU without a cloud."""


app.command(name="flash")(flash_command)
app.command(name="provision")(provision_command)
app.command(name="boot", context_settings=_PASSED_ON)(boot_command)


@app.command()
def run(
    vin: Annotated[
        str, typer.Argument(metavar="VIN", help="The vehicle's VIN.", callback=check_vin)
    ],
    *,
    wire: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=URI",
            help="One of the vehicle's wires: can://bridge/HOST:PORT/WIRE, can://socketcan/vcan0 or"
            " any interface of python-can (can://INTERFACE/CHANNEL?option=value), doip://HOST:PORT.",
        ),
    ],
    cloud: CloudOption = DEFAULT_CLOUD,
    state: Annotated[
        Path, typer.Option(help="Where journal and images are kept.", file_okay=False)
    ] = Path("canota-gateway"),
    description: Annotated[
        Path | None, typer.Option(help="The vehicle's description; ours if left out.")
    ] = None,
    master_key: Annotated[
        Path | None,
        typer.Option(help="Diagnostics master secret, hexadecimal; the DEV ONLY one if left out."),
    ] = None,
    production: Annotated[
        bool, typer.Option("--production", help="Refuse secrets and keys that are DEV ONLY.")
    ] = False,
    poll: Annotated[float, typer.Option(metavar="SECONDS", help="Time between check-ins.")] = 30.0,
    observe: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time to watch the car after an update.")
    ] = 180.0,
    consent: Annotated[
        str,
        typer.Option(
            metavar="ask|accept|deny",
            help="What the driver says to a release that needs consent; `ask` shows the notice, and"
            " `canota vehicle consent` answers.",
        ),
    ] = "ask",
    link: Annotated[
        str,
        typer.Option(
            metavar="PROFILE",
            help=f"Reach the cloud over a simulated wireless link: {', '.join(PROFILES)}.",
        ),
    ] = "",
    link_seed: Annotated[
        int, typer.Option(metavar="N", help="The same seed gives the same outages.")
    ] = 1,
    remote_access: Annotated[
        str,
        typer.Option(
            metavar="URI",
            help="The vehicle's DoIP edge node, for testers far away: doip://HOST:PORT, or doips.",
        ),
    ] = "",
    data_per_campaign: Annotated[
        str,
        typer.Option(
            metavar="BYTES",
            help="Data budget of a campaign, as 20M; beyond it the update is given up.",
        ),
    ] = "",
    data_per_day: Annotated[
        str,
        typer.Option(
            metavar="BYTES", help="Data budget of a day; beyond it files wait for the next one."
        ),
    ] = "",
    data_per_month: Annotated[
        str,
        typer.Option(
            metavar="BYTES", help="Data budget of a month; beyond it files wait for the next one."
        ),
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="Check in once, work, and end.")] = False,
    software_slot: Annotated[
        int | None, typer.Option(hidden=True, help="Set by `canota gateway boot`.", min=0, max=1)
    ] = None,
    image_key: ImageKeyOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """
    Run a gateway until interrupted; what it was doing when it was killed, it finishes first.

    `canota gateway run WCANHVAC000000001 --wire comfort=can://bridge/127.0.0.1:50091/comfort
    --wire thermal=can://bridge/127.0.0.1:50091/thermal --wire rear=doip://127.0.0.1:13400`
    """
    log_to_stderr(verbose=verbose)
    secret, dev_only = master_secret(master_key)
    vehicle = describe(description)
    wires = dict(_wire(argument, vehicle) for argument in wire)
    outcome = clock.run(
        _run(
            vin=vin,
            cloud=cloud,
            state=state,
            vehicle=vehicle,
            secret=secret,
            dev_only=dev_only,
            production=production,
            poll=seconds(poll, option="--poll"),
            observe=seconds(observe, option="--observe"),
            wires=wires,
            remote_access=remote_access,
            data_limits=DataLimits(
                campaign=_bytes(data_per_campaign, "--data-per-campaign"),
                day=_bytes(data_per_day, "--data-per-day"),
                month=_bytes(data_per_month, "--data-per-month"),
            ),
            link=Link(link_profile(link, option="--link"), link_seed) if link else None,
            once=once,
            consent=_consent(consent),
            software=started(state, software_slot, image_key, production=production),
        ),
        virtual=False,
    )
    raise typer.Exit(_EXITS.get(outcome, Exit.FAILED))


async def _run(
    *,
    vin: str,
    cloud: str,
    state: Path,
    vehicle: VehicleDescription,
    secret: bytes,
    dev_only: bool,
    production: bool,
    poll: float,
    observe: float,
    wires: dict[str, str],
    remote_access: str,
    data_limits: DataLimits,
    link: Link | None,
    once: bool,
    consent: Choice | None,
    software: RunningSoftware | None,
) -> Outcome | None:
    loop_time = asyncio.get_running_loop().time()
    bars = EcuBars(console())

    def gateway_at(target: str, links: UriLinks) -> Gateway:
        options = GatewayOptions(
            vin=vin,
            cloud=target,
            state_directory=state,
            description=vehicle,
            diagnostics_master=secret,
            dev_only_keys=dev_only,
            production=production,
            start_date=datetime.now(UTC) - timedelta(seconds=loop_time),  # noqa: TID251 the one look at the calendar
            poll_s=poll,
            observe_s=observe,
            data_limits=data_limits,
            standing_consent=consent,
            on_question=lambda question: say(_asked(question, state)),
            software=software,
            edge_node=_edge_node(remote_access) if remote_access else None,
            rng=random.SystemRandom(),
        )
        return Gateway(options, links, on_progress=lambda step: bars.show([_step(step)]))

    async def work() -> Outcome | None:
        async with AsyncExitStack() as stack:
            target = cloud
            if link is not None:
                to = host_and_port(cloud, option="--cloud", free=False)
                target = (await stack.enter_async_context(LinkProxy(link, to=to))).target
            links = UriLinks(wires)
            running = gateway_at(target, links)
            stack.push_async_callback(links.close)
            await (links.open() if once else _opened(links))
            await stack.enter_async_context(running)
            say(f"gateway of {vin} runs")
            if software is not None:
                stack.enter_context(_watched(software))
            stack.enter_context(bars)
            return await (running.run_once() if once else running.run())

    try:
        return await (work() if once else _until_stopped(work()))
    except RestartRequiredError as error:
        _LOG.info("gateway_restarts cause=%s", error)
        raise typer.Exit(RESTART_CODE) from error
    except CloudAwayError as error:
        raise CommandError(f"cloud {cloud}: {error}", Exit.UNREACHABLE) from error
    except (GatewayError, LinkError) as error:
        raise CommandError(str(error)) from error


@contextlib.contextmanager
def _watched(software: RunningSoftware) -> Iterator[None]:
    """Say to the launcher that the loop turns."""
    package = software.package
    _LOG.info("software_runs slot=%d version=%s", package.slot, package.declared.software_version)
    loop = asyncio.get_running_loop()
    handle: asyncio.TimerHandle | None = None

    def say_so() -> None:
        nonlocal handle
        alive(software.slots.folder)
        handle = loop.call_later(_ALIVE_S, say_so)

    say_so()
    try:
        yield
    finally:
        if handle is not None:
            handle.cancel()


async def _opened(links: UriLinks) -> None:
    """Open the wires, or wait for them: after a power cut the ECUs may come up last."""
    said = ""
    while True:
        try:
            await links.open()
        except LinkAwayError as error:
            if str(error) != said:
                _LOG.warning("wire_away cause=%s", error)
            said = str(error)
            await asyncio.sleep(_WIRE_AGAIN_S)
        else:
            return


async def _until_stopped(running: Coroutine[Any, Any, object]) -> None:
    work = asyncio.create_task(running, name="gateway")
    stop = asyncio.create_task(until_stopped(), name="stop")
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if work.done():
        work.result()
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


def _consent(word: str) -> Choice | None:
    choices = {"ask": None, "accept": Choice.ACCEPTED, "deny": Choice.DENIED}
    if word not in choices:
        raise CommandError(f"--consent {word}: ask, accept or deny expected", Exit.USAGE)
    return choices[word]


def _asked(question: Question, state: Path) -> str:
    told = question.notice
    lines = [f"the driver is asked about {question.release}, version {question.version}:"]
    if told is not None:
        lines += [f"  {told.purpose}", f"  changes: {told.changes}"]
        lines += [f"  time: {told.expected_time}", f"  meanwhile: {told.functions_lost}"]
        lines += [f"  to do: {told.instructions}"]
    command = f"canota vehicle consent --state {state}"
    return "\n".join([*lines, f"  {command} --accept (or --deny, --defer 8h)"])


def _step(progress: Progress) -> EcuStep:
    return EcuStep(
        ecu=progress.ecu,
        step=progress.step,
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        remaining_s=progress.remaining_s,
    )


def _edge_node(uri: str) -> Callable[[], Awaitable[ByteStream]]:
    links = UriLinks({_EDGE: uri})
    return lambda: links.stream(_EDGE)


def _bytes(value: str, option: str) -> int | None:
    return byte_count(value, option=option) if value else None


def _wire(argument: str, vehicle: VehicleDescription) -> tuple[str, str]:
    name, equals, uri = argument.partition("=")
    if not equals or name not in vehicle.wires:
        known = ", ".join(vehicle.wires)
        raise CommandError(f"--wire {argument}: NAME=URI expected, with one of {known}", Exit.USAGE)
    return name, uri
