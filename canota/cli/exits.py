"""How a command ends: exit codes for scripts, and the one error that carries them."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    REFUSED = 5


MEANINGS: Final[dict[Exit, str]] = {
    Exit.OK: "done; for a campaign: every vehicle is updated",
    Exit.FAILED: "it was tried and failed, for example an update that was rolled back",
    Exit.USAGE: "the command line is wrong",
    Exit.NOT_FOUND: "no such vehicle, release, campaign or file",
    Exit.UNREACHABLE: "the cloud, the wire or the ECU does not answer",
    Exit.REFUSED: "the input or the state does not allow it; nothing was changed",
}


class CommandError(Exception):
    """A command that cannot go on; shown as one line on the error output."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code = code


def explained() -> str:
    """The exit codes for the end of a help text."""
    rows = " \u00b7 ".join(f"**{code.value}** {text}" for code, text in MEANINGS.items())
    return f"Exit codes: {rows}."
