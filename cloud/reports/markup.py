"""Markup that escapes by construction: text becomes markup only through `element`.

A VIN, a trouble code's text or a file name may hold anything; as plain `str` it is escaped
wherever it is put, in content and in attributes.
"""

from html import escape
from typing import Final

#: Elements that have no content and no end tag.
_VOID: Final = frozenset({"meta", "br", "hr"})


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """Build `<name attributes>children</name>`.

    An attribute of None is left out; `class_` stands for `class`, and other underscores for
    hyphens (`stroke_width`).
    """
    pairs = "".join(
        f' {_attribute(key)}="{escape(_text(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{pairs}>")
    return Markup(f"<{name}{pairs}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Put markup and text together; text is escaped."""
    return Markup(
        "".join(child if isinstance(child, Markup) else escape(child) for child in children)
    )


def _attribute(key: str) -> str:
    return "class" if key == "class_" else key.replace("_", "-")


def _text(value: str | float) -> str:
    """Numbers without needless digits, so that coordinates stay short."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
