"""Boot profiles: what an ECU decides between a reset and its application, from flash alone.

A member is a module here with a `PROFILE`, found by name. The diagnostic programs reach their boot
loader's rules through `Boot` too: there is one place that knows slots, checks and trials.
"""

import importlib
import math
from collections.abc import Generator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ecu_sim.memory import Flash, TwoCopyRecord
from protocols.firmware.containers import ContainerError, Declared, mcuboot
from protocols.uds.routine_status import CheckStatus

#: Seconds of memory operations, each yielded before its effect.
Operations = Generator[float, None, None]


class BootError(Exception):
    """Root of this room's errors."""


class NotNowError(BootError):
    """A step that the boot record's state does not allow."""


class RangeError(BootError):
    """An address range that is not in the application area or not on its boundaries."""


class OptionError(BootError):
    """A routine's option record that does not have the form which the profile wants."""


class ResetReason(Enum):
    POWER_ON = "power-on"
    SOFTWARE = "reset by a tester"
    WATCHDOG = "watchdog"
    #: 10 02 in an application that is programmed through its boot loader.
    PROGRAMMING = "programming requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Start this."""

    slot: int
    #: The WebAssembly module.
    module: bytes
    declared: Declared
    on_trial: bool


@dataclass(frozen=True, slots=True)
class StayInBootloader:
    reason: str


Decision = Application | StayInBootloader

#: A boot: seconds of memory operations, each yielded before its effect, and the decision at last.
Booting = Generator[float, None, Decision]
#: A check: likewise, and its verdict at last.
Checking = Generator[float, None, CheckStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What an ECU holds its images against; in one-time memory on a real one."""

    hardware_identifier: str
    #: `protocols.firmware.containers.mcuboot.key_hash` -> key.
    public_keys: dict[bytes, Ed25519PublicKey]
    #: `protocols.firmware.containers.cmac.derive_key` of the hardware id; only `she_cmac` needs it.
    boot_mac_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootMemory:
    """Slots one after the other from the flash's start, and the record that decides.

    A staging area lies behind them like one more slot.
    """

    flash: Flash
    slot_size: int
    #: Logical address that testers use for the start of any slot.
    base: int
    record: TwoCopyRecord
    #: Where, and how large, what a boot loader needs to swap slots: one sector, and its status.
    scratch: int = 0
    scratch_size: int = 0
    #: Bytes per second that the boot loader hashes.
    hash_bytes_per_s: float = math.inf

    def locate(self, address: int, size: int, *, boundary: int) -> int:
        """Offset of a logical range in its slot; `RangeError` if it is not in the area."""
        offset = address - self.base
        if offset < 0 or size < 1 or offset + size > self.slot_size:
            raise RangeError(
                f"0x{address:08X} + 0x{size:X} is outside the application area"
                f" 0x{self.base:08X} + 0x{self.slot_size:X}"
            )
        if offset % boundary:
            raise RangeError(f"0x{address:08X} is not on a boundary of 0x{boundary:X}")
        return offset


class Boot(Protocol):
    """The boot loader's rules over one ECU's memory."""

    def boot(self, reset: ResetReason) -> Booting:
        """Finish what an update has left to do (a copy, a swap), decide, and write the record.

        The power may go at each operation, and the next boot begins anew from what is in flash.
        """
        ...

    @property
    def running(self) -> int | None:
        """The slot whose application runs; None in the boot loader."""
        ...

    def begin_download(self) -> int:
        """The slot that may be erased and written now; `NotNowError` if there is none."""
        ...

    def preparing(self) -> Operations:
        """What the record needs before the first erase (a requested trial is withdrawn)."""
        ...

    def finish_download(self, length: int) -> Operations:
        """Remember that the slot now holds an image of `length` bytes."""
        ...

    def check_size(self) -> int:
        """Bytes that `check` has to read."""
        ...

    def check(self, option: bytes) -> Checking:
        """Verify the written slot (0202's option record), and keep what the next boot needs of it.

        `OptionError` for a wrong record.
        """
        ...

    def check_dependencies(self) -> CheckStatus:
        """Whether what was written can work in this ECU (FF01)."""
        ...

    def activate(self) -> Operations: ...
    def confirm(self) -> Operations: ...
    def revert(self) -> Operations: ...

    def active_image(self) -> bytes:
        """The bytes that were transferred into the running slot; `NotNowError` without any."""
        ...


@runtime_checkable
class Profile(Protocol):
    """One boot profile."""

    def open(self, memory: BootMemory, trust: Trust) -> Boot: ...

    def factory_record(self, image: bytes, trust: Trust) -> bytes:
        """Record of an ECU that leaves the factory with `image` in slot 0."""
        ...


def signed_verdict(image: bytes, trust: Trust, *, security_counter: int) -> CheckStatus:
    """Whether a signed image may run in an ECU that has confirmed that security counter."""
    if not mcuboot.CONTAINER.recognizes(image):
        return CheckStatus.NOT_AN_IMAGE
    try:
        decoded = mcuboot.decode(image)
        mcuboot.verify(decoded, trust.public_keys)
    except mcuboot.SignatureError:
        return CheckStatus.WRONG_SIGNATURE
    except ContainerError:
        return CheckStatus.DAMAGED
    if decoded.hardware_id != trust.hardware_identifier:
        return CheckStatus.WRONG_HARDWARE
    if decoded.security_counter < security_counter:
        return CheckStatus.SECURITY_COUNTER_TOO_LOW
    return CheckStatus.CORRECT


def boot_profile(name: str) -> Profile:
    """The profile of a module of this package; `LookupError` if there is none."""
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise LookupError(f"no boot profile {name!r}") from error
    found = getattr(module, "PROFILE", None)
    if isinstance(found, Profile):
        return found
    raise LookupError(f"no boot profile {name!r}: the module has no PROFILE of the port")
