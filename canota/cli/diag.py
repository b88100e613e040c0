"""`canota diag`: what vehicles sent of themselves, without going to the car."""

from collections.abc import Sequence
from typing import Annotated

import typer

from canota.cli.client import Operator
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
)
from cloud.fleet.dtcs import words
from protocols.fleet.v1 import diagnostics_pb2

app = group()

VinArgument = Annotated[str, typer.Argument(metavar="VIN", help="The vehicle's VIN.")]
SnapshotOption = Annotated[
    str, typer.Option("--snapshot", help="Which reading; `canota diag list VIN` names them.")
]


@app.callback()
def diag() -> None:
    """
    Read what vehicles sent: trouble codes, identification, signals.

    Gateways send a reading before and after each update.
    """


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
