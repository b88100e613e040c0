"""The process that calls a key hook: a question as JSON on its input, the key on its output.

What the hook itself prints goes to the error output.
"""

import ctypes
import importlib
import inspect
import json
import os
import runpy
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final  # Any: what a function of others takes and returns

_MAX_KEY: Final = 4096
#: VKeyGenResultEx of the seed and key interface.
_RESULTS: Final = {
    1: "its buffer for the key is too small",
    2: "it does not know this security level",
    3: "it does not know this variant",
    4: "it failed without saying why",
}


class _HookError(Exception):
    """What a person who wrote a hook has to know."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    question = json.load(sys.stdin)
    try:
        answer = {"key": _key(question).hex()}
    except _HookError as error:
        answer = {"error": str(error)}
    except BaseException as error:  # noqa: BLE001 whatever the hook raises is told
        answer = {"error": f"{_place(error)}{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer))
    answers.flush()
    # Threads that a library has left running must not keep the process.
    os._exit(0)


def _key(question: Mapping[str, Any]) -> bytes:
    if question["kind"] == "library":
        return _of_library(question)
    function = _function(question)
    given = {
        "level": question["level"],
        "seed": bytes.fromhex(question["seed"]),
        **{name: question[name] for name in ("variant", "options", "ecu", "serial")},
    }
    key = function(**_wanted(function, given))
    if not isinstance(key, bytes | bytearray | memoryview):
        raise _HookError(f"returned {type(key).__name__}, not bytes")
    if not 0 < len(key) <= _MAX_KEY:
        raise _HookError(f"returned {len(key)} bytes")
    return bytes(key)


def _function(question: Mapping[str, Any]) -> Callable[..., object]:
    found: object
    where, name = question["where"], question["name"]
    if question["kind"] == "file":
        sys.path.insert(0, str(Path(where).parent))
        found = runpy.run_path(where).get(name)
    else:
        sys.path.insert(0, str(Path.cwd()))
        found = getattr(importlib.import_module(where), name, None)
    if not callable(found):
        raise _HookError(f"has no function {name!r}")
    function: Callable[..., object] = found
    return function


def _wanted(function: Callable[..., object], given: Mapping[str, object]) -> dict[str, object]:
    parameters = inspect.signature(function).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return dict(given)
    for name, one in parameters.items():
        if name not in given and one.default is one.empty and one.kind is not one.VAR_POSITIONAL:
            raise _HookError(f"asks for {name!r}; there are {', '.join(given)}")
    return {name: value for name, value in given.items() if name in parameters}


def _of_library(question: Mapping[str, Any]) -> bytes:
    try:
        library = ctypes.CDLL(question["where"])
    except OSError as error:
        raise _HookError(f"not loaded: {error}") from error
    names = [question["name"]] if question["name"] else ["GenerateKeyExOpt", "GenerateKeyEx"]
    name = next((one for one in names if hasattr(library, one)), None)
    if name is None:
        raise _HookError(f"exports no {' and no '.join(names)}")
    seed = bytes.fromhex(question["seed"])
    key = (ctypes.c_ubyte * _MAX_KEY)()
    length = ctypes.c_uint(0)
    options = [ctypes.c_char_p(question["options"].encode())] if name.endswith("Opt") else []
    function = getattr(library, name)
    function.restype = ctypes.c_int
    result = function(
        (ctypes.c_ubyte * len(seed)).from_buffer_copy(seed),
        ctypes.c_uint(len(seed)),
        ctypes.c_uint(question["level"]),
        ctypes.c_char_p(question["variant"].encode()),
        *options,
        key,
        ctypes.c_uint(_MAX_KEY),
        ctypes.byref(length),
    )
    if result:
        raise _HookError(f"{name}: {_RESULTS.get(result, 'result')} ({result})")
    if not 0 < length.value <= _MAX_KEY:
        raise _HookError(f"{name}: a key of {length.value} bytes")
    return bytes(key[: length.value])


def _place(error: BaseException) -> str:
    """The line of the hook on which it failed."""
    line = ""
    libraries = (__file__, "<frozen", sysconfig.get_path("stdlib"))
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(libraries):
            line = f"{Path(frame.filename).name}:{frame.lineno}: "
    return line


if __name__ == "__main__":
    main()
