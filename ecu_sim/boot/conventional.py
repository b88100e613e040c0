"""One slot and a CRC32: what many small ECUs have. No signature, no second slot, no trial.

Programming erases what runs, so it happens in the boot loader. Whether an application starts is
decided by what stands in the slot alone; the record remembers how far programming came.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
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
from protocols.firmware.containers import ContainerError, crc32
from protocols.uds.routine_status import CheckStatus


class State(IntEnum):
    """One byte of the record."""

    EMPTY = 0
    #: Erased, or being written: an interrupted download leaves this behind.
    PROGRAMMING = 1
    WRITTEN = 2


class Trigger(Enum):
    DOWNLOAD = "a download erases the slot"
    TRANSFER_EXIT = "37"


#: Every pair has a row, and nothing is refused.
TRANSITIONS: Final[Mapping[tuple[State, Trigger], State]] = MappingProxyType(
    {
        (State.EMPTY, Trigger.DOWNLOAD): State.PROGRAMMING,
        # Erased flash needs no FF00 before the first download.
        (State.EMPTY, Trigger.TRANSFER_EXIT): State.WRITTEN,
        (State.PROGRAMMING, Trigger.DOWNLOAD): State.PROGRAMMING,
        (State.PROGRAMMING, Trigger.TRANSFER_EXIT): State.WRITTEN,
        (State.WRITTEN, Trigger.DOWNLOAD): State.PROGRAMMING,
        # A download that goes on behind what is there.
        (State.WRITTEN, Trigger.TRANSFER_EXIT): State.WRITTEN,
    }
)

#: State, image length.
_RECORD: Final = struct.Struct("<BxxxI")
_CRC: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRecord:
    state: State = State.EMPTY
    #: Bytes of the image, 0 for none.
    length: int = 0

    def encode(self) -> bytes:
        return _RECORD.pack(self.state, self.length)

    @classmethod
    def decode(cls, content: bytes | None) -> "SlotRecord":
        if content is None:
            return cls()
        try:
            number, length = _RECORD.unpack(content)
            return cls(state=State(number), length=length)
        except (struct.error, ValueError) as error:
            raise MemoryFaultError(f"boot record: {error}") from error


class Conventional:
    """The rules over one ECU's only slot."""

    def __init__(self, memory: BootMemory, trust: Trust) -> None:
        self._memory = memory
        self._trust = trust
        self._running: int | None = None

    @property
    def record(self) -> SlotRecord:
        return SlotRecord.decode(self._memory.record.read())

    @property
    def running(self) -> int | None:
        return self._running

    def boot(self, reset: ResetReason) -> Booting:
        yield from ()  # the decision changes nothing
        return self._decide(reset)

    def _decide(self, reset: ResetReason) -> Decision:
        if reset is ResetReason.PROGRAMMING:
            return StayInBootloader(reset.value)
        # Behind it stands what a longer image has left: only what a new one needs was erased.
        slot = crc32.image_at(self._memory.flash.read(0, self._memory.slot_size))
        if not crc32.CONTAINER.recognizes(slot):
            return StayInBootloader(f"no application ({self.record.state.name.lower()})")
        try:
            declared = crc32.CONTAINER.declared(slot)
        except ContainerError as error:
            return StayInBootloader(f"{error} ({self.record.state.name.lower()})")
        if declared.hardware_id != self._trust.hardware_identifier:
            return StayInBootloader(
                f"application for {declared.hardware_id}, not {self._trust.hardware_identifier}"
            )
        self._running = 0
        return Application(
            slot=0, module=crc32.decode(slot).payload, declared=declared, on_trial=False
        )

    def begin_download(self) -> int:
        if self._running is not None:
            raise NotNowError("the only slot runs: programming needs the boot loader")
        return 0

    def preparing(self) -> Operations:
        record = self.record
        state = TRANSITIONS[record.state, Trigger.DOWNLOAD]
        yield from self._write(SlotRecord(state=state, length=record.length))

    def finish_download(self, length: int) -> Operations:
        state = TRANSITIONS[self.record.state, Trigger.TRANSFER_EXIT]
        yield from self._write(SlotRecord(state=state, length=length))

    def check_size(self) -> int:
        return self.record.length

    def check(self, option: bytes) -> Checking:
        if len(option) != _CRC.size:
            raise OptionError("the option record is the CRC32 of the whole image")
        yield from ()  # a verdict changes nothing
        (expected,) = _CRC.unpack(option)
        written = zlib.crc32(self.active_image())
        return CheckStatus.CORRECT if written == expected else CheckStatus.WRONG_CHECKSUM

    def check_dependencies(self) -> CheckStatus:
        """This profile knows none: only the next boot tells whether an image runs."""
        if self.record.state is not State.WRITTEN:
            raise NotNowError("no finished download to check")
        return CheckStatus.CORRECT

    def activate(self) -> Operations:
        raise NotNowError("one slot: there is nothing to activate")

    def confirm(self) -> Operations:
        raise NotNowError("one slot: there is no trial")

    def revert(self) -> Operations:
        raise NotNowError("one slot: there is no trial")

    def active_image(self) -> bytes:
        length = self.record.length
        if not length:
            raise NotNowError("the slot holds no image")
        return self._memory.flash.read(0, length)

    def _write(self, record: SlotRecord) -> Operations:
        if record != self.record:
            yield from self._memory.record.write(record.encode())


class _Profile:
    def open(self, memory: BootMemory, trust: Trust) -> Conventional:
        return Conventional(memory, trust)

    def factory_record(self, image: bytes, trust: Trust) -> bytes:  # noqa: ARG002 none is needed
        return SlotRecord(state=State.WRITTEN, length=len(image)).encode()


PROFILE = _Profile()
