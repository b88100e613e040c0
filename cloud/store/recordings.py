"""What testers and vehicles said in remote sessions: JSON lines, one file for each session.

A file is bounded, and so is each connection's decoder; what is not DoIP is kept as it came.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

from cloud.store.errors import StoreError
from protocols.doip.decoder import DoipDecoder, HeaderFault

#: Bytes of one recording; a session that says more is ended.
MOST_BYTES: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 256 * 1024


class RecordingFullError(Exception):
    """The recording has reached its bound."""


class Recordings:
    """The files, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, vin: str, session_id: str) -> "Recording":
        path = self._path(vin, session_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return Recording(path)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error

    def read(self, vin: str, session_id: str) -> Iterator[bytes]:
        """The file in pieces; nothing if there is none."""
        path = self._path(vin, session_id)
        try:
            with path.open("rb") as file:
                while piece := file.read(_READ_BYTES):
                    yield piece
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error

    def _path(self, vin: str, session_id: str) -> Path:
        return self._folder / vin / f"{session_id}.jsonl"


class Recording:
    """One session's, while it runs."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._decoders: dict[tuple[int, str], DoipDecoder | None] = {}
        self.length = 0

    def note(self, time: datetime, connection: int, what: str) -> None:
        """Record an event that is no message."""
        self._write({"time": _text(time), "connection": connection, "event": what})

    def data(self, time: datetime, connection: int, to: str, data: bytes) -> None:
        """Record bytes of a connection's stream to the `vehicle` or the `tester`.

        `RecordingFullError` when there is no room left.
        """
        head = {"time": _text(time), "connection": connection, "to": to}
        decoder = self._decoders.setdefault((connection, to), DoipDecoder())
        if decoder is None:
            self._write({**head, "type": "raw", "data": data.hex()})
            return
        for found in decoder.receive(data):
            if isinstance(found, HeaderFault):
                self._write({**head, "type": "fault", "reason": found.reason})
                if found.closes:
                    self._decoders[connection, to] = None
                    self._write({**head, "type": "raw", "data": data.hex()})
                    return
                continue
            fields = {key: _plain(key, value) for key, value in asdict(found).items()}
            self._write({**head, "type": type(found).__name__, **fields})

    def over(self, connection: int) -> None:
        """A connection has ended: forget its decoders."""
        for to in ("vehicle", "tester"):
            self._decoders.pop((connection, to), None)

    def close(self) -> tuple[int, bytes]:
        """Return length and SHA-256."""
        self._file.close()
        return self.length, self._digest.digest()

    def _write(self, record: dict[str, object]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        if self.length + len(line) > self._most_bytes:
            raise RecordingFullError(f"the recording has reached {self._most_bytes} bytes")
        try:
            self._file.write(line)
            # Whoever reads it while the session runs sees what has been said.
            self._file.flush()
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
        self._digest.update(line)
        self.length += len(line)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(key: str, value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and key.endswith("address"):
        return f"{value:04X}"
    return value
