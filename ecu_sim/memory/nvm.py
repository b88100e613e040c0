"""Non-volatile values by key (what an ECU keeps in data flash), in a two-copy record."""

import struct
from collections.abc import Mapping
from typing import Final

from ecu_sim.memory.errors import MemoryFaultError
from ecu_sim.memory.flash import Operations, finish
from ecu_sim.memory.record import TwoCopyRecord

_LENGTHS: Final = struct.Struct("<BH")


class Nvm:
    """Keys are short ASCII names. A write that changes nothing costs no erase."""

    def __init__(self, record: TwoCopyRecord) -> None:
        self._record = record
        self._values = _decode(record.read() or b"")
        #: Counts begun writes: both copies can be in the hands of one only.
        self._writes = 0

    def read(self, key: str) -> bytes | None:
        return self._values.get(key)

    def write(self, key: str, value: bytes) -> None:
        finish(self.writing(key, value))

    def writing(self, key: str, value: bytes) -> Operations:
        """The same as a stream of operations, for a job that takes its time.

        Where another write comes between, this one begins anew behind it.
        """
        while self._values.get(key) != value:
            self._writes += 1
            mine = self._writes
            values = {**self._values, key: value}
            for seconds in self._record.write(_encode(values)):
                yield seconds
                if self._writes != mine:
                    break
            else:
                self._values = values


def _encode(values: Mapping[str, bytes]) -> bytes:
    return b"".join(
        _LENGTHS.pack(len(name), len(value)) + name + value
        for name, value in ((key.encode("ascii"), value) for key, value in values.items())
    )


def _decode(content: bytes) -> dict[str, bytes]:
    try:
        return _values(content)
    except (struct.error, UnicodeDecodeError) as error:
        raise MemoryFaultError(f"nvm: {error}") from error


def _values(content: bytes) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    offset = 0
    while offset < len(content):
        name_length, length = _LENGTHS.unpack_from(content, offset)
        name_end = offset + _LENGTHS.size + name_length
        offset = name_end + length
        if offset > len(content):
            raise MemoryFaultError(f"nvm: a value ends at {offset} of {len(content)} bytes")
        values[content[name_end - name_length : name_end].decode("ascii")] = content[
            name_end:offset
        ]
    return values
