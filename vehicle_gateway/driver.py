"""The driver's seat of a bench: consent is asked and given by files in the state directory.

`question.json` is there while something is asked, `answer.json` is what `canota vehicle consent`
writes, `denied` has the SHA-256 of every release that was denied for good, one a line.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from vehicle_gateway.update.consent import Answer, Choice, Question
from vehicle_gateway.update.journal import sync_folder
from vehicle_gateway.update.records import to_json

_LOG = logging.getLogger(__name__)

QUESTION: Final = "question.json"
ANSWER: Final = "answer.json"
_DENIED: Final = "denied"
#: Seconds between two looks for an answer.
_LOOK_S: Final = 1.0
#: Bytes of an answer at most.
_LONGEST: Final = 4096


#: What a file that is no answer may raise; `OverflowError`: a number without end.
_NO_ANSWER: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
    OverflowError,
)


class ConsentError(Exception):
    """A question or an answer that cannot be used; the message says why."""


class FolderConsent:
    """`Consent` by files. With a `standing` answer nobody is asked."""

    def __init__(
        self,
        folder: Path,
        *,
        standing: Choice | None = None,
        shown: Callable[[Question], None] | None = None,
    ) -> None:
        """`shown` is told each question when it is asked."""
        self._folder = folder
        self._standing = standing
        self._shown = shown

    async def ask(self, question: Question) -> Answer:
        """See `Consent`."""
        if self._standing is not None:
            return Answer(
                question=question.id,
                release_sha256=question.release_sha256,
                choice=self._standing,
            )
        (self._folder / ANSWER).unlink(missing_ok=True)
        _write(self._folder / QUESTION, to_json(question))
        if self._shown is not None:
            self._shown(question)
        _LOG.info("consent_asked question=%s release=%s", question.id, question.release)
        while (answer := self._take(question)) is None:  # noqa: ASYNC110 a file, not of this loop
            await asyncio.sleep(_LOOK_S)
        return answer

    def close(self) -> None:
        """See `Consent`."""
        for name in (QUESTION, ANSWER):
            (self._folder / name).unlink(missing_ok=True)

    def denied(self, release_sha256: bytes) -> bool:
        """See `Consent`."""
        try:
            return release_sha256.hex() in (self._folder / _DENIED).read_text().split()
        except FileNotFoundError:
            return False

    def deny(self, release_sha256: bytes) -> None:
        """See `Consent`."""
        with (self._folder / _DENIED).open("a", encoding="ascii") as file:
            file.write(f"{release_sha256.hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._folder)

    def _take(self, question: Question) -> Answer | None:
        """The answer that lies there, if it is one to this question; it is taken away."""
        path = self._folder / ANSWER
        try:
            with path.open("rb") as file:
                content = file.read(_LONGEST + 1)
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        try:
            answer = read_answer(content)
            check_answer(answer, question)
        except ConsentError as error:
            _LOG.warning("consent_answer_refused cause=%s", error)
            return None
        return answer


def read_answer(content: bytes) -> Answer:
    """An answer as it lies in a file; `ConsentError` if it is none."""
    if len(content) > _LONGEST:
        raise ConsentError(f"longer than {_LONGEST} bytes")
    try:
        values = json.loads(content)
        answer = Answer(
            question=str(values["question"]),
            release_sha256=bytes.fromhex(values["release_sha256"]),
            choice=Choice(values["choice"]),
            defer_until_us=int(values.get("defer_until_us", 0)),
        )
    except _NO_ANSWER as error:
        raise ConsentError(f"no answer: {error}") from error
    if answer.choice is Choice.DEFERRED and not 0 < answer.defer_until_us < 2**63:
        raise ConsentError("deferred until when?")
    return answer


def check_answer(answer: Answer, question: Question) -> None:
    """`ConsentError` unless it is an answer to this very question about this very release."""
    if answer.release_sha256 != question.release_sha256:
        raise ConsentError("it is about another release")
    if answer.question != question.id:
        raise ConsentError("it answers another question")


def open_question(folder: Path) -> Mapping[str, Any] | None:
    """What the gateway that works in this folder asks its driver now; None: nothing."""
    try:
        found = json.loads((folder / QUESTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ConsentError(f"{folder / QUESTION}: {error}") from error
    if not isinstance(found, dict):
        raise ConsentError(f"{folder / QUESTION}: no question")
    return found


def give_answer(
    folder: Path, question: Mapping[str, Any], choice: Choice, *, defer_until_us: int = 0
) -> None:
    """Answer what `open_question` found; `ConsentError` if it cannot be written."""
    try:
        _write(
            folder / ANSWER,
            {
                "question": question["id"],
                "release_sha256": question["release_sha256"],
                "choice": choice.value,
                "defer_until_us": defer_until_us,
            },
        )
    except (OSError, KeyError) as error:
        raise ConsentError(f"{folder / ANSWER}: {error}") from error


def _write(path: Path, values: object) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, ensure_ascii=False, indent=2), encoding="utf-8")
    part.replace(path)
