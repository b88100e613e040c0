"""`canota demo`: one update from end to end, told on the terminal and proved in a report."""

import asyncio
import json
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

import clock
from canota.bench import FACTORY_VERSION, VIRTUAL_START, Bench, BenchOptions, release_files
from canota.cli.arguments import link_profile
from canota.cli.bars import EcuBars, EcuStep
from canota.cli.campaign import print_verdicts
from canota.cli.client import Operator
from canota.cli.exits import CommandError, Exit, explained
from canota.cli.firmware_files import inspect
from canota.cli.output import STYLES, console, size, table
from dbc.vehicle import describe_vehicle
from protocols.link import PROFILES, Profile
from protocols.uds.dtc import StatusBit, display
from recording import LogError
from recording.recorder import Recorder
from vehicle_gateway.update import Progress

VIN: Final = "WCANHVAC000000001"
CAMPAIGN: Final = "demo"
NEW_VERSION: Final = "2.0.0"
#: Seconds of driving before the update, and of watching after it.
DRIVE_S: Final = 240.0
OBSERVE_S: Final = 240.0
#: The range that a course of the cabin temperature is drawn in.
COLD_C: Final = 21.5
HOT_C: Final = 35.0
_SAMPLE_S: Final = 5.0
_BLOCKS: Final = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"

app = typer.Typer(
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    seed: int
    virtual: bool
    report_directory: Path
    #: Where cloud, gateway and ECUs keep what they have meanwhile.
    state_directory: Path
    #: ECU -> a file published in place of ours.
    images: dict[str, Path]
    #: Where all that goes over the wires is written, for Wireshark.
    capture: Path | None
    #: What lies between gateway and cloud.
    link: Profile | None


@app.command(epilog=explained())
def demo(
    *,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 1,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="At the wires' own pace: about ten minutes.")
    ] = False,
    report_dir: Annotated[
        Path, typer.Option(help="Where report.html and report.json go.", file_okay=False)
    ] = Path("canota-demo"),
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="ECU=FILE", help="Publish this file for an ECU in place of ours."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep flash, journal and database in REPORT_DIR/state.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Write what the terminal shows as SVG.", dir_okay=False)
    ] = None,
    capture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Record the wires: .pcapng (DoIP too), .asc, .blf, .log (candump), .mf4.",
            dir_okay=False,
        ),
    ] = None,
    link: Annotated[
        str, typer.Option(metavar="PROFILE", help=f"A wireless link: {', '.join(PROFILES)}.")
    ] = "",
) -> None:
    """
    Update a simulated car from end to end and write a report of it.

    A real gRPC cloud, a telematics gateway and the car's ECUs on CAN, CAN FD and DoIP: release
    1.0.0 misbehaves, a campaign brings 2.0.0, and the boot loaders' signed digests prove what runs.
    Virtual time by default: every bit and every wait has its duration, and none is sat through.

    `canota demo --image ccu=mine.hex` shows what happens to firmware that is not signed, and
    `--image blower=mine.hex` to firmware that does not run.
    """
    images = _images(image or [])
    try:
        report_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{report_dir}: {error.strerror}", Exit.REFUSED) from error
    if capture is not None:
        _begin_capture(capture)
    # Told to end, it still cleans up behind itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    state = report_dir / "state" if keep else Path(tempfile.mkdtemp(prefix="canota-demo-"))
    if keep:
        shutil.rmtree(state, ignore_errors=True)
    options = DemoOptions(
        seed=seed,
        virtual=not real_time,
        report_directory=report_dir,
        state_directory=state,
        images=images,
        capture=capture,
        link=link_profile(link, option="--link") if link else None,
    )
    try:
        out = console() if picture is None else _recorder()
        updated = clock.run(Story(options, out).tell(), virtual=options.virtual)
        if picture is not None:
            picture.write_text(_picture(out), encoding="utf-8")
    except LogError as error:
        raise CommandError(str(error)) from error
    finally:
        if not keep:
            shutil.rmtree(state, ignore_errors=True)
    if not updated:
        raise typer.Exit(Exit.FAILED)


class Story:
    """The walk, told as it goes."""

    def __init__(self, options: DemoOptions, out: Console) -> None:
        self._options = options
        self._out = out
        self._bars = EcuBars(out)
        self._chapter = 0
        self._ecus = describe_vehicle().ecus

    async def tell(self) -> bool:
        """Run the whole walk; whether the car is updated."""
        began, loop = time.perf_counter(), asyncio.get_running_loop()
        options = BenchOptions(
            vin=VIN,
            directory=self._options.state_directory,
            seed=self._options.seed,
            observe_s=OBSERVE_S,
            capture=self._options.capture,
            link=self._options.link,
            start_date=VIRTUAL_START if self._options.virtual else datetime.now(UTC),  # noqa: TID251 the run's one look at the calendar
        )
        async with Bench(options, on_progress=self._on_progress) as bench:
            await self._introduce(bench)
            await self._misbehave(bench)
            await self._publish(bench)
            await self._update(bench)
            report = await self._export(bench)
            simulated_s = loop.time()
        self._prove(report)
        passed_s = time.perf_counter() - began
        clock_said = f"{_minutes(simulated_s)} simulated in {passed_s:.1f} s of wall time"
        self._say(clock_said if self._options.virtual else f"{_minutes(passed_s)}, in real time")
        return bool(report["campaign"]["outcome"] == "updated")

    async def _introduce(self, bench: Bench) -> None:
        self._begin(f"A car with release {FACTORY_VERSION}")
        await bench.register()
        files = release_files(FACTORY_VERSION, {})
        await bench.publish(f"hvac-{FACTORY_VERSION}", FACTORY_VERSION, files)
        if (link := self._options.link) is not None:
            self._say(f"between gateway and cloud: {link.name}, {link.summary}")
        identities = bench.vehicle.identities()
        wires = ", ".join(dict.fromkeys(identity.wire for identity in identities))
        self._say(f"cloud on {bench.cloud.target} over gRPC, vehicle {VIN} registered")
        self._say(f"{len(identities)} ECUs on {wires}, each runs firmware {FACTORY_VERSION}")

    async def _misbehave(self, bench: Bench) -> None:
        self._begin("Something is wrong with it")
        course = await self._drive(bench, DRIVE_S)
        self._say(f"cabin  {sparkline(course)}  {course[0]:.1f} to {course[-1]:.1f} °C")
        self._say(f"{_minutes(DRIVE_S)} on, with 22.0 °C set: {course[-1] - 22.0:+.1f} K off")
        for name, node in bench.vehicle.nodes.items():
            codes = node.program.dtcs.matching(StatusBit.CONFIRMED_DTC) if node.program else []
            for code, _ in codes:
                text = self._ecus[name].dtcs.get(code, "")
                self._out.print(
                    Text.assemble(
                        "   ", (display(code), "bold red"), f" confirmed by {name}: {text}"
                    )
                )

    async def _drive(self, bench: Bench, seconds: float) -> list[float]:
        course = [bench.vehicle.cabin.cabin_temperature_c]
        status = self._out.status("", spinner="dots")
        if self._out.is_terminal and not self._out.record:
            status.start()
        try:
            for step in range(1, round(seconds / _SAMPLE_S) + 1):
                await asyncio.sleep(_SAMPLE_S)
                course.append(bench.vehicle.cabin.cabin_temperature_c)
                status.update(f"{_minutes(step * _SAMPLE_S)} of driving, cabin {course[-1]:.1f} °C")
        finally:
            status.stop()
        return course

    async def _publish(self, bench: Bench) -> None:
        self._begin(f"Release {NEW_VERSION} mends it")
        files = release_files(NEW_VERSION, self._options.images)
        release = f"hvac-{NEW_VERSION}"
        await bench.publish(release, NEW_VERSION, files)
        for file in files:
            self._say(f"{file.hardware_id:<6} {file.path.name:<20} {size(len(file.content))}")
        await (bench.turn() if self._options.link else bench.gateway.run_once())
        await bench.ask(lambda operator: operator.create_campaign(CAMPAIGN, release, [VIN]))
        verdicts = await bench.ask(lambda operator: operator.dry_run(CAMPAIGN))
        self._say("dry run:")
        print_verdicts(verdicts, self._out, indent=3)

    async def _update(self, bench: Bench) -> None:
        self._begin("The campaign")
        await bench.ask(lambda operator: operator.start_campaign(CAMPAIGN))
        if not self._options.virtual:
            self._say(f"when all is written, the car is watched for {_minutes(OBSERVE_S)}")
        async with AsyncExitStack() as stack:
            stack.enter_context(self._bars)
            # Over a link the last report may have to wait for coverage.
            await (bench.turn() if self._options.link else bench.gateway.run_once())

    async def _export(self, bench: Bench) -> dict[str, Any]:
        content: dict[str, bytes] = {}
        for name in ("html", "json"):
            content[name] = await bench.ask(_report_call(name))
            path = self._options.report_directory / f"report.{name}"
            try:
                path.write_bytes(content[name])
            except OSError as error:
                raise CommandError(f"{path}: {error.strerror}") from error
        report: dict[str, Any] = json.loads(content["json"])
        return report

    def _prove(self, report: dict[str, Any]) -> None:
        self._begin("The proof")
        (vehicle,) = report["vehicles"]
        if held := _held(vehicle["conditions"]):
            self._say(held)
        columns = (
            "ECU",
            "before",
            "after",
            "signed read-back",
            "image",
            "transfer",
            "bound",
            "out of use",
        )
        shown = table(*columns, right=columns[4:])
        for ecu in vehicle["ecus"]:
            shown.add_row(
                ecu["name"],
                ecu["version_before"],
                ecu["version_after"],
                _read_back(ecu),
                size(ecu["image_bytes"]),
                f"{ecu['transfer_seconds']:.1f} s",
                f"{ecu['bound_seconds']:.1f} s",
                f"{ecu['out_of_use_seconds']:.2f} s",
            )
        self._out.print(Padding(shown, (0, 0, 0, 3)))
        self._out.print()
        self._say_temperature(vehicle)
        for verdict in ("new", "still_there", "gone"):
            for code in vehicle["dtcs"][verdict]:
                said = f"{code['display']} {verdict.replace('_', ' ')}: {code['text']}"
                self._say(f"{code['ecu']}: {said}")
        campaign = report["campaign"]
        colour = STYLES.get(campaign["outcome"], "")
        self._out.print()
        self._out.print(Text(f"   {campaign['verdict']}", style=f"bold {colour}"))
        for name in ("html", "json"):
            self._say(f"{self._options.report_directory / f'report.{name}'}")
        if self._options.capture is not None:
            self._say(f"{self._options.capture}, {size(self._options.capture.stat().st_size)}")

    def _say_temperature(self, vehicle: dict[str, Any]) -> None:
        for when in ("before", "after"):
            for series in vehicle["signals"][when]:
                if series["signal"] == "CabinTemperature" and series["values"]:
                    pairs = zip(series["offsets_seconds"], series["values"], strict=True)
                    values = [value for at, value in pairs if at >= -OBSERVE_S]
                    line = sparkline(values[:: max(1, len(values) // 48)])
                    self._say(f"cabin {when:<6}  {line}  ends at {values[-1]:.1f} °C")

    def _on_progress(self, progress: Progress) -> None:
        step = EcuStep(
            ecu=progress.ecu,
            step=progress.step,
            bytes_done=progress.bytes_done,
            bytes_total=progress.bytes_total,
            remaining_s=progress.remaining_s,
        )
        self._bars.show([step])

    def _begin(self, title: str) -> None:
        self._chapter += 1
        self._out.print()
        self._out.print(Text(f"{self._chapter}  {title}", style="bold cyan"))

    def _say(self, text: str) -> None:
        self._out.print(Padding(text, (0, 0, 0, 3), expand=False))


def _begin_capture(path: Path) -> None:
    """Find out before the run that there is no way to write it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Recorder(path, (), start_ns=0).close()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", Exit.REFUSED) from error
    except LogError as error:
        raise CommandError(str(error), Exit.REFUSED) from error


def _recorder() -> Console:
    """A console that keeps what it shows; it looks the same everywhere."""
    return Console(record=True, force_terminal=True, width=98, highlight=False, markup=False)


def _picture(out: Console) -> str:
    """What a recorder has kept as SVG, without the fonts that rich would fetch from elsewhere."""
    return re.sub(r"@font-face \{.*?\}", "", out.export_svg(title="canota demo"), flags=re.DOTALL)


def sparkline(values: list[float], low: float = COLD_C, high: float = HOT_C) -> str:
    """A course of values as one line of blocks; what lies outside of the range is cut off."""
    steps = len(_BLOCKS) - 1
    levels = (round((value - low) / (high - low) * steps) for value in values)
    return "".join(_BLOCKS[min(max(level, 0), steps)] for level in levels)


def _read_back(ecu: dict[str, Any]) -> Text:
    if ecu["read_back"]:
        return Text("proved", style="green")
    if ecu["read_back_sha256"] and ecu["version_after"] == ecu["version_before"]:
        return Text("as before", style="yellow")
    return Text("no", style="red")


def _report_call(name: str) -> Callable[[Operator], bytes]:
    return lambda operator: operator.report(CAMPAIGN, name)


def _held(conditions: list[dict[str, Any]]) -> str:
    """What the car was like when activation began; empty if it did not begin."""
    begun = [one for one in conditions if one["occasion"] == "cleared"]
    said = dict.fromkeys(f"{one['signal']} {one['value']}" for one in begun)
    return f"the car was held: {', '.join(said)}" if said else ""


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _images(arguments: list[str]) -> dict[str, Path]:
    known = describe_vehicle().ecus
    images: dict[str, Path] = {}
    for argument in arguments:
        ecu, equals, name = argument.partition("=")
        if not equals or ecu not in known:
            raise CommandError(
                f"--image {argument}: ECU=FILE expected, with one of {', '.join(known)}", Exit.USAGE
            )
        images[ecu] = Path(name)
        inspect(images[ecu], address=known[ecu].application_base)
    return images
