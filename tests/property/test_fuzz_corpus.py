"""What the fuzzer begins with, and what it once found, stays proved without the fuzzer."""

import pytest

from fuzz import CORPUS, every_harness

INPUTS = [
    pytest.param(name, data, id=f"{name}-{label}")
    for name, harness in every_harness().items()
    for label, data in (
        *((f"seed{number}", seed) for number, seed in enumerate(harness.seeds)),
        *((path.name, path.read_bytes()) for path in harness.regressions(name)),
    )
]


@pytest.mark.parametrize(("name", "data"), INPUTS)
def test_the_invariant_holds_for_known_inputs(name: str, data: bytes) -> None:
    every_harness()[name].prove(data)


@pytest.mark.parametrize("name", every_harness())
def test_the_invariant_holds_for_nothing_and_for_seeds_cut_short(name: str) -> None:
    harness = every_harness()[name]
    harness.prove(b"")
    for seed in harness.seeds:
        for end in range(0, len(seed), max(1, len(seed) // 64)):
            harness.prove(seed[:end])


def test_every_folder_of_known_inputs_belongs_to_a_harness() -> None:
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} <= set(every_harness())
