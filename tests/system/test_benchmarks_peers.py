"""Other people's testers program the benchmark's ECU in another process, and so does ours."""

import pytest

from benchmarks.peers import PEERS, measure

pytestmark = pytest.mark.system


@pytest.mark.parametrize("name", PEERS)
def test_their_tester_and_ours_both_program_the_ecu(name: str) -> None:
    figures = measure(PEERS[name], size=20_000)
    # The flash of each ECU was compared with the image; the figures belong together.
    assert figures["ratio"] == pytest.approx(
        figures["ours_bytes_per_s"] / figures["theirs_bytes_per_s"], rel=0.02
    )
    assert min(figures.values()) > 0
