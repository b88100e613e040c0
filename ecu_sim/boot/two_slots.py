"""Two slots: trial, confirm, revert, decided by a two-copy record alone.

The inactive slot is written while the application runs. A trial outlives power cycles (counted),
not a watchdog reset; a revert changes the record and erases nothing. The security counter rises
when an image is confirmed, so that until then the old one stays bootable. What makes an image good
is the profile's own: a signature, or a MAC.
"""

import struct
from abc import ABC, abstractmethod
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
)
from ecu_sim.memory.errors import MemoryFaultError
from protocols.firmware.containers import Declared
from protocols.uds.routine_status import CHECK_TEXTS, CheckStatus

#: Boots that a trial gets; the next one without a confirm reverts.
MAX_TRIAL_BOOTS: Final = 5
#: Bytes of a slot's MAC.
MAC_LENGTH: Final = 16


class State(IntEnum):
    """One byte of the record."""

    CONFIRMED = 0
    #: A trial of the other slot begins at the next boot.
    REQUESTED = 1
    TRIAL = 2
    #: As CONFIRMED, but the last request or trial came to nothing.
    REVERTED = 3


class Trigger(Enum):
    DOWNLOAD = "a download erases the inactive slot"
    ACTIVATE = "31 01 0210"
    CONFIRM = "31 01 0211"
    REVERT = "31 01 0212"
    RESET = "power-on, or reset by a tester"
    WATCHDOG = "watchdog reset"
    TRIAL_FAILED = "trial image refused, or its boots used up"


#: None: refused. Every pair has a row.
TRANSITIONS: Final[Mapping[tuple[State, Trigger], State | None]] = MappingProxyType(
    {
        (State.CONFIRMED, Trigger.DOWNLOAD): State.CONFIRMED,
        (State.CONFIRMED, Trigger.ACTIVATE): State.REQUESTED,
        # Repeated after a lost answer.
        (State.CONFIRMED, Trigger.CONFIRM): State.CONFIRMED,
        # Nothing is on trial: there is nothing to take back.
        (State.CONFIRMED, Trigger.REVERT): State.CONFIRMED,
        (State.CONFIRMED, Trigger.RESET): State.CONFIRMED,
        (State.CONFIRMED, Trigger.WATCHDOG): State.CONFIRMED,
        (State.CONFIRMED, Trigger.TRIAL_FAILED): None,
        (State.REQUESTED, Trigger.DOWNLOAD): State.REVERTED,
        (State.REQUESTED, Trigger.ACTIVATE): State.REQUESTED,
        (State.REQUESTED, Trigger.CONFIRM): None,
        (State.REQUESTED, Trigger.REVERT): State.REVERTED,
        (State.REQUESTED, Trigger.RESET): State.TRIAL,
        # The old application fell over, not the one on trial.
        (State.REQUESTED, Trigger.WATCHDOG): State.TRIAL,
        (State.REQUESTED, Trigger.TRIAL_FAILED): State.REVERTED,
        # The inactive slot is the way back.
        (State.TRIAL, Trigger.DOWNLOAD): None,
        (State.TRIAL, Trigger.ACTIVATE): None,
        (State.TRIAL, Trigger.CONFIRM): State.CONFIRMED,
        (State.TRIAL, Trigger.REVERT): State.REVERTED,
        (State.TRIAL, Trigger.RESET): State.TRIAL,
        (State.TRIAL, Trigger.WATCHDOG): State.REVERTED,
        (State.TRIAL, Trigger.TRIAL_FAILED): State.REVERTED,
        (State.REVERTED, Trigger.DOWNLOAD): State.REVERTED,
        (State.REVERTED, Trigger.ACTIVATE): State.REQUESTED,
        # Whoever confirms must learn that the new image no longer runs.
        (State.REVERTED, Trigger.CONFIRM): None,
        (State.REVERTED, Trigger.REVERT): State.REVERTED,
        (State.REVERTED, Trigger.RESET): State.REVERTED,
        (State.REVERTED, Trigger.WATCHDOG): State.REVERTED,
        (State.REVERTED, Trigger.TRIAL_FAILED): None,
    }
)

_BOOT_TRIGGERS: Final = {
    ResetReason.POWER_ON: Trigger.RESET,
    ResetReason.SOFTWARE: Trigger.RESET,
    ResetReason.WATCHDOG: Trigger.WATCHDOG,
}

#: Slot, state, boots of the trial, one bit per slot that has a MAC, security counter, image length
#: of each slot. The MACs follow where there are any.
_RECORD: Final = struct.Struct("<BBBBIII")
_NO_MAC: Final = bytes(MAC_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRecord:
    #: The confirmed slot; a trial runs in the other one.
    slot: int = 0
    state: State = State.CONFIRMED
    trial_boots: int = 0
    security_counter: int = 0
    #: Bytes of the image in each slot, 0 for none.
    lengths: tuple[int, int] = (0, 0)
    #: The secure store: the MAC that each slot is held against; empty for none.
    macs: tuple[bytes, bytes] = (b"", b"")

    @property
    def other(self) -> int:
        return 1 - self.slot

    def with_length(self, slot: int, length: int) -> "BootRecord":
        return replace(
            self, lengths=(length, self.lengths[1]) if slot == 0 else (self.lengths[0], length)
        )

    def with_mac(self, slot: int, mac: bytes) -> "BootRecord":
        return replace(self, macs=(mac, self.macs[1]) if slot == 0 else (self.macs[0], mac))

    def encode(self) -> bytes:
        present = sum(1 << slot for slot, mac in enumerate(self.macs) if mac)
        head = _RECORD.pack(
            self.slot, self.state, self.trial_boots, present, self.security_counter, *self.lengths
        )
        return head + (b"".join(mac or _NO_MAC for mac in self.macs) if present else b"")

    @classmethod
    def decode(cls, content: bytes | None) -> "BootRecord":
        """A chip without a record boots slot 0, if anything.

        `MemoryFaultError` for a record that we have not written.
        """
        if content is None:
            return cls()
        head, store = content[: _RECORD.size], content[_RECORD.size :]
        try:
            slot, number, boots, present, counter, *lengths = _RECORD.unpack(head)
            state = State(number)
        except (struct.error, ValueError) as error:
            raise MemoryFaultError(f"boot record: {error}") from error
        if slot not in {0, 1}:
            raise MemoryFaultError(f"boot record: slot {slot}")
        if present > 0b11 or len(store) != (2 * MAC_LENGTH if present else 0):
            raise MemoryFaultError(f"boot record: {len(store)} bytes of MACs for {present:02b}")
        return cls(
            slot=slot,
            state=state,
            trial_boots=boots,
            security_counter=counter,
            lengths=(lengths[0], lengths[1]),
            macs=(
                store[:MAC_LENGTH] if present & 0b01 else b"",
                store[MAC_LENGTH:] if present & 0b10 else b"",
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What stands in a slot whose verdict is CORRECT."""

    module: bytes
    declared: Declared
    security_counter: int


class TwoSlots(ABC):
    """The rules over one ECU's two slots. Everything decided is read from flash."""

    def __init__(self, memory: BootMemory) -> None:
        self._memory = memory
        self._running: int | None = None
        #: The slot that a boot loader without an application writes.
        self._rescue = 0

    @abstractmethod
    def _verdict(self, slot: int) -> CheckStatus:
        """Whether what stands in the slot may run."""

    @abstractmethod
    def _content(self, image: bytes) -> Content:
        """What an image holds that has passed."""

    @property
    def record(self) -> BootRecord:
        return BootRecord.decode(self._memory.record.read())

    @property
    def running(self) -> int | None:
        return self._running

    def boot(self, reset: ResetReason) -> Booting:
        record = self.record
        if reset is ResetReason.PROGRAMMING:
            return self._stay(reset.value)
        state = self._next(record.state, _BOOT_TRIGGERS[reset])
        boots = record.trial_boots + 1 if state is State.TRIAL else 0
        if state is State.TRIAL and (
            boots > MAX_TRIAL_BOOTS or self._verdict(record.other) is not CheckStatus.CORRECT
        ):
            state, boots = self._next(record.state, Trigger.TRIAL_FAILED), 0
        try:
            yield from self._write(replace(record, state=state, trial_boots=boots))
        except MemoryFaultError:
            # A trial that cannot be counted is none: what is confirmed runs, as the record has it.
            state = State.CONFIRMED
        slot = record.other if state is State.TRIAL else record.slot
        verdict = self._verdict(slot)
        if verdict is not CheckStatus.CORRECT:
            return self._stay(f"slot {slot}: {CHECK_TEXTS[verdict]}")
        self._running = slot
        content = self._content(self._image(slot))
        return Application(
            slot=slot,
            module=content.module,
            declared=content.declared,
            on_trial=state is State.TRIAL,
        )

    def begin_download(self) -> int:
        record = self.record
        self._next(record.state, Trigger.DOWNLOAD)
        if self._running is None:
            return self._rescue
        if self._running != record.slot:
            raise NotNowError(f"slot {record.slot} is the way back: reset first")
        return record.other

    def preparing(self) -> Operations:
        record = self.record
        state = self._next(record.state, Trigger.DOWNLOAD)
        if state is not record.state:
            yield from self._write(replace(record, state=state))

    def finish_download(self, length: int) -> Operations:
        yield from self._write(self.record.with_length(self.begin_download(), length))

    def check_size(self) -> int:
        return self.record.lengths[self._checked_slot()]

    def check(self, option: bytes) -> Checking:
        if option:
            raise OptionError(f"no option record expected, got {len(option)} bytes")
        yield from ()  # a verdict changes nothing
        return self._verdict(self._checked_slot())

    def check_dependencies(self) -> CheckStatus:
        return self._verdict(self._checked_slot())

    def activate(self) -> Operations:
        record = self.record
        state = self._next(record.state, Trigger.ACTIVATE)
        if self._running != record.slot:
            raise NotNowError("a reset is due before another slot can be activated")
        verdict = self._verdict(record.other)
        if verdict is not CheckStatus.CORRECT:
            raise NotNowError(f"slot {record.other}: {CHECK_TEXTS[verdict]}")
        yield from self._write(replace(record, state=state, trial_boots=0))

    def confirm(self) -> Operations:
        record = self.record
        state = self._next(record.state, Trigger.CONFIRM)
        if record.state is not State.TRIAL:
            return
        if self._running != record.other:
            raise NotNowError(f"slot {record.other}, which is on trial, does not run")
        counter = self._content(self._image(record.other)).security_counter
        yield from self._write(
            replace(
                record,
                slot=record.other,
                state=state,
                trial_boots=0,
                security_counter=max(counter, record.security_counter),
            )
        )

    def revert(self) -> Operations:
        record = self.record
        state = self._next(record.state, Trigger.REVERT)
        yield from self._write(replace(record, state=state, trial_boots=0))

    def active_image(self) -> bytes:
        slot = self.record.slot if self._running is None else self._running
        image = self._image(slot)
        if not image:
            raise NotNowError(f"slot {slot} holds no image")
        return image

    def _checked_slot(self) -> int:
        if self._running is None:
            return self._rescue
        return 1 - self._running

    def _stay(self, reason: str) -> StayInBootloader:
        """A boot loader writes the slot that is not good, the inactive one if both are."""
        record = self.record
        good = self._verdict(record.slot) is CheckStatus.CORRECT
        self._rescue = record.other if good else record.slot
        return StayInBootloader(reason)

    def _image(self, slot: int) -> bytes:
        return self._memory.flash.read(slot * self._memory.slot_size, self.record.lengths[slot])

    def _next(self, state: State, trigger: Trigger) -> State:
        following = TRANSITIONS[state, trigger]
        if following is None:
            raise NotNowError(f"{trigger.name} is refused in state {state.name}")
        return following

    def _write(self, record: BootRecord) -> Operations:
        if record != self.record:
            yield from self._memory.record.write(record.encode())
