"""Keys from an engineer's own function or shared library, called in a process of its own.

`FILE.py:FUNCTION` and `MODULE:FUNCTION` name a Python function; it is given those of `level`,
`seed`, `variant`, `options`, `ecu` and `serial` that its parameters ask for, and returns bytes.
`LIBRARY.so`, or `LIBRARY.so:SYMBOL`, is a shared library with the usual seed and key interface,
`GenerateKeyEx` or `GenerateKeyExOpt`. What crashes, hangs or writes to the standard output does
so there and is told as an error.
"""

import asyncio
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vehicle_gateway.flashing.keys import Challenge, KeyFailedError

#: A hook that has not answered after so many seconds is ended.
LIMIT_S: Final = 10.0
#: Bytes of a key.
MAX_KEY: Final = 4096
#: Run by its path: it needs nothing of ours, and starts fast without it.
_PROCESS: Final = Path(__file__).with_name("key_process.py")


class KeyHookError(Exception):
    """A hook that cannot be used; the message says what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Where the function is."""

    #: `file`, `module` or `library`.
    kind: str
    #: Path of the file or library, or name of the module.
    where: str
    #: Function or symbol; empty for a library: whichever of the two it has.
    name: str

    def __str__(self) -> str:
        return f"{self.where}:{self.name}" if self.name else self.where


def parse_hook(text: str, *, folder: Path | None = None) -> Hook:
    """`KeyHookError` if it is none, or its file is not there; paths are relative to `folder`."""
    where, colon, name = text.rpartition(":")
    if not colon:
        where, name = text, ""
    path = (folder or Path()) / where
    if ".so" in path.suffixes:
        if not path.is_file():
            raise KeyHookError(f"key hook {text}: {path}: no such file")
        return Hook(kind="library", where=str(path.resolve()), name=name)
    if not name.isidentifier():
        raise KeyHookError(
            f"key hook {text}: FILE.py:FUNCTION, MODULE:FUNCTION or LIBRARY.so[:SYMBOL] expected"
        )
    if path.suffix == ".py":
        if not path.is_file():
            raise KeyHookError(f"key hook {text}: {path}: no such file")
        return Hook(kind="file", where=str(path.resolve()), name=name)
    if not all(part.isidentifier() for part in where.split(".")):
        raise KeyHookError(f"key hook {text}: {where!r} is neither a .py file nor a module")
    return Hook(kind="module", where=where, name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookKeys:
    """`Keys` from a hook."""

    hook: Hook
    variant: str = ""
    options: str = ""
    by_serial: bool = False
    limit_s: float = LIMIT_S

    async def key(self, challenge: Challenge) -> bytes:
        question = json.dumps(
            {
                "kind": self.hook.kind,
                "where": self.hook.where,
                "name": self.hook.name,
                "level": challenge.level,
                "seed": challenge.seed.hex(),
                "variant": self.variant,
                "options": self.options,
                "ecu": challenge.ecu,
                "serial": challenge.serial,
            }
        )
        try:
            process = subprocess.Popen(  # noqa: ASYNC220, S603 starting our own script is quick
                [sys.executable, "-P", str(_PROCESS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            raise self._failed(f"not started: {error}") from error
        loop = asyncio.get_running_loop()
        try:
            told, _ = await loop.run_in_executor(
                None, _communicate, process, question.encode(), self.limit_s
            )
        except subprocess.TimeoutExpired:
            raise self._failed(f"no key within {self.limit_s:g} s") from None
        finally:
            process.kill()
        return self._key(told, process.returncode)

    def _key(self, told: bytes, code: int) -> bytes:
        if code < 0:
            raise self._failed(f"crashed: {signal.Signals(-code).name}")
        try:
            answer = json.loads(told)
        except ValueError:
            raise self._failed(f"ended without a key (exit code {code})") from None
        if "error" in answer:
            raise self._failed(str(answer["error"]))
        return bytes.fromhex(answer["key"])

    def _failed(self, cause: str) -> KeyFailedError:
        return KeyFailedError(f"key hook {self.hook}: {cause}")


def _communicate(
    process: "subprocess.Popen[bytes]", question: bytes, limit_s: float
) -> tuple[bytes, bytes]:
    with process:
        try:
            return process.communicate(question, timeout=limit_s)
        except BaseException:
            process.kill()
            raise


@dataclass(frozen=True, slots=True)
class NoKeys:
    """For an ECU whose keys nobody has told."""

    by_serial = False

    async def key(self, challenge: Challenge) -> bytes:
        raise KeyFailedError(f"level {challenge.level:02X} needs a key: none was told")
