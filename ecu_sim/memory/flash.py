"""NOR flash: erasing a sector sets its bits, programming a page only clears them.

An operation stream is a generator: it does the work, and yields the seconds that the work takes on
the chip. A stream that is closed early leaves the rest undone. Under a `PowerSupply` every page and
every sector is one operation that can be cut before, inside or after.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ecu_sim.memory.cells import Cells
from ecu_sim.memory.errors import MemoryFaultError
from ecu_sim.memory.power import Cut, PowerLossError, PowerSupply, Tear, Torn
from ecu_sim.memory.wear import ENTRY_SIZE, Wear

ERASED = 0xFF

T = TypeVar("T")

#: Seconds of one step of work after the other.
Operations = Generator[float, None, None]


class Defects(Protocol):
    """What is wrong with a chip's cells."""

    @property
    def slowness(self) -> float:
        """Factor on the times of the geometry, 1.0 for a chip that is well."""
        ...

    def erasing(self, address: int, size: int) -> None:
        """One sector has been erased; `MemoryFaultError` if the chip says that it has not."""

    def programming(self, address: int, data: bytes) -> bytes:
        """What the cells hold after these pages; `MemoryFaultError` as the verification fails."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashGeometry:
    #: Bytes: whole chip, erase unit, program unit.
    size: int
    sector_size: int
    page_size: int
    #: Seconds for one sector and one page.
    erase_s: float
    program_s: float
    #: Erase cycles that a sector bears before it goes bad; None: any number.
    endurance: int | None = None

    def __post_init__(self) -> None:
        if self.sector_size % self.page_size or self.size % self.sector_size:
            raise ValueError(
                f"flash geometry: {self.size} B / {self.sector_size} B / {self.page_size} B"
                " are not multiples of each other"
            )

    @property
    def sectors(self) -> int:
        return self.size // self.sector_size

    @property
    def wear_size(self) -> int:
        """Bytes that the wear of such a chip takes."""
        return self.sectors * ENTRY_SIZE


class Flash:
    """One chip over handed-in cells. A fresh chip has every byte at 0xFF.

    `wear` holds what the chip has gone through, `geometry.wear_size` bytes of zero for a new one;
    without it the chip is a new one.
    """

    def __init__(
        self,
        cells: Cells,
        geometry: FlashGeometry,
        *,
        power: PowerSupply | None = None,
        wear: Cells | None = None,
    ) -> None:
        if len(cells) != geometry.size:
            raise MemoryFaultError(f"flash: {len(cells)} cells for {geometry.size} bytes")
        self.geometry = geometry
        self._wear = Wear(bytearray(geometry.wear_size) if wear is None else wear)
        if len(self._wear) != geometry.sectors:
            raise MemoryFaultError(f"flash: wear of {len(self._wear)} sectors, not of all")
        self._cells = cells
        #: What the chip runs on; None: a supply that never fails.
        self.power = power
        self.defects: Defects | None = None

    @property
    def wear(self) -> list[int]:
        """Erase cycles of each sector."""
        return [self._wear.cycles(sector) for sector in range(self.geometry.sectors)]

    def spoil(self, address: int) -> None:
        """The sector of that address is bad from now on: no operation on it succeeds."""
        self._check_range(address, 1)
        self._wear.spoil(address // self.geometry.sector_size)

    def read(self, address: int, size: int) -> bytes:
        self._check_range(address, size)
        return bytes(self._cells[address : address + size])

    def erase(self, address: int, size: int) -> Operations:
        """Erase whole sectors; one step of `erase_s` each, done when the step's time is over."""
        self._check_range(address, size)
        sector = self.geometry.sector_size
        if address % sector or size % sector:
            raise MemoryFaultError(
                f"flash: erase of 0x{address:X} + 0x{size:X} is not on sectors of 0x{sector:X}"
            )
        return self._erase(address, size)

    def program(self, address: int, data: bytes) -> Operations:
        """Program whole pages (a short last one is filled with 0xFF).

        Yields once, the time of all pages, and then writes them. Raises `MemoryFaultError` where
        a cell would need a bit set: the page was not erased.
        """
        page = self.geometry.page_size
        padded = data + bytes((ERASED,)) * (-len(data) % page)
        self._check_range(address, len(padded))
        if address % page:
            raise MemoryFaultError(
                f"flash: program at 0x{address:X} is not on a page of 0x{page:X}"
            )
        return self._program(address, padded)

    def _erase(self, address: int, size: int) -> Operations:
        sector = self.geometry.sector_size
        for start in range(address, address + size, sector):
            yield self.geometry.erase_s * self._slowness
            cut = self.power.draw() if self.power else None
            if cut is Cut.BEFORE:
                raise PowerLossError(f"flash: power lost (before) erasing 0x{start:X}")
            self._erase_sector(start, cut)
            if cut is not None:
                raise PowerLossError(f"flash: power lost ({_text(cut)}) erasing 0x{start:X}")
            if self._wear.is_bad(start // sector):
                raise MemoryFaultError(f"flash: sector 0x{start:X} is bad: it is not erased")
            if self.defects is not None:
                self.defects.erasing(start, sector)

    def _erase_sector(self, start: int, cut: Cut | Tear | None) -> None:
        geometry, number = self.geometry, start // self.geometry.sector_size
        cycles = self._wear.count(number)
        if geometry.endurance is not None and cycles > geometry.endurance:
            self._wear.spoil(number)
        tear = _tear(cut, bad=self._wear.is_bad(number), seed=cycles)
        cells = slice(start, start + geometry.sector_size)
        if tear is None:
            self._cells[cells] = bytes((ERASED,)) * geometry.sector_size
        else:
            self._cells[cells] = tear.erased(bytes(self._cells[cells]))

    def _program(self, address: int, data: bytes) -> Operations:
        page = self.geometry.page_size
        yield len(data) // page * self.geometry.program_s * self._slowness
        if self.power is None:
            self._clear_bits(address, data)
            return
        for offset in range(0, len(data), page):
            start, content = address + offset, data[offset : offset + page]
            cut = self.power.draw()
            if cut is None:
                self._clear_bits(start, content)
                continue
            if cut is Cut.AFTER:
                self._clear_bits(start, content)
            elif (tear := _tear(cut)) is not None:
                cells = slice(start, start + page)
                self._cells[cells] = tear.programmed(
                    before := bytes(self._cells[cells]), _and(before, content)
                )
            raise PowerLossError(f"flash: power lost ({_text(cut)}) programming 0x{start:X}")

    @property
    def _slowness(self) -> float:
        return 1.0 if self.defects is None else self.defects.slowness

    def _clear_bits(self, address: int, data: bytes) -> None:
        if self.defects is not None:
            data = self.defects.programming(address, data)
        cells = slice(address, address + len(data))
        before = bytes(self._cells[cells])
        after = data if before == bytes((ERASED,)) * len(before) else _and(before, data)
        if data and (bad := self._bad_sector(address, len(data))) is not None:
            self._cells[cells] = Tear(how=Torn.HALFWAY, done=0.0).programmed(before, after)
            raise MemoryFaultError(f"flash: sector 0x{bad:X} is bad: verify failed")
        self._cells[cells] = after
        if after != data:
            raise MemoryFaultError(
                f"flash: verify failed at 0x{address:X}: programmed without erasing"
            )

    def _bad_sector(self, address: int, size: int) -> int | None:
        """The first bad sector that the range touches."""
        sector = self.geometry.sector_size
        for number in range(address // sector, (address + size - 1) // sector + 1):
            if self._wear.is_bad(number):
                return number * sector
        return None

    def _check_range(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self.geometry.size:
            raise MemoryFaultError(
                f"flash: 0x{address:X} + 0x{size:X} is outside 0x{self.geometry.size:X} bytes"
            )


def _tear(cut: Cut | Tear | None, *, bad: bool = False, seed: int = 0) -> Tear | None:
    """How an operation is left; None: as it should be (or not begun)."""
    match cut:
        case Tear():
            return cut
        case Cut.TORN:
            return Tear()
        case _:
            return Tear(how=Torn.HALFWAY, done=0.0, seed=seed) if bad else None


def _text(cut: Cut | Tear) -> str:
    return str(cut) if isinstance(cut, Tear) else cut.value


def _and(one: bytes, two: bytes) -> bytes:
    both = int.from_bytes(one, "little") & int.from_bytes(two, "little")
    return both.to_bytes(len(one), "little")


def finish(operations: Generator[float, None, object]) -> float:
    """Run a stream to its end at once; the seconds that it would have taken."""
    return sum(operations)


def result_of(operations: Generator[float, None, T]) -> T:
    """Run a stream to its end at once; what it returns."""
    while True:
        try:
            next(operations)
        except StopIteration as end:
            found: T = end.value
            return found
