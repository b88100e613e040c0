"""`canota diag schedule`, `watch` and `gaps`: readings and signals as they come."""

import json
import sys
from collections.abc import Iterable
from typing import Annotated, Final

import typer
from google.protobuf.duration_pb2 import Duration

from canota.cli.client import Operator
from canota.cli.diag_arguments import duration, identifier
from canota.cli.diag_jobs import EcusOption, VinArgument
from canota.cli.output import (
    DEFAULT_CLOUD,
    CloudOption,
    Json,
    JsonOption,
    console,
    plain,
    print_json,
    size,
    table,
    time_text,
)
from protocols.fleet.v1 import diagnostic_plans_pb2, diagnostics_pb2

_NEVER: Final = "off"


def schedule(
    vin: VinArgument,
    *,
    every: Annotated[
        str | None,
        typer.Option("--every", metavar="TIME", help="A whole reading so often, `1h`; or `off`."),
    ] = None,
    on_change: Annotated[
        str | None,
        typer.Option(
            "--on-change",
            metavar="TIME",
            help="Look for changed trouble codes so often (one short request per ECU), and read "
            "the ECU when there are any: `30s`; or `off`.",
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            metavar="HEX",
            help="Status bits that count as a change: 08 confirmed (the default), 04 pending, "
            "01 failing now, or a sum of them.",
        ),
    ] = None,
    ecus: EcusOption = None,
    wake: Annotated[
        bool | None,
        typer.Option(
            "--wake/--no-wake",
            help="Read a parked car, too, and wake it for that; without, only a car in use "
            "(terminal 15 on).",
        ),
    ] = None,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Show or set when a vehicle reads its ECUs by itself.

    Without options it shows the plan. What is not named stays as it is. The gateway gets a new
    plan at its next check-in; readings pause while an update activates.

    `canota diag schedule WCANHVAC000000001 --every 1h --on-change 30s`
    """
    plan = diagnostic_plans_pb2.DiagnosticPlan(name=f"vehicles/{vin}/diagnosticPlan")
    fields = []
    if every is not None:
        plan.period.CopyFrom(_pause(every, "--every"))
        fields.append("period")
    if on_change is not None:
        plan.change_interval.CopyFrom(_pause(on_change, "--on-change"))
        fields.append("change_interval")
    if mask is not None:
        plan.status_mask = identifier(mask, "--mask", greatest=0xFF)
        fields.append("status_mask")
    if ecus is not None:
        plan.ecus.extend([] if ecus == ["all"] else ecus)
        fields.append("ecus")
    if wake is not None:
        plan.wake = wake
        fields.append("wake")
    with Operator(cloud) as operator:
        found = operator.set_plan(plan, fields) if fields else operator.plan(vin)
    if as_json:
        print_json(plain(found))
        return
    out = console()
    out.print(f"whole readings:   {_every(found.period)}")
    out.print(f"on changed codes: {_every(found.change_interval)}, status {found.status_mask:02X}")
    out.print(f"ECUs:             {', '.join(found.ecus) or 'all'}")
    out.print(f"a parked car:     {'is woken' if found.wake else 'is left asleep'}")
    out.print(f"revision {found.revision}, set {time_text(found.update_time) or 'never'}")


def watch(
    vin: VinArgument,
    signals: Annotated[
        list[str],
        typer.Argument(
            metavar="SIGNAL",
            help="A bus signal (`CabinTemperature`, `VEH_Motion.Speed`), or a data identifier of "
            "an ECU (`blower:0111`).",
        ),
    ],
    *,
    every: Annotated[
        str, typer.Option("--every", metavar="TIME", help="Between two values of a signal.")
    ] = "1s",
    length: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long; at most an hour.")
    ] = "1m",
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Follow signals of a vehicle as they come, from its next check-in on.

    Values come in batches of some seconds. Ctrl-C ends it in the car, too. With `--json` each
    batch is one line.

    `canota diag watch WCANHVAC000000001 CabinTemperature blower:0111 --for 30s`
    """
    wanted = diagnostic_plans_pb2.SignalSubscription(
        signals=signals, period=duration(every, "--every"), duration=duration(length, "--for")
    )
    with Operator(cloud) as operator:
        subscription = operator.follow(vin, wanted).name
        if not as_json:
            console().print("waits for the vehicle's next check-in")
        try:
            for batch in operator.watch_signals(subscription):
                if as_json:
                    sys.stdout.write(f"{json.dumps(_plain(batch), ensure_ascii=False)}\n")
                    sys.stdout.flush()
                else:
                    _print_batch(batch)
        finally:
            operator.stop_following(subscription)


def gaps(
    vin: VinArgument, *, cloud: CloudOption = DEFAULT_CLOUD, as_json: JsonOption = False
) -> None:
    """List what a vehicle had to drop while the cloud was away and its room was full."""
    with Operator(cloud) as operator:
        found = list(operator.gaps(vin))
    if as_json:
        print_json([plain(one) for one in found])
        return
    shown = table("told", "kind", "messages", "bytes", "numbers", right=("messages", "bytes"))
    for one in found:
        shown.add_row(
            time_text(one.receive_time),
            one.kind,
            str(one.count - one.arrived),
            size(one.bytes),
            ", ".join(
                f"{part.first}" if part.first == part.last else f"{part.first}-{part.last}"
                for part in one.ranges[:8]
            ),
        )
    console().print(shown if shown.row_count else "nothing was dropped")


def _plain(batch: diagnostics_pb2.SignalBatch) -> dict[str, Json]:
    return {
        "time": time_text(batch.time),
        "series": [plain(one) for one in batch.series],
        "errors": dict(batch.errors),
        "last": batch.last,
    }


def _print_batch(batch: diagnostics_pb2.SignalBatch) -> None:
    out = console()
    base_us = batch.time.ToMicroseconds()
    for at_us, name, value, unit in sorted(_samples(batch, base_us)):
        out.print(f"{_clock(at_us)}  {name:32} {value:>10.6g} {unit}")
    for signal in sorted(batch.errors):
        out.print(f"{_clock(base_us)}  {signal}: {batch.errors[signal]}")


def _samples(
    batch: diagnostics_pb2.SignalBatch, base_us: int
) -> Iterable[tuple[int, str, float, str]]:
    for one in batch.series:
        for offset, value in zip(one.offsets_seconds, one.values, strict=True):
            yield base_us + round(offset * 1e6), f"{one.message}.{one.signal}", value, one.unit


def _clock(at_us: int) -> str:
    seconds, rest = divmod(at_us, 1_000_000)
    minutes, second = divmod(seconds, 60)
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}:{second:02}.{rest // 1000:03}"


def _pause(text: str, option: str) -> Duration:
    return Duration() if text == _NEVER else duration(text, option)


def _every(pause: Duration) -> str:
    seconds = pause.ToTimedelta().total_seconds()
    return f"every {seconds:g} s" if seconds else "never"
