"""Dataclasses of the fleet as compressed JSON: for what is stored and read back as a whole."""

import json
import types
import typing
import zlib
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from functools import cache
from typing import Any, TypeVar

from cloud.store.errors import StoreDamagedError
from cloud.store.now import from_microseconds, microseconds

_T = TypeVar("_T")

#: What reading raises on bytes that `dump` has not made.
_DAMAGE = (
    zlib.error,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)
#: Fast; snapshots are mostly digits of signals.
_LEVEL = 1


def dump(value: object) -> bytes:
    """Encode a dataclass (or a tuple of them)."""
    return zlib.compress(json.dumps(_plain(value), separators=(",", ":")).encode(), _LEVEL)


def load(kind: type[_T], document: bytes) -> _T:
    """Decode what `dump` made of a `kind`; unknown keys are ignored, missing ones take defaults.

    `StoreDamagedError` for anything else.
    """
    try:
        value: _T = _typed(kind, json.loads(zlib.decompress(document)))
    except _DAMAGE as error:
        raise StoreDamagedError(f"a stored {kind.__name__} cannot be read: {error}") from error
    return value


def load_many(kind: type[_T], document: bytes) -> tuple[_T, ...]:
    """Decode a tuple of `kind`."""
    return load(tuple[kind, ...], document)  # type: ignore[valid-type]  # a run-time type


def _plain(value: object) -> object:
    match value:
        case None | bool() | str() | float():
            return value
        case bytes():
            return value.hex()
        case int():
            return int(value)
        case datetime():
            return microseconds(value)
        case timedelta():
            return value // timedelta(microseconds=1)
        case tuple():
            return [_plain(item) for item in value]
    if not is_dataclass(value):
        raise TypeError(f"{type(value).__name__} has no place in a document")
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


@cache
def _hints(kind: type) -> dict[str, Any]:  # Any: hints may be any type form
    return typing.get_type_hints(kind)


def _typed(kind: Any, value: Any) -> Any:  # noqa: ANN401 JSON and type forms are untyped by nature
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        if value is None:
            return None
        (kind,) = (arm for arm in typing.get_args(kind) if arm is not types.NoneType)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if item is float:
            return tuple(value)
        return tuple(_typed(item, part) for part in value)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        return kind(
            **{name: _typed(hints[name], part) for name, part in value.items() if name in hints}
        )
    if kind is bytes:
        return bytes.fromhex(value)
    if kind is datetime:
        return from_microseconds(value)
    if kind is timedelta:
        return timedelta(microseconds=value)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return kind(value)
    return value
