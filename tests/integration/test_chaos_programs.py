"""Random programs of a small car."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from canota.chaos.images import small_types
from canota.chaos.programs import play
from ecu_sim.diagnostics.dtc import DtcMemory
from vehicle_gateway.outbox import Outbox, Parcel


def test_a_car_that_is_made_again_from_its_files_at_random_instants_is_whole(
    tmp_path: Path,
) -> None:
    played = play(2, tmp_path, types=small_types(("ccu", "blower")))
    assert played.is_sound, played
    assert played.operations["car rebuilt"] + played.operations.get("all rebuilt", 0) > 0
    assert len(played.outcomes) == 4
    assert "updated" in played.outcomes


def test_a_program_takes_the_same_course_each_time(tmp_path: Path) -> None:
    told: list[list[str]] = []
    for place in ("one", "two"):
        lines: list[str] = []
        play(3, tmp_path / place, types=small_types(("blower",)), log=lines.append)
        told.append(lines)
    assert told[0] == told[1]


def _forget(kind_forgotten: str, patch: pytest.MonkeyPatch) -> None:
    """A gateway that believes that such a message has been delivered as soon as it is kept."""
    put = Outbox.put

    def forget(outbox: Outbox, kind: str, key: str, message: bytes) -> Parcel:
        parcel = put(outbox, kind, key, message)
        if kind == kind_forgotten:
            outbox.delivered(parcel)
        return parcel

    patch.setattr(Outbox, "put", forget)


def _forget_trouble_codes(patch: pytest.MonkeyPatch) -> None:
    class Forgetful(DtcMemory):
        def restore(self, content: bytes) -> None:
            """Begin anew at each start."""

    patch.setattr("ecu_sim.program.DtcMemory", Forgetful)


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (partial(_forget, "snapshot"), "snapshot "),
        (partial(_forget, "report"), "no report of c2"),
        (_forget_trouble_codes, "blower: trouble codes "),
    ],
)
def test_a_car_that_loses_something_is_found_out(
    mistake: Callable[[pytest.MonkeyPatch], None],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mistake(monkeypatch)
    played = play(2, tmp_path, types=small_types(("blower",)))
    assert told in played.lost
    assert not played.is_sound
