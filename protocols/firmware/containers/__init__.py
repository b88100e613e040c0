"""Image containers: what stands at the application's address and is checked before it runs.

A member is a module here that offers `CONTAINER`; the boot profiles use the modules themselves,
`declared` is for those who only want to know what an image says of itself.
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

from protocols.firmware import FirmwareError
from protocols.plugins import members


class ContainerError(FirmwareError):
    """An image that breaks its container's rules; the message names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What an image says of itself; a claim until a boot loader has checked it."""

    #: The container's module name.
    container: str
    #: The ECU model that it is for, as in `EcuDescription.hardware_id`.
    hardware_id: str
    #: F188.
    software_number: str
    #: F189, for example "2.0.0".
    software_version: str
    #: F195.
    supplier_version: str
    #: Whether it carries a signature (not whether the signature is good).
    signed: bool
    #: Bytes of the application itself, without header and trailing areas.
    payload_size: int


@runtime_checkable
class Container(Protocol):
    """One image container."""

    def recognizes(self, image: bytes) -> bool:
        """Whether the image begins with this container's magic."""
        ...

    def declared(self, image: bytes) -> Declared:
        """What the image declares; `ContainerError` if it is damaged."""
        ...


@cache
def containers() -> dict[str, Container]:
    """Every container by module name."""
    found: dict[str, Container] = {}
    for name, member in members(__name__, "CONTAINER").items():
        if not isinstance(member, Container):
            raise TypeError(f"{__name__}.{name}.CONTAINER does not satisfy the port")
        found[name] = member
    return found


def declared(image: bytes) -> Declared | None:
    """What an image says of itself, None if it is in no known container.

    `ContainerError` for one that is in a known container but truncated or altered.
    """
    for container in containers().values():
        if container.recognizes(image):
            return container.declared(image)
    return None
