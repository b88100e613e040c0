"""All boot profiles swept: `power` on small flashes, and some of it by `power_wire`, counted."""

from collections.abc import Iterator, Mapping, Sequence

from canota.chaos import power_wire
from canota.chaos.power import Finding, Scenario, Sweep, Tally, cuts, findings
from canota.chaos.small_ecu import Subject, SweepError, profiles, subject_of
from canota.cli.output import Json


def written(name: str) -> str:
    """A boot profile's name as people write it: `mcuboot-ab` of the module `mcuboot_ab`."""
    return name.replace("_", "-")


def subjects(sweep: Sweep, names: Sequence[str] | None = None) -> list[Subject]:
    """Each boot profile (or those named) on each layout; `SweepError` for an unknown name."""
    known = {written(name): name for name in profiles()}
    for name in names or ():
        if written(name) not in known:
            raise SweepError(f"no boot profile {name!r}; there are: {', '.join(known)}")
    chosen = [known[name] for name in dict.fromkeys(map(written, names or known))]
    return [subject_of(name, layout) for name in chosen for layout in sweep.layouts]


def total(planned: Sequence[Subject], sweep: Sweep) -> int:
    """About how many findings there will be."""
    wire = sum(_wire_count(one, sweep) for one in _one_of_each(planned))
    return sum(cuts(subject, sweep) for subject in planned) + wire


def swept(planned: Sequence[Subject], sweep: Sweep) -> Iterator[Finding]:
    for subject in planned:
        yield from findings(subject, sweep)
    for subject in _one_of_each(planned):
        yield from power_wire.findings(
            subject.name, seed=sweep.seed, count=_wire_count(subject, sweep)
        )


def tallies_of(planned: Sequence[Subject]) -> dict[str, Tally]:
    """An empty tally for each profile."""
    return {one.name: Tally(always_boots=one.always_boots) for one in planned}


def as_json(tallies: Mapping[str, Tally], *, seed: int) -> dict[str, Json]:
    """`unbootable` counts cuts after which no application starts, by profile."""
    return {
        "cut_points": sum(tally.cut_points for tally in tallies.values()),
        "unbootable": {written(name): tally.unbootable for name, tally in tallies.items()},
        "unrecoverable": sum(tally.unrecoverable for tally in tallies.values()),
        "seed": seed,
        "by_scenario": {
            written(name): {one.value: tally.by_scenario[one] for one in Scenario}
            for name, tally in tallies.items()
        },
        "failures": [text for tally in tallies.values() for text in tally.failures],
    }


def _one_of_each(planned: Sequence[Subject]) -> list[Subject]:
    return list({subject.name: subject for subject in planned}.values())


def _wire_count(subject: Subject, sweep: Sweep) -> int:
    return sweep.wire * (1 if subject.always_boots else sweep.wire_factor)
