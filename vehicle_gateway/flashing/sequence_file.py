"""Flash sequences as TOML files.

The tables of keys below are the schema: they read a file, and `docs/reference` is printed from
them. Errors name file, line and key.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from importlib.resources import files
from pathlib import Path as FilePath
from typing import Any, Final  # Any: what TOML holds, until it has been looked at

from dbc import EcuDescription, RoutineIdentifiers
from protocols.can import FrameHeader
from protocols.isotp import Address, addressing
from protocols.isotp.errors import ParameterError
from vehicle_gateway.flashing.checksums import CHECKSUMS, Crc
from vehicle_gateway.flashing.load import VALUES
from vehicle_gateway.flashing.positions import lines_of
from vehicle_gateway.flashing.schema import (
    FLAG,
    TEXT,
    Key,
    Keys,
    Kind,
    Place,
    choice,
    each,
    named,
    numbered,
    read_table,
    seconds,
    template,
    whole,
)
from vehicle_gateway.flashing.sequence import (
    ACTIVATE,
    CONFIRM,
    IDENTIFICATION,
    PHASES,
    PROGRAM,
    REVERT,
    SELF_TEST,
    STAGE,
    Action,
    Addressing,
    Block,
    Check,
    Condition,
    Download,
    EachBlock,
    EnterSession,
    Erase,
    Loader,
    MemoryFormat,
    Patience,
    Phase,
    ReadData,
    Request,
    Require,
    Reset,
    Routine,
    RunRoutine,
    Sequence,
    SequenceError,
    Status,
    Step,
    Stop,
    Unlock,
    Wait,
    Whom,
    WriteData,
)
from vehicle_gateway.flashing.template import EMPTY, parse

_LONGEST: Final = 1 << 18
_MAX_STEPS: Final = 200
_PACKAGE: Final = "vehicle_gateway.flashing"
#: Routine names that a vehicle's description gives identifiers to.
_KNOWN_ROUTINES: Final = frozenset(one.name for one in fields(RoutineIdentifiers))
_CONDITIONS: Final = {one.value: one for one in Condition}
_WHOM: Final = {one.value: one for one in Whom}
_EVERY_CODE: Final = frozenset(range(256))


def _read_codes(place: Place, value: object) -> frozenset[int]:
    if value == "any":
        return _EVERY_CODE
    if not isinstance(value, list):
        raise place.refuse('a list of response codes, or "any", expected')
    code = whole(0x10, 0xFF)
    return frozenset(code.read(place.of(number), one) for number, one in enumerate(value))


_CODES: Final = Kind(_read_codes, 'list of response codes, or "any"')
_RECORD: Final = template(VALUES)

#: What every step may say besides what it does.
STEP_KEYS: Final[Keys] = {
    "step": Key(TEXT, "what the step is called in progress and errors", required=True),
    "to": Key(choice(_WHOM), "who is asked", '"ecu"'),
    "quiet": Key(FLAG, "ask without a positive answer (sub-function bit 80)", "false"),
    "must_answer": Key(
        choice(_CONDITIONS),
        'with `to = "all"`: where this holds, the ECU that is programmed has to answer too',
    ),
    "accept": Key(_CODES, "negative response codes that count as done", "none"),
}


@dataclass(frozen=True, slots=True)
class ActionKey:
    """A key that says what a step does, the keys that go with it, and what they become."""

    key: Key
    more: Keys
    make: Callable[["_Context", Place, Any, Mapping[str, Any]], Action]  # Any: read values


@dataclass(frozen=True, slots=True)
class _Context:
    """What the rest of the file says, for the steps that refer to it."""

    routines: Mapping[str, Routine]
    identification: Mapping[str, int]
    digest: bool

    def routine(self, place: Place, name: str | int) -> Routine:
        if isinstance(name, int):
            return Routine(name=f"{name:04X}", identifier=name)
        if name in self.routines:
            return self.routines[name]
        if name in _KNOWN_ROUTINES:
            return Routine(name=name)
        known = ", ".join(sorted({*self.routines, *_KNOWN_ROUTINES}))
        raise place.refuse(f"no routine {name!r}; there are: {known}")

    def condition(self, place: Place, condition: Condition) -> Condition:
        if condition is not Condition.APPLICATION_RUNS and not self.digest:
            raise place.refuse(f"{condition.value} needs digest_routine")
        return condition


def _read_routine_name(place: Place, value: object) -> str | int:
    if isinstance(value, str):
        return str(TEXT.read(place, value))
    return int(_RID.read(place, value))


_RID: Final = whole(0, 0xFFFF)
_ROUTINE: Final = Kind(_read_routine_name, "name of a routine, or its identifier")
_OPTION: Final = {"option": Key(_RECORD, "option record", "empty")}
_RANGE: Final = "{length_format} {address} {size}"


def _read_steps(place: Place, value: object) -> list[tuple[Place, Any]]:
    """Steps are made when the whole file is known."""
    if not isinstance(value, list) or not 0 < len(value) <= _MAX_STEPS:
        raise place.refuse(f"1 to {_MAX_STEPS} steps expected")
    return [(place.of(number), one) for number, one in enumerate(value)]


def _read_level(place: Place, value: object) -> int | None:
    if value == "default":
        return None
    level: int = whole(1, 0x7D).read(place, value)
    if level % 2 == 0:
        raise place.refuse(f"0x{level:02X} is even: the level is the one of the seed")
    return level


_STEPS: Final = Kind(_read_steps, "list of steps")

#: The key that says what a step does -> how it is read.
ACTIONS: Final[Mapping[str, ActionKey]] = {
    "session": ActionKey(
        Key(whole(1, 0x7F), "10: enter this session"),
        {},
        lambda _context, _place, value, _more: EnterSession(value),
    ),
    "unlock": ActionKey(
        Key(
            Kind(_read_level, 'odd level, or "default"'),
            '27: seed and key of this level; "default": the level of `security`, or the one in the'
            " vehicle's description",
        ),
        {},
        lambda _context, _place, value, _more: Unlock(value),
    ),
    "routine": ActionKey(
        Key(_ROUTINE, "31 01: start this routine and wait for its success"),
        _OPTION,
        lambda context, place, value, more: RunRoutine(
            context.routine(place, value), more.get("option", EMPTY)
        ),
    ),
    "erase": ActionKey(
        Key(_ROUTINE, "31 01: the routine that erases"),
        {"option": Key(_RECORD, "option record", f'"{_RANGE}"')},
        lambda context, place, value, more: Erase(
            context.routine(place, value), more.get("option", parse(_RANGE))
        ),
    ),
    "download": ActionKey(
        Key(
            choice({"image": False, "loader": True}),
            "34, 36, 37: the image (its block, in `each_block`), or the secondary boot loader",
        ),
        {},
        lambda _context, _place, value, _more: Download(value),
    ),
    "check": ActionKey(
        Key(_ROUTINE, "31 01: the routine that checks what was written"),
        _OPTION,
        lambda context, place, value, more: Check(
            context.routine(place, value), more.get("option", EMPTY)
        ),
    ),
    "each_block": ActionKey(
        Key(_STEPS, "do these steps for each block, in the order of `blocks`"),
        {},
        lambda context, _place, value, _more: EachBlock(_steps(context, value)),
    ),
    "write": ActionKey(
        Key(whole(0, 0xFFFF), "2E: write this data identifier, for example a fingerprint"),
        {"record": Key(_RECORD, "what is written", required=True)},
        lambda _context, _place, value, more: WriteData(value, more["record"]),
    ),
    "read": ActionKey(
        Key(TEXT, "22: read this entry of `identification`"),
        {},
        lambda context, place, value, _more: ReadData(_identified(context, place, value)),
    ),
    "request": ActionKey(
        Key(_RECORD, "any request, service identifier first, for example `85 82`"),
        {"answer": Key(_RECORD, "what its positive answer begins with", "anything")},
        lambda _context, _place, value, more: Request(value, more.get("answer", EMPTY)),
    ),
    "reset": ActionKey(
        Key(whole(1, 0x7F), "11: reset, and wait until the ECU answers again"),
        {},
        lambda _context, _place, value, _more: Reset(value),
    ),
    "wait_s": ActionKey(
        Key(seconds(600), "wait"), {}, lambda _context, _place, value, _more: Wait(value)
    ),
    "stop_if": ActionKey(
        Key(choice(_CONDITIONS), "the phase is done here if this holds"),
        {},
        lambda context, place, value, _more: Stop(context.condition(place, value), wanted=True),
    ),
    "stop_unless": ActionKey(
        Key(choice(_CONDITIONS), "the phase is done here if this does not hold"),
        {},
        lambda context, place, value, _more: Stop(context.condition(place, value), wanted=False),
    ),
    "require": ActionKey(
        Key(choice(_CONDITIONS), "the phase fails if this does not hold"),
        {"otherwise": Key(TEXT, "what to say then", required=True)},
        lambda context, place, value, more: Require(
            context.condition(place, value), more["otherwise"]
        ),
    ),
}


def _identified(context: _Context, place: Place, name: str) -> str:
    if name not in context.identification:
        known = ", ".join(context.identification)
        raise place.refuse(f"not in identification: {name!r}; there are: {known}")
    return name


PHASE_KEYS: Final[Keys] = {
    "steps": Key(_STEPS, "what is done, in this order", required=True),
    "finally": Key(_STEPS, "what is done at the end, also after a failure", "nothing"),
    "tester_present": Key(choice(_WHOM), "who is sent 3E 80 meanwhile", "nobody"),
}
ROUTINE_KEYS: Final[Keys] = {
    "id": Key(_RID, "its identifier", "as in the vehicle's description"),
    "status": Key(
        choice({one.value: one for one in Status}),
        'success is a status record of 00 or none ("zero_is_good"), or any positive answer',
        '"zero_is_good"',
    ),
    "texts": Key(numbered(TEXT, 0xFF), "what the first byte of the status record says"),
    "reasons": Key(
        numbered(TEXT, 0xFF), "what the bytes say that follow the first one and a count"
    ),
    "running": Key(
        each(whole(0, 0xFF), at_most=255),
        "first bytes that say that it still runs: 31 03 is asked until there is another",
        "none",
    ),
    "poll_s": Key(seconds(60), "seconds between two 31 03", "0.2"),
}
#: Fields of `EcuDescription` by the table and key that override them.
TIMING_KEYS: Final[Keys] = {
    "p2_s": Key(seconds(60), "P2: to the first answer", "the vehicle's description, or 0.05"),
    "p2_star_s": Key(seconds(600), "P2*: to the next answer after a 78", "the same, or 5"),
    "s3_s": Key(seconds(600), "S3 of the ECU", "the same, or 5"),
    "boot_s": Key(seconds(120), "from a reset to the first answer", "the same, or 0.5"),
    "return_s": Key(seconds(600), "an ECU that resets is waited for so long", "30"),
    "again_after_s": Key(
        each(seconds(60), at_most=10),
        "pauses before a request whose answer got lost is sent again",
        "[0, 1]",
    ),
    "tester_present_s": Key(seconds(60), "between two 3E 80", "2"),
}
MEMORY_KEYS: Final[Keys] = {
    "address_bytes": Key(whole(1, 8), "bytes of an address in 34 and in records", "4"),
    "size_bytes": Key(whole(1, 8), "bytes of a size in 34 and in records", "4"),
    "data_format": Key(whole(0, 0xFF), "dataFormatIdentifier of 34", "0x00"),
    "encode": Key(
        FLAG,
        "compress and encrypt in the quickest data format that the vehicle's description offers;"
        " otherwise downloads are sent as they are",
        "false",
    ),
    "align": Key(whole(1, 1 << 20), "downloads are whole multiples of so many bytes", "1"),
    "fill": Key(whole(0, 0xFF), "what they are filled up with", "0xFF"),
    "max_block_length": Key(
        whole(3, 0xFFFF_FFFF), "longest 36, counter and service included; 34's answer counts too"
    ),
    "sector_size": Key(whole(1, 1 << 26), "bytes erased at a time", "the vehicle's description"),
    "page_size": Key(whole(1, 1 << 20), "bytes programmed at a time: blocks are whole pages", "1"),
    "erase_s": Key(seconds(60), "time to erase a sector, for the remaining time", "0"),
    "program_s": Key(seconds(60), "time to program a page, for the remaining time", "0"),
}
SECURITY_KEYS: Final[Keys] = {
    "level": Key(
        Kind(_read_level, "odd number, 0x01 to 0x7D"), 'level that `unlock = "default"` means'
    ),
    "key": Key(
        TEXT, "key hook: FILE.py:FUNCTION, MODULE:FUNCTION or LIBRARY.so[:SYMBOL]", "`--key`"
    ),
    "serial": Key(FLAG, "read the serial number first, for the key hook", "false"),
    "variant": Key(TEXT, "handed to the key hook: the variant of the ECU", "empty"),
    "options": Key(TEXT, "handed to the key hook", "empty"),
}
ADDRESSING_KEYS: Final[Keys] = {
    "kind": Key(
        choice({name: name for name in ("normal", "normal_fixed", "extended", "mixed", "doip")}),
        "addressing of ISO 15765-2, or DoIP",
        '"normal"',
    ),
    "request_id": Key(whole(0, 0x1FFF_FFFF), "CAN identifier, tester to ECU"),
    "response_id": Key(whole(0, 0x1FFF_FFFF), "CAN identifier, ECU to tester"),
    "functional_id": Key(
        whole(0, 0x1FFF_FFFF), "CAN identifier of requests to all", "0x7DF, or 0x18DB33F1"
    ),
    "bits": Key(choice({"11": False, "29": True}), "bits of the identifiers", "by their values"),
    "source": Key(whole(0, 0xFF), "address of the tester (normal_fixed, extended, mixed)", "0xF1"),
    "target": Key(whole(0, 0xFF), "address of the ECU (the same)"),
    "functional_target": Key(whole(0, 0xFF), "address of all ECUs (the same)", "0x33"),
    "extension": Key(whole(0, 0xFF), "address extension N_AE (mixed)"),
    "fd": Key(FLAG, "CAN FD", "false"),
    "bit_rate": Key(whole(1, 100_000_000), "bit/s, for the remaining time", "500000"),
    "data_bit_rate": Key(whole(1, 100_000_000), "the same, data phase of CAN FD", "2000000"),
    "ecu_address": Key(whole(1, 0xFFFF), "logical address of the ECU (DoIP)"),
    "tester_address": Key(whole(1, 0xFFFF), "logical address of the tester (DoIP)", "0x0E80"),
    "functional_address": Key(whole(1, 0xFFFF), "logical address of all ECUs (DoIP)", "0xE400"),
}
BLOCK_KEYS: Final[Keys] = {
    "name": Key(TEXT, "what it is called in progress and errors", required=True),
    "address": Key(whole(0, (1 << 64) - 1), "first address", required=True),
    "size": Key(whole(1, 1 << 32), "bytes of the block", required=True),
    "index": Key(whole(0, 0xFF), "what the ECU calls it: `{index}`", "its place in the list"),
}
LOADER_KEYS: Final[Keys] = {
    "file": Key(TEXT, "firmware file, relative to the sequence file", "`--loader`"),
    "address": Key(whole(0, (1 << 64) - 1), "where it goes, for a file that does not say it"),
}
CHECKSUM_KEYS: Final[Keys] = {
    "kind": Key(
        choice({**{name: name for name in CHECKSUMS}, "crc": "crc"}),
        'a known checksum, or "crc" with the parameters below',
        required=True,
    ),
    "width": Key(choice({"8": 8, "16": 16, "24": 24, "32": 32}), "bits of the CRC"),
    "polynomial": Key(whole(0, 0xFFFF_FFFF), "without its highest bit, not reflected"),
    "initial": Key(whole(0, 0xFFFF_FFFF), "start value", "0"),
    "final_xor": Key(whole(0, 0xFFFF_FFFF), "what the result is combined with", "0"),
    "reflected": Key(FLAG, "least significant bit first", "false"),
}


def _read_routines(place: Place, value: object) -> dict[str, Routine]:
    found: dict[str, Routine] = {}
    entries: dict[str, object] = named(Kind(lambda _place, one: one, "")).read(place, value)
    for name, entry in entries.items():
        here = place.of(name)
        table = entry if isinstance(entry, dict) else {"id": entry}
        read = read_table(here, table, ROUTINE_KEYS)
        if "id" not in read and name not in _KNOWN_ROUTINES:
            raise here.refuse("id is missing: the vehicle's description has no such routine")
        read["identifier"] = read.pop("id", None)
        read["running"] = frozenset(read.pop("running", ()))
        found[name] = Routine(name=name, **read)
    return found


def _table(keys: Keys) -> Kind:
    return Kind(partial(read_table, keys=keys), "table")


def _read_blocks(place: Place, value: object) -> tuple[Block, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= 256:
        raise place.refuse("1 to 256 blocks expected")
    found: list[Block] = []
    for number, entry in enumerate(value):
        here = place.of(number)
        block = Block(**{"index": number} | read_table(here, entry, BLOCK_KEYS))
        for other in found:
            if other.name == block.name:
                raise here.of("name").refuse(f"there is another block {block.name!r}")
            if block.address < other.address + other.size and (
                other.address < block.address + block.size
            ):
                raise here.of("address").refuse(f"overlaps block {other.name!r}")
        found.append(block)
    return tuple(found)


def _read_checksum(place: Place, value: object) -> Callable[[bytes], bytes]:
    read = read_table(place, value, CHECKSUM_KEYS)
    kind = read.pop("kind")
    if kind != "crc":
        if read:
            raise place.of(next(iter(read))).refuse('only with kind = "crc"')
        return CHECKSUMS[kind]
    for name in ("width", "polynomial"):
        if name not in read:
            raise place.refuse(f"{name} is missing")
    for name in ("polynomial", "initial", "final_xor"):
        if read.get(name, 0) >> read["width"]:
            raise place.of(name).refuse(f"does not fit {read['width']} bits")
    return Crc(**read).of


def _read_prose(place: Place, value: object) -> str:
    if not isinstance(value, str) or len(value) > 4096:
        raise place.refuse("text expected")
    return value


#: Keys of `addressing` that each kind needs, and those that it knows besides the wire's own.
_ADDRESSES: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "normal": (frozenset({"request_id", "response_id"}), frozenset({"functional_id", "bits"})),
    "normal_fixed": (frozenset({"target"}), frozenset({"source", "functional_target"})),
    "extended": (
        frozenset({"request_id", "response_id", "target"}),
        frozenset({"source", "functional_id", "functional_target", "bits"}),
    ),
    "mixed": (
        frozenset({"extension"}),
        frozenset(
            {"request_id", "response_id", "functional_id", "source", "target", "functional_target"}
        ),
    ),
    "doip": (frozenset({"ecu_address"}), frozenset({"tester_address", "functional_address"})),
}
_WIRE: Final = frozenset({"kind", "fd", "bit_rate", "data_bit_rate"})
_TESTER: Final = 0xF1
_EVERYONE: Final = 0x33


def _read_addressing(place: Place, value: object) -> Addressing:
    read = read_table(place, value, ADDRESSING_KEYS)
    kind = read.get("kind", "normal")
    needed, known = _ADDRESSES[kind]
    for name in sorted(needed - read.keys()):
        raise place.refuse(f'{name} is missing, for kind = "{kind}"')
    for name in read:
        if name not in needed | known | _WIRE:
            raise place.of(name).refuse(f'not with kind = "{kind}"')
    found = {name: read[name] for name in _WIRE & read.keys() if name != "kind"}
    if kind == "doip":
        return Addressing(**found, **{name: read[name] for name in (needed | known) & read.keys()})
    try:
        physical, functional = _can_addresses(kind, read)
    except ParameterError as error:
        raise place.refuse(str(error)) from error
    return Addressing(
        **found,
        request_id=physical.transmit.identifier,
        response_id=physical.receive.identifier,
        extended_ids=physical.transmit.extended,
        request_extension=physical.transmit_extension,
        response_extension=physical.receive_extension,
        functional_id=functional.transmit.identifier,
        functional_extension=functional.transmit_extension,
    )


def _can_addresses(kind: str, read: Mapping[str, Any]) -> tuple[Address, Address]:
    """The way to the ECU, and the way to all."""
    source, target = read.get("source", _TESTER), read.get("target", 0)
    everyone = read.get("functional_target", _EVERYONE)
    if kind == "normal_fixed":
        return (
            addressing.normal_fixed(source=source, target=target),
            addressing.normal_fixed(source=source, target=everyone, functional=True),
        )
    if kind == "mixed" and "request_id" not in read:
        if "target" not in read:
            raise ParameterError("target, or request_id and response_id, is missing")
        extension = read["extension"]
        return (
            addressing.mixed_29(source=source, target=target, extension=extension),
            addressing.mixed_29(
                source=source, target=everyone, extension=extension, functional=True
            ),
        )
    if "response_id" not in read:
        raise ParameterError("response_id is missing")
    request, response = read["request_id"], read["response_id"]
    wide = read.get("bits", request > 0x7FF or response > 0x7FF)
    if not wide and max(request, response) > 0x7FF:
        raise ParameterError("identifiers of more than 11 bits")
    default = 0x18DB_33F1 if wide else 0x7DF
    there, back, all_of_them = (
        FrameHeader(identifier, extended=wide)
        for identifier in (request, response, read.get("functional_id", default))
    )
    if kind == "extended":
        return (
            addressing.extended(there, back, source=source, target=target),
            addressing.extended(all_of_them, back, source=source, target=everyone, functional=True),
        )
    if kind == "mixed":
        extension = read["extension"]
        return (
            addressing.mixed_11(there, back, extension=extension),
            addressing.mixed_11(all_of_them, back, extension=extension, functional=True),
        )
    return addressing.normal(there, back), addressing.normal(all_of_them, back, functional=True)


#: The keys of a file.
FILE_KEYS: Final[Keys] = {
    "name": Key(TEXT, "what the sequence is for", required=True),
    "description": Key(Kind(_read_prose, "text"), "for people"),
    "addressing": Key(
        Kind(_read_addressing, "table"),
        "how it is reached",
        "the vehicle's description, or the command line",
    ),
    "timing": Key(_table(TIMING_KEYS), "how long and how often the ECU is asked"),
    "memory": Key(_table(MEMORY_KEYS), "how its memory is spoken of, and what it costs"),
    "security": Key(_table(SECURITY_KEYS), "what opens it"),
    "identification": Key(
        named(whole(0, 0xFFFF)),
        "what can be read of it",
        ", ".join(f"{name} = 0x{did:04X}" for name, did in IDENTIFICATION.items()),
    ),
    "routines": Key(Kind(_read_routines, "table: name = identifier, or a table"), "its routines"),
    "digest_routine": Key(
        _ROUTINE, "routine by which it proves what runs (option: nonce); conditions need it", "none"
    ),
    "checksum": Key(Kind(_read_checksum, "table"), "what `{checksum}` is", "none"),
    "loader": Key(_table(LOADER_KEYS), "the secondary boot loader", "none"),
    "blocks": Key(
        Kind(_read_blocks, "list of tables"),
        "logical blocks, in the order in which they are programmed",
        "one per contiguous range of the file",
    ),
    **{
        name: Key(_table(PHASE_KEYS), text)
        for name, text in {
            STAGE: "two slots, or a staging area: write beside what runs; "
            "one slot: ask whether it may",
            PROGRAM: "one slot: write and start; with a staging area only where nothing runs",
            ACTIVATE: "two slots: run the new image on trial; staging area: have it copied",
            SELF_TEST: "have the new application test itself, before it is kept",
            CONFIRM: "two slots: keep it; staging area: make sure of it",
            REVERT: "two slots: go back; staging area: take back a copy that has not begun",
        }.items()
    },
}


def read_sequence(text: str, *, name: str) -> Sequence:
    """The sequence in a file's text; `SequenceError` names file, line and key."""
    if len(text) > _LONGEST:
        raise SequenceError(f"{name}: longer than {_LONGEST} characters")
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SequenceError(f"{name}: {error}") from error
    place = Place(name, lines_of(text))
    return _sequence(place, read_table(place, content, FILE_KEYS))


def load_sequence(path: FilePath) -> Sequence:
    """The sequence in a file; files that it names are beside it."""
    try:
        with path.open("rb") as opened:
            text = opened.read(_LONGEST + 1).decode("utf-8")
    except OSError as error:
        raise SequenceError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SequenceError(f"{path}: {error}") from error
    return replace(read_sequence(text, name=str(path)), folder=path.parent)


@cache
def packaged() -> Mapping[str, Sequence]:
    """The vehicle's own sequences, by file name without its ending."""
    found: dict[str, Sequence] = {}
    for entry in sorted(files(_PACKAGE).joinpath("sequences").iterdir(), key=lambda one: one.name):
        stem, _, ending = entry.name.rpartition(".")
        if ending == "toml":
            found[stem] = read_sequence(entry.read_text(encoding="utf-8"), name=entry.name)
    return found


#: Key of `timing` or `memory` that is a field of `EcuDescription`.
_DESCRIBED: Final = frozenset(one.name for one in fields(EcuDescription))


def _sequence(place: Place, read: dict[str, Any]) -> Sequence:
    routines = read.get("routines", {})
    identification = dict(IDENTIFICATION) | read.get("identification", {})
    timing, memory = dict(read.get("timing", {})), dict(read.get("memory", {}))
    security = read.get("security", {})
    overrides = {
        key: table.pop(key) for table in (timing, memory) for key in _DESCRIBED & table.keys()
    }
    if "level" in security:
        overrides["security_level"] = security["level"]
    context = _Context(routines, identification, digest="digest_routine" in read)
    digest = read.get("digest_routine")
    return Sequence(
        name=read["name"],
        description=read.get("description", ""),
        overrides=overrides,
        phases=_phases(place, context, read),
        memory=MemoryFormat(**memory),
        patience=Patience(**timing),
        blocks=read.get("blocks", ()),
        identification=identification,
        digest=None if digest is None else context.routine(place.of("digest_routine"), digest),
        loader=Loader(**read["loader"]) if "loader" in read else None,
        checksum=read.get("checksum"),
        addressing=read.get("addressing", Addressing()),
        key=security.get("key", ""),
        key_by_serial=security.get("serial", False),
        variant=security.get("variant", ""),
        key_options=security.get("options", ""),
    )


def _phases(place: Place, context: _Context, read: Mapping[str, Any]) -> dict[str, Phase]:
    found = {
        name: Phase(
            steps=_steps(context, read[name]["steps"]),
            finally_=_steps(context, read[name].get("finally", ())),
            tester_present=read[name].get("tester_present"),
        )
        for name in PHASES
        if name in read
    }
    stages = PROGRAM not in found or ACTIVATE in found
    if not stages:
        for name in (CONFIRM, REVERT):
            if name in found:
                raise place.of(name).refuse(
                    f"an ECU with {PROGRAM} and without {ACTIVATE} has one slot and nothing else"
                )
    elif STAGE not in found:
        missing = f"{PROGRAM} is missing (or {STAGE} and {ACTIVATE}, for two slots)"
        if PROGRAM in found:
            missing = f"{STAGE} is missing: {PROGRAM} and {ACTIVATE} are for a staging area"
        raise place.refuse(missing)
    writing = {PROGRAM, STAGE} if stages else {PROGRAM}
    for name, phase in found.items():
        if phase.writes is not (name in writing):
            expected = "needs a step" if name in writing else "has no step"
            raise place.of(name).refuse(f'this phase {expected} download = "image"')
    return found


def _steps(context: _Context, entries: Any) -> tuple[Step, ...]:  # noqa: ANN401 what _read_steps gives
    return tuple(_step(context, place, entry) for place, entry in entries)


def _step(context: _Context, place: Place, entry: object) -> Step:
    if not isinstance(entry, dict):
        raise place.refuse("a step expected: { step = ..., ... }")
    found = [key for key in entry if key in ACTIONS]
    if len(found) != 1:
        what = "what it does is missing" if not found else f"{found[0]} and {found[1]} at once"
        raise place.refuse(f"{what}; one of {', '.join(ACTIONS)} expected")
    action = ACTIONS[found[0]]
    read = read_table(place, entry, {**STEP_KEYS, found[0]: action.key, **action.more})
    condition = read.get("must_answer")
    if condition is not None:
        if read.get("to") is not Whom.ALL:
            raise place.of("must_answer").refuse('only with to = "all"')
        context.condition(place.of("must_answer"), condition)
    if read.get("to") is Whom.ALL and found[0] not in _TO_ALL:
        raise place.of("to").refuse(f"{found[0]} is asked of one ECU")
    return Step(
        name=read["step"],
        action=action.make(context, place.of(found[0]), read[found[0]], read),
        to=read.get("to", Whom.ECU),
        quiet=read.get("quiet", False),
        must_answer=condition,
        accept=read.get("accept", frozenset()),
    )


#: What can be asked of all ECUs of a wire at once.
_TO_ALL: Final = frozenset({"session", "routine", "request", "write"})
