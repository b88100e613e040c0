"""`python -m ecu_sim describe` prints the vehicle's description, `serve` runs the vehicle."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

import clock
from ecu_sim.app import ServeOptions, serve
from ecu_sim.describe import describe
from ecu_sim.ecus import all_ecu_names
from ecu_sim.vehicle import VehicleError, VehicleOptions
from protocols.firmware import FirmwareError
from protocols.firmware.formats import detect


def main(arguments: list[str]) -> int:
    """Exit code: 0 done, 1 the vehicle could not run, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    if options.command == "describe":
        sys.stdout.write(describe(*options.ecu))
        return 0
    try:
        clock.run(_serve(_serve_options(options)), virtual=False)
    except (VehicleError, FirmwareError, OSError, ValueError) as error:
        sys.stderr.write(f"ecu_sim: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ecu_sim", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    described = commands.add_parser(
        "describe", help="print dbc/vehicle.toml as the ECU types say it"
    )
    described.add_argument(
        "--ecu",
        action="append",
        default=[],
        choices=all_ecu_names(),
        help="describe these instead, a bench's too",
    )
    running = commands.add_parser("serve", help="run the ECUs in real time for outside peers")
    running.add_argument("--state", type=Path, required=True, help="folder for flash and NVM")
    running.add_argument("--vin", required=True)
    running.add_argument("--host", default="127.0.0.1")
    running.add_argument(
        "--image-key", type=Path, required=True, help="PEM public key that signs images"
    )
    running.add_argument(
        "--diagnostics-master", type=Path, required=True, help="file with 32 bytes in hex"
    )
    running.add_argument(
        "--boot-mac-master",
        type=Path,
        help="the same, for the keys of ECUs with symmetric secure boot",
    )
    running.add_argument(
        "--factory-image",
        action="append",
        default=[],
        metavar="ECU=FILE",
        help="image of an ECU that has none yet (HEX, S-record or raw)",
    )
    return parser


def _serve_options(options: argparse.Namespace) -> ServeOptions:
    key = load_pem_public_key(options.image_key.read_bytes())
    return ServeOptions(
        vehicle=VehicleOptions(
            vin=options.vin,
            state_directory=options.state,
            image_public_keys=(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),),
            diagnostics_master=_secret(options.diagnostics_master),
            boot_mac_master=_secret(options.boot_mac_master) if options.boot_mac_master else b"",
        ),
        host=options.host,
        factory_images=dict(_image(argument) for argument in options.factory_image),
    )


def _secret(path: Path) -> bytes:
    lines = path.read_text("ascii").splitlines()
    return bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


def _image(argument: str) -> tuple[str, bytes]:
    ecu, equals, file = argument.partition("=")
    if not equals:
        raise ValueError(f"--factory-image {argument!r} is not ECU=FILE")
    content = Path(file).read_bytes()
    return ecu, detect(file, content).decode(content).data


async def _serve(options: ServeOptions) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)

    def opened(endpoints: Mapping[str, str]) -> None:
        for wire, uri in endpoints.items():
            sys.stdout.write(f"{wire} {uri}\n")
        sys.stdout.flush()

    await serve(options, stopped=stopped, opened=opened)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
