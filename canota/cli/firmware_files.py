"""Firmware files as an operator names them: read, checked and described before anything is sent."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from canota.cli.arguments import ADDRESS_LIMIT
from canota.cli.arguments import address as check_address
from canota.cli.client import ReleaseFile
from canota.cli.exits import CommandError, Exit
from cloud.fleet.releases import FILE_LIMIT
from protocols.firmware import FirmwareError
from protocols.firmware.containers import Declared, declared
from protocols.firmware.formats import Format, FormatError, Image, detect


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a file is and puts where; `declared` is what its image says of itself, if anything."""

    path: Path
    format: str
    file_size: int
    file_sha256: str
    address: int
    image_size: int
    image_sha256: str
    declared: Declared | None
    #: Why the image's own header cannot be believed; empty if it can or there is none.
    damage: str


def read(path: Path) -> bytes:
    """The content of a file that could be published; never more than that in memory."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_LIMIT + 1)
    except FileNotFoundError as error:
        raise CommandError(f"{path}: no such file", Exit.NOT_FOUND) from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", Exit.REFUSED) from error
    if len(content) > FILE_LIMIT:
        raise CommandError(f"{path}: more than the {FILE_LIMIT} bytes of a file", Exit.REFUSED)
    return content


def decode(path: Path, content: bytes) -> tuple[Format, Image]:
    """The image in a file's content; `CommandError` names file and line of what is wrong."""
    try:
        kind = detect(path.name, content)
        return kind, kind.decode(content)
    except FormatError as error:
        line = "" if error.line is None else f":{error.line}"
        raise CommandError(f"{path}{line}: {error.reason}", Exit.REFUSED) from error


def inspect(path: Path, *, address: int = 0) -> Inspection:
    """Read a file; `CommandError` names file and line of what is wrong with it."""
    content = read(path)
    kind, image = decode(path, content)
    start = image.address if kind.carries_address else address
    if start + len(image.data) > ADDRESS_LIMIT:
        raise CommandError(
            f"{path}: {len(image.data)} bytes at 0x{start:08X} run past 32 bits", Exit.REFUSED
        )
    said, damage = None, ""
    try:
        said = declared(image.data)
    except FirmwareError as error:
        damage = str(error)
    return Inspection(
        path=path,
        format=kind.name,
        file_size=len(content),
        file_sha256=hashlib.sha256(content).hexdigest(),
        address=start,
        image_size=len(image.data),
        image_sha256=hashlib.sha256(image.data).hexdigest(),
        declared=said,
        damage=damage,
    )


def manifest(path: Path) -> dict[str, object]:
    """A manifest's tables; `CommandError` names the file."""
    try:
        return tomllib.loads(read(path).decode())
    except RecursionError as error:
        raise CommandError(f"{path}: nested too deep", Exit.REFUSED) from error
    except ValueError as error:  # no TOML, no text, or a number of thousands of digits
        raise CommandError(f"{path}: {error}", Exit.REFUSED) from error


def collect(sources: list[str]) -> list[ReleaseFile]:
    """The files of a release: `HARDWARE_ID=FILE[@ADDRESS]`, a folder, or a `.toml` that lists them.

    In a folder every file that says in its header which hardware it is for is taken.
    """
    files: list[ReleaseFile] = []
    for source in sources:
        hardware_id, equals, name = source.partition("=")
        path = Path(source)
        if equals:
            files.append(_file(hardware_id, *_placed(name, source)))
        elif path.is_dir():
            files += _folder(path)
        elif path.suffix == ".toml":
            files += _listed(path)
        elif path.exists():
            files.append(_declared_file(path))
        else:
            raise CommandError(
                f"{source}: neither HARDWARE_ID=FILE nor a folder, a .toml or a firmware file",
                Exit.NOT_FOUND,
            )
    return files


def _placed(name: str, source: str) -> tuple[Path, int]:
    file_name, at, text = name.rpartition("@")
    if not at or Path(name).exists():
        return Path(name), 0
    try:
        placed = int(text, 0)
    except ValueError as error:
        raise CommandError(f"{source}: {text!r} is not an address", Exit.USAGE) from error
    return Path(file_name), check_address(placed, where=source)


def _file(hardware_id: str, path: Path, address: int) -> ReleaseFile:
    inspect(path, address=address)
    return ReleaseFile(hardware_id=hardware_id, path=path, content=read(path), address=address)


def _declared_file(path: Path) -> ReleaseFile:
    found = inspect(path)
    if found.declared is None:
        because = found.damage or "it has no header that says so"
        raise CommandError(
            f"{path}: for which hardware? ({because}); say HARDWARE_ID={path}", Exit.REFUSED
        )
    return ReleaseFile(hardware_id=found.declared.hardware_id, path=path, content=read(path))


def _folder(folder: Path) -> list[ReleaseFile]:
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    if not paths:
        raise CommandError(f"{folder}: no files in it", Exit.NOT_FOUND)
    return [_declared_file(path) for path in paths]


def _listed(path: Path) -> list[ReleaseFile]:
    listed = manifest(path)
    images = listed.get("images")
    if images is None and listed:
        return []  # the release's terms alone, see `release_terms.py`
    if not isinstance(images, list) or not images:
        raise CommandError(f"{path}: [[images]] expected", Exit.REFUSED)
    return [_row(path, number, row) for number, row in enumerate(images)]


def _row(path: Path, number: int, row: object) -> ReleaseFile:
    where = f"{path}: images[{number}]"
    if not isinstance(row, dict):
        raise CommandError(f"{where}: [[images]] expected", Exit.REFUSED)
    hardware_id, file = (_text(row, key, where) for key in ("hardware_id", "file"))
    address = check_address(row.get("address", 0), where=f"{where}.address")
    return _file(hardware_id, path.parent / file, address)


def _text(row: dict[str, object], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise CommandError(f"{where}.{key}: text expected", Exit.REFUSED)
    return value
