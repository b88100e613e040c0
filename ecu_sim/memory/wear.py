"""How often each sector of a chip was erased, and which are bad: what no reset brings back."""

from typing import Final

from ecu_sim.memory.cells import Cells

#: Bytes of one sector's entry: 31 bits of erase cycles, and the mark of a bad sector.
ENTRY_SIZE: Final = 4
_BAD: Final = 1 << 31


class Wear:
    """Counts over handed-in cells, `ENTRY_SIZE` bytes for each sector, 0 for a new one.

    The chip's own state, not its content: no program reads it, and no power cut tears it.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells) // ENTRY_SIZE

    def cycles(self, sector: int) -> int:
        return self._entry(sector) & ~_BAD

    def is_bad(self, sector: int) -> bool:
        return bool(self._entry(sector) & _BAD)

    def count(self, sector: int) -> int:
        """One erase more; the number of all."""
        entry = self._entry(sector) + 1
        self._write(sector, entry)
        return entry & ~_BAD

    def spoil(self, sector: int) -> None:
        """The sector is bad from now on."""
        self._write(sector, self._entry(sector) | _BAD)

    def _entry(self, sector: int) -> int:
        at = sector * ENTRY_SIZE
        return int.from_bytes(self._cells[at : at + ENTRY_SIZE], "little")

    def _write(self, sector: int, entry: int) -> None:
        at = sector * ENTRY_SIZE
        self._cells[at : at + ENTRY_SIZE] = entry.to_bytes(ENTRY_SIZE, "little")
