"""The times of a run's frames, made when they are asked for."""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from protocols.can.bits import NS_PER_S


class Stamps(Sequence[float]):
    """When the frames of a run had their last bits: loop time in seconds, made when asked for."""

    __slots__ = ("_ends", "_origin_ns")

    def __init__(self, origin_ns: int, ends: Sequence[int]) -> None:
        """`ends` are ns after `origin_ns`."""
        self._origin_ns = origin_ns
        self._ends = ends

    def ns(self, *, after: int) -> Sequence[int]:
        """The same in whole ns, `after` added to each; all at once, in one buffer of 64 bits."""
        return (np.asarray(self._ends, dtype=np.int64) + (self._origin_ns + after)).data

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> "Stamps": ...
    def __getitem__(self, index: int | slice) -> "float | Stamps":
        if isinstance(index, slice):
            return Stamps(self._origin_ns, self._ends[index])
        return (self._origin_ns + self._ends[index]) / NS_PER_S

    def __iter__(self) -> Iterator[float]:
        origin_ns = self._origin_ns
        return ((origin_ns + end) / NS_PER_S for end in self._ends)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none
