"""The ledger: what is written while an ECU is programmed, and what a full disk takes away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import VIN, SimulatedVehicle
from vehicle_gateway.update import Progress, UpdateError
from vehicle_gateway.update.begin import begin
from vehicle_gateway.update.clearance import ConditionsError
from vehicle_gateway.update.coordinator import State
from vehicle_gateway.update.journal import Entry, Journal, JournalError, Kind
from vehicle_gateway.update.ledger import Ledger


class _Disk(Journal):
    """A journal that keeps whether an entry was waited for; its disk may be full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.waited: dict[Kind, bool] = {}
        self.full = False

    def append(self, entry: Entry, *, sync: bool = True) -> None:
        if self.full:
            raise JournalError("the disk is full")
        self.waited[entry.kind] = sync
        super().append(entry, sync=sync)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[_Disk]:
    vehicle = SimulatedVehicle(tmp_path, ecus=("ccu", "blower"))
    with _Disk(tmp_path / "journal.jsonl") as disk:
        begin(disk, vin=VIN, offer=vehicle.offer, before=(), vehicle=vehicle.description, now_us=0)
        yield disk


def _ledger(disk: Journal, told: list[Progress], states: list[State]) -> Ledger:
    return Ledger(disk, now_us=lambda: 7, on_state=states.append, on_progress=told.append)


def _verified(count: int) -> Progress:
    return Progress(ecu="ccu", step="transferring", verified=count)


def test_bytes_that_are_certain_get_an_entry_each_time_that_they_are_more(disk: _Disk) -> None:
    told: list[Progress] = []
    ledger = _ledger(disk, told, [])
    ledger.note(Kind.STAGING, "ccu")
    for count in (0, 16, 16, 0, 32):
        ledger.sink("ccu")(_verified(count))
    marks = [one.fields["verified"] for one in ledger.entries if one.kind is Kind.VERIFIED]
    assert marks == [16, 32]
    assert [one.verified for one in told] == [0, 16, 16, 0, 32]


def test_a_mark_is_not_waited_for_and_everything_else_is(disk: _Disk) -> None:
    ledger = _ledger(disk, [], [])
    ledger.note(Kind.STAGING, "ccu")
    ledger.sink("ccu")(_verified(16))
    ledger.note(Kind.STAGED, "ccu")
    assert disk.waited == {
        Kind.OFFERED: True,
        Kind.STAGING: True,
        Kind.VERIFIED: False,
        Kind.STAGED: True,
    }


def test_a_mark_that_finds_the_disk_full_stops_nothing(disk: _Disk) -> None:
    told: list[Progress] = []
    ledger = _ledger(disk, told, [])
    ledger.note(Kind.STAGING, "ccu")
    disk.full = True
    ledger.sink("ccu")(_verified(16))
    assert len(told) == 1
    assert ledger.state.part("ccu").verified == 0


def test_the_state_is_that_of_the_disk(disk: _Disk) -> None:
    states: list[State] = []
    ledger = _ledger(disk, [], states)
    before = ledger.state
    disk.full = True
    with pytest.raises(JournalError):
        ledger.note(Kind.STAGING, "ccu")
    assert (ledger.state, states) == (before, [])
    disk.full = False
    ledger.note(Kind.STAGING, "ccu")
    assert states == [ledger.state]
    assert ledger.state != before


def test_progress_of_an_ecu_that_is_not_programmed_gets_no_entry(disk: _Disk) -> None:
    ledger = _ledger(disk, [], [])
    ledger.sink("ccu")(_verified(16))
    assert [one.kind for one in ledger.entries] == [Kind.OFFERED]


@pytest.mark.parametrize(
    ("of", "about", "ecu", "cause"),
    [
        ("ccu", "", "ccu", "busy"),
        ("ccu", "ccu", "ccu", "busy"),
        ("blower", "ccu", "ccu", "blower: busy"),
        ("edge", "", "", "edge: busy"),
        ("", "ccu", "ccu", "busy"),
        ("", "", "", "busy"),
    ],
)
def test_a_failure_is_of_the_ecu_that_it_stopped_and_names_the_one_that_refused(
    disk: _Disk, of: str, about: str, ecu: str, cause: str
) -> None:
    ledger = _ledger(disk, [], [])
    ledger.fail(UpdateError(ecu=of, step="staging", cause="busy"), ecu=about, started_us=3)
    (failed,) = (one for one in ledger.entries if one.kind is Kind.FAILED)
    assert (failed.ecu, failed.time_us) == (ecu, 7)
    assert failed.fields == {"started_us": 3, "step": "staging", "cause": cause}


def test_conditions_that_are_not_met_are_kept_with_what_they_were_judged_on(disk: _Disk) -> None:
    ledger = _ledger(disk, [], [])
    judged = {"condition": "Gear == P", "value": "D"}
    error = ConditionsError(step="preconditions", cause="Gear", conditions=[judged])
    ledger.fail(error, started_us=3, kind=Kind.REFUSED)
    refused = ledger.entries[-1]
    assert refused.kind is Kind.REFUSED
    assert refused.fields["conditions"] == [judged]


def test_an_ecu_that_is_away_is_told_as_one_that_is_waited_for(disk: _Disk) -> None:
    told: list[Progress] = []
    ledger = _ledger(disk, told, [])
    ledger.note(Kind.STAGING, "ccu")
    ledger.is_absent(UpdateError(ecu="ccu", step="staging", cause="silent"), "ccu")
    assert ledger.state.part("ccu").absences == 1
    assert ledger.state.part("ccu").cause == "ccu: staging: silent"
    assert told == [Progress(ecu="ccu", step="waiting")]


def test_an_ecu_is_given_up_for_what_was_told_last(disk: _Disk) -> None:
    ledger = _ledger(disk, [], [])
    ledger.fail(UpdateError(ecu="ccu", step="staging", cause="busy"), started_us=3)
    ledger.give_up("ccu")
    lost = ledger.entries[-1]
    assert (lost.kind, lost.ecu) == (Kind.LOST, "ccu")
    assert lost.fields == {"step": "given up", "cause": "ccu: staging: busy"}


def test_a_journal_without_an_entry_is_no_update(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "empty.jsonl") as journal,
        pytest.raises(JournalError, match=r"empty\.jsonl: no update in it"),
    ):
        _ledger(journal, [], [])
