"""The times of a run's frames, made when they are asked for."""

from collections.abc import Iterator, Sequence
from typing import overload

from protocols.can.bits import NS_PER_S


class Stamps(Sequence[float]):
    """When the frames of a run had their last bits: loop time in seconds, made when asked for."""

    __slots__ = ("_ends", "origin_ns")

    def __init__(self, origin_ns: int, ends: Sequence[int]) -> None:
        self.origin_ns = origin_ns
        #: ns after `origin_ns`.
        self._ends = ends

    @property
    def ends(self) -> Sequence[int]:
        """The same in whole ns after `origin_ns`; a buffer of 64-bit numbers for long runs."""
        return self._ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> "Stamps": ...
    def __getitem__(self, index: int | slice) -> "float | Stamps":
        if isinstance(index, slice):
            return Stamps(self.origin_ns, self._ends[index])
        return (self.origin_ns + self._ends[index]) / NS_PER_S

    def __iter__(self) -> Iterator[float]:
        origin_ns = self.origin_ns
        return ((origin_ns + end) / NS_PER_S for end in self._ends)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none
