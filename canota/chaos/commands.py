"""`canota chaos`: faults at every point of an update, and a table of how each one ends.

A sweep has its module in this package and its command here, as a function of `app`.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from canota.chaos import vehicle as sweeps
from canota.chaos.faults import FaultIdError, Kind
from canota.cli.exits import CommandError, Exit
from canota.cli.output import JsonOption, console, group, print_json, table
from canota.cli.serving import log_to_stderr

app = group()

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
            runs = sweeps.sweep(
                planned, folder, seed=seed, workers=workers or len(os.sched_getaffinity(0))
            )
            done = list(_watched(runs, len(planned.faults)))
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


def _watched(runs: Iterable[sweeps.Run], total: int) -> Iterable[sweeps.Run]:
    """Pass the runs on, with a bar on the error output if that is a terminal."""
    shown = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task("faults", total=total)
        for run in runs:
            if not run.is_sound:
                bar.console.print(f"{run.fault}: {_words(run)}", markup=False, highlight=False)
            bar.advance(task)
            yield run


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


def _words(run: sweeps.Run) -> str:
    judged = run.judgement
    said = [
        f"half updated: {judged.half_updated}" if judged.half_updated else "",
        f"the cloud disagrees: {judged.cloud_disagrees}" if judged.cloud_disagrees else "",
    ]
    found = "; ".join(word for word in said if word)
    return found or f"{run.outcome} {f'({run.reason})' if run.reason else ''}".strip()
