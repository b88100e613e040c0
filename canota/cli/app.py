"""The `canota` command: its groups by name; a group's module is imported when it is used."""

import errno
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from canota.cli.exits import CommandError, Exit, explained


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of commands, or one command: the module that offers it as `app`."""

    module: str
    help: str
    panel: str


_WALK, _FLEET, _PROGRAMS, _WIRES = (
    "See it work",
    "Run a fleet",
    "Run the three programs",
    "Look at the wires",
)

#: In the order of the help text.
GROUPS: Final[dict[str, Group]] = {
    "demo": Group(
        module="canota.demo",
        help="Update a simulated car from end to end and write a report of it.",
        panel=_WALK,
    ),
    "vehicle": Group(
        module="canota.cli.vehicle", help="Register vehicles and look at them.", panel=_FLEET
    ),
    "release": Group(
        module="canota.cli.release", help="Publish firmware and inspect it.", panel=_FLEET
    ),
    "campaign": Group(
        module="canota.cli.campaign", help="Bring a release into vehicles.", panel=_FLEET
    ),
    "diag": Group(
        module="canota.cli.diag",
        help="Diagnose vehicles from afar: trouble codes, signals, routines.",
        panel=_FLEET,
    ),
    "remote": Group(
        module="canota.cli.remote",
        help="Reach a vehicle's DoIP edge node with your own tester.",
        panel=_FLEET,
    ),
    "report": Group(module="canota.cli.report", help="Export a campaign's report.", panel=_FLEET),
    "cloud": Group(module="canota.cli.cloud", help="Run the back end.", panel=_PROGRAMS),
    "gateway": Group(
        module="canota.cli.gateway", help="Run a vehicle's telematics gateway.", panel=_PROGRAMS
    ),
    "ecus": Group(
        module="canota.cli.ecus", help="Run a vehicle's simulated ECUs.", panel=_PROGRAMS
    ),
    "link": Group(
        module="canota.cli.link",
        help="Put a wireless link between a gateway and its cloud.",
        panel=_PROGRAMS,
    ),
    "trace": Group(
        module="canota.cli.trace",
        help="Put the wires into words, live or from a log.",
        panel=_WIRES,
    ),
    "log": Group(
        module="canota.cli.log", help="Record, convert and replay logs of wires.", panel=_WIRES
    ),
    "chaos": Group(
        module="canota.chaos.commands",
        help="Break an update at every point, and look at what is left.",
        panel=_WALK,
    ),
    "version": Group(module="canota.cli.version", help="Show the installed version.", panel=_WALK),
}


def _flush() -> None:
    """Write out what is printed, while it can still be said that it cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        # What is left in the buffer would be tried again at the very end, and fail again.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        raise


@contextmanager
def _absent(module: str) -> Iterator[None]:
    """Imports in here do not find this module, unless it has been imported before."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # the import system's word for "none"
    try:
        yield
    finally:
        del sys.modules[module]


class LazyGroup(TyperGroup):
    """A group that imports the module of a command only to run it, and shows errors in one line."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 click's types, vendored by some releases of typer
        name, command, rest = super().resolve_command(ctx, args)
        if name in GROUPS:
            # python-can wants it for MF4, which `recording` reads itself; with it comes pandas, and
            # seconds at every start where it is installed.
            with _absent("asammdf"):
                module = importlib.import_module(GROUPS[name].module)
            command = typer.main.get_command(module.app)
            command.name = name
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 click's types, vendored by some releases of typer
        try:
            result = super().invoke(ctx)
            _flush()
        except CommandError as error:
            raise _said(str(error), error.code) from error
        except OSError as error:
            # A timeout of ours has no number; of a pipe that is closed, its reader has seen enough.
            if error.errno in {None, errno.EPIPE}:
                raise
            place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            raise _said(f"{place}{error.strerror or error}", Exit.FAILED) from error
        except UnicodeEncodeError as error:
            # Arguments that are not text in the terminal's encoding come as lone surrogates.
            raise _said(f"{error.object!r} is not text", Exit.USAGE) from error
        return result


def _said(message: str, code: Exit) -> typer.Exit:
    """Say it in one line, whatever a file is called or a peer sent."""
    line = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in message
    )
    Console(stderr=True).print(
        f"[bold red]canota:[/] {escape(line)}", highlight=False, emoji=False, soft_wrap=True
    )
    return typer.Exit(code)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    epilog=explained(),
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 typer calls it so
    if wanted:
        sys.stdout.write(f"canota {version('canota')}\n")
        raise typer.Exit


@app.callback()
def canota(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    """
    Over-the-air updates of a car, for real: cloud, telematics gateway and ECUs.

    Start with `canota demo`. Operators' commands talk to a cloud (`canota cloud serve`); where it
    is, `--cloud HOST:PORT` or the variable `CANOTA_CLOUD` says.
    """


for _name, _group in GROUPS.items():
    app.add_typer(
        typer.Typer(help=_group.help), name=_name, help=_group.help, rich_help_panel=_group.panel
    )
