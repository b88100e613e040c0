"""The reference page of flash sequences, from the tables that read them."""

from collections.abc import Iterable, Iterator, Mapping

from vehicle_gateway.flashing.load import VALUES
from vehicle_gateway.flashing.schema import Key, Keys
from vehicle_gateway.flashing.sequence import Condition
from vehicle_gateway.flashing.sequence_file import (
    ACTIONS,
    ADDRESSING_KEYS,
    BLOCK_KEYS,
    CHECKSUM_KEYS,
    FILE_KEYS,
    LOADER_KEYS,
    MEMORY_KEYS,
    PHASE_KEYS,
    ROUTINE_KEYS,
    SECURITY_KEYS,
    STEP_KEYS,
    TIMING_KEYS,
    packaged,
)

_CONDITIONS: Mapping[Condition, str] = {
    Condition.APPLICATION_RUNS: "the ECU reads a `software_number`: in its boot loader it has none",
    Condition.NEW_IMAGE_RUNS: "`digest_routine` proves that the new image runs",
    Condition.OLD_IMAGE_RUNS: "`digest_routine` proves that the image from before runs",
}
#: Table of the file -> its heading, and its keys.
_TABLES: Mapping[str, Keys] = {
    "addressing": ADDRESSING_KEYS,
    "timing": TIMING_KEYS,
    "memory": MEMORY_KEYS,
    "security": SECURITY_KEYS,
    "routines.NAME": ROUTINE_KEYS,
    "checksum": CHECKSUM_KEYS,
    "loader": LOADER_KEYS,
    "blocks": BLOCK_KEYS,
}


def page() -> str:
    return "\n".join([*_head(), *_tables(), *_steps(), *_places()])


def _head() -> Iterator[str]:
    names = " and ".join(f"`{name}`" for name in packaged())
    yield "# Flash sequences\n"
    yield (
        "A flash sequence is a TOML file that says how one type of ECU is programmed. "
        f"The gateway's own ones, {names}, are files of this kind in "
        "`vehicle_gateway/flashing/sequences/`; `canota gateway flash --sequence FILE` takes yours "
        "([how to flash your ECU](../how-to/flash-your-ecu.md)), and so does `sequence = FILE` of "
        "an ECU in a vehicle's description, for updates over the air.\n"
    )
    yield "What a file says wrongly is refused with file, line and key before anything is sent.\n"
    yield "## The file\n"
    yield from _table("key", FILE_KEYS)


def _tables() -> Iterator[str]:
    for name, keys in _TABLES.items():
        yield f"## `{name}`\n"
        yield from _table("key", keys)


def _steps() -> Iterator[str]:
    yield "## Phases\n"
    yield from _table("key", PHASE_KEYS)
    yield "## Steps\n"
    yield "Each step has one key that says what it does:\n"
    yield from _rows(
        ("does", "value", "means", "with"),
        (
            (
                f"`{name}`",
                action.key.kind.text,
                action.key.text,
                "; ".join(_more(key, one) for key, one in action.more.items()),
            )
            for name, action in ACTIONS.items()
        ),
    )
    yield "and may have these:\n"
    yield from _table("key", STEP_KEYS)
    yield "## Conditions\n"
    yield from _rows(
        ("condition", "holds if"),
        ((f"`{one.value}`", text) for one, text in _CONDITIONS.items()),
    )


def _more(name: str, key: Key) -> str:
    default = "required" if key.required else f"default {key.default}"
    return f"`{name}`: {key.text} ({default})"


def _places() -> Iterator[str]:
    yield "## Records\n"
    yield (
        "A record is text: pairs of hexadecimal digits, `'text'` in ASCII, and places in braces. "
        "A number goes most significant byte first in as many bytes as the memory format says; "
        "`{size:3}` has three, `{crc32:4le}` the least significant one first.\n"
    )
    yield from _rows(("place", "is"), ((f"`{{{name}}}`", text) for name, text in VALUES.items()))


def _table(first: str, keys: Keys) -> Iterator[str]:
    yield from _rows(
        (first, "value", "means", "default"),
        (
            (f"`{name}`", key.kind.text, key.text, "required" if key.required else key.default)
            for name, key in keys.items()
        ),
    )


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""
