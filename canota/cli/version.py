"""`canota version`."""

import platform
from importlib import metadata

import typer

from canota.cli.output import JsonOption, console, print_json

app = typer.Typer()


@app.command()
def version(*, as_json: JsonOption = False) -> None:
    """Show the versions that a bug report should name."""
    versions = {
        "canota": metadata.version("canota"),
        "python": platform.python_version(),
        "grpcio": metadata.version("grpcio"),
        "system": platform.platform(),
    }
    if as_json:
        print_json({**versions})
        return
    for name, text in versions.items():
        console().print(f"{name:<8} {text}")
