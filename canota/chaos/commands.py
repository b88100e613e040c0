"""`canota chaos`: faults at every point of an update, and a table of how each one ends.

A sweep has its module in this package and its command here, as a function of `app`.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from canota.chaos import model as models
from canota.chaos import power_sweep, processes, programs
from canota.chaos import vehicle as sweeps
from canota.chaos.faults import FaultIdError, Kind
from canota.chaos.power import Scenario, Sweep, Tally
from canota.chaos.small_ecu import Subject, SweepError
from canota.cli.exits import CommandError, Exit
from canota.cli.output import (
    Json,
    JsonOption,
    console,
    group,
    print_json,
    table,
    write_file,
)
from canota.cli.serving import log_to_stderr

app = group()

T = TypeVar("T")

SeedOption = Annotated[int, typer.Option(help="Repeats the sample and every random draw.")]
FullOption = Annotated[bool, typer.Option("--full", help="Try every point, not a sample.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Processes; without it, one for each core.")
]


@app.callback()
def chaos() -> None:
    """
    Break an update at every point, one fault at a time, and look at what is left.

    A sweep passes if nothing is ever half updated. `docs/how-to/chaos.md` explains the tables.
    """


@app.command()
def vehicle(
    *,
    full: FullOption = False,
    seed: SeedOption = 0,
    faults: Annotated[
        int, typer.Option(min=1, help="How many faults a sample has.")
    ] = sweeps.QUICK,
    only: Annotated[Kind | None, typer.Option(help="Faults of this kind alone.")] = None,
    reproduce: Annotated[
        str | None,
        typer.Option(metavar="FAULT", help="One fault of a table again, told line by line."),
    ] = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Update a whole car with one fault in each run.

    The gateway is cut at each write of its journal, each ECU at each operation of its flash, a
    message is lost, doubled, reordered or corrupted at each exchange, the cloud is away at each
    call, and ECUs are reset between `commit` and their confirm. Every car must end all new or all
    old, by what is in its flash, and the cloud must know which. Exit code 1 if one does not.
    """
    try:
        if reproduce is not None:
            _reproduce(reproduce, seed=seed, as_json=as_json)
            return
        with sweeps.folder_in_memory() as folder:
            points = sweeps.record(folder, seed=seed)
            planned = sweeps.plan(points, seed=seed, count=None if full else faults, only=only)
            runs = sweeps.sweep(planned, folder, seed=seed, workers=workers or _cores())
            done = list(_counted(runs, len(planned.faults)))
    except (sweeps.SweepError, FaultIdError) as error:
        raise CommandError(str(error), Exit.FAILED) from error
    failed = [run for run in done if not run.is_sound]
    if as_json:
        print_json(
            {
                "faults": len(done),
                "outcomes": dict(sorted(Counter(run.outcome for run in done).items())),
                "half_updated": sum(bool(run.judgement.half_updated) for run in done),
                "cloud_disagrees": sum(bool(run.judgement.cloud_disagrees) for run in done),
                "seed": seed,
                "failures": [*sorted(run.fault for run in failed)],
            }
        )
    else:
        _print(planned, done, failed, seed=seed)
    if failed:
        raise typer.Exit(Exit.FAILED)


@app.command()
def model(*, full: FullOption = False, as_json: JsonOption = False) -> None:
    """
    Explore the update's coordinator: every order of everything that can happen to three ECUs.

    Power cuts of the gateway between an entry and its effect, lost answers, images that do not
    start, resets, replaced parts and a cancelled campaign, in every order; the rules that decide
    are the gateway's own. No run may end half updated, none may go on for ever, and nothing turns
    behind the commit. Exit code 1, and the steps that lead there, if one does. `--full` takes some
    minutes.
    """
    chosen = models.FULL if full else models.QUICK
    done = [*_explored(chosen)]
    broken = [one for one in done if one.violation is not None]
    if as_json:
        print_json(
            {
                "states": sum(one.states for one in done),
                "steps": sum(one.steps for one in done),
                "violations": len(broken),
                "instances": [_as_json(one) for one in done],
            }
        )
    else:
        _print_explored(done, broken)
    if broken:
        raise typer.Exit(Exit.FAILED)


def _explored(chosen: Sequence[models.Instance]) -> Iterable[models.Exploration]:
    shown = Console(stderr=True)
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task("instances", total=len(chosen))
        for one in chosen:

            def tell(states: int) -> None:
                bar.update(task, description=f"{states:,} states")

            yield models.Explorer(one).explore(tell)
            bar.advance(task)


def _as_json(one: models.Exploration) -> dict[str, Json]:
    broken = one.violation
    return {
        "ecus": [*one.instance.names],
        "crashes": one.instance.crashes,
        "failures": one.instance.failures,
        "resets": one.instance.resets,
        "withdrawals": one.instance.withdrawals,
        "replacements": one.instance.replacements,
        "states": one.states,
        "journals": one.folds,
        "steps": one.steps,
        "ends": {outcome.value: count for outcome, count in sorted(one.ends.items(), key=str)},
        "violation": None if broken is None else broken.promise,
        "trace": [] if broken is None else [*broken.trace],
    }


def _print_explored(
    done: Sequence[models.Exploration], broken: Sequence[models.Exploration]
) -> None:
    out = console()
    numbers = ("cuts", "failures", "resets", "cancels", "replaced", "states", "steps")
    shown = table("ECUs", *numbers, "ends", right=numbers)
    for one in done:
        what = one.instance
        shown.add_row(
            ", ".join(what.names),
            *map(str, (what.crashes, what.failures, what.resets)),
            *map(str, (what.withdrawals, what.replacements)),
            f"{one.states:,}",
            f"{one.steps:,}",
            ", ".join(sorted(outcome.value for outcome in one.ends)),
        )
    out.print(shown)
    for violation in (one.violation for one in broken if one.violation is not None):
        out.print(f"broken: {violation.promise}")
        for number, step in enumerate(violation.trace):
            out.print(f"  {number:3} {step}")
    verdict = "a promise is broken" if broken else "every run ends all new, all old or failed safe"
    out.print(f"{sum(one.states for one in done):,} distinct states: {verdict}")


@app.command(name="random")
def random_(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="How many programs.")] = 50,
    first: Annotated[int, typer.Option(min=1, help="The seed of the first one.")] = 1,
    reproduce: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="One program again, told line by line."),
    ] = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Live through random programs of ten minutes, in which everything is dropped and made again.

    Campaigns are started and cancelled, power is cut, writes are torn, messages spoilt, the cloud
    is away, the ignition is off. Every object of car, gateway and cloud is dropped at random
    instants and made again from its files. When the faults have ceased, all ECUs must have one
    release, nothing may be lost, and the cloud must know it. Exit code 1 if not.
    """
    with sweeps.folder_in_memory() as folder:
        if reproduce is not None:
            log_to_stderr(verbose=False)
            done = [programs.play(reproduce, folder, log=console().print)]
        else:
            played = programs.play_all(
                range(first, first + seeds), folder, workers=workers or _cores()
            )
            done = sorted(_counted(played, seeds), key=lambda one: one.seed)
    failed = [one for one in done if not one.is_sound]
    if as_json:
        print_json(
            {
                "programs": len(done),
                "operations": dict(_sum(one.operations for one in done)),
                "outcomes": dict(Counter(word for one in done for word in one.outcomes)),
                "half_updated": sum(bool(one.half_updated) for one in done),
                "lost": sum(bool(one.lost) for one in done),
                "cloud_disagrees": sum(bool(one.cloud_disagrees) for one in done),
                "failures": [one.seed for one in failed],
            }
        )
    else:
        _print_programs(done, failed)
    if failed:
        raise typer.Exit(Exit.FAILED)


@app.command()
def kill(
    *,
    kills: Annotated[int, typer.Option(min=1, help="How many processes are killed.")] = 10,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """
    Kill real processes in the midst of an update in real time, and start them again.

    `canota cloud serve`, `canota ecus serve` and `canota gateway run` update a car over loopback;
    at random instants one of them gets `kill -9`. In the end the flash files must be all new or
    all old, and the cloud must know which. Takes a minute. Exit code 1 if they are not.
    """
    shown = Console(stderr=True, highlight=False)
    with sweeps.folder_in_memory() as folder:
        try:
            killed = processes.kill_processes(folder, kills=kills, seed=seed, log=shown.print)
        except processes.KillError as error:
            raise CommandError(str(error), Exit.FAILED) from error
    if as_json:
        print_json(
            {
                "kills": dict(killed.kills),
                "outcome": killed.outcome,
                "reason": killed.reason,
                "half_updated": killed.judgement.half_updated,
                "cloud_disagrees": killed.judgement.cloud_disagrees,
            }
        )
    else:
        told = ", ".join(f"{name} {number}" for name, number in killed.kills.items())
        out = console()
        out.print(f"killed: {told}")
        out.print(_words(killed))
    if not killed.is_sound:
        raise typer.Exit(Exit.FAILED)


def _print_programs(done: Sequence[programs.Played], failed: Sequence[programs.Played]) -> None:
    out = console()
    shown = table("seed", "operations", "campaigns", "release", "verdict", right=("operations",))
    for one in done:
        shown.add_row(
            str(one.seed),
            str(sum(one.operations.values())),
            ", ".join(word.replace("_", " ") or "no end" for word in one.outcomes),
            f"{one.version}.0.0",
            one.half_updated or one.lost or one.cloud_disagrees or "whole",
        )
    out.print(shown)
    operations = _sum(one.operations for one in done)
    out.print(", ".join(f"{name}: {number}" for name, number in sorted(operations.items())))
    verdict = f"{len(failed)} of them failed" if failed else "every car is whole"
    out.print(f"{len(done)} programs of ten minutes: {verdict}")
    if failed:
        out.print(f"again: canota chaos random --reproduce {failed[0].seed}")


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total


def _reproduce(fault: str, *, seed: int, as_json: bool) -> None:
    out = console()
    if not as_json:
        log_to_stderr(verbose=False)
    run = sweeps.reproduce(fault, seed=seed, log=(lambda _: None) if as_json else out.print)
    if as_json:
        print_json(
            {
                "fault": run.fault,
                "hit": run.hit,
                "outcome": run.outcome,
                "reason": run.reason,
                "half_updated": run.judgement.half_updated,
                "cloud_disagrees": run.judgement.cloud_disagrees,
            }
        )
    else:
        out.print(f"{run.fault}: {_words(run)}")
    if not run.is_sound:
        raise typer.Exit(Exit.FAILED)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _counted(played: Iterable[T], total: int) -> Iterable[T]:
    """Pass them on, with a bar on the error output if that is a terminal."""
    shown = Console(stderr=True)
    with Progress(*_columns(), console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task("", total=total)
        for one in played:
            bar.advance(task)
            yield one


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )


def _print(
    planned: sweeps.Plan, done: Sequence[sweeps.Run], failed: Sequence[sweeps.Run], *, seed: int
) -> None:
    out = console()
    columns = ("updated", "rolled back", "refused", "half updated", "cloud disagrees")
    shown = table("fault", "tried", "of", "not met", *columns, right=("tried", "of", *columns))
    for row in sweeps.table(planned, done):
        shown.add_row(
            row.kind,
            str(row.runs),
            str(row.there_are),
            str(row.missed),
            *(str(row.outcomes.get(word, 0)) for word in ("updated", "rolled_back", "refused")),
            str(row.half_updated),
            str(row.cloud_disagrees),
        )
    out.print(shown)
    for run in failed:
        out.print(f"{run.fault}: {_words(run)}")
    verdict = f"{len(failed)} of them failed" if failed else "every car is all new or all old"
    out.print(f"{len(done)} faults, seed {seed}: {verdict}")
    if failed:
        out.print(f"again: canota chaos vehicle --seed {seed} --reproduce {failed[0].fault}")


def _words(run: sweeps.Run | processes.Killed) -> str:
    judged = run.judgement
    said = [
        f"half updated: {judged.half_updated}" if judged.half_updated else "",
        f"the cloud disagrees: {judged.cloud_disagrees}" if judged.cloud_disagrees else "",
    ]
    found = "; ".join(word for word in said if word)
    return found or f"{run.outcome} {f'({run.reason})' if run.reason else ''}".strip()


@app.command()
def power(
    *,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="Every flash layout and every way of being torn.")
    ] = False,
    seed: SeedOption = 0,
    profile: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Sweep these boot profiles only; all if left out."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the JSON to a file, too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Cut the power of an ECU at every flash operation of an update, and boot what is left.

    Each page and each sector of an upgrade, of the way back, and of what follows a first cut is cut
    before, inside (torn in several ways) and after it, for every boot profile. Then the ECU is made
    anew from its cells: does an application start, which, and can the update still be finished?
    Some cuts are made over real UDS and finished by the gateway. Exit code 1 if an ECU that has
    room for two images does not boot, or if any cannot be recovered.
    """
    sweep = Sweep.full(seed) if full else Sweep.quick(seed)
    try:
        tallies = _tallied(power_sweep.subjects(sweep, profile), sweep)
    except SweepError as error:
        raise CommandError(str(error), Exit.FAILED) from error
    result = power_sweep.as_json(tallies, seed=seed)
    if output is not None:
        write_file(output, f"{json.dumps(result, indent=2)}\n".encode())
    if as_json:
        print_json(result)
    else:
        _print_tallies(tallies, seed=seed)
    if any(tally.failed for tally in tallies.values()):
        raise typer.Exit(Exit.FAILED)


def _tallied(planned: Sequence[Subject], sweep: Sweep) -> dict[str, Tally]:
    """Sweep, with a bar on the error output if that is a terminal."""
    tallies = power_sweep.tallies_of(planned)
    shown = Console(stderr=True)
    with Progress(*_columns(), console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task("cuts", total=power_sweep.total(planned, sweep))
        for finding in power_sweep.swept(planned, sweep):
            tallies[finding.point.profile].add(finding)
            bar.update(task, advance=1, description=power_sweep.written(finding.point.profile))
    return tallies


def _print_tallies(tallies: Mapping[str, Tally], *, seed: int) -> None:
    out = console()
    numbers = ("cuts", *(one.value for one in Scenario), "no application", "not recovered")
    shown = table("profile", *numbers, "", right=numbers)
    for name, tally in tallies.items():
        verdict = "failed" if tally.failed else "every cut ends well"
        if tally.unbootable and not tally.failed:
            verdict = "no application, and each one programmed again"
        shown.add_row(
            power_sweep.written(name),
            f"{tally.cut_points:,}",
            *(f"{tally.by_scenario[one]:,}" for one in Scenario),
            f"{tally.unbootable:,}",
            f"{tally.unrecoverable:,}",
            verdict,
        )
    out.print(shown)
    for failure in (text for tally in tallies.values() for text in tally.failures):
        out.print(failure)
    cut_points = sum(tally.cut_points for tally in tallies.values())
    failed = [power_sweep.written(name) for name, tally in tallies.items() if tally.failed]
    said = f"failed: {', '.join(failed)}" if failed else "no ECU is lost"
    out.print(f"{cut_points:,} cuts, seed {seed}: {said}")
