"""`canota diag`: what vehicles sent of themselves, without going to the car."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from canota.cli import diag_jobs, diag_plan
from canota.cli.client import Operator
from canota.cli.exits import CommandError, Exit
from canota.cli.output import (
    DEFAULT_CLOUD,
    CloudOption,
    Json,
    JsonOption,
    console,
    group,
    plain,
    print_json,
    table,
    time_text,
    write_file,
)
from cloud.fleet.dtcs import Change, compare, words
from cloud.messages.diagnostics import from_snapshot
from cloud.reports.changes import acts_of, clearing
from cloud.reports.model import Step
from cloud.reports.record import step_of
from cloud.reports.table import harmless
from protocols.fleet.v1 import diagnostic_jobs_pb2, diagnostics_pb2
from protocols.fleet.v1.campaigns_pb2 import Outcome

app = group()

VinArgument = Annotated[str, typer.Argument(metavar="VIN", help="The vehicle's VIN.")]
SnapshotOption = Annotated[
    str, typer.Option("--snapshot", help="Which reading; `canota diag list VIN` names them.")
]


@app.callback()
def diag() -> None:
    """
    Diagnose vehicles from afar: trouble codes, signals, routines, without going to the car.

    Gateways send a reading before and after each update, by a vehicle's `schedule`, and when asked
    (`snapshot`). `list`, `dtc`, `did`, `signals` and `changes` show readings, `watch` follows
    signals, `clear` and `job` have something done.
    """


app.command()(diag_jobs.snapshot)
app.command()(diag_plan.schedule)
app.command()(diag_plan.watch)
app.command()(diag_jobs.clear)
app.command()(diag_plan.gaps)
app.add_typer(diag_jobs.app, name="job")


@app.command(name="list")
def list_(
    vin: VinArgument, *, cloud: CloudOption = DEFAULT_CLOUD, as_json: JsonOption = False
) -> None:
    """List a vehicle's readings, the newest first."""
    with Operator(cloud) as operator:
        readings = list(operator.snapshots(vin))
    if as_json:
        print_json([{**_head(reading)} for reading in readings])
        return
    shown = table("snapshot", "occasion", "time", "campaign", "ECUs", "trouble codes")
    for reading in readings:
        shown.add_row(
            reading.name.rpartition("/")[2],
            reading.occasion.replace("_", " "),
            time_text(reading.time),
            reading.campaign.removeprefix("campaigns/"),
            ", ".join(ecu.ecu for ecu in reading.ecus),
            str(sum(bool(dtc.status & 0x08) for ecu in reading.ecus for dtc in ecu.dtcs)),
        )
    console().print(shown)


@app.command()
def dtc(
    vin: VinArgument,
    *,
    snapshot: SnapshotOption = "latest",
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Show a vehicle's trouble codes with their status in words."""
    reading = _reading(cloud, vin, snapshot)
    if as_json:
        codes = [{"ecu": ecu.ecu, **plain(one)} for ecu in reading.ecus for one in ecu.dtcs]
        print_json({**_head(reading), "dtcs": [*codes], "errors": _unread(reading)})
        return
    _print_head(reading)
    shown = table("ECU", "code", "status", "what it means", "in words", "stored with it")
    for ecu in reading.ecus:
        for one in ecu.dtcs:
            stored = ", ".join(
                record.value for record in (*one.snapshots, *one.extended_data) if record.value
            )
            shown.add_row(
                ecu.ecu, one.display, f"{one.status:02X}", one.text, words(one.status), stored
            )
    console().print(shown if shown.row_count else "no trouble codes")


@app.command()
def did(
    vin: VinArgument,
    *,
    snapshot: SnapshotOption = "latest",
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Show the identification of a vehicle's ECUs."""
    reading = _reading(cloud, vin, snapshot)
    if as_json:
        dids = [
            {"ecu": ecu.ecu, **plain(one)} for ecu in reading.ecus for one in ecu.data_identifiers
        ]
        print_json({**_head(reading), "dids": [*dids], "errors": _unread(reading)})
        return
    _print_head(reading)
    shown = table("ECU", "DID", "what it is", "value")
    for ecu in reading.ecus:
        for one in ecu.data_identifiers:
            shown.add_row(ecu.ecu, f"{one.data_identifier:04X}", one.text, one.value)
    console().print(shown)


@app.command()
def signals(
    vin: VinArgument,
    *,
    snapshot: SnapshotOption = "latest",
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """Show the bus signals around a reading; `--json` has every value."""
    reading = _reading(cloud, vin, snapshot)
    if as_json:
        print_json({**_head(reading), "signals": [plain(one) for one in reading.signals]})
        return
    _print_head(reading)
    columns = ("wire", "message", "signal", "unit", "values", "first", "lowest", "highest", "last")
    shown = table(*columns, right=columns[4:])
    for one in reading.signals:
        values = _extremes(one.values)
        shown.add_row(
            one.wire,
            one.message,
            one.signal,
            one.unit,
            str(len(one.values)),
            *(f"{value:.6g}" for value in values),
        )
    console().print(shown if shown.row_count else "no signals")


@app.command()
def changes(
    vin: VinArgument,
    *,
    since: Annotated[
        str, typer.Option("--since", help="The earlier reading; without: the one before.")
    ] = "",
    snapshot: SnapshotOption = "latest",
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Judge what became of each trouble code between two readings.

    A code is new or gone only if its monitor has run to its end since; until then it is not
    tested. Codes of lost communication from resets by our own updates in between stand apart. Only
    ECUs that the later reading has are judged. Exit code 1: a code is new.
    """
    with Operator(cloud) as operator:
        after = operator.snapshot(vin, snapshot)
        before = operator.snapshot(vin, since) if since else _before(operator, vin, after)
        acts = acts_of(_steps_between(operator, vin, before, after))
    found = compare(
        from_snapshot(before, vin=vin),
        from_snapshot(after, vin=vin),
        resets=acts.resets,
        cleared=acts.cleared,
    )
    judged = [one for one in found if one.ecu in {ecu.ecu for ecu in after.ecus}]
    if as_json:
        print_json(
            {
                "before": _head(before),
                "after": _head(after),
                "changes": [
                    {
                        "ecu": one.ecu,
                        "display": one.display,
                        "text": one.text,
                        "verdict": one.change.value,
                        "status_before": one.before,
                        "status_after": one.after,
                        "network": one.network,
                    }
                    for one in judged
                ],
            }
        )
    else:
        _print_head(before)
        _print_head(after)
        shown = table("verdict", "ECU", "code", "what it means", "before", "after")
        for one in judged:
            shown.add_row(
                one.change.value.replace("_", " "),
                one.ecu,
                one.display,
                one.text,
                words(one.before),
                words(one.after),
            )
        console().print(shown if shown.row_count else "no trouble codes")
    if any(one.change is Change.NEW for one in judged):
        raise typer.Exit(Exit.FAILED)


def _steps_between(
    operator: Operator,
    vin: str,
    before: diagnostics_pb2.DiagnosticSnapshot,
    after: diagnostics_pb2.DiagnosticSnapshot,
) -> Iterator[Step]:
    """What our own updates and jobs did to the vehicle until the later reading.

    Of updates those that readings between the two belong to, and the one before them: it may have
    gone on. One that has not ended has not told its steps yet.
    """
    first, last = before.time.ToMicroseconds(), after.time.ToMicroseconds()
    ended = datetime.fromtimestamp(last / 1e6, UTC)
    of_updates = sorted(
        (one.time.ToMicroseconds(), one.campaign.rpartition("/")[2])
        for one in operator.snapshots(vin)
        if one.campaign and one.time.ToMicroseconds() <= last
    )
    within = [campaign for at, campaign in of_updates if at >= first]
    earlier = [campaign for at, campaign in of_updates if at < first]
    for campaign in sorted({*within, *earlier[-1:]}):
        if not _has_ended(operator, campaign, vin):
            Console(stderr=True).print(
                f"campaigns/{campaign} is under way: its resets are not known yet", highlight=False
            )
            continue
        for vehicle in json.loads(operator.report(campaign, "json"))["vehicles"]:
            if vehicle["vin"] == vin:
                steps = map(step_of, vehicle["steps"])
                yield from (step for step in steps if step.start <= ended)
    for job in operator.jobs(vin):
        finish = job.result.finish_time
        if _clears_everything(job) and first <= finish.ToMicroseconds() <= last:
            yield clearing(finish.ToDatetime(UTC))


def _clears_everything(job: diagnostic_jobs_pb2.DiagnosticJob) -> bool:
    return (
        job.state == diagnostic_jobs_pb2.DIAGNOSTIC_JOB_STATE_SUCCEEDED
        and job.HasField("clear_dtcs")
        and not job.clear_dtcs.ecus
        and not job.clear_dtcs.HasField("group")
    )


def _has_ended(operator: Operator, campaign: str, vin: str) -> bool:
    return any(
        one.vin == vin and one.outcome != Outcome.OUTCOME_UNSPECIFIED
        for one in operator.campaign(campaign).assignments
    )


@app.command()
def export(
    vin: VinArgument,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Its ending says: .json or .csv.")
    ],
    cloud: CloudOption = DEFAULT_CLOUD,
) -> None:
    """
    Write all readings of a vehicle into a file: JSON with everything, CSV of the trouble codes.

    `canota diag export WCANHVAC000000001 -o readings.csv`
    """
    if output.suffix not in {".json", ".csv"}:
        raise CommandError(f"{output}: a name that ends in .json or .csv expected", Exit.USAGE)
    with Operator(cloud) as operator:
        names = [one.name.rpartition("/")[2] for one in operator.snapshots(vin)]
        readings = [operator.snapshot(vin, name) for name in names]
    if output.suffix == ".json":
        text = json.dumps([plain(one) for one in readings], indent=2, ensure_ascii=False)
        write_file(output, f"{text}\n".encode())
    else:
        write_file(output, _as_csv(readings).encode())
    console().print(f"{output}: {len(readings)} readings")


def _as_csv(readings: Sequence[diagnostics_pb2.DiagnosticSnapshot]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(
        ["snapshot", "occasion", "time", "ecu", "code", "status", "in_words", "text", "stored"]
    )
    for reading in readings:
        for ecu in reading.ecus:
            for one in ecu.dtcs:
                records = (*one.snapshots, *one.extended_data)
                cells = (
                    reading.name.rpartition("/")[2],
                    reading.occasion,
                    time_text(reading.time),
                    ecu.ecu,
                    one.display,
                    f"{one.status:02X}",
                    words(one.status),
                    one.text,
                    "; ".join(record.value for record in records if record.value),
                )
                writer.writerow([harmless(cell) for cell in cells])
    return lines.getvalue()


def _before(
    operator: Operator, vin: str, after: diagnostics_pb2.DiagnosticSnapshot
) -> diagnostics_pb2.DiagnosticSnapshot:
    """The newest reading before one that has any of its ECUs."""
    ecus = {ecu.ecu for ecu in after.ecus}
    older = (
        one
        for one in operator.snapshots(vin)
        if one.name != after.name
        and one.time.ToMicroseconds() <= after.time.ToMicroseconds()
        and ecus & {ecu.ecu for ecu in one.ecus}
    )
    found = next(older, None)
    if found is None:
        raise CommandError(f"{after.name}: there is no reading before it", Exit.NOT_FOUND)
    return found


def _reading(cloud: str, vin: str, snapshot: str) -> diagnostics_pb2.DiagnosticSnapshot:
    with Operator(cloud) as operator:
        return operator.snapshot(vin, snapshot)


def _extremes(values: Sequence[float]) -> tuple[float, ...]:
    return (values[0], min(values), max(values), values[-1]) if values else ()


def _head(reading: diagnostics_pb2.DiagnosticSnapshot) -> dict[str, Json]:
    return {
        "name": reading.name,
        "occasion": reading.occasion,
        "campaign": reading.campaign,
        "time": time_text(reading.time),
    }


def _unread(reading: diagnostics_pb2.DiagnosticSnapshot) -> dict[str, Json]:
    return {ecu.ecu: ecu.error for ecu in reading.ecus if ecu.error}


def _print_head(reading: diagnostics_pb2.DiagnosticSnapshot) -> None:
    console().print(f"{reading.occasion.replace('_', ' ')}, {time_text(reading.time)}")
    for ecu, error in _unread(reading).items():
        console().print(f"  {ecu} could not be read: {error}")
