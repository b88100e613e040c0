"""The command line: one module for each group of commands, read only when it is asked for."""

import os

# grpc's own lines would stand between ours; what it has to say comes as errors too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from canota.cli.app import app


def main() -> None:
    """Run the command line on the program's arguments; ends the program."""
    app(prog_name="canota")


__all__ = ["app", "main"]
