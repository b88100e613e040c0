"""Any image in place of a CMAC container gives one that encodes to itself, or is refused.

The sum is put right first: a fuzzer does not guess it, and a sender who is wrong can compute it.
Whatever stands in its update, it is authentic only where the key has made it so.
"""

import zlib
from contextlib import suppress
from typing import Final

from fuzz import Harness
from protocols.firmware import FirmwareError, containers, she
from protocols.firmware.containers import cmac
from tests.support.ecu import boot_mac_key, cmac_image

_KEY: Final = boot_mac_key("PTC-1")
_GOOD: Final = cmac_image(b"payload")
#: Where the sum stands, behind the fields that it covers.
_SUM: Final = cmac.HEADER_SIZE - 4


def prove(data: bytes) -> None:
    _decode(data)
    size = int.from_bytes(data[8:12], "little")
    covered = data[:_SUM] + data[cmac.HEADER_SIZE : cmac.HEADER_SIZE + size]
    _decode(data[:_SUM] + zlib.crc32(covered).to_bytes(4, "little") + data[cmac.HEADER_SIZE :])


def _decode(data: bytes) -> None:
    try:
        containers.declared(data)
        image = cmac.decode(data)
    except FirmwareError:
        return
    if cmac.decode(cmac.encode(image)) != image:
        raise AssertionError(f"{image} does not survive")
    with suppress(cmac.MacError):
        cmac.authentic_mac(image, _KEY)
        if cmac.encode(image) != _GOOD:
            raise AssertionError("a MAC that nobody has made")
    with suppress(she.UpdateError):
        she.decode(data[-she.UPDATE_LENGTH :], _KEY)


HARNESS: Final = Harness(
    prove=prove, seeds=(_GOOD, _GOOD + b"\xff" * 4, cmac_image(b"", key=bytes(16)))
)
