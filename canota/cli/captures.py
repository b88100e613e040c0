"""The options of commands that write a log of wires."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from canota.cli.exits import CommandError, Exit
from recording import Channel, LogError
from recording.formats import format_of
from recording.recorder import SMALLEST, Recorder

CaptureOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--capture",
        metavar="FILE",
        help="Record the wires: .pcapng (DoIP too), .asc, .blf, .log (candump), .mf4.",
        dir_okay=False,
    ),
]
MaxSizeOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="KIB", help="Largest size of the file; recording ends there, or see --keep."
    ),
]
KeepOption: TypeAlias = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Go on in a new file at --max-size, and keep N older: FILE.1.ENDING.",
        min=0,
    ),
]


def recording_to(
    path: Path | None, *, max_size: int | None, keep: int
) -> Callable[[Sequence[Channel], int], Recorder] | None:
    """What opens the log, once its channels and its start in ns since 1970 are known."""
    if path is None:
        if max_size is not None or keep:
            raise CommandError("--max-size and --keep need --capture", Exit.USAGE)
        return None
    size = None if max_size is None else max_size * 1024
    if keep and size is None:
        raise CommandError("--keep needs --max-size", Exit.USAGE)
    if size is not None and size < SMALLEST:
        raise CommandError(f"--max-size {max_size}: {SMALLEST // 1024} is the least", Exit.USAGE)
    try:
        format_of(path)
    except LogError as error:
        raise CommandError(str(error), Exit.USAGE) from error

    def opened(channels: Sequence[Channel], start_ns: int) -> Recorder:
        return Recorder(path, channels, start_ns=start_ns, max_size=size, keep=keep)

    return opened
