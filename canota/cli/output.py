"""What commands print: tables for people, JSON for scripts, both from the same messages."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Annotated, Final, TypeAlias, cast

import typer
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from canota.cli.arguments import target
from canota.cli.exits import CommandError, Exit, explained

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

CloudOption = Annotated[
    str,
    typer.Option(
        "--cloud",
        envvar="CANOTA_CLOUD",
        metavar="HOST:PORT",
        help="Where the cloud listens.",
        callback=target,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
DEFAULT_CLOUD: Final = "127.0.0.1:50080"

#: Columns of a table in a pipe or a file, where nobody says how wide it is.
_PIPE_WIDTH: Final = 160

#: Outcome, verdict or phase -> style.
STYLES: Final[dict[str, str]] = {
    "updated": "green",
    "update": "green",
    "rolled_back": "yellow",
    "refused": "magenta",
    "failed_safe": "bold red",
    "up_to_date": "dim",
}


def group() -> typer.Typer:
    """A group of commands in the house's look."""
    return typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",
        epilog=explained(),
        add_completion=False,
        pretty_exceptions_enable=False,
    )


def console() -> Console:
    """The standard output as it is now; what vehicles sent is never taken for markup."""
    made = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def print_json(value: Json) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_file(path: Path, content: bytes) -> None:
    """Write a file as a whole or leave what was there; `CommandError` names it."""
    try:
        if path.exists() and not path.is_file():  # a terminal, a pipe
            path.write_bytes(content)
            return
        target = path.resolve()
        piece = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            piece.write_bytes(content)
            piece.replace(target)
        finally:
            piece.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", Exit.FAILED) from error


def print_messages(messages: Sequence[Message]) -> None:
    print_json([plain(message) for message in messages])


def plain(message: Message) -> dict[str, Json]:
    """A message as JSON with every field: digests in hexadecimal, enums as words, times in UTC."""
    # The stubs add the C implementation's twin of the type.
    fields = cast("Sequence[FieldDescriptor]", message.DESCRIPTOR.fields)
    return {field.name: _field(message, field) for field in fields}


def _field(message: Message, field: FieldDescriptor) -> Json:
    if field.is_repeated:
        return [_value(one, field) for one in getattr(message, field.name)]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _value(getattr(message, field.name), field)


def _value(value: object, field: FieldDescriptor) -> Json:
    match value:
        case Timestamp():
            return time_text(value)
        case Duration():
            return value.ToTimedelta().total_seconds()
        case Message():
            return plain(value)
        case bytes():
            return value.hex()
        case int() if field.enum_type is not None:
            return word(field.enum_type, value)
        case bool() | int() | float() | str():
            return value
        case _:
            raise TypeError(f"{field.full_name}: {type(value).__name__} has no place in JSON")


def word(enum: EnumDescriptor, number: int) -> str:
    """An enum value as a word without its type's prefix; empty if it is unspecified."""
    first = enum.values_by_number[0].name
    known = enum.values_by_number.get(number)
    if known is None:
        return str(number)
    return "" if number == 0 else known.name.removeprefix(first.removesuffix("UNSPECIFIED")).lower()


def time_text(time: Timestamp) -> str:
    """A time as ISO 8601 in UTC, empty if it is unset."""
    if not time.seconds and not time.nanos:
        return ""
    return time.ToDatetime(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def table(*columns: str, title: str = "", right: Sequence[str] = ()) -> Table:
    """An empty table in the house's look."""
    made = Table(
        title=title or None, title_justify="left", box=None, header_style="dim", pad_edge=False
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def styled(text: str) -> Text:
    """A verdict or an outcome in its colour."""
    return Text(text.replace("_", " "), style=STYLES.get(text, ""))


def size(count: int) -> str:
    """A number of bytes for people."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024 * 1024 else f"{count / 1024 / 1024:.2f} MiB"
