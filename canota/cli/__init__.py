"""The command line: one module for each group of commands, read only when it is asked for."""

from canota.cli.app import app


def main() -> None:
    """Run the command line on the program's arguments; ends the program."""
    app(prog_name="canota")


__all__ = ["app", "main"]
