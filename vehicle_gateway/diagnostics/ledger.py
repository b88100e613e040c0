"""What has been begun and done, on disk before it happens: nothing is done twice."""

import json
import logging
import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOG = logging.getLogger(__name__)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class LedgerError(Exception):
    """A job that cannot be written down, and so may not be begun; names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A job that was begun and whose end is not written down."""

    start_us: int = 0
    #: Whose output it holds, or whose routine it runs; empty: neither.
    ecu: str = ""
    #: Data identifier of the output; None: a routine, or nothing to give back.
    output: int | None = None
    routine: int | None = None


class JobLedger:
    """One small file for each job that the cloud may still offer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def knows(self, job_id: str) -> bool:
        """Whether the job was begun, or ended without being begun."""
        return (self._folder / job_id).exists()

    def begin(self, job_id: str, begun: Begun) -> None:
        """Have on disk that the job begins now; `LedgerError`: then it may not."""
        values = {
            "state": "begun",
            "start_us": begun.start_us,
            "ecu": begun.ecu,
            "output": begun.output,
            "routine": begun.routine,
        }
        self._write(job_id, values)

    def end(self, job_id: str) -> None:
        """The job's result is on disk: it is never done again."""
        self._write(job_id, {"state": "ended"})

    def cut_off(self) -> dict[str, Begun]:
        """Jobs that were begun and did not end, by id: those of a gateway that was cut off."""
        found = {}
        for path in sorted(self._files()):
            try:
                values = json.loads(path.read_bytes())
                if values["state"] == "ended":
                    continue
                found[path.name] = Begun(
                    start_us=int(values["start_us"]),
                    ecu=str(values["ecu"]),
                    output=None if values["output"] is None else int(values["output"]),
                    routine=None if values["routine"] is None else int(values["routine"]),
                )
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                # Files are written whole; one that is damaged still says that the job was begun.
                _LOG.error("ledger_damaged file=%s cause=%s", path, error)
                found[path.name] = Begun()
        return found

    def keep_only(self, job_ids: Collection[str]) -> None:
        """Forget ended jobs that the cloud offers no more: it has their results."""
        begun = self.cut_off()
        for path in self._files():
            if path.name not in job_ids and path.name not in begun:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [path for path in self._folder.iterdir() if _ID.fullmatch(path.name)]

    def _write(self, job_id: str, values: dict[str, object]) -> None:
        if not valid(job_id):
            raise LedgerError(f"{job_id!r} is no name of a job")
        path = self._folder / job_id
        part = self._folder / f"{job_id}.part~"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(json.dumps(values).encode())
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            with suppress(OSError):  # the error before it is the one to tell
                part.unlink(missing_ok=True)
            raise LedgerError(f"{path}: {error}") from error


def valid(job_id: str) -> bool:
    """Whether the cloud's id of a job can be written down."""
    return _ID.fullmatch(job_id) is not None
