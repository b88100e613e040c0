"""Logs that others hand over are hostile: any bytes give frames or our own error."""

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from fuzz import every_harness


@given(st.binary(max_size=600))
def test_any_bytes_give_frames_or_our_error(data: bytes) -> None:
    every_harness()["log_files"].prove(data)


@given(st.integers(0, 3), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_log_that_is_damaged_somewhere_gives_frames_or_our_error(
    number: int, place: int, damage: bytes
) -> None:
    harness = every_harness()["log_files"]
    damaged = BytesIO(harness.seeds[number])
    damaged.seek(min(1 + place, len(harness.seeds[number])))
    damaged.write(damage)
    harness.prove(damaged.getvalue())
