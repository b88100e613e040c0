"""Where the key to a seed comes from (27, security access)."""

from dataclasses import dataclass
from typing import Protocol

from protocols.uds.security_access import compute_key, derive_key


class KeyFailedError(Exception):
    """No key for this seed; the message says why, and never shows seed or key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What an ECU wants an answer to."""

    ecu: str
    #: Odd sub-function of 27.
    level: int
    seed: bytes
    #: F18C; empty where the keys do not ask for it.
    serial: str = ""


class Keys(Protocol):
    @property
    def by_serial(self) -> bool:
        """Whether the ECU's serial number has to be known."""
        ...

    async def key(self, challenge: Challenge) -> bytes:
        """`KeyFailedError` if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class DerivedKeys:
    """AES-CMAC with a key of the ECU's own, derived from one master secret."""

    master: bytes
    by_serial = True

    async def key(self, challenge: Challenge) -> bytes:
        key = derive_key(self.master, challenge.serial, challenge.level)
        return compute_key(key, level=challenge.level, ecu_id=challenge.serial, seed=challenge.seed)
