"""`canota diag job` and its shorthands: what an operator has done in a vehicle, once."""

import time
from typing import Annotated, Final

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from canota.cli.arguments import vin
from canota.cli.client import Operator
from canota.cli.diag_arguments import duration, hex_bytes, identifier
from canota.cli.exits import CommandError, Exit
from canota.cli.output import (
    DEFAULT_CLOUD,
    CloudOption,
    JsonOption,
    console,
    group,
    plain,
    print_json,
    styled,
    table,
    time_text,
    word,
)
from protocols.fleet.v1 import diagnostic_jobs_pb2
from protocols.uds.enums import RoutineId

Job = diagnostic_jobs_pb2.DiagnosticJob

VinArgument = Annotated[str, typer.Argument(metavar="VIN", help="The vehicle's VIN.", callback=vin)]
EcuArgument = Annotated[str, typer.Argument(metavar="ECU", help="One of the vehicle's ECUs.")]
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id; `canota diag job list VIN` names them.")
]
EcusOption = Annotated[
    list[str] | None,
    typer.Option("--ecu", help="Only this ECU; may be given again. Without: all."),
]
WithinOption = Annotated[
    str,
    typer.Option(
        "--within",
        metavar="TIME",
        help="It is not begun later: `10m`, `2h`, `7d`; at most 30 days.",
    ),
]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for the result, and show it.")
]

#: Names of the routines that every car of ours has.
ROUTINES: Final = {"output-sweep": RoutineId.OUTPUT_SWEEP, "self-test": RoutineId.SELF_TEST}
_STATES: Final = diagnostic_jobs_pb2.DiagnosticJobState.DESCRIPTOR
_OPEN: Final = frozenset(
    {
        diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_QUEUED,
        diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_FETCHED,
    }
)
#: How a job that did not succeed ended -> exit code.
_EXITS: Final = {
    diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_REFUSED: Exit.REFUSED,
    diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_EXPIRED: Exit.UNREACHABLE,
}
_ASK_S: Final = 1.0

app = group()


@app.callback()
def job() -> None:
    """
    Have something done in a vehicle, once: routines, outputs.

    The gateway fetches a job at its next check-in and does it at most once. What moves, tests or
    clears something is only done while the car stands in park, and broken off when it does not.
    """


@app.command()
def run(
    vin: VinArgument,
    ecu: EcuArgument,
    routine: Annotated[
        str,
        typer.Argument(
            metavar="ROUTINE",
            help="`output-sweep`, `self-test`, or a routine identifier such as 0x0220.",
        ),
    ],
    *,
    option: Annotated[
        str, typer.Option("--option", metavar="HEX", help="routineControlOptionRecord.")
    ] = "",
    run_time: Annotated[
        str,
        typer.Option(
            "--run-time",
            metavar="TIME",
            help="A routine that runs on is followed (31 03) and stopped (31 02) after so long; "
            "0s: its first answer is its result.",
        ),
    ] = "2m",
    within: WithinOption = "1h",
    wait: WaitOption = True,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Run a routine of an ECU (31): a self-test, or a sweep of its outputs.

    `canota diag job run WCANHVAC000000001 flap output-sweep`
    """
    wanted = Job(
        routine=Job.Routine(
            ecu=ecu,
            routine_identifier=ROUTINES.get(routine) or identifier(routine, "ROUTINE"),
            option_record=hex_bytes(option, "--option"),
            run_time=duration(run_time, "--run-time"),
        )
    )
    order(cloud, vin, wanted, within=within, wait=wait, as_json=as_json)


@app.command()
def output(
    vin: VinArgument,
    ecu: EcuArgument,
    did: Annotated[
        str, typer.Argument(metavar="DID", help="The output's data identifier, 0x0191.")
    ],
    state: Annotated[
        str, typer.Argument(metavar="HEX", help="controlState: the outputs' bytes, `50`.")
    ],
    *,
    mask: Annotated[
        str,
        typer.Option(
            "--mask", metavar="HEX", help="controlEnableMask, the first output its highest bit."
        ),
    ] = "",
    hold: Annotated[
        str, typer.Option("--for", metavar="TIME", help="It is given back after so long.")
    ] = "10s",
    within: WithinOption = "1h",
    wait: WaitOption = True,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Hold an output of an ECU for a time (2F 03), and give it back (2F 00).

    `canota diag job output WCANHVAC000000001 blower 0x0191 50 --for 5s`
    """
    wanted = Job(
        output_control=Job.OutputControl(
            ecu=ecu,
            data_identifier=identifier(did, "DID"),
            control_state=hex_bytes(state, "HEX"),
            control_mask=hex_bytes(mask, "--mask"),
            hold_time=duration(hold, "--for"),
        )
    )
    order(cloud, vin, wanted, within=within, wait=wait, as_json=as_json)


@app.command(name="list")
def list_(
    vin: VinArgument, *, cloud: CloudOption = DEFAULT_CLOUD, as_json: JsonOption = False
) -> None:
    """List a vehicle's jobs, the newest first."""
    with Operator(cloud) as operator:
        jobs = list(operator.jobs(vin))
    if as_json:
        print_json([plain(one) for one in jobs])
        return
    shown = table("job", "what", "state", "created", "ended", "result")
    for one in jobs:
        shown.add_row(
            one.name.rpartition("/")[2],
            _what(one),
            styled(word(_STATES, one.state)),
            time_text(one.create_time),
            time_text(one.result.finish_time),
            one.result.detail,
        )
    console().print(shown if shown.row_count else "no jobs")


@app.command()
def show(
    vin: VinArgument,
    job_id: JobArgument,
    *,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Show a job with every request and answer. Exit code 1: it has ended and did not succeed."""
    with Operator(cloud) as operator:
        _shown(operator.job(vin, job_id), as_json=as_json)


@app.command()
def cancel(
    vin: VinArgument,
    job_id: JobArgument,
    *,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Take a job back. Exit code 5: the gateway has it already."""
    with Operator(cloud) as operator:
        cancelled = operator.cancel_job(vin, job_id)
    if as_json:
        print_json(plain(cancelled))
    else:
        console().print(f"{job_id}: {word(_STATES, cancelled.state)}")


def clear(
    vin: VinArgument,
    *,
    ecus: EcusOption = None,
    dtc_group: Annotated[
        str, typer.Option("--group", metavar="HEX", help="A code or a group of 24 bits.")
    ] = "FFFFFF",
    within: WithinOption = "1h",
    wait: WaitOption = True,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Clear trouble codes (14) in a car that stands in park."""
    wanted = Job(
        clear_dtcs=Job.ClearDtcs(
            ecus=ecus, group=identifier(dtc_group, "--group", greatest=0xFFFFFF)
        )
    )
    order(cloud, vin, wanted, within=within, wait=wait, as_json=as_json)


def snapshot(
    vin: VinArgument,
    *,
    ecus: EcusOption = None,
    within: WithinOption = "1h",
    wait: WaitOption = True,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Read a vehicle's ECUs now, that is at its next check-in; `canota diag dtc VIN` shows it."""
    wanted = Job(take_snapshot=Job.TakeSnapshot(ecus=ecus))
    order(cloud, vin, wanted, within=within, wait=wait, as_json=as_json)


def order(cloud: str, vin: str, wanted: Job, *, within: str, wait: bool, as_json: bool) -> None:
    """Queue a job and, if asked, wait for its end; exit code 1 or 5 unless it succeeds."""
    life = duration(within, "--within")
    wanted.expire_time.CopyFrom(_after(life))
    with Operator(cloud) as operator:
        made = operator.create_job(vin, wanted)
        job_id = made.name.rpartition("/")[2]
        if not wait:
            if as_json:
                print_json(plain(made))
            else:
                console().print(f"{job_id}: queued until {time_text(made.expire_time)}")
            return
        if not as_json:
            console().print(f"{job_id}: waits for the vehicle's next check-in")
        try:
            while made.state in _OPEN:
                time.sleep(_ASK_S)  # noqa: TID251 a command waits by the clock of its user
                made = operator.job(vin, job_id)
        except KeyboardInterrupt as error:
            raise CommandError(
                f"{job_id} goes on without you; `canota diag job show {vin} {job_id}` tells its "
                f"end, `cancel` takes it back",
                Exit.FAILED,
            ) from error
        _shown(made, as_json=as_json)


def _after(life: Duration) -> Timestamp:
    moment = Timestamp()
    moment.GetCurrentTime()
    return Timestamp(seconds=moment.seconds + life.seconds, nanos=moment.nanos)


def _shown(job: Job, *, as_json: bool) -> None:
    if as_json:
        print_json(plain(job))
    else:
        out = console()
        state = word(_STATES, job.state)
        out.print(f"{_what(job)}:", styled(state))
        if job.result.detail:
            out.print(f"  {job.result.detail}")
        for one in job.result.conditions:
            sign = "met" if one.met else "not met"
            out.print(f"  {one.condition}: {sign} ({one.value}; {one.source})")
        if job.result.snapshot:
            out.print(f"  snapshot {job.result.snapshot.rpartition('/')[2]}")
        shown = table("  at", "ECU", "request", "response", "", right=("  at",))
        for exchange in job.result.exchanges:
            shown.add_row(
                f"{exchange.offset.ToTimedelta().total_seconds():.3f} s",
                exchange.ecu,
                exchange.request.hex(" ").upper(),
                exchange.response.hex(" ").upper() or "-",
                exchange.text,
            )
        if shown.row_count:
            out.print(shown)
    if job.state not in {*_OPEN, diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_SUCCEEDED}:
        raise typer.Exit(_EXITS.get(job.state, Exit.FAILED))


def _what(job: Job) -> str:
    match job.WhichOneof("action"):
        case "routine":
            return f"routine {job.routine.routine_identifier:04X} of {job.routine.ecu}"
        case "output_control":
            control = job.output_control
            state = control.control_state.hex(" ").upper()
            return f"output {control.data_identifier:04X} of {control.ecu} at {state}"
        case "clear_dtcs":
            return f"clear {', '.join(job.clear_dtcs.ecus) or 'all ECUs'}"
        case "take_snapshot":
            return f"read {', '.join(job.take_snapshot.ecus) or 'all ECUs'}"
        case _:
            return "?"
