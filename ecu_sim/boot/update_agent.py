"""One slot, and a staging area from which an agent in the boot loader copies.

The running application fills the staging area while the car is in use, and sets a flag. At the
next reset the agent checks the staged image, copies it sector by sector over the old one, checks
the copy, and only then clears the flag. Until then the staging area stays as it is: wherever the
power goes, the next boot copies again what is not in place yet. An image that is found wrong is
not copied, and the old one runs. There is no trial and no way back but to stage the old image.

CRC32 and SHA-512 guard against accidents and against nobody: this is no secure boot.

With no application to run, a tester programs the slot itself through the boot loader.
"""

import hashlib
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

from ecu_sim.boot import (
    Application,
    Booting,
    BootMemory,
    Checking,
    Decision,
    NotNowError,
    Operations,
    OptionError,
    ResetReason,
    StayInBootloader,
    Trust,
)
from ecu_sim.memory.errors import MemoryFaultError
from ecu_sim.memory.flash import ERASED
from protocols.firmware.containers import ContainerError, sha512
from protocols.uds.routine_status import CHECK_TEXTS, CheckStatus

#: Areas of the flash, each of the slot's size.
SLOT: Final = 0
STAGING: Final = 1


class State(IntEnum):
    """One byte of the record."""

    IDLE = 0
    #: The staging area holds a finished download.
    STAGED = 1
    #: The flag: the agent copies at the next boot, and at each one until it is done.
    TRIGGERED = 2
    #: A tester writes the slot itself: an interrupted download leaves this behind.
    PROGRAMMING = 3


class Trigger(Enum):
    DOWNLOAD = "a download erases the staging area"
    TRANSFER_EXIT = "37 to the application"
    SLOT_DOWNLOAD = "a download erases the slot"
    SLOT_TRANSFER_EXIT = "37 to the boot loader"
    ACTIVATE = "31 01 0210"
    CONFIRM = "31 01 0211"
    REVERT = "31 01 0212"
    COPIED = "the agent has copied and checked"
    REFUSED = "the agent finds the staged image wrong"


#: None: refused. Every pair has a row.
TRANSITIONS: Final[Mapping[tuple[State, Trigger], State | None]] = MappingProxyType(
    {
        (State.IDLE, Trigger.DOWNLOAD): State.IDLE,
        (State.IDLE, Trigger.TRANSFER_EXIT): State.STAGED,
        (State.IDLE, Trigger.SLOT_DOWNLOAD): State.PROGRAMMING,
        (State.IDLE, Trigger.SLOT_TRANSFER_EXIT): None,
        (State.IDLE, Trigger.ACTIVATE): None,
        # There is no trial: what runs is kept already.
        (State.IDLE, Trigger.CONFIRM): State.IDLE,
        (State.IDLE, Trigger.REVERT): State.IDLE,
        (State.IDLE, Trigger.COPIED): None,
        (State.IDLE, Trigger.REFUSED): None,
        (State.STAGED, Trigger.DOWNLOAD): State.IDLE,
        (State.STAGED, Trigger.TRANSFER_EXIT): State.STAGED,
        (State.STAGED, Trigger.SLOT_DOWNLOAD): State.PROGRAMMING,
        (State.STAGED, Trigger.SLOT_TRANSFER_EXIT): None,
        (State.STAGED, Trigger.ACTIVATE): State.TRIGGERED,
        (State.STAGED, Trigger.CONFIRM): State.STAGED,
        (State.STAGED, Trigger.REVERT): State.STAGED,
        (State.STAGED, Trigger.COPIED): None,
        (State.STAGED, Trigger.REFUSED): None,
        # What the agent is to copy must not change under it: the flag goes first.
        (State.TRIGGERED, Trigger.DOWNLOAD): State.IDLE,
        (State.TRIGGERED, Trigger.TRANSFER_EXIT): None,
        # A tester who writes the slot itself does not want it overwritten.
        (State.TRIGGERED, Trigger.SLOT_DOWNLOAD): State.PROGRAMMING,
        (State.TRIGGERED, Trigger.SLOT_TRANSFER_EXIT): None,
        (State.TRIGGERED, Trigger.ACTIVATE): State.TRIGGERED,
        # Whoever confirms must learn that the new image does not run yet.
        (State.TRIGGERED, Trigger.CONFIRM): None,
        (State.TRIGGERED, Trigger.REVERT): State.STAGED,
        (State.TRIGGERED, Trigger.COPIED): State.IDLE,
        (State.TRIGGERED, Trigger.REFUSED): State.IDLE,
        # The application may run here: the power went before the slot was touched.
        (State.PROGRAMMING, Trigger.DOWNLOAD): State.IDLE,
        (State.PROGRAMMING, Trigger.TRANSFER_EXIT): State.STAGED,
        (State.PROGRAMMING, Trigger.SLOT_DOWNLOAD): State.PROGRAMMING,
        (State.PROGRAMMING, Trigger.SLOT_TRANSFER_EXIT): State.IDLE,
        (State.PROGRAMMING, Trigger.ACTIVATE): None,
        (State.PROGRAMMING, Trigger.CONFIRM): State.PROGRAMMING,
        (State.PROGRAMMING, Trigger.REVERT): State.PROGRAMMING,
        (State.PROGRAMMING, Trigger.COPIED): None,
        (State.PROGRAMMING, Trigger.REFUSED): None,
    }
)

#: State, bytes of the image in the slot and in the staging area.
_RECORD: Final = struct.Struct("<BxxxII")
#: Bytes of 0202's option record: length, CRC32 and SHA-512 of the whole image.
_CHECK_SIZE: Final = 4 + 4 + 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    state: State = State.IDLE
    #: Bytes of the image in the slot and in the staging area, 0 for none.
    lengths: tuple[int, int] = (0, 0)

    def encode(self) -> bytes:
        return _RECORD.pack(self.state, *self.lengths)

    @classmethod
    def decode(cls, content: bytes | None) -> "AgentRecord":
        """`MemoryFaultError` for a record that we have not written."""
        if content is None:
            return cls()
        try:
            number, slot, staging = _RECORD.unpack(content)
            return cls(state=State(number), lengths=(slot, staging))
        except (struct.error, ValueError) as error:
            raise MemoryFaultError(f"boot record: {error}") from error

    def holding(self, area: int, length: int) -> "AgentRecord":
        """The same with an image of `length` bytes in that area."""
        slot, staging = self.lengths
        return replace(self, lengths=(length, staging) if area == SLOT else (slot, length))


class UpdateAgent:
    """The rules over one ECU's slot and staging area. Everything decided is read from flash."""

    def __init__(self, memory: BootMemory, trust: Trust) -> None:
        self._memory = memory
        self._trust = trust
        self._running: int | None = None

    @property
    def record(self) -> AgentRecord:
        return AgentRecord.decode(self._memory.record.read())

    @property
    def running(self) -> int | None:
        return self._running

    def boot(self, reset: ResetReason) -> Booting:
        # A tester who wants the boot loader gets it; the flag waits.
        if reset is ResetReason.PROGRAMMING:
            return StayInBootloader(reset.value)
        if self.record.state is State.TRIGGERED:
            try:
                yield from self._carry_out()
            except MemoryFaultError as error:
                return StayInBootloader(f"the staged image is not in place: {error}")
        return self._decide()

    def begin_download(self) -> int:
        return self._target

    def preparing(self) -> Operations:
        running = self._running is not None
        yield from self._move(Trigger.DOWNLOAD if running else Trigger.SLOT_DOWNLOAD)

    def finish_download(self, length: int) -> Operations:
        running = self._running is not None
        trigger = Trigger.TRANSFER_EXIT if running else Trigger.SLOT_TRANSFER_EXIT
        record = replace(self.record, state=self._next(trigger))
        yield from self._write(record.holding(self._target, length))

    def check_size(self) -> int:
        return self.record.lengths[self._target]

    def check(self, option: bytes) -> Checking:
        if len(option) != _CHECK_SIZE:
            raise OptionError("the option record is length u32, CRC32 u32, SHA-512 of the image")
        yield from ()  # a verdict changes nothing
        image = self._image(self._target)
        if len(image).to_bytes(4) != option[:4]:
            return CheckStatus.WRONG_LENGTH
        if zlib.crc32(image).to_bytes(4) != option[4:8]:
            return CheckStatus.WRONG_CHECKSUM
        if hashlib.sha512(image).digest() != option[8:]:
            return CheckStatus.WRONG_DIGEST
        return self._verdict(self._target)

    def check_dependencies(self) -> CheckStatus:
        return self._verdict(self._target)

    def activate(self) -> Operations:
        state = self._next(Trigger.ACTIVATE)
        verdict = self._verdict(STAGING)
        if verdict is not CheckStatus.CORRECT:
            raise NotNowError(f"staging area: {CHECK_TEXTS[verdict]}")
        yield from self._write(replace(self.record, state=state))

    def confirm(self) -> Operations:
        yield from self._move(Trigger.CONFIRM)

    def revert(self) -> Operations:
        """Take back a flag that has not been acted on; what is copied is not undone."""
        yield from self._move(Trigger.REVERT)

    def active_image(self) -> bytes:
        image = self._image(SLOT)
        if not image:
            raise NotNowError("the slot holds no image")
        return image

    # The agent

    def _carry_out(self) -> Operations:
        """Staging area over slot, unless what is staged is wrong; then the flag is cleared.

        `MemoryFaultError` once the slot may hold anything.
        """
        length = self.record.lengths[STAGING]
        yield self._hashing_s(length)
        if self._verdict(STAGING) is not CheckStatus.CORRECT:
            # Nothing was touched: the old image runs, also with a flag that cannot be cleared.
            with suppress(MemoryFaultError):
                yield from self._move(Trigger.REFUSED)
            return
        yield from self._copy_sectors(self._image(STAGING))
        yield self._hashing_s(length)
        if self._memory.flash.read(0, length) != self._image(STAGING):
            raise MemoryFaultError("the copy differs")
        copied = replace(self.record, state=self._next(Trigger.COPIED))
        yield from self._write(copied.holding(SLOT, length))

    def _copy_sectors(self, image: bytes) -> Operations:
        """Each sector that is not in place yet: erased, unless it is, and programmed."""
        flash = self._memory.flash
        size = flash.geometry.sector_size
        blank = bytes((ERASED,)) * size
        for start in range(0, len(image), size):
            wanted = image[start : start + size].ljust(size, blank[:1])
            present = flash.read(start, size)
            if present == wanted:
                continue
            if present != blank:
                yield from flash.erase(start, size)
            yield from flash.program(start, image[start : start + size])

    def _hashing_s(self, size: int) -> float:
        return size / self._memory.hash_bytes_per_s

    # Decisions

    @property
    def _target(self) -> int:
        """Where downloads go: the application fills the staging area, the boot loader its slot."""
        return SLOT if self._running is None else STAGING

    def _decide(self) -> Decision:
        verdict = self._verdict(SLOT)
        if verdict is not CheckStatus.CORRECT:
            reason = "no application" if not self._image(SLOT) else CHECK_TEXTS[verdict]
            return StayInBootloader(f"{reason} ({self.record.state.name.lower()})")
        self._running = SLOT
        image = self._image(SLOT)
        return Application(
            slot=SLOT,
            module=sha512.decode(image).payload,
            declared=sha512.CONTAINER.declared(image),
            on_trial=False,
        )

    def _image(self, area: int) -> bytes:
        return self._memory.flash.read(area * self._memory.slot_size, self.record.lengths[area])

    def _verdict(self, area: int) -> CheckStatus:
        image = self._image(area)
        if not sha512.CONTAINER.recognizes(image):
            return CheckStatus.NOT_AN_IMAGE
        try:
            decoded = sha512.decode(image)
        except ContainerError:
            return CheckStatus.DAMAGED
        if decoded.hardware_id != self._trust.hardware_identifier:
            return CheckStatus.WRONG_HARDWARE
        return CheckStatus.CORRECT

    def _next(self, trigger: Trigger) -> State:
        state = self.record.state
        following = TRANSITIONS[state, trigger]
        if following is None:
            raise NotNowError(f"{trigger.name} is refused in state {state.name}")
        return following

    def _move(self, trigger: Trigger) -> Operations:
        yield from self._write(replace(self.record, state=self._next(trigger)))

    def _write(self, record: AgentRecord) -> Operations:
        if record != self.record:
            yield from self._memory.record.write(record.encode())


class _Profile:
    def open(self, memory: BootMemory, trust: Trust) -> UpdateAgent:
        return UpdateAgent(memory, trust)

    def factory_record(self, image: bytes, trust: Trust) -> bytes:
        del trust
        return AgentRecord(lengths=(len(image), 0)).encode()


PROFILE = _Profile()
