"""An ECU of a few sectors: a boot profile over cells, driven as the routines of UDS drive it.

Nothing of it but its cells outlives a `Run`, which is one life: from one reset to the next.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Final  # Any: what a key hands on to cryptography

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from canota.chaos.images import ENCODERS, Firmware
from ecu_sim.boot import (
    Application,
    Boot,
    BootError,
    BootMemory,
    Decision,
    OptionError,
    Profile,
    ResetReason,
    Trust,
    boot_profile,
)
from ecu_sim.boot.mcuboot_swap import status_size
from ecu_sim.ecus import EcuType, all_ecu_names, ecu_type
from ecu_sim.memory import Flash, FlashGeometry, PowerSupply, TwoCopyRecord
from ecu_sim.memory.flash import ERASED, finish, result_of
from firmware import dev_keys
from protocols.firmware.containers import cmac, mcuboot
from protocols.plugins import members
from protocols.uds.routine_status import CHECK_TEXTS, CheckStatus

OLD: Final = "1.0.0"
NEW: Final = "2.0.0"
_RECORDS: Final = FlashGeometry(
    size=0x400, sector_size=0x200, page_size=0x20, erase_s=0.0, program_s=0.0
)


class SweepError(Exception):
    """A sweep that cannot be made; the message says of which profile and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A small flash: so many sectors for each image, of so many bytes, written page by page."""

    sectors: int
    sector_size: int
    page_size: int
    #: Bytes of the old and of the new image's application.
    payloads: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.sectors} x {self.sector_size} B, pages of {self.page_size} B"


class Way(Enum):
    """How a tester brings another image into an ECU: a table of lives below for each."""

    BOOT_LOADER = "through the boot loader, over the only image"
    TWO_SLOTS = "beside the one that runs; trial, confirm, revert"
    STAGING_AREA = "beside the one that runs; copied at the next reset"


class Action(Enum):
    """What a tester does within a life."""

    DOWNLOAD_OLD = "download the old image"
    DOWNLOAD_NEW = "download the new image"
    ACTIVATE = "31 01 0210"
    CONFIRM = "31 01 0211"
    REVERT = "31 01 0212"


@dataclass(frozen=True, slots=True)
class Life:
    """From one reset to the next: the boot, and what a tester does then."""

    reset: ResetReason
    actions: tuple[Action, ...] = ()


@dataclass(slots=True)
class Cells:
    """All that is left of an ECU without power."""

    flash: bytearray
    record: bytearray

    def copy(self) -> "Cells":
        return Cells(bytearray(self.flash), bytearray(self.record))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A boot profile in a small ECU, with an old and a new image for it."""

    name: str
    profile: Profile
    ecu: EcuType
    layout: Layout
    trust: Trust
    old: bytes
    new: bytes

    @property
    def way(self) -> Way:
        if not self.ecu.single_slot:
            return Way.TWO_SLOTS
        return Way.STAGING_AREA if self.ecu.staging_area else Way.BOOT_LOADER

    @property
    def always_boots(self) -> bool:
        """Whether the profile promises an application after any cut: it has room for two images."""
        return self.way is not Way.BOOT_LOADER

    @property
    def slot_size(self) -> int:
        return self.layout.sectors * self.layout.sector_size

    @property
    def scratch_size(self) -> int:
        if not self.ecu.scratch_size:
            return 0
        layout = self.layout
        return layout.sector_size + status_size(
            sectors=layout.sectors, sector_size=layout.sector_size, page_size=layout.page_size
        )

    def blank(self) -> Cells:
        size = self.ecu.areas * self.slot_size + self.scratch_size
        return Cells(bytearray((ERASED,)) * size, bytearray((ERASED,)) * _RECORDS.size)

    def from_the_factory(self) -> Cells:
        cells = self.blank()
        memory = self.memory(cells, None)
        finish(memory.flash.program(0, self.old))
        finish(memory.record.write(self.profile.factory_record(self.old, self.trust)))
        return cells

    def memory(self, cells: Cells, power: PowerSupply | None) -> BootMemory:
        layout = self.layout
        geometry = FlashGeometry(
            size=len(cells.flash),
            sector_size=layout.sector_size,
            page_size=layout.page_size,
            erase_s=0.0,
            program_s=0.0,
        )
        return BootMemory(
            flash=Flash(cells.flash, geometry, power=power),
            slot_size=self.slot_size,
            base=self.ecu.application_base,
            record=TwoCopyRecord(
                Flash(cells.record, _RECORDS, power=power),
                address=0,
                copy_size=_RECORDS.sector_size,
            ),
            scratch=self.ecu.areas * self.slot_size,
            scratch_size=self.scratch_size,
        )


@dataclass(slots=True)
class Run:
    """One life: the objects of one ECU between two resets."""

    subject: Subject
    memory: BootMemory
    boot: Boot
    decision: Decision

    @classmethod
    def begin(
        cls, subject: Subject, cells: Cells, reset: ResetReason, power: PowerSupply | None
    ) -> "Run":
        memory = subject.memory(cells, power)
        boot = subject.profile.open(memory, subject.trust)
        return cls(subject, memory, boot, result_of(boot.boot(reset)))

    @property
    def version(self) -> str:
        """Of the application that runs; "" in the boot loader."""
        if not isinstance(self.decision, Application):
            return ""
        return self.decision.declared.software_version

    @property
    def on_trial(self) -> bool:
        return isinstance(self.decision, Application) and self.decision.on_trial

    def act(self, action: Action) -> None:
        match action:
            case Action.DOWNLOAD_OLD:
                self.download(self.subject.old)
            case Action.DOWNLOAD_NEW:
                self.download(self.subject.new)
            case Action.ACTIVATE:
                finish(self.boot.activate())
            case Action.CONFIRM:
                finish(self.boot.confirm())
            case Action.REVERT:
                finish(self.boot.revert())

    def download(self, image: bytes) -> None:
        """FF00, 34, 36, 37, 0202 and FF01, as a tester does them and the ECU's device."""
        flash, sector = self.memory.flash, self.subject.layout.sector_size
        start = self.boot.begin_download() * self.memory.slot_size
        finish(self.boot.preparing())
        finish(flash.erase(start, -(-len(image) // sector) * sector))
        finish(flash.program(start, image))
        finish(self.boot.finish_download(len(image)))
        for verdict in (_checked(self.boot, image), self.boot.check_dependencies()):
            if verdict is not CheckStatus.CORRECT:
                raise BootError(f"the image that was downloaded: {CHECK_TEXTS[verdict]}")


def _checked(boot: Boot, image: bytes) -> CheckStatus:
    """0202, with the option record that the profile takes."""
    crc = zlib.crc32(image)
    digest = hashlib.sha512(image).digest()
    for option in (b"", struct.pack(">I", crc), struct.pack(">II", len(image), crc) + digest):
        try:
            return result_of(boot.check(option))
        except OptionError:
            continue
    raise BootError("0202 takes none of the option records that a tester knows")


def profiles() -> list[str]:
    """Every boot profile that some ECU type has, by name."""
    fitted = {ecu_type(name).boot_profile for name in all_ecu_names()}
    return [name for name in members("ecu_sim.boot", "PROFILE") if name in fitted]


@cache
def encoder_of(name: str) -> Callable[[Firmware], bytes]:
    """What makes images that a boot profile starts: found by trying; `SweepError`."""
    ecu = ecu_of(name)
    layout = Layout(sectors=1, sector_size=0x400, page_size=0x40, payloads=(0, 0))
    for encode in ENCODERS.values():
        image = encode(_firmware(ecu, 1, 64))
        subject = Subject(
            name=name,
            profile=boot_profile(name),
            ecu=ecu,
            layout=layout,
            trust=_trust(ecu.hardware_identifier),
            old=image,
            new=image,
        )
        if Run.begin(subject, subject.from_the_factory(), ResetReason.POWER_ON, None).version:
            return encode
    raise SweepError(f"{name}: no container of images that it starts")


def subject_of(name: str, layout: Layout, *, profile: Profile | None = None) -> Subject:
    """A boot profile (or one of a test's own in its place) on a small flash; `SweepError`."""
    ecu, encode = ecu_of(name), encoder_of(name)
    old, new = (
        encode(_firmware(ecu, version, size))
        for version, size in zip((1, 2), layout.payloads, strict=True)
    )
    return Subject(
        name=name,
        profile=profile or boot_profile(name),
        ecu=ecu,
        layout=layout,
        trust=_trust(ecu.hardware_identifier),
        old=old,
        new=new,
    )


def _firmware(ecu: EcuType, version: int, size: int) -> Firmware:
    seed = f"{ecu.hardware_identifier}/{version}".encode()
    module = hashlib.shake_128(seed).digest(size)
    return Firmware(ecu=ecu, version=(version, 0, 0), module=module)


def ecu_of(profile: str) -> EcuType:
    """The vehicle's first ECU type of a boot profile, or a bench's; `SweepError`."""
    types = [ecu_type(name) for name in all_ecu_names()]
    fitted = [ecu for ecu in types if ecu.boot_profile == profile]
    if not fitted:
        raise SweepError(f"no boot profile {profile!r}; there are: {', '.join(profiles())}")
    return max(fitted, key=lambda ecu: ecu.in_vehicle)


class RememberingKey(Ed25519PublicKey):
    """A public key that looks at the same signature over the same bytes once.

    A sweep boots the same few images ten thousands of times.
    """

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self._good: set[tuple[bytes, bytes]] = set()

    def verify(self, signature: Any, data: Any) -> None:  # noqa: ANN401 as the base class has it
        pair = bytes(signature), bytes(data)
        if pair not in self._good:
            self._key.verify(*pair)
            self._good.add(pair)

    def public_bytes(self, encoding: Any, format: Any) -> bytes:  # noqa: A002, ANN401 likewise
        return self._key.public_bytes(encoding, format)

    def public_bytes_raw(self) -> bytes:
        return self._key.public_bytes_raw()

    def __eq__(self, other: object) -> bool:
        return self._key == other

    def __hash__(self) -> int:
        return hash(self.public_bytes_raw())

    def __copy__(self) -> "RememberingKey":
        return self

    def __deepcopy__(self, memo: object) -> "RememberingKey":
        return self


@cache
def _key() -> RememberingKey:
    key = load_der_public_key(dev_keys().image_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError("the published image key is not an ed25519 key")
    return RememberingKey(key)


def _trust(hardware_identifier: str) -> Trust:
    key = _key()
    return Trust(
        hardware_identifier=hardware_identifier,
        public_keys={mcuboot.key_hash(key): key},
        boot_mac_key=cmac.derive_key(dev_keys().boot_mac_master, hardware_identifier),
    )
