"""The options of commands that read a log: which of its records are wanted."""

from typing import Annotated, TypeAlias

import typer

from canota.cli.arguments import seconds
from canota.cli.exits import CommandError, Exit
from protocols.can.bits import NS_PER_S
from recording import LogError
from recording.selection import IdentifierRange, Selection, identifiers

IdOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        metavar="IDS",
        help="Only these identifiers: 7A0, 700-7FF, 18DA10F1 (eight digits: extended).",
    ),
]
WithoutOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--not-id", metavar="IDS", help="Not these identifiers.")
]
ChannelOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--channel", metavar="NAME", help="Only this channel.")
]
FromOption: TypeAlias = Annotated[
    float, typer.Option("--from", metavar="SECONDS", help="From then on, after the first record.")
]
UntilOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--until", metavar="SECONDS", help="Up to then, after the first record."),
]


def selection(
    only: list[str] | None,
    without: list[str] | None,
    channels: list[str] | None,
    from_s: float = 0.0,
    until_s: float | None = None,
) -> Selection:
    until_ns = None if until_s is None else round(seconds(until_s, option="--until") * NS_PER_S)
    return Selection(
        identifiers=_ranges("--id", only),
        without=_ranges("--not-id", without),
        channels=frozenset(channels or ()),
        from_ns=round(seconds(from_s, option="--from") * NS_PER_S),
        until_ns=until_ns,
    )


def _ranges(option: str, texts: list[str] | None) -> tuple[IdentifierRange, ...]:
    try:
        return tuple(one for text in texts or () for one in identifiers(text))
    except LogError as error:
        raise CommandError(f"{option}: {error}", Exit.USAGE) from error


def pair(argument: str, option: str, what: str) -> tuple[str, str]:
    """`NAME=VALUE`."""
    name, _, value = argument.partition("=")
    if not name or not value:
        raise CommandError(f"{option} {argument}: {what} expected", Exit.USAGE)
    return name, value
