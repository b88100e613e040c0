"""Faults as values: how they are written, which there are, and which a sample takes."""

import random
from collections import Counter

import pytest

from canota.chaos.faults import Fault, FaultIdError, Kind, Message, Points, every_fault, parse
from canota.chaos.vehicle import plan, sample
from ecu_sim.memory import Cut

POINTS = Points(
    entries=("offered", "staging", "commit", "confirmed", "confirmed", "finished"),
    operations={"ccu": 40, "rear": 7},
    exchanges={"ccu": 30, "comfort": 2},
    answered={"ccu": (1, 2, 4), "comfort": ()},
    calls={"CheckIn": 2},
    unconfirmed={"ccu": (3, 4), "rear": (3,)},
)


def test_every_fault_is_written_as_it_is_read() -> None:
    faults = every_fault(POINTS)
    assert [parse(str(fault)) for fault in faults] == faults
    assert len({str(fault) for fault in faults}) == len(faults)
    assert str(parse("flash:ccu:7:torn")) == "flash:ccu:7:torn"
    assert parse("flash:ccu:7:torn").how is Cut.TORN


@pytest.mark.parametrize(
    "text", ["", "flash:ccu:7", "flash:ccu:x:torn", "flash:ccu:7:away", "mars:ccu:7:torn"]
)
def test_a_fault_that_is_written_wrong_is_told_how_it_is_written(text: str) -> None:
    with pytest.raises(FaultIdError, match=r"KIND:PLACE:NUMBER:HOW \(gateway: before"):
        parse(text)


def test_there_is_one_fault_of_each_way_at_every_point() -> None:
    faults = every_fault(POINTS)
    counts = Counter(fault.kind for fault in faults)
    assert counts[Kind.GATEWAY] == 3 * 6
    assert counts[Kind.FLASH] == 3 * 47
    # Requests of all exchanges, answers of those that have one.
    assert counts[Kind.MESSAGE] == 4 * 32 + 4 * 3
    assert counts[Kind.CLOUD] == 3 * 2
    # Each ECU's own, and all at once where nobody has confirmed.
    assert counts[Kind.RESET] == 3 * (2 + 1) + 3 * 1
    answers = [one for one in faults if one.how is Message.ANSWER_LOST]
    assert [one.number for one in answers] == [1, 2, 4]


def test_a_sample_takes_every_kind_and_place_and_way_before_any_twice() -> None:
    numbered = list(enumerate(every_fault(POINTS), start=1))
    chosen = sample(numbered, 60, random.Random(1))  # noqa: S311 repeatable
    assert len(set(chosen)) == 60
    kinds = Counter(fault.kind for _, fault in chosen)
    assert kinds[Kind.CLOUD] == 6, "there are no more"
    assert max(kinds.values()) - min(n for kind, n in kinds.items() if kind != Kind.CLOUD) <= 2
    strata = Counter(fault.stratum for _, fault in chosen if fault.kind is Kind.FLASH)
    assert len(strata) == 6
    assert max(strata.values()) - min(strata.values()) <= 1


def test_a_sample_repeats_by_its_seed_alone() -> None:
    first, again = (plan(POINTS, seed=4, count=50) for _ in range(2))
    assert first == again
    assert plan(POINTS, seed=5, count=50).faults != first.faults
    only = plan(POINTS, seed=4, count=None, only=Kind.CLOUD)
    assert {fault.kind for _, fault in only.faults} == {Kind.CLOUD}
    assert len(only.faults) == only.there_are[Kind.CLOUD] == 6


def test_a_fault_has_the_same_number_in_every_sample() -> None:
    everything: dict[int, Fault] = dict(plan(POINTS, seed=0, count=None).faults)
    assert all(everything[number] == fault for number, fault in plan(POINTS, seed=9).faults)
