"""What stands in front of an ECU's bar."""

import io

import pytest
from rich.console import Console

from canota.cli.bars import ENDS, EcuBars, EcuStep


def shown(step: str) -> str:
    """The bar as it stands last, after an ECU has got all its bytes and comes to a step."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with EcuBars(console) as bars:
        for name in ("transferring", step):
            bars.show([EcuStep(ecu="ccu", step=name, bytes_done=10, bytes_total=10)])
    return [line for line in out.getvalue().splitlines() if "ccu" in line][-1]


@pytest.mark.parametrize(
    ("step", "mark"), [("confirmed", "\u2713"), ("reverted", "\u21ba"), ("failed", "\u2717")]
)
def test_an_ecu_that_has_ended_says_how(step: str, mark: str) -> None:
    assert mark in shown(step)


@pytest.mark.parametrize("step", ["verifying", "staged", "activating", "trial", "reverting"])
def test_all_bytes_sent_is_no_end(step: str) -> None:
    line = shown(step)
    assert step in line
    assert not [mark for mark, _ in ENDS.values() if mark in line]
