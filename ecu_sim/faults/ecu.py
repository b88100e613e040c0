"""The faults of one ECU: what has begun, and the places in which it acts."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from ecu_sim.faults import End, Fault, FaultError, Hits, Layer, Target, boots, cells, dialogue, wire
from ecu_sim.faults.boots import Boots
from ecu_sim.faults.cells import Area, Cells
from ecu_sim.faults.dialogue import Dialogue
from ecu_sim.faults.table import kind_of, parse_fault, text_of
from ecu_sim.faults.wire import FaultyPort
from protocols.can import CanPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What of an ECU its faults have to know."""

    name: str
    #: Its port on a CAN wire; None for an ECU on DoIP.
    port: CanPort | None = None
    #: Identifier of each of its ISO-TP channels -> first byte of the N_PCI in the frames.
    isotp_offsets: Mapping[int, int] = field(default_factory=dict)
    #: Spoils a share of its frames on a wire that can do so.
    corrupt: Callable[[float, random.Random | None], None] | None = None
    memory: Sequence[Area] = ()
    p2_s: float = 0.05
    p2_star_s: float = 5.0
    #: Faults of `boots` that its node knows.
    boots: tuple[type, ...] = (boots.SlowBoot, boots.NoBoot)


class FaultEvent(NamedTuple):
    """Something about a fault that is worth a line in a log."""

    #: fault_begins, fault_acts (the first time), or fault_ends.
    event: str
    ecu: str
    #: As `parse_fault` reads it.
    fault: str
    #: At its end: how often it has acted.
    hits: int | None


class Begun:
    """A fault that acts until `end`, or as a context manager until the block is left."""

    def __init__(self, fault: Fault, hits: Hits, end: End) -> None:
        self.fault = fault
        self._hits = hits
        self._end: End | None = end

    @property
    def hits(self) -> int:
        """How often it has done something."""
        return self._hits.count

    def end(self) -> None:
        """From now on as if it had never been; may be called again."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


class EcuFaults:
    """Made inside a running loop, with the ECU's node; outlives the ECU's resets."""

    def __init__(self, traits: Traits, target: Target) -> None:
        self.traits = traits
        self.dialogue = Dialogue(target, p2_s=traits.p2_s, p2_star_s=traits.p2_star_s)
        self.boots = Boots()
        self.port = (
            None
            if traits.port is None
            else FaultyPort(
                traits.port,
                offsets=traits.isotp_offsets,
                corrupt=traits.corrupt,
            )
        )
        self._cells = Cells(traits.name, traits.memory, power_lost=target.lose_power)
        self._begun: list[Begun] = []
        #: Called as a fault begins, acts for the first time, and ends.
        self.on_event: list[Callable[[FaultEvent], None]] = []

    @property
    def begun(self) -> tuple[Begun, ...]:
        """Those that act now."""
        return tuple(self._begun)

    def begin(self, fault: Fault | str) -> Begun:
        """Let a fault act from now on: a value, or its text (`late=300ms@31`).

        `FaultError` for a text that is none, and for what this ECU cannot have.
        """
        name = self.traits.name
        if isinstance(fault, str):
            fault = parse_fault(fault, ecu=name)
        text = text_of(fault)
        hits = Hits(lambda: self._tell("fault_acts", text))
        self.check(fault)
        stop = self._start(fault, hits)

        def end() -> None:
            stop()
            self._begun.remove(begun)
            self._tell("fault_ends", text, hits.count)

        begun = Begun(fault, hits, end)
        self._begun.append(begun)
        self._tell("fault_begins", text)
        return begun

    def end_all(self) -> None:
        for one in self.begun:
            one.end()

    def _tell(self, event: str, text: str, hits: int | None = None) -> None:
        for tell in tuple(self.on_event):
            tell(FaultEvent(event, self.traits.name, text, hits))

    def check(self, fault: Fault) -> None:
        """`FaultError` for what this ECU cannot have."""
        name, text, kind = self.traits.name, text_of(fault), kind_of(fault)
        match fault:
            case dialogue.Disconnect() if self.port is not None:
                raise FaultError(f"{name}: {text} is of ECUs on DoIP, and {name} is on CAN")
            case wire.CorruptFrames() if self.port is not None and self.traits.corrupt is None:
                raise FaultError(f"{name}: {text} needs a simulated wire")
            case cells.WriteError() | cells.EraseError() | cells.BadCell():
                self._cells.locate(fault.at)
            case cells.SlowFlash() | cells.PowerCut() if not self.traits.memory:
                raise FaultError(f"{name}: {text}: it has no flash memory")
        if kind.layer in (Layer.FRAMES, Layer.ISO_TP) and self.port is None:
            raise FaultError(f"{name}: {text} is of CAN frames, and {name} is on DoIP")
        if kind.layer is Layer.ISO_TP and not self.traits.isotp_offsets:
            raise FaultError(f"{name}: {text}: it has no ISO-TP channel")
        if kind.layer is Layer.BOOT and not isinstance(fault, self.traits.boots):
            raise FaultError(f"{name}: {text}: it starts no application of its own")

    def _start(self, fault: Fault, hits: Hits) -> End:
        match fault:
            case (
                dialogue.LateAnswer()
                | dialogue.NoAnswer()
                | dialogue.StuckBusy()
                | dialogue.StuckPending()
                | dialogue.NegativeAnswer()
                | dialogue.WrongKey()
                | dialogue.WrongAnswer()
                | dialogue.ShortAnswer()
                | dialogue.Reset()
                | dialogue.PowerLoss()
                | dialogue.Disconnect()
            ):
                return self.dialogue.begin(fault, hits)
            case (
                cells.WriteError()
                | cells.EraseError()
                | cells.BadCell()
                | cells.SlowFlash()
                | cells.PowerCut()
            ):
                return self._cells.begin(fault, hits)
            case boots.SlowBoot() | boots.NoBoot() | boots.NoApplication() | boots.Watchdog():
                return self.boots.begin(fault, hits)
            case _:
                if self.port is None:
                    raise TypeError(f"{fault} acts on nothing that this ECU has")
                # Two ECUs with the same fault do not lose the same frames.
                seed = f"{getattr(fault, 'seed', 0)}/{self.traits.name}/{kind_of(fault).name}"
                return self.port.begin(fault, hits, random.Random(seed))  # noqa: S311 repeatable, no secret
