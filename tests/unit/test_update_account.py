"""The account of an update: made from entries by hand, so that every figure is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dbc.vehicle import describe_vehicle
from tests.support.gateway import NONCE, VIN, SimulatedVehicle
from vehicle_gateway.update import Inventory, ReadBack, TransferFigures
from vehicle_gateway.update.account import (
    ConditionRecord,
    ConsentRecord,
    EcuResult,
    Opening,
    Step,
    UpdateReport,
    opening_of,
    report,
)
from vehicle_gateway.update.coordinator import EcuPart, EcuState, Outcome
from vehicle_gateway.update.journal import Entry, JournalError, Kind
from vehicle_gateway.update.offer import Notice
from vehicle_gateway.update.records import to_json

NOTICE = Notice(purpose="a", changes="b", expected_time="c", functions_lost="d", instructions="e")
FIGURES = TransferFigures(transfer_s=4.0, bound_s=3.0, staging_s=2.0, out_of_use_s=1.0)


@pytest.fixture
def opening(tmp_path: Path) -> Opening:
    vehicle = SimulatedVehicle(tmp_path, ecus=("ccu", "blower"))
    return Opening(
        vin=VIN,
        offer=replace(vehicle.offer, notice=NOTICE),
        before=(Inventory(ecu="ccu", software_version="1.0.0"),),
        parts=(
            EcuPart(ecu="ccu", single_slot=False, state=EcuState.UNCHANGED),
            EcuPart(ecu="blower", single_slot=True, gateway=True),
        ),
    )


def _entry(kind: Kind, ecu: str = "", time_us: int = 0, **fields: Any) -> Entry:  # noqa: ANN401 JSON
    """An entry as a journal gives it back."""
    values = {name: to_json(value) for name, value in fields.items()}
    return Entry(kind=kind, ecu=ecu, time_us=time_us, fields=values)


def _offered(opening: Opening) -> Entry:
    return _entry(Kind.OFFERED, time_us=5, **opening.fields())


def _report(opening: Opening, *entries: Entry) -> UpdateReport:
    return report([_offered(opening), *entries], describe_vehicle(), finish_us=900)


def _ecu(result: UpdateReport, name: str) -> EcuResult:
    (found,) = (one for one in result.ecus if one.offered.ecu == name)
    return found


#: An update in which the blower fails while it is staged.
FAILED = (
    _entry(Kind.SNAPSHOT_BEFORE, time_us=20, started_us=10, snapshot="spring-before"),
    _entry(Kind.DOWNLOADED, time_us=40, started_us=30),
    _entry(Kind.STAGING, "blower", time_us=50),
    _entry(Kind.FAILED, "blower", time_us=70, started_us=50, step="staging", cause="no room"),
    _entry(Kind.SNAPSHOT_AFTER, time_us=90, started_us=95, snapshot="spring-after"),
)


def test_an_opening_is_read_back_from_its_entry(opening: Opening) -> None:
    assert opening_of(_offered(opening)) == opening


@pytest.mark.parametrize("kind", [Kind.STAGING, Kind.FINISHED])
def test_a_journal_that_begins_with_something_else_is_an_error(
    opening: Opening, kind: Kind
) -> None:
    with pytest.raises(JournalError, match=f"first entry: begins with {kind.value}"):
        opening_of(replace(_offered(opening), kind=kind))


@pytest.mark.parametrize("name", ["vin", "offer", "before", "parts"])
def test_an_opening_without_a_field_is_an_error(opening: Opening, name: str) -> None:
    entry = _offered(opening)
    fields = {key: value for key, value in entry.fields.items() if key != name}
    with pytest.raises(JournalError, match=f"first entry: '{name}'"):
        opening_of(replace(entry, fields=fields))


def test_a_report_says_what_was_offered_when_and_how_it_ended(opening: Opening) -> None:
    found = _report(opening, *FAILED)
    assert (found.campaign, found.release) == ("campaigns/spring", "releases/two")
    assert (found.outcome, found.reason) == (Outcome.REFUSED, "blower: staging: no room")
    assert (found.start_us, found.finish_us) == (5, 900)
    assert (found.snapshot_before, found.snapshot_after) == ("spring-before", "spring-after")


def test_the_newest_snapshot_counts_and_none_is_empty(opening: Opening) -> None:
    again = _entry(Kind.SNAPSHOT_AFTER, snapshot="spring-after-2")
    assert _report(opening, *FAILED, again).snapshot_after == "spring-after-2"
    without = _report(opening)
    assert (without.snapshot_before, without.snapshot_after) == ("", "")


def test_steps_have_their_times_and_a_failure_its_own_name_and_cause(opening: Opening) -> None:
    assert _report(opening, *FAILED).steps == (
        Step(start_us=10, duration_us=10, ecu="", step="diagnostics before"),
        Step(start_us=30, duration_us=10, ecu="", step="download"),
        Step(
            start_us=50,
            duration_us=20,
            ecu="blower",
            step="staging",
            detail="no room",
            failed=True,
        ),
        # The clock of a restarted gateway began anew: no step takes less than nothing.
        Step(start_us=95, duration_us=0, ecu="", step="diagnostics after"),
    )


def test_a_step_that_does_not_say_when_it_began_takes_no_time(opening: Opening) -> None:
    (step,) = _report(opening, _entry(Kind.SNAPSHOT_BEFORE, time_us=20)).steps
    assert (step.start_us, step.duration_us) == (20, 0)


def test_figures_are_summed_over_all_tries_and_a_way_back_counts_as_out_of_use(
    opening: Opening,
) -> None:
    found = _report(
        opening,
        *FAILED[:2],
        _entry(Kind.STAGING, "blower"),
        _entry(Kind.STAGED, "blower", figures=FIGURES),
        _entry(Kind.CLEARED),
        _entry(Kind.ACTIVATING, "blower"),
        _entry(Kind.ACTIVATED, "blower", figures=FIGURES),
        _entry(Kind.FAILED, "blower", step="reading back", cause="old"),
        _entry(Kind.REVERTING, "blower"),
        _entry(Kind.REVERTED, "blower", figures=FIGURES),
    )
    assert _ecu(found, "blower").figures == TransferFigures(
        transfer_s=8.0, bound_s=6.0, staging_s=4.0, out_of_use_s=3.0
    )
    assert _ecu(found, "ccu").figures == TransferFigures()


def test_an_ecu_has_its_wire_its_inventories_and_its_error(opening: Opening) -> None:
    after = Inventory(
        ecu="ccu",
        software_version="2.0.0",
        read_back=ReadBack(nonce=NONCE, image_sha256=b"\1", signature=b"\2"),
    )
    found = _report(opening, *FAILED, _entry(Kind.INSPECTED, ecus=(after,)))
    ccu, blower = _ecu(found, "ccu"), _ecu(found, "blower")
    assert (ccu.wire, ccu.before, ccu.after, ccu.error) == ("comfort", opening.before[0], after, "")
    # Nothing was read of this one.
    assert (blower.before, blower.after) == (Inventory(ecu="blower"), Inventory(ecu="blower"))
    assert blower.error == "staging: no room"


def test_an_offered_ecu_that_the_vehicle_does_not_have_is_on_no_wire(opening: Opening) -> None:
    images = (replace(opening.offer.images[0], ecu="toaster"),)
    found = _report(replace(opening, offer=replace(opening.offer, images=images)))
    assert _ecu(found, "toaster").wire == ""


def test_an_error_is_forgotten_when_the_ecu_has_confirmed_after_all(opening: Opening) -> None:
    entries = [
        *FAILED[:2],
        _entry(Kind.STAGING, "blower"),
        _entry(Kind.STAGED, "blower"),
        _entry(Kind.CLEARED),
        _entry(Kind.ACTIVATING, "blower"),
        _entry(Kind.ACTIVATED, "blower"),
        _entry(Kind.PROVED, "blower"),
        _entry(Kind.COMMIT),
        _entry(Kind.CONFIRMING, "blower"),
        _entry(Kind.FAILED, "blower", step="confirming", cause="busy"),
        _entry(Kind.CONFIRMED, "blower"),
    ]
    assert _ecu(_report(opening, *entries[:-1]), "blower").error == "confirming: busy"
    assert _ecu(_report(opening, *entries), "blower").error == ""


def _condition(verdict: str) -> dict[str, object]:
    return {
        "origin": "vehicle",
        "condition": f"Speed is {verdict}",
        "verdict": verdict,
        "signal": "Speed",
        "message": "VEH_Motion",
        "source": "comfort",
        "value": "3 km/h",
        "problem": "",
        "time_us": 17,
    }


def test_conditions_that_were_met_are_told_once_when_activation_begins_on_them(
    opening: Opening,
) -> None:
    both = [_condition("met"), _condition("not met")]
    found = _report(
        opening,
        *FAILED[:2],
        _entry(Kind.WAITING, time_us=60, conditions=both),
        _entry(Kind.CLEARED, time_us=80, conditions=both),
        _entry(Kind.FAILED, time_us=99, step="preconditions", cause="x", conditions=both),
    )
    assert [(one.occasion, one.time_us, one.verdict) for one in found.conditions] == [
        ("waiting", 60, "not met"),
        ("cleared", 80, "met"),
        ("cleared", 80, "not met"),
        ("violated", 99, "not met"),
    ]
    assert found.conditions[0] == ConditionRecord(
        time_us=60,
        occasion="waiting",
        origin="vehicle",
        condition="Speed is not met",
        verdict="not met",
        signal="Speed",
        message="VEH_Motion",
        source="comfort",
        value="3 km/h",
        value_us=17,
        problem="",
    )


def test_an_entry_that_brings_no_conditions_tells_of_none(opening: Opening) -> None:
    # A clearance may note a number of its own in this place.
    assert _report(opening, *FAILED[:2], _entry(Kind.CLEARED, conditions=7)).conditions == ()
    assert _report(opening, *FAILED[:2], _entry(Kind.CLEARED)).conditions == ()


def test_the_drivers_answers_stand_in_the_report(opening: Opening) -> None:
    deferred = _entry(
        Kind.CONSENT,
        time_us=3,
        answer="deferred",
        defer_until_us=77,
        release_sha256=b"\xab" * 32,
        notice=NOTICE,
    )
    found = _report(opening, *FAILED[:2], deferred, _entry(Kind.CONSENT, time_us=4))
    assert found.consents == (
        ConsentRecord(
            time_us=3,
            answer="deferred",
            defer_until_us=77,
            release_sha256=b"\xab" * 32,
            notice=NOTICE,
        ),
        ConsentRecord(time_us=4, answer="", defer_until_us=0, release_sha256=b"", notice=None),
    )


@pytest.mark.parametrize("kind", [Kind.LOST, Kind.REPLACED, Kind.FAILED])
def test_what_has_failed_is_marked_as_failed(opening: Opening, kind: Kind) -> None:
    turned = _entry(Kind.FAILED, "blower", step="staging", cause="no room")
    entry = _entry(kind, "ccu", step="given up", cause="gone")
    found = _report(opening, turned, entry)
    assert [step.failed for step in found.steps] == [True, True]
    if kind is not Kind.LOST:
        assert _ecu(found, "ccu").error == "given up: gone"


def test_a_withdrawal_is_the_reason_and_no_step(opening: Opening) -> None:
    found = _report(opening, _entry(Kind.CANCELLED, cause="by an operator"))
    assert (found.steps, found.reason) == ((), "by an operator")
