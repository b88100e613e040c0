"""`canota remote`: reach a vehicle's DoIP edge node by way of the cloud."""

import asyncio
import getpass
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

import clock
from canota.cli.arguments import host_and_port
from canota.cli.arguments import vin as check_vin
from canota.cli.client import Operator
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
    word,
    write_file,
)
from canota.cli.serving import say, until_stopped
from canota.remote_tester import RemoteSessionOverError, RemoteTester
from ecu_sim.edge_node import LOGICAL_ADDRESS
from protocols.fleet.v1 import remote_access_pb2

app = group()

_DURATION: Final = re.compile(r"([0-9]{1,5})([smh]?)")
_SCOPES: Final = {
    "read": remote_access_pb2.REMOTE_SCOPE_READ,
    "full": remote_access_pb2.REMOTE_SCOPE_FULL,
}

VinArgument = Annotated[
    str, typer.Argument(metavar="VIN", help="The vehicle's VIN.", callback=check_vin)
]
SessionArgument = Annotated[
    str, typer.Argument(metavar="SESSION", help="vehicles/VIN/remoteSessions/ID, as `list` shows.")
]
OperatorOption = Annotated[
    str, typer.Option("--operator", metavar="NAME", help="Who you are, for the audit.")
]


@app.callback()
def remote() -> None:
    """
    Reach a vehicle far away with your own tester: authorised, recorded, limited in time.

    The vehicle's gateway has to know the way to its edge node:
    `canota gateway run ... --remote-access doip://127.0.0.1:13400`.
    """


@app.command(name="open")
def open_(
    vin: VinArgument,
    *,
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the audit.")],
    operator: OperatorOption = "",
    duration: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long: 90s, 15m, 2h; 4 hours at most.")
    ] = "15m",
    scope: Annotated[
        str,
        typer.Option(
            metavar="SCOPE",
            help="`read`: services that only read. `full`: all, and only while the vehicle stands.",
        ),
    ] = "read",
    listen: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Where your tester connects; port 0: a free one."),
    ] = "127.0.0.1:13400",
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Open a session and offer the vehicle's edge node here, until its time is over or Ctrl-C.

    It begins when the vehicle checks in next. `canota remote open WCANHVAC000000001 --for 15m
    --purpose "why the flap sticks"`, then point doipclient, CANoe or another DoIP tester at
    127.0.0.1:13400.
    """
    if scope not in _SCOPES:
        raise CommandError(f"--scope {scope!r}: read or full expected", Exit.USAGE)
    host, port = host_and_port(listen, option="--listen", free=True)
    with Operator(cloud) as fleet:
        created = fleet.create_remote_session(
            vin,
            operator=operator or getpass.getuser(),
            purpose=purpose,
            scope=_SCOPES[scope],
            seconds=_seconds(duration),
        )
        session = created.session
        if as_json:
            print_json(plain(session))
        else:
            say(f"{session.name}: {scope}, until {time_text(session.expire_time)}")
            say("waiting for the vehicle to check in")
        sys.stdout.flush()
        tester = RemoteTester(
            cloud,
            name=session.name,
            token=created.tester_token,
            vin=vin,
            entity_address=LOGICAL_ADDRESS,
        )
        reason = clock.run(_serve(tester, host, port), virtual=False)
        ended = fleet.revoke_remote_session(session.name, operator=operator or getpass.getuser())
    if as_json:
        print_json(plain(ended))
        return
    moved = f"{size(ended.bytes_to_vehicle)} to the vehicle, {size(ended.bytes_from_vehicle)} back"
    say(f"over: {reason or ended.end_reason}; {moved}")
    if ended.state == remote_access_pb2.REMOTE_SESSION_STATE_ENDED and not ended.HasField(
        "vehicle_time"
    ):
        raise CommandError(f"{vin}: the vehicle never came: {ended.end_reason}", Exit.UNREACHABLE)


async def _serve(tester: RemoteTester, host: str, port: int) -> str:
    """Serve until it is over; why, or nothing if the user has ended it."""
    running = asyncio.create_task(tester.run(host, port), name="remote session")
    told = asyncio.create_task(_tell(tester), name="ready")
    stop = asyncio.create_task(until_stopped(), name="stop")
    await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
    for task in (told, stop):
        task.cancel()
    if not running.done():
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return ""
    try:
        running.result()
    except RemoteSessionOverError as error:
        return str(error)
    except OSError as error:
        raise CommandError(
            f"--listen {host}:{port}: cannot listen there: {error.strerror}", Exit.REFUSED
        ) from error
    return ""


async def _tell(tester: RemoteTester) -> None:
    await tester.ready.wait()
    if tester.address is not None:
        host, port = tester.address
        say(f"the vehicle is there: DoIP edge node {LOGICAL_ADDRESS:#06x} on {host}:{port}")


@app.command(name="list")
def list_(
    vin: VinArgument, *, cloud: CloudOption = DEFAULT_CLOUD, as_json: JsonOption = False
) -> None:
    """List a vehicle's sessions, newest first: who, when, why."""
    with Operator(cloud) as fleet:
        sessions = list(fleet.remote_sessions(vin))
    if as_json:
        print_messages(sessions)
        return
    shown = table("session", "state", "operator", "scope", "from", "to", "purpose", "ended because")
    for one in sessions:
        shown.add_row(
            one.name.rpartition("/")[2],
            word(remote_access_pb2.RemoteSessionState.DESCRIPTOR, one.state),
            one.operator,
            word(remote_access_pb2.RemoteScope.DESCRIPTOR, one.scope),
            time_text(one.create_time),
            time_text(one.end_time) or time_text(one.expire_time),
            one.purpose,
            one.end_reason,
        )
    console().print(shown)


@app.command()
def show(
    session: SessionArgument, *, cloud: CloudOption = DEFAULT_CLOUD, as_json: JsonOption = False
) -> None:
    """Show one session."""
    with Operator(cloud) as fleet:
        found = fleet.remote_session(session)
    if as_json:
        print_json(plain(found))
        return
    for key, value in plain(found).items():
        console().print(Text(f"{key:<20}", style="dim"), value)


@app.command()
def revoke(
    session: SessionArgument,
    *,
    operator: OperatorOption = "",
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """End a session at once, at both sides."""
    with Operator(cloud) as fleet:
        ended = fleet.revoke_remote_session(session, operator=operator or getpass.getuser())
    if as_json:
        print_json(plain(ended))
        return
    say(f"{ended.name}: {ended.end_reason}")


@app.command()
def recording(
    session: SessionArgument,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Where it goes; the standard output if left out."),
    ] = None,
    *,
    cloud: CloudOption = DEFAULT_CLOUD,
) -> None:
    """Download what was said: JSON lines, one DoIP message each."""
    with Operator(cloud) as fleet:
        content = fleet.recording(session)
    if file is None:
        sys.stdout.buffer.write(content)
        return
    write_file(file, content)
    say(f"{file}: {size(len(content))}")


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CommandError(f"--for {text!r}: a time expected, as 90s, 15m or 2h", Exit.USAGE)
    return int(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
