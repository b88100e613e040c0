"""Key hooks: functions of others, in a process whose crash or hang is an error of ours."""

import asyncio
from pathlib import Path

import pytest

from vehicle_gateway.flashing.key_hook import HookKeys, KeyHookError, parse_hook
from vehicle_gateway.flashing.keys import Challenge, KeyFailedError

CHALLENGE = Challenge(ecu="brakes", level=0x11, seed=b"\x01\x02\x03\x04", serial="S-1")


def answer(folder: Path, source: str, *, limit_s: float = 30.0, name: str = "key") -> bytes:
    (folder / "hook.py").write_text(source, encoding="utf-8")
    hook = parse_hook(f"hook.py:{name}", folder=folder)
    keys = HookKeys(hook=hook, variant="V", options="O", limit_s=limit_s)
    return asyncio.run(keys.key(CHALLENGE))


def test_a_function_is_given_what_its_parameters_ask_for(tmp_path: Path) -> None:
    source = (
        "def key(seed, level, variant, options, ecu, serial, other=b'!'):\n"
        "    print('this is not the key')\n"
        "    return seed + bytes([level]) + f'{variant}{options}{ecu}{serial}'.encode() + other\n"
    )
    assert answer(tmp_path, source) == b"\x01\x02\x03\x04\x11VObrakesS-1!"


def test_a_function_may_take_everything_by_name(tmp_path: Path) -> None:
    source = "def key(**given):\n    return ','.join(sorted(given)).encode()\n"
    assert answer(tmp_path, source) == b"ecu,level,options,seed,serial,variant"


def test_a_hook_may_use_the_modules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "tables.py").write_text("KEY = b'beside'\n", encoding="utf-8")
    source = "from tables import KEY\n\ndef key():\n    return KEY\n"
    assert answer(tmp_path, source) == b"beside"


def test_a_module_is_imported_by_its_name() -> None:
    hook = parse_hook("os:urandom")
    with pytest.raises(KeyFailedError, match="os:urandom: asks for 'size'"):
        asyncio.run(HookKeys(hook=hook).key(CHALLENGE))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def key(seed):\n    return seed.no()\n", r"hook.py:2: AttributeError: 'bytes' object"),
        ("def key(seed\n", "SyntaxError: .*line 1"),
        ("raise SystemExit(3)\n", r"hook\.py:1: SystemExit: 3"),
        ("import os\nos._exit(7)\n", r"ended without a key \(exit code 7\)"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "crashed: SIGSEGV"),
        ("import ctypes\nctypes.string_at(0)\n", "crashed: SIGSEGV"),
        ("other = 1\n", "has no function 'key'"),
        ("def key(seed):\n    return seed.hex()\n", "returned str, not bytes"),
        ("def key(seed):\n    return b''\n", "returned 0 bytes"),
        ("def key(pin):\n    return b'1'\n", "asks for 'pin'; there are level, seed, variant"),
    ],
)
def test_what_a_hook_does_wrong_is_told(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(KeyFailedError, match=rf"key hook .*hook\.py:key: {said}"):
        answer(tmp_path, source)


def test_a_hook_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(KeyFailedError, match=r"no key within 0\.5 s"):
        answer(tmp_path, "while True:\n    pass\n", limit_s=0.5)


def test_what_is_no_library_is_told(tmp_path: Path) -> None:
    (tmp_path / "key.so.1").write_bytes(b"\x7fELF no")
    with pytest.raises(KeyFailedError, match=r"key\.so\.1: not loaded: "):
        asyncio.run(HookKeys(hook=parse_hook("key.so.1", folder=tmp_path)).key(CHALLENGE))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("absent.py:key", "absent.py: no such file"),
        ("absent.so", "absent.so: no such file"),
        ("hook.py", "FILE.py:FUNCTION, MODULE:FUNCTION or LIBRARY.so"),
        ("hook.py:1", "FILE.py:FUNCTION"),
        ("a-b:key", "'a-b' is neither a .py file nor a module"),
    ],
)
def test_what_is_no_hook_is_refused(text: str, said: str) -> None:
    with pytest.raises(KeyHookError, match=said):
        parse_hook(text)
