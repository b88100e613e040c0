"""The port of what holds a chip's bytes."""

from typing import Protocol


class Cells(Protocol):
    """The bytes of a chip: `bytearray`, `memoryview` and `mmap` satisfy it."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes | bytearray | memoryview: ...
    def __setitem__(self, key: slice, value: bytes, /) -> None: ...
