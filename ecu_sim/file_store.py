"""The files of one ECU, in its NVM: few and small, written whole or not at all."""

import struct
from typing import Final

from ecu_sim.diagnostics import Job
from ecu_sim.memory import Nvm
from protocols.uds import Nrc, Refusal
from protocols.uds.rules import FileRules

_KEY: Final = "files"
_LENGTHS: Final = struct.Struct(">BH")


class FileStore:
    """`ecu_sim.diagnostics.Files`."""

    def __init__(self, rules: FileRules, nvm: Nvm) -> None:
        self._rules = rules
        self._nvm = nvm

    def paths(self) -> tuple[str, ...]:
        return tuple(self._files())

    def read(self, path: str) -> bytes | None:
        return self._files().get(path)

    def check_room(self, path: str, size: int) -> None:
        rules = self._rules
        if len(path) > rules.max_path:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"a path has {rules.max_path} characters")
        others = {one: data for one, data in self._files().items() if one != path}
        used = sum(len(one) + len(data) for one, data in others.items())
        if len(others) >= rules.files or used + len(path) + size > rules.capacity:
            raise Refusal(Nrc.UPLOAD_DOWNLOAD_NOT_ACCEPTED, "no room")

    def store(self, path: str, data: bytes) -> Job:
        yield from self._nvm.writing(_KEY, _encode({**self._files(), path: data}))
        return b""

    def remove(self, path: str) -> Job:
        rest = {one: data for one, data in self._files().items() if one != path}
        yield from self._nvm.writing(_KEY, _encode(rest))
        return b""

    def _files(self) -> dict[str, bytes]:
        content = self._nvm.read(_KEY) or b""
        files: dict[str, bytes] = {}
        at = 0
        while at < len(content):
            name_length, length = _LENGTHS.unpack_from(content, at)
            start = at + _LENGTHS.size
            at = start + name_length + length
            name = content[start : start + name_length].decode("ascii")
            files[name] = content[start + name_length : at]
        return files


def _encode(files: dict[str, bytes]) -> bytes:
    return b"".join(
        _LENGTHS.pack(len(path), len(data)) + path.encode("ascii") + data
        for path, data in files.items()
    )
