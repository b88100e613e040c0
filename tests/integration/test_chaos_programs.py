"""Random programs of a small car."""

from pathlib import Path

from canota.chaos.images import small_types
from canota.chaos.programs import play


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
