"""Whatever takes bytes apart is reached by a fuzz harness, or stands here with the reason why not.

What takes bytes apart is found by what it calls: a number or a text out of bytes, a parser of the
standard library. Whether a harness reaches it is seen by running the harness's own seeds.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

from fuzz import every_harness

ROOT: Final = Path(__file__).parents[2]
ROOMS: Final = (
    *("protocols", "dbc", "recording", "ecu_sim", "vehicle_gateway", "cloud", "canota"),
)
#: Methods that make something of bytes or of text that came from outside.
PARSERS: Final = frozenset(
    {
        *("from_bytes", "fromhex", "unhexlify", "b64decode", "urlsafe_b64decode"),
        *("unpack", "unpack_from", "iter_unpack", "decompress", "decompressobj"),
        *("loads", "fromstring", "FromString", "ParseFromString", "urlsplit"),
    }
)
#: Function -> why nobody else's bytes come to it, or where they go from there.
NOT_FUZZED: Final[Mapping[str, str]] = {
    "protocols/ip_frames.py:checksum": "adds up the checksum of what we write ourselves",
    "ecu_sim/__main__.py:_secret": "the key file that the user hands to his own program",
    "ecu_sim/node.py:announce_vehicle": "a random number",
    "vehicle_gateway/flashing/key_hook.py:_key": "what our own process has written",
    "vehicle_gateway/flashing/key_process.py:_key": "the question of the gateway itself",
    "vehicle_gateway/flashing/key_process.py:_of_library": "the same",
    "vehicle_gateway/driver.py:open_question": "what the gateway itself has written",
    "vehicle_gateway/flashing/load.py:__getitem__": "the date of today",
    "vehicle_gateway/flashing/sequence_file.py:load_sequence": "its text goes to `read_sequence`",
    "vehicle_gateway/management/grpc/__init__.py:_send": "what the gateway has put into its outbox",
    "vehicle_gateway/outbox.py:gap_of": "what the gateway has put into its outbox",
    "vehicle_gateway/diagnostics/ledger.py:cut_off": "what the gateway has written down itself",
    "vehicle_gateway/diagnostics/observer.py:load": "the same",
    "vehicle_gateway/diagnostics/live.py:_read_one": "a number of at most eight bytes",
    "vehicle_gateway/update/account.py:_consent": "what the gateway has written into its journal",
    "cloud/api/errors.py:_short": "an error's own text, cut",
    "cloud/api/pages.py:page_token": "the token that is being made",
    "canota/chaos/processes.py:_read": "lines of our own processes",
    "canota/chaos/seams.py:_asked": "the name of a method that our own gateway calls",
    "canota/cli/diag_arguments.py:hex_bytes": "what the program's own user types",
    "canota/cli/vehicle.py:replace_ecu": "the key that the program's own user types",
    "canota/cli/ecus.py:key": "the seed that the program's own user types",
    "canota/cli/diag.py:_steps_between": "the report of the operator's own cloud",
    "canota/cli/gateway_options.py:master_secret": "the key file of the program's own user",
    "canota/cli/report.py:export": "a report goes to the terminal as it came",
    "canota/demo.py:_export": "the report that the demo has just made",
    "canota/testing/cloud.py:report": "a test's own cloud",
    "canota/testing/vehicle.py:as_bytes": "a test's own text",
    "canota/testing/vehicle.py:dtcs": "a test's own ECU",
    "canota/testing/vehicle.py:version": "a test's own ECU",
}

#: File and first line, as a code object has them.
Place = tuple[str, int]


def calls(function: ast.AST) -> Iterator[ast.Call]:
    """The calls of a function, without those of functions inside it."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def parses(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    if call.func.attr != "decode":
        return call.func.attr in PARSERS
    # Of bytes, by the name of an encoding; a codec's own decode takes what it decodes.
    return all(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in call.args)


def decoders() -> dict[Place, str]:
    """Every function that takes bytes apart, by its place."""
    found: dict[Place, str] = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "v1" in path.parts:
                continue  # generated
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                if any(map(parses, calls(node))):
                    line = min(one.lineno for one in (node, *node.decorator_list))
                    found[str(path), line] = f"{path.relative_to(ROOT)}:{node.name}"
    return found


def reached(wanted: dict[Place, str]) -> set[str]:
    """What the seeds of all harnesses, and the inputs that once broke something, run through."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            name = wanted.get((frame.f_code.co_filename, frame.f_code.co_firstlineno))
            if name is not None:
                found.add(name)

    before = sys.getprofile()
    for name, harness in every_harness().items():
        known = [path.read_bytes() for path in harness.regressions(name)]
        for data in (*harness.seeds, *known):
            # For each anew: what a harness runs may take the profile away.
            sys.setprofile(note)
            try:
                harness.prove(data)
            finally:
                sys.setprofile(before)
    return found


def test_everything_that_takes_bytes_apart_is_fuzzed() -> None:
    wanted = decoders()
    assert len(wanted) > 90
    missing = set(wanted.values()) - reached(wanted) - set(NOT_FUZZED)
    assert not missing, (
        f"{sorted(missing)}: give a harness in fuzz/harnesses seeds that reach it, or say in"
        " NOT_FUZZED why nobody else's bytes do"
    )


def test_the_exceptions_are_functions_that_there_are() -> None:
    assert set(decoders().values()) >= set(NOT_FUZZED)
