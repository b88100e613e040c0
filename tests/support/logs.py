"""Logs of simulated wires, written for a test."""

from collections.abc import Mapping
from pathlib import Path

from ecu_sim.bus.can import CanWire
from ecu_sim.bus.capture import channels_of
from ecu_sim.bus.ethernet import EthernetWire
from recording.recorder import Recorder
from recording.records import since_epoch_ns
from tests.support.flashing import START


def recorder(path: Path, wires: Mapping[str, CanWire | EthernetWire]) -> Recorder:
    """A log that begins at loop time 0."""
    return Recorder(path, channels_of(wires), start_ns=since_epoch_ns(START))
