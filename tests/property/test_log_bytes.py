"""Logs that others hand over are hostile: any bytes give frames or our own error."""

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from fuzz import every_harness

# Found here: the first example would wait for the imports of all harnesses.
HARNESS = every_harness()["log_files"]


@given(st.binary(max_size=600))
def test_any_bytes_give_frames_or_our_error(data: bytes) -> None:
    HARNESS.prove(data)


@given(
    st.integers(0, len(HARNESS.seeds) - 1), st.integers(0, 400), st.binary(min_size=1, max_size=8)
)
def test_a_log_that_is_damaged_somewhere_gives_frames_or_our_error(
    number: int, place: int, damage: bytes
) -> None:
    damaged = BytesIO(HARNESS.seeds[number])
    damaged.seek(min(1 + place, len(HARNESS.seeds[number])))
    damaged.write(damage)
    HARNESS.prove(damaged.getvalue())
