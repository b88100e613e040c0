"""Faults between a reset and the ECU's first answer, and of the application that then runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

from ecu_sim.faults import End, Given, Hits, Layer
from ecu_sim.faults.readings import TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowBoot:
    """Every boot takes longer."""

    layer = Layer.BOOT
    by_s: Annotated[float, Given(TIME, "so much longer")]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBoot:
    """After the next reset the ECU stays silent, until the fault ends."""

    layer = Layer.BOOT


@dataclass(frozen=True, slots=True, kw_only=True)
class NoApplication:
    """The boot loader starts no application, whatever is in the flash."""

    layer = Layer.BOOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """The watchdog bites the application a while after each start."""

    layer = Layer.BOOT
    after_s: Annotated[float, Given(TIME, "after the start of the application")]


BootFault: TypeAlias = SlowBoot | NoBoot | NoApplication | Watchdog


@dataclass(eq=False, slots=True)
class _Begun:
    fault: BootFault
    hits: Hits


@dataclass(slots=True)
class Boots:
    """Asked by the ECU's node at each boot."""

    _begun: list[_Begun] = field(default_factory=list)
    #: Called as a fault has begun or ended: the node looks at what is under way.
    changed: Callable[[], None] = lambda: None

    def begin(self, fault: BootFault, hits: Hits) -> End:
        begun = _Begun(fault, hits)
        self._begun.append(begun)
        self.changed()

        def end() -> None:
            if begun in self._begun:
                self._begun.remove(begun)
                self.changed()

        return end

    def extra_s(self) -> float:
        """Seconds that this boot takes longer."""
        extra_s = 0.0
        for one in self._begun:
            if isinstance(one.fault, SlowBoot):
                one.hits.add()
                extra_s += one.fault.by_s
        return extra_s

    def hangs(self) -> bool:
        """Whether the ECU does not boot now."""
        return self._meets(NoBoot)

    def keeps_application_out(self) -> bool:
        return self._meets(NoApplication)

    @property
    def watchdog_s(self) -> float | None:
        """After how long the watchdog bites an application that has been started."""
        found = [one.fault.after_s for one in self._begun if isinstance(one.fault, Watchdog)]
        return min(found, default=None)

    def bitten(self) -> None:
        """The watchdog has done so."""
        self._meets(Watchdog)

    def _meets(self, kind: type[BootFault]) -> bool:
        found = [one for one in self._begun if isinstance(one.fault, kind)]
        for one in found:
            one.hits.add()
        return bool(found)
