"""From a verified package to a folder that Python can import from."""

import io
import shutil
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Final

from vehicle_gateway.software import UNPACKED_LIMIT, SoftwareError

_MEMBERS: Final = 20_000
#: What `zipfile` raises on an archive that is damaged, or of a kind that it does not know.
_DAMAGED: Final = (
    OSError,
    EOFError,
    LZMAError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def unpack(archive: bytes, folder: Path) -> None:
    """Replace `folder` by the archive's files; `SoftwareError` says which one is no good.

    Bounded in files and bytes; names stay inside the folder and are files alone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            members = opened.infolist()
            _check(members)
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source:
                    # `_check` has added the declared sizes up; what comes may not be more.
                    content = source.read(member.file_size + 1)
                if len(content) != member.file_size:
                    raise SoftwareError(f"package: {member.filename}: not the size it declares")
                target.write_bytes(content)
    except _DAMAGED as error:
        raise SoftwareError(f"package: {error}") from error


def _check(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > _MEMBERS:
        raise SoftwareError(f"package: {len(members)} files are more than {_MEMBERS}")
    if (size := sum(member.file_size for member in members)) > UNPACKED_LIMIT:
        raise SoftwareError(f"package: unpacks to {size} bytes, more than {UNPACKED_LIMIT}")
    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name).parts
        if (
            not parts
            or name != "/".join(parts)
            or name.startswith("/")
            or ".." in parts
            or "\\" in name
            or "\0" in name
        ):
            raise SoftwareError(f"package: {name!r} is not a file inside it")
        if name in seen:
            raise SoftwareError(f"package: {name} stands in it twice")
        seen.add(name)
