"""Which applications there are: data that `build` turns into images."""

from dataclasses import dataclass
from typing import Final

VERSIONS: Final = ("1.0.0", "2.0.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What one version says of itself beside its number."""

    #: F195.
    supplier_version: str
    #: An image with a lower counter than the one confirmed last is refused by a secure boot loader.
    security_counter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuApplication:
    """One ECU's application: sources in `src/<ecu>/`, those of one version `*-<version>.c`."""

    #: F188.
    software_number: str
    #: Module of `protocols.firmware.containers`.
    container: str
    #: Module of `protocols.firmware.formats` and the file's ending.
    file_format: str
    suffix: str


RELEASES: Final = {
    "1.0.0": Release(supplier_version="S25.11", security_counter=1),
    "2.0.0": Release(supplier_version="S26.06", security_counter=2),
}

APPLICATIONS: Final = {
    "ccu": EcuApplication(
        software_number="CCU2-APP-01", container="mcuboot", file_format="intel_hex", suffix=".hex"
    ),
    "blower": EcuApplication(
        software_number="BLW1-APP-01", container="crc32", file_format="s_record", suffix=".s19"
    ),
    "flap": EcuApplication(
        software_number="FLP1-APP-01", container="sha512", file_format="intel_hex", suffix=".hex"
    ),
    "ecomp": EcuApplication(
        software_number="ECP3-APP-01", container="mcuboot", file_format="s_record", suffix=".s19"
    ),
    "ptc": EcuApplication(
        software_number="PTC1-APP-01", container="cmac", file_format="intel_hex", suffix=".hex"
    ),
    "rear": EcuApplication(
        software_number="RCZ1-APP-01", container="mcuboot", file_format="intel_hex", suffix=".hex"
    ),
}
