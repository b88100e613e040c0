"""`canota release`: firmware as it is published."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from canota.cli.bars import ByteBar
from canota.cli.client import Operator
from canota.cli.exits import CommandError, Exit
from canota.cli.firmware_files import Inspection, collect
from canota.cli.firmware_files import inspect as inspect_file
from canota.cli.output import (
    DEFAULT_CLOUD,
    CloudOption,
    JsonOption,
    console,
    group,
    plain,
    print_json,
    print_messages,
    size,
    table,
    time_text,
    word,
)
from canota.cli.release_terms import check_text, terms_in
from protocols.firmware.formats import formats
from protocols.fleet.v1 import releases_pb2

app = group()


@app.callback()
def release() -> None:
    """
    Publish firmware and inspect it.

    A release is one image for each ECU model, published together and never changed. Files may be
    Intel HEX, S-record, VBF, ODX-F (or a PDX), ELF or raw; they are stored and sent byte for byte.
    """


@app.command()
def publish(
    release_id: Annotated[str, typer.Argument(metavar="RELEASE", help="For example hvac-2.0.0.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="HARDWARE_ID=FILE (a raw file: FILE@ADDRESS), a firmware file or a folder of "
            "files whose headers name their hardware, or a .toml with [[images]], preconditions,"
            " consent and [notice].",
        ),
    ],
    *,
    version: Annotated[str, typer.Option(help="For people, for example 2.0.0.")],
    description: Annotated[str, typer.Option(help="What is new, for people.")] = "",
    preconditions: Annotated[
        str,
        typer.Option(
            metavar="EXPRESSION",
            help="What must hold from activation to commit, such as 'Speed == 0 and Gear == P';"
            " left out, the manifest's, or else the vehicle's own default.",
        ),
    ] = "",
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Publish a release. Nothing is stored unless every file is right.

    `canota release publish hvac-2.0.0 CCU-2=ccu.hex BLW-1=blower.s19 --version 2.0.0`

    `canota release publish hvac-2.0.0 release.toml --version 2.0.0`
    """
    terms = terms_in(sources)
    if preconditions:
        check_text(preconditions, where="--preconditions")
        terms = dataclasses.replace(terms, preconditions=preconditions)
    files = collect(sources)
    if not files:
        raise CommandError("a release has at least one image", Exit.USAGE)
    total = sum(len(file.content) for file in files)
    with Operator(cloud) as operator, ByteBar("uploading", total) as bar:
        made = operator.create_release(
            release_id,
            files,
            version=version,
            description=description,
            terms=terms,
            progress=bar,
        )
    if as_json:
        print_json(plain(made))
        return
    console().print(f"{made.name}: published, {_images(len(made.images))}, {size(total)} uploaded")
    _print_images(made)
    _print_terms(made)


@app.command(name="list")
def list_(*, cloud: CloudOption = DEFAULT_CLOUD, as_json: JsonOption = False) -> None:
    """List releases, the newest first."""
    with Operator(cloud) as operator:
        releases = list(operator.releases())
    if as_json:
        print_messages(releases)
        return
    shown = table("release", "version", "images", "published", "description")
    for one in releases:
        shown.add_row(
            one.name.removeprefix("releases/"),
            one.version,
            ", ".join(image.hardware_id for image in one.images),
            time_text(one.create_time),
            one.description,
        )
    console().print(shown)


@app.command()
def inspect(
    what: Annotated[
        str,
        typer.Argument(metavar="FILE|RELEASE", help="A firmware file, or the id of a release."),
    ],
    *,
    cloud: CloudOption = DEFAULT_CLOUD,
    as_json: JsonOption = False,
) -> None:
    """
    Look into a firmware file, or at a published release.

    A file is read here and needs no cloud: its format, where its bytes go, what its header says,
    whether a signature stands in it.
    """
    if Path(what).is_file() or "/" in what or Path(what).suffix in _suffixes():
        _print_inspection(inspect_file(Path(what)), as_json=as_json)
        return
    with Operator(cloud) as operator:
        found = operator.release(what)
    if as_json:
        print_json(plain(found))
        return
    published = f"{found.version}, published {time_text(found.create_time)}"
    console().print(Text(what, style="bold"), published, found.description)
    _print_images(found)
    _print_terms(found)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _print_terms(made: releases_pb2.Release) -> None:
    wait_s = made.wait.ToTimedelta().total_seconds()
    rows = [
        ("preconditions", made.preconditions or "the vehicle's own default"),
        ("consent", "the driver is asked" if made.consent_required else "nobody is asked"),
        ("waits", f"up to {wait_s / 3600:g} h for both"),
    ]
    if made.HasField("notice"):
        rows += [
            (field.name.replace("_", " "), str(getattr(made.notice, field.name)))
            for field in made.notice.DESCRIPTOR.fields
        ]
    shown = table("", "")
    shown.show_header = False
    for name, text in rows:
        shown.add_row(name, text)
    console().print(shown)


def _suffixes() -> set[str]:
    return {suffix for kind in formats().values() for suffix in kind.suffixes}


def _print_images(made: releases_pb2.Release) -> None:
    columns = ("hardware", "file", "format", "address", "image", "version", "signed")
    shown = table(*columns, right=("image",))
    formats = releases_pb2.ImageFormat.DESCRIPTOR
    for image in made.images:
        shown.add_row(
            image.hardware_id,
            image.file_name,
            word(formats, image.format).replace("_", " "),
            f"0x{image.address:08X}",
            size(image.image_size),
            image.software_version or "not said",
            "yes" if image.signed else "no",
        )
    console().print(shown)


def _print_inspection(found: Inspection, *, as_json: bool) -> None:
    said = found.declared
    if as_json:
        row = dataclasses.asdict(found) | {"path": str(found.path)}
        print_json(row)
        return
    rows = [
        ("file", f"{found.path}, {size(found.file_size)}"),
        ("format", found.format),
        ("file SHA-256", found.file_sha256),
        ("address", f"0x{found.address:08X} to 0x{found.address + found.image_size - 1:08X}"),
        ("image", f"{size(found.image_size)} ({found.image_size} bytes)"),
        ("image SHA-256", found.image_sha256),
    ]
    if said is None:
        rows.append(("header", found.damage or "none that is known"))
    else:
        rows += [
            ("header", said.container),
            ("hardware", said.hardware_id),
            ("version", said.software_version),
            ("software", f"{said.software_number}, {said.supplier_version}"),
            ("signed", "yes (its ECU checks the signature)" if said.signed else "no"),
            ("application", f"{size(said.payload_size)}"),
        ]
    shown = table("", "")
    shown.show_header = False
    for name, text in rows:
        shown.add_row(name, text)
    console().print(shown)
