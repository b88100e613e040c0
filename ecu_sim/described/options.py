"""What a PDX does not tell of its ECU, in a small TOML file; the guide lists every key."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final  # Any: what TOML holds, until it has been looked at

from ecu_sim.described import DescribedEcu, DescriptionError, Region, Role

_LONGEST: Final = 1 << 16
#: Bytes of one region.
MAX_REGION: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuOptions:
    """Each replaces, where it is given, what the description says."""

    request_id: int | None = None
    response_id: int | None = None
    functional_id: int | None = None
    max_block_length: int | None = None
    seed_length: int | None = None
    page_size: int | None = None
    boot_s: float | None = None
    erase_s: float | None = None
    program_s: float | None = None
    #: `python:FILE:FUNCTION`.
    key: str = ""
    data: Mapping[int, bytes] = field(default_factory=dict)
    roles: Mapping[int, Role] = field(default_factory=dict)
    memory: tuple[Region, ...] = ()


def read_options(text: str, *, name: str) -> EcuOptions:
    """The options; `DescriptionError` names file and key."""
    if len(text) > _LONGEST:
        raise DescriptionError(f"{name}: longer than {_LONGEST} characters")
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise DescriptionError(f"{name}: {error}") from error
    found = _read(_Place(name, ""), content, _KEYS)
    found["roles"] = found.pop("routines", {})
    return EcuOptions(**found)


def applied(ecu: DescribedEcu, options: EcuOptions) -> DescribedEcu:
    """The ECU, completed."""
    plain = {key: getattr(options, key) for key in _PLAIN}
    ecu = replace(ecu, **{key: value for key, value in plain.items() if value is not None})
    unknown = [rid for rid in options.roles if rid not in ecu.routines]
    if unknown:
        raise DescriptionError(f"routines: {ecu.name} has no routine {unknown[0]:04X}")
    missing = [did for did in options.data if did not in ecu.data]
    if missing:
        raise DescriptionError(f"data: {ecu.name} has no data identifier {missing[0]:04X}")
    data = {
        did: replace(one, record=options.data.get(did, one.record)) for did, one in ecu.data.items()
    }
    routines = {
        rid: replace(one, role=options.roles.get(rid, one.role))
        for rid, one in ecu.routines.items()
    }
    memory = options.memory or ecu.memory
    for region in memory:
        if not region.ram and region.sector % ecu.page_size:
            raise DescriptionError(
                f"memory {region.name}: sectors of {region.sector} bytes are not whole pages"
                f" of {ecu.page_size}"
            )
    return replace(ecu, data=data, routines=routines, memory=memory)


@dataclass(frozen=True, slots=True)
class _Place:
    file: str
    key: str

    def of(self, key: str) -> "_Place":
        return _Place(self.file, f"{self.key}.{key}" if self.key else key)

    def refuse(self, expected: str) -> DescriptionError:
        return DescriptionError(f"{self.file}: {self.key}: {expected} expected")


_Reader = Callable[[_Place, object], Any]


def _read(place: _Place, content: object, keys: Mapping[str, _Reader]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise place.refuse("a table")
    for key in content:
        if key not in keys:
            raise place.of(key).refuse(f"one of {', '.join(keys)}")
    return {key: keys[key](place.of(key), value) for key, value in content.items()}


def _whole(low: int, high: int) -> _Reader:
    def read(place: _Place, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise place.refuse(f"a number of 0x{low:X} to 0x{high:X}")
        return value

    return read


def _seconds(place: _Place, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 60:
        raise place.refuse("seconds, 0 to 60")
    return float(value)


def _text(place: _Place, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise place.refuse("a text")
    return value


def _number_of(place: _Place, key: str) -> int:
    try:
        number = int(key, 16)
    except ValueError:
        number = -1
    if not 0 <= number <= 0xFFFF or len(key) > 6:
        raise place.of(key).refuse("four hex digits")
    return number


def _data(place: _Place, value: object) -> dict[int, bytes]:
    """DID -> text in ASCII, or `hex:` and bytes."""
    if not isinstance(value, dict):
        raise place.refuse("a table")
    found: dict[int, bytes] = {}
    for key, written in value.items():
        content = _text(place.of(key), written)
        try:
            record = (
                bytes.fromhex(content[4:])
                if content.startswith("hex:")
                else content.encode("ascii")
            )
        except (ValueError, UnicodeEncodeError) as error:
            raise place.of(key).refuse("ASCII, or hex: and bytes") from error
        found[_number_of(place, key)] = record
    return found


def _roles(place: _Place, value: object) -> dict[int, Role]:
    if not isinstance(value, dict):
        raise place.refuse("a table")
    roles = {role.value: role for role in Role}
    found: dict[int, Role] = {}
    for key, written in value.items():
        if not isinstance(written, str) or written not in roles:
            raise place.of(key).refuse(f"one of {', '.join(roles)}")
        found[_number_of(place, key)] = roles[written]
    return found


def _memory(place: _Place, value: object) -> tuple[Region, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= 32:
        raise place.refuse("1 to 32 regions")
    regions: list[Region] = []
    for number, content in enumerate(value):
        here = place.of(str(number))
        found = _read(here, content, _REGION)
        if missing := [key for key in ("name", "start", "size") if key not in found]:
            raise here.of(missing[0]).refuse("a value")
        region = Region(**{"sector": 0, **found})
        if region.sector and region.size % region.sector:
            raise here.of("size").refuse("whole sectors")
        regions.append(region)
    if len({region.name for region in regions}) != len(regions):
        raise place.refuse("different names")
    return tuple(regions)


def _region_name(place: _Place, value: object) -> str:
    text = _text(place, value)
    if not (text.isascii() and text.replace("_", "").isalnum() and len(text) <= 32):
        raise place.refuse("letters, digits and underscores")
    return text


_REGION: Final[Mapping[str, _Reader]] = {
    "name": _region_name,
    "start": _whole(0, 0xFFFF_FFFF),
    "size": _whole(1, MAX_REGION),
    "sector": _whole(0, MAX_REGION),
}
_PLAIN: Final = (
    "request_id",
    "response_id",
    "functional_id",
    "max_block_length",
    "seed_length",
    "page_size",
    "boot_s",
    "erase_s",
    "program_s",
)
_KEYS: Final[Mapping[str, _Reader]] = {
    "request_id": _whole(0, 0x1FFF_FFFF),
    "response_id": _whole(0, 0x1FFF_FFFF),
    "functional_id": _whole(0, 0x1FFF_FFFF),
    "max_block_length": _whole(0x10, 0xFFFF),
    "seed_length": _whole(1, 255),
    "page_size": _whole(1, 0x1_0000),
    "boot_s": _seconds,
    "erase_s": _seconds,
    "program_s": _seconds,
    "key": _text,
    "data": _data,
    "routines": _roles,
    "memory": _memory,
}
