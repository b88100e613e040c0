"""An ECU that is no type of ours, on a CAN wire: powered or not, booting, or answering.

What it answers is its subclass's: a description (`described`) or a log (`recorded`).
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from ecu_sim.faults.cells import Area
from ecu_sim.faults.ecu import EcuFaults, Traits
from ecu_sim.memory import Cells
from protocols.can import CanPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a bench gives to a guest."""

    port: CanPort
    #: The wire carries CAN FD.
    fd: bool
    #: Memory cells of a name and size, which outlive the process.
    cells: Callable[[str, int], Cells]
    random_bytes: Callable[[int], bytes]
    #: Spoils a share of its frames; None on a wire that cannot.
    corrupt: Callable[[float, random.Random | None], None] | None = None


class Guest(Protocol):
    """An ECU that a bench has beside those of its vehicle."""

    @property
    def name(self) -> str: ...

    @property
    def wire(self) -> str:
        """The CAN wire that it is on."""
        ...

    def build(self, site: Site) -> "GuestNode": ...


OFF: Final = "off"
BOOTING: Final = "booting"
APPLICATION: Final = "application"


class GuestNode:
    """Power, boots and faults; `_open` and `_close` are the subclass's."""

    def __init__(self, traits: Traits, *, boot_s: float) -> None:
        if traits.port is None:
            raise ValueError(f"{traits.name}: a guest needs a CAN port")
        self._boot_s = boot_s
        self._loop = asyncio.get_running_loop()
        self.faults = EcuFaults(traits, self)
        self.faults.boots.changed = self._look_at_boots
        self._boot_timer: asyncio.TimerHandle | None = None
        self._supply_back: asyncio.TimerHandle | None = None
        self._hangs = False
        self._booted = asyncio.Event()
        self._watching: list[Callable[[str], None]] = []
        self.mode = OFF
        self.boots = 0

    @property
    def sleeps(self) -> bool:
        """It has no network management: it is awake as long as it has power."""
        return False

    @property
    def port(self) -> CanPort:
        """Its port, with its faults."""
        port = self.faults.port
        if port is None:
            raise TypeError(f"{self.faults.traits.name} is on no CAN wire")
        return port

    def power_on(self) -> None:
        """Silent for the boot time."""
        if self.mode == OFF:
            self._begin_boot()

    async def booted(self) -> None:
        await self._booted.wait()

    def power_off(self) -> None:
        """Everything volatile ends."""
        if self._supply_back is not None:
            self._supply_back.cancel()
            self._supply_back = None
        self._end()
        self._set_mode(OFF)

    def kill(self) -> None:
        """The supply is gone: the same, as a guest prepares nothing."""
        self.power_off()

    def reset_by_fault(self) -> None:
        self._restart()

    def lose_power(self, off_s: float) -> None:
        """The supply is gone for so many seconds, from the end of what is under way on."""
        self._loop.call_soon(self._interrupt_power, off_s)

    def hang_up(self) -> None:
        """There are no connections on CAN."""

    def fall_asleep(self) -> None:
        """It never does (`sleeps`)."""

    def watch_mode(self, watch: Callable[[str], None]) -> Callable[[], None]:
        """Call back with each new mode; returns what ends that."""
        self._watching.append(watch)
        return lambda: self._watching.remove(watch)

    def _open(self) -> None:
        """It has booted."""
        raise NotImplementedError

    def _close(self) -> None:
        """It is being reset, or has lost its power."""
        raise NotImplementedError

    def _restart(self) -> None:
        if self.mode != OFF:
            self._end()
            self._begin_boot()

    def _interrupt_power(self, off_s: float) -> None:
        self.power_off()
        self._supply_back = self._loop.call_later(off_s, self.power_on)

    def _begin_boot(self) -> None:
        self._set_mode(BOOTING)
        self._hangs = self.faults.boots.hangs()
        if not self._hangs:
            boot_s = self._boot_s + self.faults.boots.extra_s()
            self._boot_timer = self._loop.call_later(boot_s, self._boot)

    def _look_at_boots(self) -> None:
        if self._hangs and self.mode == BOOTING:
            self._begin_boot()

    def _boot(self) -> None:
        self._boot_timer = None
        self.boots += 1
        self._open()
        self._set_mode(APPLICATION)

    def _end(self) -> None:
        if self._boot_timer is not None:
            self._boot_timer.cancel()
            self._boot_timer = None
        self.faults.dialogue.reset()
        self._close()

    def _set_mode(self, mode: str) -> None:
        self.mode = mode
        if mode == APPLICATION:
            self._booted.set()
        else:
            self._booted.clear()
        for watch in tuple(self._watching):
            watch(mode)


def guest_traits(
    name: str,
    port: CanPort,
    *,
    request_id: int,
    response_id: int,
    memory: tuple[Area, ...] = (),
    p2_s: float = 0.05,
    p2_star_s: float = 5.0,
    corrupt: Callable[[float, random.Random | None], None] | None = None,
) -> Traits:
    """Traits of an ECU with one pair of identifiers and normal addressing."""
    return Traits(
        name=name,
        port=port,
        isotp_offsets={request_id: 0, response_id: 0},
        memory=memory,
        p2_s=p2_s,
        p2_star_s=p2_star_s,
        corrupt=corrupt,
    )
