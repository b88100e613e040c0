"""Files that a tester writes, reads and lists (38, then 36 and 37): formats and transfers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ecu_sim.diagnostics import Files, Job, Nrc, Refusal
from protocols.uds.enums import FileOperation

#: Operations whose request ends with the file's sizes, and those with a format before.
_SIZED = frozenset({FileOperation.ADD, FileOperation.REPLACE, FileOperation.RESUME})
_FORMATTED = _SIZED | {FileOperation.READ}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    operation: FileOperation
    path: str
    data_format: int = 0
    #: Bytes of the file, where the operation tells them.
    size: int = 0

    @classmethod
    def decode(cls, request: bytes) -> "FileRequest":
        """A 38; `Refusal` 13 or 31."""
        if request[1] not in set(FileOperation):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "mode of operation")
        operation = FileOperation(request[1])
        end = 4 + int.from_bytes(request[2:4])
        name = _take(request, 4, end)
        if not name or not _is_path(name):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "path")
        path, data_format, size = name.decode("ascii"), 0, 0
        if operation in _FORMATTED:
            data_format = _take(request, end, end + 1)[0]
            end += 1
        if operation in _SIZED:
            width = _take(request, end, end + 1)[0]
            end += 1 + 2 * width
            sizes = _take(request, end - 2 * width, end)
            size, compressed = int.from_bytes(sizes[:width]), int.from_bytes(sizes[width:])
            if not width or (not data_format and size != compressed):
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "file sizes")
        if end != len(request):
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        if data_format:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "neither compressed nor encrypted files")
        return cls(operation=operation, path=path, data_format=data_format, size=size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """A file that was broken off, and what came of it; in RAM, so gone with the next reset."""

    path: str
    size: int
    data: bytes


class FileDownload:
    """One file on its way in: in RAM until 37, then stored whole."""

    def __init__(
        self, files: Files, begun: Suspended, suspend: Callable[[Suspended], None]
    ) -> None:
        self._files = files
        self._begun = begun
        self._suspend = suspend
        self._data = bytearray(begun.data)

    def transfer(self, data: bytes) -> Job:
        yield from ()
        self._data += data
        return b""

    def transfer_exit(self) -> Job:
        return self._files.store(self._begun.path, bytes(self._data))

    def transfer_abort(self) -> None:
        begun = self._begun
        self._suspend(Suspended(path=begun.path, size=begun.size, data=bytes(self._data)))


def directory(paths: Iterable[str], path: str) -> bytes | None:
    """What a directory holds, one name a line, directories with a slash; `None`: no such."""
    inside = path if path.endswith("/") else f"{path}/"
    names: dict[str, None] = {}
    for one in paths:
        if one.startswith(inside):
            name, slash, _ = one.removeprefix(inside).partition("/")
            names[name + slash] = None
    if not names and inside != "/":
        return None
    return "".join(f"{name}\n" for name in sorted(names)).encode("ascii")


def _take(request: bytes, start: int, end: int) -> bytes:
    if end > len(request):
        raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    return request[start:end]


def _is_path(name: bytes) -> bool:
    """Absolute, printable ASCII, and without steps that lead elsewhere."""
    if not name.startswith(b"/") or any(not 0x21 <= byte <= 0x7E for byte in name):
        return False
    parts = name[1:].split(b"/")
    return name == b"/" or not {b"", b".", b".."} & set(parts)
