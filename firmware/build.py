"""Builds the ECU images: C and generated tables -> WebAssembly -> container -> HEX or S-record.

    python -m firmware.build            writes firmware/images and firmware/faulty/images
    python -m firmware.build --check    builds anew elsewhere and compares byte for byte
    python -m firmware.build --ecu ccu --version 2.1.0 --sources mine --output mine
                                        builds a version of your own from your copy of firmware/src

The compiler is PyPI's `ziglang`, pinned by version; it runs in a folder of its own with relative
names, so that no path of this machine gets into the output. Images are signed by imgtool with
ed25519, whose signatures are the same every time. Needs the dependency group `firmware`.
"""

import argparse
import contextlib
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import imgtool.main

from dbc import EcuDescription, describe_vehicle
from firmware import IMAGES, KEYS, dev_keys, faulty
from firmware.applications import APPLICATIONS, RELEASES, VERSIONS, Release
from firmware.tables import c_source
from protocols.firmware.containers import cmac, crc32, sha512
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


def compile_application(ecu: str, version: str, folder: Path, sources: Path = _SOURCES) -> bytes:
    """The WebAssembly module of one application, compiled inside `folder`."""
    shutil.copytree(sources / _COMMON, folder / _COMMON, dirs_exist_ok=True)
    shutil.copytree(sources / ecu, folder / ecu, dirs_exist_ok=True)
    (folder / ecu / "tables.c").write_text(c_source(ecu, version), encoding="ascii")
    own = sorted(path.name for path in (folder / ecu).glob(f"*-{version}.c"))
    units = [f"{ecu}/{name}" for name in (f"{ecu}.c", "tables.c", *own)]
    return _compile(f"{ecu} {version}", units, folder)


def compile_faulty(fault: str, folder: Path) -> bytes:
    """The WebAssembly module of one bad application, the same for all ECUs."""
    shutil.copyfile(_SOURCES / _COMMON / "ecu.h", folder / "ecu.h")
    shutil.copyfile(faulty.SOURCES / f"{fault}.c", folder / f"{fault}.c")
    return _compile(fault, [f"{fault}.c"], folder)


def _compile(what: str, units: list[str], folder: Path) -> bytes:
    # The caches stay in the folder too: nothing of an earlier build can take part.
    cache = str(folder / "cache")
    caches = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    done = subprocess.run(  # noqa: S603 the command line is made of constants and our own names
        [sys.executable, "-m", "ziglang", "cc", *_COMPILE, "-o", "application.wasm", *units],
        cwd=folder,
        env={**os.environ, **caches},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{what}: the compiler failed:\n{done.stderr}")
    return (folder / "application.wasm").read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One image to be built."""

    ecu: EcuDescription
    #: What the image calls itself.
    version: str
    release: Release
    #: The version whose sources and tables it takes.
    like: str
    sources: Path = _SOURCES


def _sign_mcuboot(module: bytes, build: Build, folder: Path) -> bytes:
    ecu, release = build.ecu, build.release
    entries = {
        Tlv.HARDWARE_ID: ecu.hardware_id,
        Tlv.SOFTWARE_NUMBER: APPLICATIONS[ecu.name].software_number,
        Tlv.SUPPLIER_VERSION: release.supplier_version,
    }
    source, target = folder / "unsigned.bin", folder / "signed.bin"
    source.write_bytes(module)
    arguments = ["sign", "--key", str(_SIGNING_KEY), "--version", build.version]
    arguments += ["--align", "8"]
    arguments += ["--header-size", str(_HEADER_SIZE), "--pad-header"]
    arguments += ["--slot-size", str(ecu.slot_size)]
    arguments += ["--security-counter", str(release.security_counter)]
    for kind, text in entries.items():
        arguments += ["--custom-tlv", f"0x{kind:04X}", text]
    with contextlib.redirect_stdout(io.StringIO()):  # it reports every signature it makes
        imgtool.main.imgtool.main([*arguments, str(source), str(target)], standalone_mode=False)
    return target.read_bytes()


def _wrap_crc32(module: bytes, build: Build, _folder: Path) -> bytes:
    return crc32.encode(_unsigned(module, build))


def _wrap_sha512(module: bytes, build: Build, _folder: Path) -> bytes:
    return sha512.encode(_unsigned(module, build))


def _unsigned(module: bytes, build: Build) -> crc32.Crc32Image:
    major, minor, revision = (int(number) for number in build.version.split("."))
    return crc32.Crc32Image(
        hardware_id=build.ecu.hardware_id,
        software_number=APPLICATIONS[build.ecu.name].software_number,
        supplier_version=build.release.supplier_version,
        version_numbers=(major, minor, revision, 0),
        payload=module,
    )


def _wrap_cmac(module: bytes, build: Build, _folder: Path) -> bytes:
    ecu, release = build.ecu, build.release
    major, minor, revision = (int(number) for number in build.version.split("."))
    image = cmac.CmacImage(
        hardware_id=ecu.hardware_id,
        software_number=APPLICATIONS[ecu.name].software_number,
        supplier_version=release.supplier_version,
        version_numbers=(major, minor, revision, 0),
        security_counter=release.security_counter,
        payload=module,
    )
    key = cmac.derive_key(dev_keys().boot_mac_master, ecu.hardware_id)
    return cmac.encode(cmac.protect(image, key))


_WRAP: Final[dict[str, Callable[[bytes, Build, Path], bytes]]] = {
    "mcuboot": _sign_mcuboot,
    "crc32": _wrap_crc32,
    "cmac": _wrap_cmac,
    "sha512": _wrap_sha512,
}


def build_image(build: Build, folder: Path) -> tuple[str, bytes]:
    """File name and content of one image; `folder` is scratch space."""
    module = compile_application(build.ecu.name, build.like, folder, build.sources)
    suffix, file = _wrapped(module, build, folder)
    return f"{build.ecu.name}-{build.version}{suffix}", file


def _wrapped(module: bytes, build: Build, folder: Path) -> tuple[str, bytes]:
    """The ending and the content of the image file with this application."""
    ecu = build.ecu
    application = APPLICATIONS[ecu.name]
    image = _WRAP[application.container](module, build, folder)
    if len(image) > ecu.slot_size:
        raise BuildError(
            f"{ecu.name} {build.version}: {len(image)} bytes do not fit its slot of {ecu.slot_size}"
        )
    placed = Image(address=ecu.application_base, data=image)
    file = formats()[application.file_format].encode(placed)
    return application.suffix, file


def build_faulty() -> Iterator[tuple[str, bytes]]:
    """File name and content of every bad image: one module per fault, wrapped for each ECU."""
    described = describe_vehicle().ecus
    release = replace(RELEASES[VERSIONS[-1]], supplier_version=faulty.SUPPLIER_VERSION)
    for name, fault in faulty.FAULTS.items():
        with tempfile.TemporaryDirectory(prefix="firmware-") as folder:
            module = compile_faulty(name, Path(folder))
            for ecu in APPLICATIONS:
                build = Build(
                    ecu=described[ecu], version=fault.version, release=release, like=VERSIONS[-1]
                )
                suffix, file = _wrapped(module, build, Path(folder))
                yield f"{ecu}-{name}{suffix}", file


def build_all() -> Iterator[tuple[str, bytes]]:
    """File name and content of every image, in the order of the tables."""
    described = describe_vehicle().ecus
    for ecu, version in itertools.product(APPLICATIONS, VERSIONS):
        build = Build(ecu=described[ecu], version=version, release=RELEASES[version], like=version)
        with tempfile.TemporaryDirectory(prefix="firmware-") as folder:
            yield build_image(build, Path(folder))


#: Folder -> what builds its images.
_FOLDERS: Final[dict[Path, Callable[[], Iterator[tuple[str, bytes]]]]] = {
    IMAGES: build_all,
    faulty.IMAGES: build_faulty,
}


def _build_own(arguments: argparse.Namespace) -> int:
    like: str = arguments.like
    build = Build(
        ecu=describe_vehicle().ecus[arguments.ecu],
        version=arguments.version,
        release=replace(RELEASES[like], supplier_version=f"own {arguments.version}"),
        like=like,
        sources=arguments.sources,
    )
    with tempfile.TemporaryDirectory(prefix="firmware-") as folder:
        name, content = build_image(build, Path(folder))
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / name).write_bytes(content)
    print(f"{arguments.output / name}: {len(content)} bytes")  # noqa: T201 what the command is for
    return 0


def _write() -> int:
    for folder, build in _FOLDERS.items():
        folder.mkdir(exist_ok=True)
        for name, content in build():
            (folder / name).write_bytes(content)
            print(f"{name}: {len(content)} bytes")  # noqa: T201 what the command is for
    return 0


def _check() -> int:
    differing = []
    for folder, build in _FOLDERS.items():
        built = dict(build())
        committed = {path.name: path.read_bytes() for path in folder.iterdir()}
        differing += [
            (folder / name).relative_to(Path(__file__).parents[1])
            for name in sorted(built | committed)
            if built.get(name) != committed.get(name)
        ]
    for path in differing:
        print(f"{path} is not what its sources build")  # noqa: T201 likewise
    return 1 if differing else 0


def main() -> int:
    """Build, or with `--check` compare; 1 if an image differs."""
    parser = argparse.ArgumentParser(
        prog="python -m firmware.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    own = parser.add_argument_group("a version of your own")
    own.add_argument("--ecu", choices=sorted(APPLICATIONS), help="build for this ECU alone")
    own.add_argument("--version", help="what the image calls itself, for example 2.1.0")
    own.add_argument(
        "--like", choices=VERSIONS, default=VERSIONS[-1], help="take this version's sources"
    )
    own.add_argument("--sources", type=Path, default=_SOURCES, help="your copy of firmware/src")
    own.add_argument("--output", type=Path, default=Path(), help="folder for the image")
    arguments = parser.parse_args()
    if arguments.ecu is None:
        return _check() if arguments.check else _write()
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,5}", arguments.version or ""):
        parser.error("--version: three numbers expected, for example 2.1.0")
    try:
        return _build_own(arguments)
    except (BuildError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 what the command is for
        return 1


if __name__ == "__main__":
    sys.exit(main())
