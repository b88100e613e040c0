"""NOR flash: erasing a sector sets its bits, programming a page only clears them.

An operation stream is a generator: it does the work, and yields the seconds that the work takes on
the chip. A stream that is closed early leaves the rest undone. Under a `PowerSupply` every page and
every sector is one operation that can be cut before, inside or after.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ecu_sim.memory.errors import MemoryFaultError
from ecu_sim.memory.power import Cut, PowerLossError, PowerSupply

ERASED = 0xFF

T = TypeVar("T")

#: Seconds of one step of work after the other.
Operations = Generator[float, None, None]


class Cells(Protocol):
    """The bytes of a chip: `bytearray`, `memoryview` and `mmap` satisfy it."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes | bytearray | memoryview: ...
    def __setitem__(self, key: slice, value: bytes, /) -> None: ...


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

    def __post_init__(self) -> None:
        if self.sector_size % self.page_size or self.size % self.sector_size:
            raise ValueError(
                f"flash geometry: {self.size} B / {self.sector_size} B / {self.page_size} B"
                " are not multiples of each other"
            )


class Flash:
    """One chip over handed-in cells. A fresh chip has every byte at 0xFF."""

    def __init__(
        self, cells: Cells, geometry: FlashGeometry, *, power: PowerSupply | None = None
    ) -> None:
        if len(cells) != geometry.size:
            raise MemoryFaultError(f"flash: {len(cells)} cells for {geometry.size} bytes")
        self.geometry = geometry
        #: Erase count of each sector since this object was made.
        self.wear = [0] * (geometry.size // geometry.sector_size)
        self._cells = cells
        #: What the chip runs on; None: a supply that never fails.
        self.power = power
        self.defects: Defects | None = None

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
            if cut is not Cut.BEFORE:
                cleared = sector // 2 if cut is Cut.TORN else sector
                self._cells[start : start + cleared] = bytes((ERASED,)) * cleared
                self.wear[start // sector] += 1
            if cut is not None:
                raise PowerLossError(f"flash: power lost ({cut.value}) erasing 0x{start:X}")
            if self.defects is not None:
                self.defects.erasing(start, sector)

    def _program(self, address: int, data: bytes) -> Operations:
        page = self.geometry.page_size
        yield len(data) // page * self.geometry.program_s * self._slowness
        if self.power is None:
            self._clear_bits(address, data)
            return
        for offset in range(0, len(data), page):
            start = address + offset
            cut = self.power.draw()
            if cut is not Cut.BEFORE:
                part = page // 2 if cut is Cut.TORN else page
                self._clear_bits(start, data[offset : offset + part])
            if cut is not None:
                raise PowerLossError(f"flash: power lost ({cut.value}) programming 0x{start:X}")

    @property
    def _slowness(self) -> float:
        return 1.0 if self.defects is None else self.defects.slowness

    def _clear_bits(self, address: int, data: bytes) -> None:
        if self.defects is not None:
            data = self.defects.programming(address, data)
        cells = slice(address, address + len(data))
        before = bytes(self._cells[cells])
        after = data
        if before != bytes((ERASED,)) * len(before):
            both = int.from_bytes(before, "little") & int.from_bytes(data, "little")
            after = both.to_bytes(len(data), "little")
        self._cells[cells] = after
        if after != data:
            raise MemoryFaultError(
                f"flash: verify failed at 0x{address:X}: programmed without erasing"
            )

    def _check_range(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self.geometry.size:
            raise MemoryFaultError(
                f"flash: 0x{address:X} + 0x{size:X} is outside 0x{self.geometry.size:X} bytes"
            )


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
