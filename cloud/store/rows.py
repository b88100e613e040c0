"""Small pieces that the row modules share."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from cloud.store.now import from_microseconds, microseconds

if TYPE_CHECKING:
    from sqlalchemy import Row

_T = TypeVar("_T")

#: A row whose columns the reader knows by name.
AnyRow: TypeAlias = "Row[*tuple[Any, ...]]"  # Any: SQL types stay in the tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[_T]):
    """Some items in order, and where to go on; `next_key` is None on the last page."""

    items: tuple[_T, ...]
    next_key: str | None


def page_of(items: Sequence[tuple[str, _T]], *, size: int) -> Page[_T]:
    """Make a page of (key, item) pairs of which one more than `size` was asked for."""
    shown = items[:size]
    return Page(
        items=tuple(item for _, item in shown),
        next_key=shown[-1][0] if len(items) > size else None,
    )


def to_us(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds(moment)


def from_us(value: int | None) -> datetime | None:
    return None if value is None else from_microseconds(value)
