"""`canota campaign`: a release on its way into vehicles."""

from collections.abc import Iterable
from typing import Annotated, Final

import typer
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.padding import Padding

from canota.cli.bars import EcuBars, EcuStep
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
    styled,
    table,
    time_text,
    word,
)
from protocols.fleet.v1 import campaigns_pb2

app = group()

CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign's id.")]

_STATES: Final = campaigns_pb2.CampaignState.DESCRIPTOR
_OUTCOMES: Final = campaigns_pb2.Outcome.DESCRIPTOR
_PHASES: Final = campaigns_pb2.Phase.DESCRIPTOR
_VERDICTS: Final = campaigns_pb2.Verdict.DESCRIPTOR


@app.callback()
def campaign() -> None:
    """
    Bring a release into vehicles.

    `create`, look at the `dry-run`, `start`, and follow it with `status --watch`.
    """


@app.command()
def create(
    campaign_id: Annotated[
        str, typer.Argument(metavar="CAMPAIGN", help="A new id, for example summer-fix.")
    ],
    vins: Annotated[list[str], typer.Argument(metavar="VIN", help="The vehicles.")],
    *,
    release: Annotated[str, typer.Option(help="The release's id.")],
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Create a campaign. Nothing is offered before it is started.

    `canota campaign create summer-fix WCANHVAC000000001 --release hvac-2.0.0`
    """
    with Operator(cloud) as operator:
        made = operator.create_campaign(campaign_id, release, vins)
    if as_json:
        print_json(plain(made))
        return
    console().print(f"{made.name}: created for {_vehicles(len(made.assignments))}")


@app.command(name="list")
def list_(*, cloud: CloudOption = DEFAULT_CLOUD, as_json: JsonOption = False) -> None:
    """List campaigns, the newest first."""
    with Operator(cloud) as operator:
        campaigns = list(operator.campaigns())
    if as_json:
        print_messages(campaigns)
        return
    shown = table("campaign", "release", "state", "vehicles", "created")
    for one in campaigns:
        shown.add_row(
            one.name.removeprefix("campaigns/"),
            one.release.removeprefix("releases/"),
            word(_STATES, one.state),
            str(len(one.assignments)),
            time_text(one.create_time),
        )
    console().print(shown)


@app.command(name="dry-run")
def dry_run(
    campaign_id: CampaignArgument,
    *,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Tell what would happen to each vehicle, and change nothing. Exit code 5: one is refused."""
    with Operator(cloud) as operator:
        verdicts = operator.dry_run(campaign_id)
    if as_json:
        print_messages(verdicts)
    else:
        print_verdicts(verdicts, console())
    if any(verdict.verdict == campaigns_pb2.VERDICT_REFUSED for verdict in verdicts):
        raise typer.Exit(Exit.REFUSED)


@app.command()
def start(
    campaign_id: CampaignArgument,
    *,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Offer the release to every vehicle whose verdict allows it."""
    with Operator(cloud) as operator:
        started = operator.start_campaign(campaign_id)
    if as_json:
        print_json(plain(started))
        return
    _print_assignments(started)


@app.command()
def cancel(
    campaign_id: CampaignArgument,
    *,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Take the release back from every vehicle that has not committed.

    Such a vehicle goes back to what it ran before; one that is away does so when it next asks
    (`status` shows it as cancelling until then). A vehicle that has committed only goes forward.
    Cancelling again changes nothing. Exit code 5: every vehicle that is not done has committed.

    `canota campaign cancel summer-fix`
    """
    with Operator(cloud) as operator:
        found = operator.cancel_campaign(campaign_id)
    if as_json:
        print_json(plain(found))
        return
    _print_assignments(found)


@app.command()
def status(
    campaign_id: CampaignArgument,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Show how far each vehicle is. Exit code 1: it has ended and not every one is updated."""
    with Operator(cloud) as operator:
        found = operator.campaign(campaign_id)
        if watch and found.state != campaigns_pb2.CAMPAIGN_STATE_FINISHED:
            found = _watched(operator, campaign_id, quiet=as_json)
    if as_json:
        print_json(plain(found))
    else:
        _print_assignments(found)
    finished = found.state == campaigns_pb2.CAMPAIGN_STATE_FINISHED
    if finished and any(one.outcome != campaigns_pb2.OUTCOME_UPDATED for one in found.assignments):
        raise typer.Exit(Exit.FAILED)


def _watched(operator: Operator, campaign_id: str, *, quiet: bool) -> campaigns_pb2.Campaign:
    last: campaigns_pb2.Campaign | None = None
    with EcuBars(console()) as bars:
        for last in operator.watch_campaign(campaign_id):
            for one in last.assignments if not quiet else ():
                name = one.vin if len(last.assignments) > 1 else ""
                bars.show([ecu_step(ecu) for ecu in one.ecus], vehicle=name)
    if last is None:
        raise CommandError(f"{campaign_id}: the cloud ended the watch without a word")
    return last


def ecu_step(progress: campaigns_pb2.EcuProgress) -> EcuStep:
    return EcuStep(
        ecu=progress.ecu,
        step=progress.step,
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        remaining_s=progress.remaining_seconds,
    )


def print_verdicts(
    verdicts: Iterable[campaigns_pb2.VehicleVerdict], out: Console, *, indent: int = 0
) -> None:
    """Print each vehicle's verdict with its reasons and what would change."""

    def say(*parts: RenderableType) -> None:
        out.print(Padding(Columns(parts) if len(parts) > 1 else parts[0], (0, 0, 0, indent)))

    for verdict in verdicts:
        say(verdict.vin, styled(word(_VERDICTS, verdict.verdict)))
        for reason in verdict.reasons:
            say(f"  refused: {reason}")
        for warning in verdict.warnings:
            say(f"  note: {warning}")
        shown = table("  ECU", "hardware", "now", "then", "image", right=("image",))
        for change in verdict.changes:
            shown.add_row(
                f"  {change.ecu}",
                change.hardware_id,
                change.version_before or "unknown",
                change.version_after or "not said",
                size(change.image_size),
            )
        if verdict.changes:
            say(shown)
            say(f"  waits for: {verdict.preconditions or 'what the vehicle itself asks for'}")
        if verdict.changes and verdict.consent_required:
            say("  waits for: the driver's consent")


def _vehicles(count: int) -> str:
    return "1 vehicle" if count == 1 else f"{count} vehicles"


def _print_assignments(found: campaigns_pb2.Campaign) -> None:
    release = found.release.removeprefix("releases/")
    console().print(f"{found.name} with {release}: {word(_STATES, found.state)}")
    shown = table("VIN", "phase", "outcome", "reason")
    for one in found.assignments:
        shown.add_row(
            one.vin,
            word(_PHASES, one.phase),
            styled(word(_OUTCOMES, one.outcome)),
            one.reason or _withdrawal(one),
        )
    console().print(shown)


def _withdrawal(one: campaigns_pb2.Assignment) -> str:
    """What is known of a release that was taken back from a vehicle that is not done."""
    by = f"superseded by {one.superseded_by}" if one.superseded_by else "cancelled"
    return {
        campaigns_pb2.WITHDRAWAL_REQUESTED: f"{by}: the vehicle has not answered yet",
        campaigns_pb2.WITHDRAWAL_ACCEPTED: f"{by}: the vehicle goes back",
        campaigns_pb2.WITHDRAWAL_TOO_LATE: f"{by} too late: the vehicle had committed",
    }.get(one.withdrawal, "")
