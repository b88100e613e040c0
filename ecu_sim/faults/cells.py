"""Faults of the flash memory that downloads go to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from ecu_sim.faults import End, FaultError, Given, Hits, Layer
from ecu_sim.faults.readings import ADDRESS, COUNT, FACTOR, TIME, whole
from ecu_sim.memory import Cut, Flash, MemoryFaultError

_SIZE: Final = whole(1, 1 << 26)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteError:
    """Pages do not take what is programmed: the ECU answers 72."""

    layer = Layer.MEMORY
    at: Annotated[int, Given(ADDRESS, "where")]
    size: Annotated[int, Given(_SIZE, "bytes from there on")] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseError:
    """A sector does not get erased: the ECU answers 72."""

    layer = Layer.MEMORY
    at: Annotated[int, Given(ADDRESS, "where")]
    size: Annotated[int, Given(_SIZE, "bytes from there on")] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCell:
    """A bit that cannot be set: nothing is said as it is programmed, the check finds it."""

    layer = Layer.MEMORY
    at: Annotated[int, Given(ADDRESS, "where")]
    bit: Annotated[int, Given(whole(0, 7), "which, 0 is the lowest")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowFlash:
    """Erasing and programming take longer."""

    layer = Layer.MEMORY
    factor: Annotated[float, Given(FACTOR, "so many times as long")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCut:
    """The supply is gone within an operation on the flash: a page or a sector is half done."""

    layer = Layer.MEMORY
    operation: Annotated[int, Given(COUNT, "which page or sector, from 1 since the fault began")]
    off_s: Annotated[float, Given(TIME, "until the supply is back")] = 1.0


MemoryFault: TypeAlias = WriteError | EraseError | BadCell | SlowFlash | PowerCut


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A range of addresses as requests have it, and where it lies in a chip."""

    start: int
    size: int
    chip: Flash
    #: Its places in the chip: one for each slot.
    places: tuple[int, ...]


class Cells:
    """What is wrong with an ECU's chips (`ecu_sim.memory.flash.Defects` of each)."""

    def __init__(
        self, name: str, areas: Sequence[Area], *, power_lost: Callable[[float], None]
    ) -> None:
        self._name = name
        self._areas = tuple(areas)
        #: Told while the operation fails: what it does has to wait for the end of that.
        self._power_lost = power_lost

    def begin(self, fault: MemoryFault, hits: Hits) -> End:
        if isinstance(fault, SlowFlash | PowerCut):
            ends = [self._begin(fault, chip, (), hits) for chip in self._chips()]
        else:
            area, offset = self.locate(fault.at)
            places = tuple(place + offset for place in area.places)
            ends = [self._begin(fault, area.chip, places, hits)]

        def end() -> None:
            for one in ends:
                one()

        return end

    def _chips(self) -> list[Flash]:
        found: list[Flash] = []
        for area in self._areas:
            if not any(chip is area.chip for chip in found):
                found.append(area.chip)
        return found

    def locate(self, address: int) -> tuple[Area, int]:
        """The area of an address, and the place in it; `FaultError` if there is none."""
        if not self._areas:
            raise FaultError(f"{self._name}: it has no flash memory")
        for area in self._areas:
            if area.start <= address < area.start + area.size:
                return area, address - area.start
        first = self._areas[0]
        if address < first.size:
            return first, address
        ranges = ", ".join(f"{its.start:08X} + {its.size:X}" for its in self._areas)
        raise FaultError(f"{self._name}: no flash at {address:X}; there is {ranges}")

    def _begin(self, fault: MemoryFault, chip: Flash, places: tuple[int, ...], hits: Hits) -> End:
        if isinstance(fault, PowerCut):
            return self._cut_power(fault, chip, hits)
        defects = chip.defects
        if not isinstance(defects, _Defects):
            defects = chip.defects = _Defects()
        entry = _Entry(fault, places, hits)
        defects.entries.append(entry)

        def end() -> None:
            if entry in defects.entries:
                defects.entries.remove(entry)

        return end

    def _cut_power(self, fault: PowerCut, chip: Flash, hits: Hits) -> End:
        supply = _Supply(fault, hits, self._power_lost)
        chip.power = supply

        def end() -> None:
            if chip.power is supply:
                chip.power = None

        return end


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    fault: WriteError | EraseError | BadCell | SlowFlash
    #: Addresses in the chip that the fault's own address is, one for each slot.
    places: tuple[int, ...]
    hits: Hits

    def within(self, address: int, size: int) -> bool:
        reach = self.fault.size if isinstance(self.fault, WriteError | EraseError) else 1
        return any(place < address + size and address < place + reach for place in self.places)


class _Defects:
    def __init__(self) -> None:
        self.entries: list[_Entry] = []

    @property
    def slowness(self) -> float:
        slowness = 1.0
        for entry in self.entries:
            if isinstance(entry.fault, SlowFlash):
                entry.hits.add()
                slowness *= entry.fault.factor
        return slowness

    def erasing(self, address: int, size: int) -> None:
        for entry in self.entries:
            if isinstance(entry.fault, EraseError) and entry.within(address, size):
                entry.hits.add()
                raise MemoryFaultError(f"flash: sector 0x{address:X} is not erased")

    def programming(self, address: int, data: bytes) -> bytes:
        for entry in self.entries:
            if isinstance(entry.fault, WriteError) and entry.within(address, len(data)):
                entry.hits.add()
                raise MemoryFaultError(f"flash: verify failed at 0x{address:X}")
            if isinstance(entry.fault, BadCell) and entry.within(address, len(data)):
                data = self._without_bit(entry, entry.fault, address, data)
        return data

    def _without_bit(self, entry: _Entry, fault: BadCell, address: int, data: bytes) -> bytes:
        cells = bytearray(data)
        for place in entry.places:
            if address <= place < address + len(cells):
                entry.hits.add()
                cells[place - address] &= ~(1 << fault.bit) & 0xFF
        return bytes(cells)


class _Supply:
    """A `PowerSupply` that fails once."""

    def __init__(self, fault: PowerCut, hits: Hits, lost: Callable[[float], None]) -> None:
        self._fault, self._hits, self._lost = fault, hits, lost
        self._drawn = 0

    def draw(self) -> Cut | None:
        self._drawn += 1
        if self._drawn != self._fault.operation:
            return None
        self._hits.add()
        self._lost(self._fault.off_s)
        return Cut.TORN
