"""Any image in place of an MCUboot one is described and checked, or refused with our own error."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz import Harness
from protocols.firmware import FirmwareError, containers
from protocols.firmware.containers import mcuboot
from tests.support.ecu import signed_image

_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
_PINNED: Final = {mcuboot.key_hash(_KEY): _KEY}
_SIGNED: Final = signed_image(bytes(range(24)))


def prove(data: bytes) -> None:
    try:
        containers.declared(data)
        image = mcuboot.decode(data)
        _ = image.security_counter, image.version
        mcuboot.verify(image, _PINNED)
    except FirmwareError:
        return
    if image.payload != bytes(range(24)):
        raise AssertionError(f"a signature for {image.payload.hex(' ')}")


HARNESS: Final = Harness(
    prove=prove,
    seeds=(_SIGNED, _SIGNED + b"\xff" * 8, signed_image(bytes(range(24)), hardware_id="")),
    max_length=1024,
)
