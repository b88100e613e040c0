"""Many frames' data bytes in one buffer.

A plain sequence to whoever wants frame after frame. Whoever takes a burst as a whole (ISO-TP, the
wire's bit counts, a log) works on the buffer and makes no object for each frame.
"""

from collections.abc import Iterator, Sequence
from typing import Final, overload

#: A burst of fewer frames is no quicker in one buffer.
_FEW: Final = 4


class Payloads(Sequence[bytes]):
    """Data bytes of frames that follow each other: all of one length, the last one shorter or not.

    Equal to any sequence of the same bytes.
    """

    __slots__ = ("_count", "data", "length")

    def __init__(self, data: bytes, length: int) -> None:
        """`length` is that of every frame; what `data` has beyond whole ones is the last frame."""
        #: The frames' data bytes, one after the other.
        self.data = data
        self.length = length
        self._count = -(-len(data) // length)

    @classmethod
    def of(cls, frames: Sequence[bytes]) -> "Payloads | None":
        """The same frames in one buffer; None where their lengths differ, or there are few."""
        if isinstance(frames, Payloads):
            return frames
        if len(frames) < _FEW:
            return None
        lengths = set(map(len, frames))
        length = lengths.pop()
        return None if lengths or not length else cls(b"".join(frames), length)

    @property
    def uniform(self) -> bool:
        """Whether the last frame is as long as the others."""
        return len(self.data) == self._count * self.length

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "Payloads": ...
    def __getitem__(self, index: int | slice) -> "bytes | Payloads":
        """One frame, or a run of them that follow each other (no steps)."""
        length = self.length
        if isinstance(index, slice):
            start, stop, step = index.indices(self._count)
            if step != 1:
                raise ValueError("frames of a burst follow each other")
            if start == 0 and stop == self._count:
                return self
            return Payloads(self.data[start * length : max(start, stop) * length], length)
        at = index + self._count if index < 0 else index
        if not 0 <= at < self._count:
            raise IndexError(f"frame {index} of {self._count}")
        return self.data[at * length : (at + 1) * length]

    def __iter__(self) -> Iterator[bytes]:
        data, length = self.data, self.length
        return (data[at : at + length] for at in range(0, len(data), length))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Payloads) and other.length == self.length:
            return other.data == self.data
        if isinstance(other, Sequence):
            return tuple(self) == tuple(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))
