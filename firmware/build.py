"""Builds the ECU images: C and generated tables -> WebAssembly -> container -> HEX or S-record.

    python -m firmware.build            writes firmware/images
    python -m firmware.build --check    builds anew elsewhere and compares byte for byte

The compiler is PyPI's `ziglang`, pinned by version; it runs in a folder of its own with relative
names, so that no path of this machine gets into the output. Images are signed by imgtool with
ed25519, whose signatures are the same every time. Needs the dependency group `firmware`.
"""

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import imgtool.main

from dbc import EcuDescription, describe_vehicle
from firmware import IMAGES, KEYS
from firmware.applications import APPLICATIONS, RELEASES, VERSIONS
from firmware.tables import c_source
from protocols.firmware.containers import crc32
from protocols.firmware.containers.mcuboot import Tlv
from protocols.firmware.formats import Image, formats

_SOURCES: Final = Path(__file__).parent / "src"
_COMMON: Final = "common"
_SIGNING_KEY: Final = KEYS / "image-signing.dev-only.pem"
_HEADER_SIZE: Final = 0x200
_COMPILE: Final = (
    *("-target", "wasm32-freestanding", "-std=c17", "-O2", "-g0", "-nostdlib"),
    *("-Wall", "-Wextra", "-Werror"),
    *("-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=16384", "-Wl,--max-memory=4194304"),
)


class BuildError(Exception):
    """An image that cannot be built; the message names ECU and version."""


def compile_application(ecu: str, version: str, folder: Path) -> bytes:
    """The WebAssembly module of one application, compiled inside `folder`."""
    shutil.copytree(_SOURCES / _COMMON, folder / _COMMON, dirs_exist_ok=True)
    shutil.copytree(_SOURCES / ecu, folder / ecu, dirs_exist_ok=True)
    (folder / ecu / "tables.c").write_text(c_source(ecu, version), encoding="ascii")
    own = sorted(path.name for path in (folder / ecu).glob(f"*-{version}.c"))
    sources = [f"{ecu}/{name}" for name in (f"{ecu}.c", "tables.c", *own)]
    # The caches stay in the folder too: nothing of an earlier build can take part.
    cache = str(folder / "cache")
    caches = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    done = subprocess.run(  # noqa: S603 the command line is made of constants and our own names
        [sys.executable, "-m", "ziglang", "cc", *_COMPILE, "-o", "application.wasm", *sources],
        cwd=folder,
        env={**os.environ, **caches},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{ecu} {version}: the compiler failed:\n{done.stderr}")
    return (folder / "application.wasm").read_bytes()


def _sign_mcuboot(module: bytes, ecu: EcuDescription, version: str, folder: Path) -> bytes:
    release = RELEASES[version]
    entries = {
        Tlv.HARDWARE_ID: ecu.hardware_id,
        Tlv.SOFTWARE_NUMBER: APPLICATIONS[ecu.name].software_number,
        Tlv.SUPPLIER_VERSION: release.supplier_version,
    }
    source, target = folder / "unsigned.bin", folder / "signed.bin"
    source.write_bytes(module)
    arguments = ["sign", "--key", str(_SIGNING_KEY), "--version", version, "--align", "8"]
    arguments += ["--header-size", str(_HEADER_SIZE), "--pad-header"]
    arguments += ["--slot-size", str(ecu.slot_size)]
    arguments += ["--security-counter", str(release.security_counter)]
    for kind, text in entries.items():
        arguments += ["--custom-tlv", f"0x{kind:04X}", text]
    with contextlib.redirect_stdout(io.StringIO()):  # it reports every signature it makes
        imgtool.main.imgtool.main([*arguments, str(source), str(target)], standalone_mode=False)
    return target.read_bytes()


def _wrap_crc32(module: bytes, ecu: EcuDescription, version: str, _folder: Path) -> bytes:
    major, minor, revision = (int(number) for number in version.split("."))
    return crc32.encode(
        crc32.Crc32Image(
            hardware_id=ecu.hardware_id,
            software_number=APPLICATIONS[ecu.name].software_number,
            supplier_version=RELEASES[version].supplier_version,
            version_numbers=(major, minor, revision, 0),
            payload=module,
        )
    )


_WRAP: Final[dict[str, Callable[[bytes, EcuDescription, str, Path], bytes]]] = {
    "mcuboot": _sign_mcuboot,
    "crc32": _wrap_crc32,
}


def build_image(ecu: EcuDescription, version: str, folder: Path) -> tuple[str, bytes]:
    """File name and content of one image; `folder` is scratch space."""
    application = APPLICATIONS[ecu.name]
    module = compile_application(ecu.name, version, folder)
    image = _WRAP[application.container](module, ecu, version, folder)
    if len(image) > ecu.slot_size:
        raise BuildError(
            f"{ecu.name} {version}: {len(image)} bytes do not fit its slot of {ecu.slot_size}"
        )
    placed = Image(address=ecu.application_base, data=image)
    file = formats()[application.file_format].encode(placed)
    return f"{ecu.name}-{version}{application.suffix}", file


def build_all() -> Iterator[tuple[str, bytes]]:
    """File name and content of every image, in the order of the tables."""
    described = describe_vehicle().ecus
    for ecu in APPLICATIONS:
        for version in VERSIONS:
            with tempfile.TemporaryDirectory(prefix="firmware-") as folder:
                yield build_image(described[ecu], version, Path(folder))


def _write() -> int:
    IMAGES.mkdir(exist_ok=True)
    for name, content in build_all():
        (IMAGES / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")  # noqa: T201 what the command is for
    return 0


def _check() -> int:
    built = dict(build_all())
    committed = {path.name: path.read_bytes() for path in IMAGES.iterdir()}
    differing = [
        name for name in sorted(built | committed) if built.get(name) != committed.get(name)
    ]
    for name in differing:
        print(f"firmware/images/{name} is not what its sources build")  # noqa: T201 likewise
    return 1 if differing else 0


def main() -> int:
    """Build, or with `--check` compare; 1 if an image differs."""
    parser = argparse.ArgumentParser(prog="python -m firmware.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    return _check() if parser.parse_args().check else _write()


if __name__ == "__main__":
    sys.exit(main())
