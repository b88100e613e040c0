"""What a tester has a boot loader do, one step at a time."""

from ecu_sim.boot import Boot
from ecu_sim.memory.flash import finish
from tests.support.ecu import Cells


def downloads(_: Cells, boot: Boot) -> None:
    """As far as the erasing of what is to be written."""
    boot.begin_download()
    finish(boot.preparing())


def activates(_: Cells, boot: Boot) -> None:
    finish(boot.activate())


def confirms(_: Cells, boot: Boot) -> None:
    finish(boot.confirm())


def reverts(_: Cells, boot: Boot) -> None:
    finish(boot.revert())
