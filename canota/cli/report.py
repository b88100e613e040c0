"""`canota report`: a campaign's report as a file."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from canota.cli.bars import ByteBar
from canota.cli.client import Operator
from canota.cli.output import DEFAULT_CLOUD, CloudOption, console, group, size, write_file

app = group()


class Format(StrEnum):
    HTML = "html"
    JSON = "json"
    CSV = "csv"


@app.callback()
def report() -> None:
    """Export a campaign's report."""


@app.command()
def export(
    campaign_id: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign's id.")],
    *,
    format_: Annotated[Format, typer.Option("--format", help="What for.")] = Format.HTML,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file; `-` is the standard output.", dir_okay=False
        ),
    ] = None,
    cloud: CloudOption = DEFAULT_CLOUD,
) -> None:
    """
    Export a report: html to read and print, json for programs, csv for spreadsheets.

    `canota report export summer-fix --format html -o report.html`
    """
    path = output or Path(f"report.{format_}")
    with Operator(cloud) as operator, ByteBar("downloading", None) as bar:
        content = operator.report(campaign_id, format_, bar)
    if str(path) == "-":
        sys.stdout.write(content.decode())
        return
    write_file(path, content)
    console().print(f"{path}: {size(len(content))}")
