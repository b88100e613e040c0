"""Our frozen dataclasses as JSON values and back, for the journal."""

import types
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: object) -> object:
    """Dataclasses become objects, bytes hexadecimal text, enums their values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    match value:
        case bytes():
            return value.hex()
        case Enum():
            return value.value
        case dict():
            return {key: to_json(item) for key, item in value.items()}
        case tuple() | list():
            return [to_json(item) for item in value]
        case _:
            return value


def from_json(wanted: type[T], value: object) -> T:
    """The value of type `wanted` that `to_json` wrote.

    Raises `KeyError`, `TypeError` or `ValueError` if it is something else.
    """
    decoded: T = _decode(wanted, value)
    return decoded


def _decode(wanted: Any, value: Any) -> Any:  # noqa: ANN401 walks arbitrary type hints
    origin = get_origin(wanted)
    if origin in (types.UnionType, Union):
        if value is None:
            return None
        (wanted,) = (option for option in get_args(wanted) if option is not type(None))
        return _decode(wanted, value)
    if origin is tuple:
        return tuple(_decode(get_args(wanted)[0], item) for item in value)
    if is_dataclass(wanted):
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is no object")
        build: Any = wanted  # the type checker narrows it to an instance
        hints = get_type_hints(build)
        return build(**{name: _decode(hints[name], item) for name, item in value.items()})
    if wanted is bytes:
        return bytes.fromhex(value)
    if issubclass(wanted, Enum):
        return wanted(value)
    if wanted is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, wanted):
        raise TypeError(f"{value!r} is not {wanted.__name__}")
    return value
