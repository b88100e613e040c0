"""The options of commands that let ECUs go wrong, and the table of what can."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from canota.cli.exits import CommandError, Exit
from canota.cli.output import console, table
from ecu_sim.app import BenchEvent
from ecu_sim.faults import Fault, FaultError
from ecu_sim.faults.table import KINDS, parse_ecu_fault
from ecu_sim.rest_bus import signal_limits
from ecu_sim.scenario import Scenario, ScenarioError
from ecu_sim.scenario.reading import Cast, read_scenario

FaultOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="ECU:FAULT",
        help="What goes wrong with an ECU (`*`: with each), as `canota ecus faults` lists it.",
    ),
]
ScenarioOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--scenario",
        metavar="FILE",
        help="What happens to the ECUs, and when or at which event (TOML).",
        dir_okay=False,
        exists=True,
    ),
]
EventsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--events",
        metavar="FILE",
        help="Append a line of JSON for each step of a scenario, and each fault that begins, acts"
        " and ends.",
        dir_okay=False,
    ),
]


def faults_of(texts: Sequence[str], ecus: Sequence[str]) -> tuple[tuple[str, Fault], ...]:
    """ECU and fault of each `--fault`; for `*` one for each of `ecus`."""
    try:
        return tuple(one for text in texts for one in parse_ecu_fault(text, ecus))
    except FaultError as error:
        raise CommandError(f"--fault {error}", Exit.USAGE) from error


def scenario_of(path: Path | None, ecus: Sequence[str]) -> Scenario | None:
    """The scenario of a file, for these ECUs."""
    if path is None:
        return None
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    try:
        return read_scenario(text, name=str(path), cast=Cast(ecus=ecus, signals=signal_limits()))
    except ScenarioError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def events_to(path: Path | None) -> Callable[[BenchEvent], None]:
    """What writes each event to the file as it happens."""
    if path is None:
        return lambda _: None

    def write(event: BenchEvent) -> None:
        date = event.date.isoformat(timespec="microseconds").replace("+00:00", "Z")
        line = json.dumps({"time": date, "event": event.event, **event.words})
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    try:
        path.open("a").close()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    return write


def show_faults() -> None:
    """The table for people."""
    shown = table("fault", "acts on", "what it does")
    for kind in KINDS.values():
        shown.add_row(kind.form, kind.layer.value, kind.summary)
    console().print(shown)


def show_fault(name: str) -> None:
    """One row with its parameters."""
    kind = KINDS[name]
    out = console()
    out.print(f"{kind.form}\n{kind.summary} Acts on: {kind.layer.value}.\n", soft_wrap=True)
    if kind.parameters:
        shown = table("parameter", "expected", "meaning", "default")
        for one in kind.parameters:
            default = "has to be given" if one.default is None else one.default or "every one"
            shown.add_row(one.name, one.reading.expected, one.meaning, default)
        out.print(shown)
    out.print(f"\nexample: --fault 'ECU:{kind.example}'", soft_wrap=True)
