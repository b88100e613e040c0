"""`canota gateway provision | boot`: the gateway's own software in two slots, and its launcher."""

import json
import secrets
import signal
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from canota.cli.exits import CommandError, Exit
from canota.cli.output import JsonOption
from canota.cli.serving import log_to_stderr, say
from firmware import dev_keys
from protocols.firmware.containers.mcuboot import key_hash
from vehicle_gateway.software import SoftwareError
from vehicle_gateway.software.launcher import Launcher
from vehicle_gateway.software.running import RunningSoftware, SoftwareIdentity
from vehicle_gateway.software.slots import Package, SoftwareSlots

_FOLDER: Final = "software"

StateOption = Annotated[
    Path, typer.Option("--state", help="Where journal and images are kept.", file_okay=False)
]
ImageKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--image-key",
        metavar="FILE",
        help="Public ed25519 key (PEM) that packages are signed for; the DEV ONLY one if left out.",
    ),
]
DEFAULT_STATE: Final = Path("canota-gateway")


def provision_command(
    image: Annotated[
        Path, typer.Argument(metavar="PACKAGE", help="The software that the gateway starts with.")
    ],
    *,
    state: StateOption = DEFAULT_STATE,
    serial: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Its serial number; a random one if left out."),
    ] = None,
    image_key: ImageKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Give a gateway its software and an identity of its own, as it leaves its factory.

    With --json, prints the row by which the vehicle's registration names the gateway.

    `python -m firmware.gateway --version 0.1.0 --output gateway-0.1.0.bin`
    `canota gateway provision gateway-0.1.0.bin --state gw --json`
    """
    folder = state / _FOLDER
    identity = SoftwareIdentity(
        serial_number=serial or f"TGW{secrets.token_hex(5).upper()}",
        key=Ed25519PrivateKey.generate(),
    )
    try:
        content = image.read_bytes()
        slots = SoftwareSlots(folder, trusted(image_key))
        package = slots.verified(0, content, security_counter=0)
        identity.store(folder)
        slots.provision(content)
    except OSError as error:
        raise CommandError(f"{image}: {error.strerror}", Exit.NOT_FOUND) from error
    except SoftwareError as error:
        raise CommandError(f"{image}: {error}", Exit.REFUSED) from error
    if as_json:
        say(json.dumps(identity.registration()))
    else:
        version = package.declared.software_version
        say(f"gateway {identity.serial_number} starts with {version} from {folder}")


def boot_command(
    context: typer.Context,
    *,
    state: StateOption = DEFAULT_STATE,
    image_key: ImageKeyOption = None,
    watchdog: Annotated[
        float, typer.Option(metavar="SECONDS", help="A gateway that is silent for longer hangs.")
    ] = 60.0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """
    Start the gateway's software from its slot, and start it again: trial, confirm, revert.

    What stands behind `--` is handed to `canota gateway run` of that software.

    `canota gateway boot --state gw -- WCANHVAC000000001 --wire comfort=can://socketcan/vcan0`
    """
    log_to_stderr(verbose=verbose)
    # The launcher is the root of trust: it refuses what the gateway that it starts would.
    keys = trusted(image_key, production="--production" in context.args)
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _frame: told.append(got))
    trust = ["--image-key", str(image_key)] if image_key is not None else []

    def command(package: Package) -> list[str]:
        own = ["--state", str(state), "--software-slot", str(package.slot), *trust]
        # -P: what is imported comes from the slot, not from the folder that somebody stands in.
        return ["-P", "-m", "canota", "gateway", "run", *context.args, *own]

    launcher = Launcher(
        SoftwareSlots(state / _FOLDER, keys),
        command,
        watchdog_s=watchdog,
        stopped=lambda: bool(told),
    )
    try:
        raise typer.Exit(launcher.run())
    except SoftwareError as error:
        raise CommandError(str(error), Exit.REFUSED) from error


def trusted(path: Path | None, *, production: bool = False) -> dict[bytes, Ed25519PublicKey]:
    """The keys that packages may be signed with; `CommandError` names the file.

    In `production` the one that is published with the sources is refused.
    """
    published = load_der_public_key(dev_keys().image_public_key)
    try:
        found = published if path is None else load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise CommandError(f"{path}: {error}", Exit.REFUSED) from error
    if not isinstance(found, Ed25519PublicKey):
        raise CommandError(f"{path}: not an ed25519 key", Exit.REFUSED)
    if production and found == published:
        raise CommandError(
            f"{path or '--image-key'}: DEV ONLY, published with the sources; "
            "a production gateway's software is signed with a key of its own",
            Exit.REFUSED,
        )
    return {key_hash(found): found}


def started(
    state: Path, slot: int | None, image_key: Path | None, *, production: bool
) -> RunningSoftware | None:
    """What a launcher has started; None for a gateway that runs without one."""
    if slot is None:
        return None
    try:
        return RunningSoftware.of(state / _FOLDER, slot, trusted(image_key, production=production))
    except SoftwareError as error:
        raise CommandError(str(error), Exit.REFUSED) from error
