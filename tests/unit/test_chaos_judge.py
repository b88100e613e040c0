"""What is held against a car after a fault."""

from dataclasses import replace

from canota.chaos.judge import Evidence, Held, Judgement, Recorded, judge


def _held(version: int) -> Held:
    return Held(version=version, sha256=bytes([version]) * 32)


def _evidence(version: int, outcome: str) -> Evidence:
    return Evidence(
        restless="",
        holds={"ccu": _held(version), "rear": _held(version)},
        runs={"ccu": f"{version}.0.0", "rear": f"{version}.0.0"},
        outcome=outcome,
        reason="",
        record={
            ecu: Recorded(version=f"{version}.0.0", sha256=bytes([version]) * 32)
            for ecu in ("ccu", "rear")
        },
    )


NEW = _evidence(2, "updated")


def test_all_new_and_all_old_are_sound_when_the_cloud_knows_it() -> None:
    assert judge(NEW) == Judgement()
    assert judge(_evidence(1, "rolled_back")) == Judgement()
    assert judge(_evidence(1, "refused")) == Judgement()


def test_one_ecu_with_another_version_is_half_updated_whatever_is_said() -> None:
    found = judge(
        replace(NEW, holds={**NEW.holds, "rear": _held(1)}, runs={"ccu": "2.0.0", "rear": "1.0.0"})
    )
    assert found.half_updated == "ccu 2.0.0, rear 1.0.0"
    assert found.cloud_disagrees == "updated, but rear holds 1.0.0"


def test_an_ecu_that_runs_something_else_than_its_flash_holds_is_half_updated() -> None:
    found = judge(replace(NEW, runs={"ccu": "2.0.0", "rear": ""}))
    assert found.half_updated == "rear: runs nothing, its flash holds 2.0.0"


def test_a_flaw_of_what_is_held_is_half_updated() -> None:
    trial = Held(version=2, sha256=bytes([2]) * 32, flaw="only on trial")
    assert (
        judge(replace(NEW, holds={**NEW.holds, "ccu": trial})).half_updated == "ccu: only on trial"
    )


def test_the_cloud_disagrees_by_outcome_by_record_and_by_silence() -> None:
    assert "updated, but ccu holds 1.0.0" in judge(_evidence(1, "updated")).cloud_disagrees
    assert judge(_evidence(2, "failed_safe")).cloud_disagrees.startswith("failed_safe")
    assert judge(_evidence(2, "")).cloud_disagrees.startswith("no outcome")
    stale = {**NEW.record, "rear": Recorded(version="2.0.0", sha256=bytes(32))}
    assert judge(replace(NEW, record=stale)).cloud_disagrees.startswith("rear: recorded are 2.0.0")
    assert judge(replace(NEW, restless="away")).cloud_disagrees.endswith("came to rest: away")
