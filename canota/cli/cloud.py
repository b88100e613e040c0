"""`canota cloud`: the back end as a process."""

from pathlib import Path
from typing import Annotated

import typer

import clock
from canota.cli.arguments import PORT_LIMIT, seconds
from canota.cli.exits import CommandError
from canota.cli.output import group
from canota.cli.serving import log_to_stderr, say, until_stopped
from cloud.app import Cloud, CloudError, CloudOptions

app = group()


@app.callback()
def cloud() -> None:
    """Run the back end: operators' and gateways' gRPC services over one store."""


@app.command()
def serve(
    *,
    state: Annotated[
        Path, typer.Option(help="Where database and firmware are kept.", file_okay=False)
    ] = Path("canota-cloud"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT",
            min=0,
            max=PORT_LIMIT,
            help="Port to listen on; 0 takes a free one.",
        ),
    ] = 50080,
    poll: Annotated[
        float, typer.Option(metavar="SECONDS", help="How often gateways shall check in.")
    ] = 30.0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """
    Serve fleet.v1 until interrupted.

    `canota cloud serve --state /var/lib/canota --port 50080`
    """
    log_to_stderr(verbose=verbose)
    options = CloudOptions(
        state_directory=state, host=host, port=port, poll_s=seconds(poll, option="--poll")
    )
    try:
        clock.run(_serve(options), virtual=False)
    except CloudError as error:
        raise CommandError(str(error)) from error


async def _serve(options: CloudOptions) -> None:
    async with Cloud(options) as running:
        say(f"cloud listens on {running.target}")
        await until_stopped()
