"""A script of what happens to a bench: when, or at which event, and what is done to which ECU."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ecu_sim.faults import Fault


class ScenarioError(Exception):
    """A scenario that cannot be played; the message names file, step and key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtTime:
    """So many seconds after the ECUs have been started, and again every so many."""

    at_s: float = 0.0
    every_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRequest:
    """The `count`-th request to an ECU that begins with these bytes."""

    ecu: str
    start: bytes
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBlocks:
    """So many blocks (36) have come since the last download was asked for (34)."""

    ecu: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnSession:
    """An ECU enters a diagnostic session, the default one by a request or by S3 too."""

    ecu: str
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnMode:
    """An ECU is in this mode now (`ecu_sim.node.Mode`, by its value)."""

    ecu: str
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnStep:
    """Another step has been done."""

    step: str


Event: TypeAlias = OnRequest | OnBlocks | OnSession | OnMode | OnStep
Trigger: TypeAlias = AtTime | Event


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginFault:
    """A fault of one ECU, or of several (`*`)."""

    faults: tuple[tuple[str, Fault], ...]
    #: As the scenario has it.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetEcu:
    ecus: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOff:
    ecus: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOn:
    ecus: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """The ECU goes to sleep as if nobody needed its wire; the next frame on it wakes it."""

    ecus: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSignals:
    """Physical values of the rest of the car's signals, from their next cycle on."""

    values: Mapping[str, float]


Action: TypeAlias = BeginFault | ResetEcu | PowerOff | PowerOn | Sleep | SetSignals


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    name: str
    trigger: Trigger
    #: From the trigger to the action.
    after_s: float = 0.0
    #: At every time that the event comes, not at the first alone.
    repeat: bool = False
    action: Action
    #: When the action is taken back: after so long, at an event, or (both None) never.
    for_s: float | None = None
    until: Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    steps: tuple[Step, ...] = field(default_factory=tuple)
