"""One slot, and a second one from which the boot loader overwrites it; no way back inside the ECU.

A signed image is written to the second slot, by the running application or by the boot loader. Once
it is requested, the next boot checks it and copies it over the first slot; until the copy is
complete the request stands, and a boot that was cut begins the copy anew. What is copied stays:
whoever wants the old image back writes it again.

Downgrades are kept out by version: an image older than the one that was confirmed last is refused.
Version and security counter rise with the confirmation only, so that until then the old image can
be written again.

The application is loaded, not executed in place: where a sector of the first slot goes bad under
the copy, the second slot still holds the whole image, and is started from there.
"""

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

from ecu_sim.boot import (
    Application,
    Booting,
    BootMemory,
    Checking,
    NotNowError,
    Operations,
    OptionError,
    ResetReason,
    StayInBootloader,
    Trust,
    signed_verdict,
)
from ecu_sim.memory.errors import MemoryFaultError
from protocols.firmware.containers import mcuboot
from protocols.uds.routine_status import CHECK_TEXTS, CheckStatus

#: The slot that runs, and the one that is filled.
PRIMARY: Final = 0
SECONDARY: Final = 1


class State(IntEnum):
    """One byte of the record."""

    CONFIRMED = 0
    #: The second slot is copied over the first one at the next boot.
    REQUESTED = 1
    #: It is copied and runs; the version may still go back to the one confirmed last.
    COPIED = 2
    #: As CONFIRMED, but the last request came to nothing.
    REFUSED = 3


class Trigger(Enum):
    DOWNLOAD = "a download erases the second slot"
    ACTIVATE = "31 01 0210, or 37 to the boot loader"
    CONFIRM = "31 01 0211"
    REVERT = "31 01 0212"
    COPY = "the second slot is copied at a boot"
    REFUSE = "what the second slot holds may not run"


#: None: refused. Every pair has a row.
TRANSITIONS: Final[Mapping[tuple[State, Trigger], State | None]] = MappingProxyType(
    {
        (State.CONFIRMED, Trigger.DOWNLOAD): State.CONFIRMED,
        (State.CONFIRMED, Trigger.ACTIVATE): State.REQUESTED,
        # Repeated after a lost answer.
        (State.CONFIRMED, Trigger.CONFIRM): State.CONFIRMED,
        # Nothing has changed: there is nothing to take back.
        (State.CONFIRMED, Trigger.REVERT): State.CONFIRMED,
        (State.CONFIRMED, Trigger.COPY): None,
        (State.CONFIRMED, Trigger.REFUSE): None,
        # What is to be copied must not change under the request.
        (State.REQUESTED, Trigger.DOWNLOAD): State.REFUSED,
        (State.REQUESTED, Trigger.ACTIVATE): State.REQUESTED,
        (State.REQUESTED, Trigger.CONFIRM): None,
        (State.REQUESTED, Trigger.REVERT): State.REFUSED,
        (State.REQUESTED, Trigger.COPY): State.COPIED,
        (State.REQUESTED, Trigger.REFUSE): State.REFUSED,
        # The old image can be written again.
        (State.COPIED, Trigger.DOWNLOAD): State.COPIED,
        (State.COPIED, Trigger.ACTIVATE): State.REQUESTED,
        (State.COPIED, Trigger.CONFIRM): State.CONFIRMED,
        # The old image is gone: there is nothing to take back, and it can be written again.
        (State.COPIED, Trigger.REVERT): State.COPIED,
        (State.COPIED, Trigger.COPY): None,
        (State.COPIED, Trigger.REFUSE): None,
        (State.REFUSED, Trigger.DOWNLOAD): State.REFUSED,
        (State.REFUSED, Trigger.ACTIVATE): State.REQUESTED,
        # Whoever confirms must learn that the new image does not run.
        (State.REFUSED, Trigger.CONFIRM): None,
        (State.REFUSED, Trigger.REVERT): State.REFUSED,
        (State.REFUSED, Trigger.COPY): None,
        (State.REFUSED, Trigger.REFUSE): None,
    }
)

#: Major, minor, revision, build.
Version = tuple[int, int, int, int]

#: State, security counter, the version confirmed last, image length in each slot.
_RECORD: Final = struct.Struct("<BxxxIBBHIII")
_CRC: Final = struct.Struct(">I")
#: 0202's option record of a staging area: length, CRC32 and SHA-512 of the whole image.
_CHECK: Final = struct.Struct(">II64s")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRecord:
    state: State = State.CONFIRMED
    security_counter: int = 0
    least_version: Version = (0, 0, 0, 0)
    #: Bytes of the image in each slot, 0 for none.
    lengths: tuple[int, int] = (0, 0)

    def encode(self) -> bytes:
        return _RECORD.pack(self.state, self.security_counter, *self.least_version, *self.lengths)

    @classmethod
    def decode(cls, content: bytes | None) -> "BootRecord":
        """A chip without a record has no image; `MemoryFaultError` for one that is not ours."""
        if content is None:
            return cls()
        try:
            number, counter, major, minor, revision, build, *lengths = _RECORD.unpack(content)
            state = State(number)
        except (struct.error, ValueError) as error:
            raise MemoryFaultError(f"boot record: {error}") from error
        return cls(
            state=state,
            security_counter=counter,
            least_version=(major, minor, revision, build),
            lengths=(lengths[0], lengths[1]),
        )


class Overwrite:
    """The rules over one ECU's two areas. Everything decided is read from flash."""

    def __init__(self, memory: BootMemory, trust: Trust) -> None:
        self._memory = memory
        self._trust = trust
        self._running: int | None = None
        #: Why the copy cannot be made.
        self._stuck = ""

    @property
    def record(self) -> BootRecord:
        return BootRecord.decode(self._memory.record.read())

    @property
    def running(self) -> int | None:
        return self._running

    def boot(self, reset: ResetReason) -> Booting:
        if reset is ResetReason.PROGRAMMING:
            return StayInBootloader(reset.value)
        try:
            if self.record.state is State.REQUESTED:
                yield from self._carry_out()
        except MemoryFaultError as error:
            self._stuck = str(error)
        return self._decide()

    def _carry_out(self) -> Operations:
        record = self.record
        if self._verdict(SECONDARY) is not CheckStatus.CORRECT:
            yield from self._write(replace(record, state=self._next(Trigger.REFUSE)))
            return
        yield from self._copy(record.lengths[SECONDARY])
        yield from self._write(
            replace(
                record, state=self._next(Trigger.COPY), lengths=(record.lengths[SECONDARY],) * 2
            )
        )

    def _copy(self, length: int) -> Operations:
        flash, sector = self._memory.flash, self._memory.flash.geometry.sector_size
        for start in range(0, length, sector):
            content = flash.read(SECONDARY * self._memory.slot_size + start, sector)
            yield from flash.erase(PRIMARY * self._memory.slot_size + start, sector)
            yield from flash.program(PRIMARY * self._memory.slot_size + start, content)

    def _decide(self) -> Application | StayInBootloader:
        # Where the copy is stuck, its source is whole.
        source_runs = self._stuck and self._verdict(SECONDARY) is CheckStatus.CORRECT
        slot = SECONDARY if source_runs else PRIMARY
        verdict = self._verdict(slot)
        if verdict is not CheckStatus.CORRECT:
            reason = f"slot {slot}: {CHECK_TEXTS[verdict]}"
            return StayInBootloader(f"{self._stuck}; {reason}" if self._stuck else reason)
        self._running = slot
        image = self._image(slot)
        return Application(
            slot=slot,
            module=mcuboot.decode(image).payload,
            declared=mcuboot.CONTAINER.declared(image),
            on_trial=False,
        )

    def begin_download(self) -> int:
        if self._running == SECONDARY:
            raise NotNowError(f"the second slot runs: {self._stuck}")
        return SECONDARY

    def preparing(self) -> Operations:
        yield from self._write(replace(self.record, state=self._next(Trigger.DOWNLOAD)))

    def finish_download(self, length: int) -> Operations:
        """In the boot loader nobody else is there to request the copy."""
        record = self.record
        record = replace(record, lengths=(record.lengths[PRIMARY], length))
        if self._running is None:
            record = replace(record, state=self._next(Trigger.ACTIVATE))
        yield from self._write(record)

    def check_size(self) -> int:
        return self.record.lengths[SECONDARY]

    def check(self, option: bytes) -> Checking:
        """A tester may say nothing of the image, its CRC32, or its length, CRC32 and SHA-512."""
        yield from ()  # a verdict changes nothing
        image = self._image(SECONDARY)
        crc = _CRC.pack(zlib.crc32(image))
        digest = _CHECK.pack(len(image), zlib.crc32(image), hashlib.sha512(image).digest())
        if len(option) not in {0, len(crc), len(digest)}:
            raise OptionError("the option record is empty, a CRC32, or length, CRC32 and SHA-512")
        if option not in {b"", crc, digest}:
            return CheckStatus.WRONG_CHECKSUM
        return self._verdict(SECONDARY)

    def check_dependencies(self) -> CheckStatus:
        return self._verdict(SECONDARY)

    def activate(self) -> Operations:
        state = self._next(Trigger.ACTIVATE)
        if self._stuck:
            raise NotNowError(f"no copy: {self._stuck}")
        verdict = self._verdict(SECONDARY)
        if verdict is not CheckStatus.CORRECT:
            raise NotNowError(f"slot {SECONDARY}: {CHECK_TEXTS[verdict]}")
        yield from self._write(replace(self.record, state=state))

    def confirm(self) -> Operations:
        record = self.record
        state = self._next(Trigger.CONFIRM)
        if record.state is not State.COPIED:
            return
        image = mcuboot.decode(self._image(PRIMARY))
        yield from self._write(
            replace(
                record,
                state=state,
                security_counter=max(image.security_counter, record.security_counter),
                least_version=max(_version(image), record.least_version),
            )
        )

    def revert(self) -> Operations:
        """Take back a request; what is copied is not undone."""
        state = self._next(Trigger.REVERT)
        if self._running == SECONDARY:
            raise NotNowError("the copy has begun: the old image is gone")
        yield from self._write(replace(self.record, state=state))

    def active_image(self) -> bytes:
        image = self._image(PRIMARY if self._running is None else self._running)
        if not image:
            raise NotNowError(f"slot {PRIMARY} holds no image")
        return image

    def _image(self, slot: int) -> bytes:
        return self._memory.flash.read(slot * self._memory.slot_size, self.record.lengths[slot])

    def _verdict(self, slot: int) -> CheckStatus:
        record, image = self.record, self._image(slot)
        verdict = signed_verdict(image, self._trust, security_counter=record.security_counter)
        if (
            verdict is CheckStatus.CORRECT
            and _version(mcuboot.decode(image)) < record.least_version
        ):
            return CheckStatus.VERSION_TOO_LOW
        return verdict

    def _next(self, trigger: Trigger) -> State:
        state = self.record.state
        following = TRANSITIONS[state, trigger]
        if following is None:
            raise NotNowError(f"{trigger.name} is refused in state {state.name}")
        return following

    def _write(self, record: BootRecord) -> Operations:
        if record != self.record:
            yield from self._memory.record.write(record.encode())


def _version(image: mcuboot.McubootImage) -> Version:
    version = image.header.version
    return (version.major, version.minor, version.revision, version.build)


class _Profile:
    def open(self, memory: BootMemory, trust: Trust) -> Overwrite:
        return Overwrite(memory, trust)

    def factory_record(self, image: bytes, trust: Trust) -> bytes:  # noqa: ARG002 none is needed
        return BootRecord(lengths=(len(image), 0)).encode()


PROFILE = _Profile()
