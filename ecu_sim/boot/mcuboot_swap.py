"""One slot that runs and one that is filled: the boot loader swaps them, sector by sector.

A signed image is written to the second slot while the application runs from the first. After a
request the next boot swaps the two by way of a scratch sector; what then runs is on trial, and is
swapped back unless it is confirmed. Each move is marked in a status area of its own, so that a swap
that was cut goes on where it was. The security counter rises with the confirmation only.

The end of a swap is guarded. The request stands behind the marks in one area, and an erase of that
area that is cut half way may leave the request and lose the marks: the swap would begin anew, and
bring back what it had taken out. So the request is made worthless (bits only go from 1 to 0)
before the area is erased, and a swap that is marked as done is never gone on with.

The application is loaded, not executed in place: where a sector goes bad in the middle of a swap,
or the record does not take its end, both images are still there, and the boot loader starts the
confirmed one from where its parts are. So it does where a trial can be neither counted nor swapped
back: the confirmed image is whole in the second slot then.
"""

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
from ecu_sim.memory import Flash
from ecu_sim.memory.errors import MemoryFaultError
from protocols.firmware.containers import mcuboot
from protocols.uds.routine_status import CHECK_TEXTS, CheckStatus

#: Boots that a trial gets; the next one without a confirm reverts.
MAX_TRIAL_BOOTS: Final = 5
#: The slot that runs, and the one that is filled.
PRIMARY: Final = 0
SECONDARY: Final = 1


class State(IntEnum):
    """One byte of the record; a request for a swap, while it stands, goes before it."""

    CONFIRMED = 0
    #: The slots are swapped at the next boot, for a trial.
    REQUESTED = 1
    TRIAL = 2
    #: The slots are swapped back at the next boot. In the record only where no request can be made.
    REVERTING = 3
    #: As CONFIRMED, but the last request or trial came to nothing.
    REVERTED = 4


class Trigger(Enum):
    DOWNLOAD = "a download erases the second slot"
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
        # The old application fell over, not the one to be tried.
        (State.REQUESTED, Trigger.WATCHDOG): State.TRIAL,
        (State.REQUESTED, Trigger.TRIAL_FAILED): State.REVERTED,
        # The second slot is the way back.
        (State.TRIAL, Trigger.DOWNLOAD): None,
        (State.TRIAL, Trigger.ACTIVATE): None,
        (State.TRIAL, Trigger.CONFIRM): State.CONFIRMED,
        (State.TRIAL, Trigger.REVERT): State.REVERTING,
        (State.TRIAL, Trigger.RESET): State.TRIAL,
        (State.TRIAL, Trigger.WATCHDOG): State.REVERTING,
        (State.TRIAL, Trigger.TRIAL_FAILED): State.REVERTING,
        (State.REVERTING, Trigger.DOWNLOAD): None,
        (State.REVERTING, Trigger.ACTIVATE): None,
        (State.REVERTING, Trigger.CONFIRM): None,
        (State.REVERTING, Trigger.REVERT): State.REVERTING,
        (State.REVERTING, Trigger.RESET): State.REVERTED,
        (State.REVERTING, Trigger.WATCHDOG): State.REVERTED,
        (State.REVERTING, Trigger.TRIAL_FAILED): None,
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

#: The first slot holds what is not confirmed, the second one what is.
_UNCONFIRMED: Final = frozenset({State.TRIAL, State.REVERTING})

_BOOT_TRIGGERS: Final = {
    ResetReason.POWER_ON: Trigger.RESET,
    ResetReason.SOFTWARE: Trigger.RESET,
    ResetReason.WATCHDOG: Trigger.WATCHDOG,
}

#: State, boots of the trial, security counter, image length in each slot.
_RECORD: Final = struct.Struct("<BBxxIII")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRecord:
    state: State = State.CONFIRMED
    #: Of a trial, from 1; any number else.
    trial_boots: int = 0
    security_counter: int = 0
    #: Bytes of the image in each slot, 0 for none.
    lengths: tuple[int, int] = (0, 0)

    def encode(self) -> bytes:
        return _RECORD.pack(self.state, self.trial_boots, self.security_counter, *self.lengths)

    @classmethod
    def decode(cls, content: bytes | None) -> "BootRecord":
        """A chip without a record has no image; `MemoryFaultError` for one that is not ours."""
        if content is None:
            return cls()
        try:
            number, boots, counter, *lengths = _RECORD.unpack(content)
            state = State(number)
        except (struct.error, ValueError) as error:
            raise MemoryFaultError(f"boot record: {error}") from error
        return cls(
            state=state,
            trial_boots=boots,
            security_counter=counter,
            lengths=(lengths[0], lengths[1]),
        )


class Swap(IntEnum):
    """What a swap is for."""

    TRIAL = 1
    BACK = 2

    @property
    def leads_to(self) -> State:
        """What the record says once it is done, and never before."""
        return State.TRIAL if self is Swap.TRIAL else State.REVERTED


#: Magic, what for, sectors of a slot, image lengths of the slots after the swap; a CRC32 follows.
_REQUEST: Final = struct.Struct("<8sBxxxIII")
_CRC: Final = struct.Struct("<I")
_REQUEST_MAGIC: Final = bytes.fromhex("5b 92 a6 3c e1 47 d8 0f")
#: What a page of the status area holds that marks something; cut or repeated to its size.
_MARK: Final = bytes.fromhex("3c 69 a5 96 c3 5a 69 3c 96 a5 5a c3 3c 96 69 a5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    swap: Swap
    #: So many of the first sectors of each slot.
    sectors: int
    #: Bytes of the image in each slot after it.
    lengths: tuple[int, int]

    def encode(self) -> bytes:
        body = _REQUEST.pack(_REQUEST_MAGIC, self.swap, self.sectors, *self.lengths)
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def decode(cls, content: bytes) -> "Request | None":
        """None for whatever is not a whole request: erased, torn, or made worthless."""
        body, crc = content[: _REQUEST.size], content[_REQUEST.size : REQUEST_SIZE]
        if body[: len(_REQUEST_MAGIC)] != _REQUEST_MAGIC or crc != _CRC.pack(zlib.crc32(body)):
            return None
        try:
            _, number, sectors, *lengths = _REQUEST.unpack(body)
            swap = Swap(number)
        except (struct.error, ValueError):
            return None
        return cls(swap=swap, sectors=sectors, lengths=(lengths[0], lengths[1]))


REQUEST_SIZE: Final = _REQUEST.size + _CRC.size


class Step(IntEnum):
    """The moves of one sector, in their order. The source of each is whole until the next one."""

    TO_SCRATCH = 0
    TO_SECONDARY = 1
    TO_PRIMARY = 2


def status_size(*, sectors: int, sector_size: int, page_size: int) -> int:
    """Bytes of the status area for slots of so many sectors."""
    pages = len(Step) * sectors + 1 + -(-REQUEST_SIZE // page_size)
    return -(-pages * page_size // sector_size) * sector_size


class Status:
    """The status area: a page for each move, then one that ends a swap, and at last the request.

    A page counts as marked only with all its bits right.
    """

    def __init__(self, flash: Flash, *, address: int, size: int) -> None:
        self._flash = flash
        self._address = address
        self._size = size
        page = flash.geometry.page_size
        self._mark = (_MARK * page)[:page]
        self._request_at = address + size - -(-REQUEST_SIZE // page) * page
        self._done_at = self._request_at - page

    @property
    def request(self) -> Request | None:
        return Request.decode(self._flash.read(self._request_at, REQUEST_SIZE))

    @property
    def done(self) -> bool:
        return self._holds_mark(self._done_at)

    @property
    def blank(self) -> bool:
        return not self._flash.read(self._address, self._size).strip(b"\xff")

    def marked(self, step: int) -> bool:
        return self._holds_mark(self._step_at(step))

    def mark(self, step: int) -> Operations:
        return self._flash.program(self._step_at(step), self._mark)

    def mark_done(self) -> Operations:
        return self._flash.program(self._done_at, self._mark)

    def write_request(self, request: Request) -> Operations:
        return self._flash.program(self._request_at, request.encode())

    def kill_request(self) -> Operations:
        return self._flash.program(self._request_at, bytes(REQUEST_SIZE))

    def erase(self) -> Operations:
        return self._flash.erase(self._address, self._size)

    def _step_at(self, step: int) -> int:
        return self._address + step * self._flash.geometry.page_size

    def _holds_mark(self, at: int) -> bool:
        return self._flash.read(at, len(self._mark)) == self._mark


class McubootSwap:
    """The rules over one ECU's slots, scratch and status. Everything decided is read from flash.

    Without its guard it shows what the guard is for: no ECU type has it so.
    """

    def __init__(self, memory: BootMemory, trust: Trust, *, guarded: bool = True) -> None:
        self._memory = memory
        self._trust = trust
        self._guarded = guarded
        sector = memory.flash.geometry.sector_size
        self._status = Status(
            memory.flash, address=memory.scratch + sector, size=memory.scratch_size - sector
        )
        self._running: int | None = None
        #: The slot that a boot loader without an application writes.
        self._rescue = PRIMARY
        #: Why no swap can be made, and the confirmed image, gathered from its places.
        self._stuck = ""
        self._gathered = b""

    @property
    def record(self) -> BootRecord:
        return BootRecord.decode(self._memory.record.read())

    @property
    def state(self) -> State:
        request = self._pending()
        if request is None:
            return self.record.state
        return State.REQUESTED if request.swap is Swap.TRIAL else State.REVERTING

    def _pending(self) -> Request | None:
        """What is asked for and has not come to its end, in the record too."""
        request = self._status.request
        if request is not None and self._guarded and self._status.done:
            return None if self.record.state is request.swap.leads_to else request
        return request

    @property
    def running(self) -> int | None:
        return self._running

    # Boot

    def boot(self, reset: ResetReason) -> Booting:
        if reset is ResetReason.PROGRAMMING:
            return self._stay(reset.value)
        try:
            yield from self._clean_up()
            yield from self._settle(_BOOT_TRIGGERS[reset])
        except MemoryFaultError as error:
            self._stuck = str(error)
            self._gathered = self._kept()
        return self._decide()

    def _clean_up(self) -> Operations:
        """The end of a swap that was cut, and what a cut has left of a request."""
        status, request = self._status, self._status.request
        if request is not None and status.done and self._guarded:
            yield from self._complete(request)
        elif request is None and not status.blank:
            yield from self._tried(status.erase())

    def _tried(self, clearing: Operations) -> Operations:
        """Marks that outlive their request mean nothing: a boot goes on without their end."""
        try:
            yield from clearing
        except MemoryFaultError as error:
            self._stuck = str(error)

    def _settle(self, trigger: Trigger) -> Operations:
        """Swap where it is asked for, count the boots of a trial, end one that has failed."""
        state = self.state
        following = self._next(state, trigger)
        if state is State.REQUESTED:
            if not self._status.marked(0) and self._verdict(SECONDARY) is not CheckStatus.CORRECT:
                yield from self._withdraw(self._next(state, Trigger.TRIAL_FAILED))
            else:
                yield from self._swap()
        elif state is State.REVERTING:
            yield from self._swap_back()
        elif following is State.TRIAL:
            boots = self.record.trial_boots + 1
            if boots > MAX_TRIAL_BOOTS:
                following = self._next(state, Trigger.TRIAL_FAILED)
            else:
                yield from self._write(replace(self.record, trial_boots=boots))
        if self.state is State.TRIAL and (
            following is State.REVERTING or self._verdict(PRIMARY) is not CheckStatus.CORRECT
        ):
            yield from self._end_trial()

    def _end_trial(self) -> Operations:
        if self._verdict(SECONDARY) is CheckStatus.CORRECT:
            yield from self._take_back()
            yield from self._swap_back()
        elif self._verdict(PRIMARY) is not CheckStatus.CORRECT:
            # Neither image is good: the next download may go to either slot.
            yield from self._write(replace(self.record, state=State.REVERTED))

    def _decide(self) -> Application | StayInBootloader:
        image = self._gathered or self._image(PRIMARY)
        verdict = self._judge(image)
        if verdict is not CheckStatus.CORRECT:
            slot = SECONDARY if self.record.state is State.REVERTING else PRIMARY
            reason = f"slot {slot}: {CHECK_TEXTS[verdict]}"
            return self._stay(f"{self._stuck}; {reason}" if self._stuck else reason)
        self._running = PRIMARY
        return Application(
            slot=PRIMARY,
            module=mcuboot.decode(image).payload,
            declared=mcuboot.CONTAINER.declared(image),
            on_trial=self.state is State.TRIAL and not self._gathered,
        )

    def _kept(self) -> bytes:
        """The confirmed image, where it is not the one in the first slot.

        A trial that has none any more goes on.
        """
        request, state = self._pending(), self.state
        if request is not None:
            return self._gather(request)
        if state is State.REVERTING or (
            state is State.TRIAL and self._verdict(SECONDARY) is CheckStatus.CORRECT
        ):
            return self._image(SECONDARY)
        return b""

    # Swap

    def _swap_back(self) -> Operations:
        if self._status.request is None:
            yield from self._request(Swap.BACK)
        yield from self._swap()

    def _swap(self) -> Operations:
        request = self._status.request
        if request is None:
            return
        for step in range(len(Step) * request.sectors):
            if not self._status.marked(step):
                yield from self._move(*divmod(step, len(Step)))
                yield from self._status.mark(step)
        yield from self._status.mark_done()
        yield from self._complete(request)

    def _move(self, number: int, step: int) -> Operations:
        sector = self._memory.flash.geometry.sector_size
        primary = PRIMARY * self._memory.slot_size + number * sector
        secondary = SECONDARY * self._memory.slot_size + number * sector
        scratch = self._memory.scratch
        source, target = {
            Step.TO_SCRATCH: (secondary, scratch),
            Step.TO_SECONDARY: (primary, secondary),
            Step.TO_PRIMARY: (scratch, primary),
        }[Step(step)]
        yield from self._memory.flash.erase(target, sector)
        yield from self._memory.flash.program(target, self._memory.flash.read(source, sector))

    def _complete(self, request: Request) -> Operations:
        """All sectors are moved: say so in the record, make the request worthless, then erase."""
        state = request.swap.leads_to
        yield from self._write(
            replace(self.record, state=state, trial_boots=1, lengths=request.lengths)
        )
        yield from self._tried(self._clear_request())

    def _clear_request(self) -> Operations:
        if self._guarded:
            yield from self._status.kill_request()
        yield from self._status.erase()

    def _request(self, swap: Swap) -> Operations:
        if not self._status.blank:
            yield from self._status.erase()
        one, two = self.record.lengths
        sectors = -(-max(one, two) // self._memory.flash.geometry.sector_size)
        yield from self._status.write_request(
            Request(swap=swap, sectors=sectors, lengths=(two, one))
        )

    def _take_back(self) -> Operations:
        """Ask for the swap back; where its request cannot be written, the record says it."""
        try:
            yield from self._request(Swap.BACK)
        except MemoryFaultError:
            yield from self._write(replace(self.record, state=State.REVERTING))

    def _withdraw(self, following: State) -> Operations:
        """The record first: until the request is gone, it is as if nothing had been said."""
        yield from self._write(replace(self.record, state=following))
        yield from self._clear_request()

    def _gather(self, request: Request) -> bytes:
        """The confirmed image, from where an unfinished swap has its sectors."""
        flash, sector = self._memory.flash, self._memory.flash.geometry.sector_size
        parts: list[bytes] = []
        for number in range(request.sectors):
            marked = [self._status.marked(number * len(Step) + step) for step in Step]
            primary, secondary = number * sector, self._memory.slot_size + number * sector
            if request.swap is Swap.TRIAL:
                at = secondary if marked[Step.TO_SECONDARY] else primary
            elif marked[Step.TO_PRIMARY]:
                at = primary
            else:
                at = self._memory.scratch if marked[Step.TO_SCRATCH] else secondary
            parts.append(flash.read(at, sector))
        # Before a trial the confirmed image was in the first slot, before a way back in the second.
        length = request.lengths[SECONDARY if request.swap is Swap.TRIAL else PRIMARY]
        return b"".join(parts)[:length]

    # Programming

    def begin_download(self) -> int:
        """A boot loader may write whatever holds no part of a confirmed image."""
        if self._running is None:
            if self._begun() and not self._lost():
                raise NotNowError("a swap cannot go on: it is not finished")
            return self._rescue
        if self._stuck:
            raise NotNowError(f"a swap cannot go on: {self._stuck}")
        self._next(self.state, Trigger.DOWNLOAD)
        return SECONDARY

    def _begun(self) -> bool:
        """Whether a swap has moved anything that it has not brought to its end."""
        return self._pending() is not None and self._status.marked(0)

    def _lost(self) -> bool:
        """Whether the parts that a swap has to move make no confirmed image."""
        request = self._pending()
        return request is not None and self._judge(self._gather(request)) is not CheckStatus.CORRECT

    def preparing(self) -> Operations:
        state, record = self.state, self.record
        lost = self._running is None and self._lost()
        if lost or (self._running is None and state in _UNCONFIRMED):
            # The record first: what has been moved must not pass for a confirmed image.
            yield from self._write(
                replace(record, state=State.REVERTED, lengths=(0, 0))
                if lost
                else replace(record, state=State.REVERTING)
            )
            if self._status.request is not None:
                yield from self._tried(self._clear_request())
            return
        following = self._next(state, Trigger.DOWNLOAD)
        if following is not state:
            yield from self._withdraw(following)

    def finish_download(self, length: int) -> Operations:
        """What a boot loader has written over an image on trial is on trial itself."""
        record = self.record
        lengths = list(record.lengths)
        lengths[self.begin_download()] = length
        if record.state in _UNCONFIRMED:
            record = replace(record, state=State.TRIAL, trial_boots=0)
        yield from self._write(replace(record, lengths=(lengths[0], lengths[1])))

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
        state = self.state
        self._next(state, Trigger.ACTIVATE)
        if self._stuck:
            raise NotNowError(f"no swap: {self._stuck}")
        if state is State.REQUESTED:
            return
        if self._running is None:
            raise NotNowError("no application runs: a trial has nothing to go back to")
        verdict = self._verdict(SECONDARY)
        if verdict is not CheckStatus.CORRECT:
            raise NotNowError(f"slot {SECONDARY}: {CHECK_TEXTS[verdict]}")
        # A scratch or status sector that has gone bad is found while nothing is at stake.
        yield from self._memory.flash.erase(
            self._memory.scratch, self._memory.flash.geometry.sector_size
        )
        yield from self._status.erase()
        yield from self._request(Swap.TRIAL)

    def confirm(self) -> Operations:
        state = self.state
        following = self._next(state, Trigger.CONFIRM)
        if state is not State.TRIAL:
            return
        if self._running is None or self._gathered:
            raise NotNowError(f"slot {PRIMARY}, which is on trial, does not run")
        record = self.record
        counter = mcuboot.decode(self._image(PRIMARY)).security_counter
        yield from self._write(
            replace(
                record,
                state=following,
                security_counter=max(counter, record.security_counter),
            )
        )

    def revert(self) -> Operations:
        state = self.state
        following = self._next(state, Trigger.REVERT)
        if self._gathered and state is not State.TRIAL:
            return  # the old image runs already
        if state is State.REQUESTED:
            yield from self._withdraw(following)
        elif state is State.TRIAL:
            verdict = self._verdict(SECONDARY)
            if verdict is not CheckStatus.CORRECT:
                raise NotNowError(f"slot {SECONDARY}: {CHECK_TEXTS[verdict]}")
            yield from self._take_back()

    def active_image(self) -> bytes:
        image = self._gathered or self._image(PRIMARY)
        if not image:
            raise NotNowError(f"slot {PRIMARY} holds no image")
        return image

    def _checked_slot(self) -> int:
        return self._rescue if self._running is None else SECONDARY

    def _stay(self, reason: str) -> StayInBootloader:
        """A boot loader writes the second slot if the first one holds a good, confirmed image."""
        kept = self._verdict(PRIMARY) is CheckStatus.CORRECT and self.state not in _UNCONFIRMED
        self._rescue = SECONDARY if kept and not self._lost() else PRIMARY
        return StayInBootloader(reason)

    def _image(self, slot: int) -> bytes:
        return self._memory.flash.read(slot * self._memory.slot_size, self.record.lengths[slot])

    def _verdict(self, slot: int) -> CheckStatus:
        return self._judge(self._image(slot))

    def _judge(self, image: bytes) -> CheckStatus:
        return signed_verdict(image, self._trust, security_counter=self.record.security_counter)

    def _next(self, state: State, trigger: Trigger) -> State:
        following = TRANSITIONS[state, trigger]
        if following is None:
            raise NotNowError(f"{trigger.name} is refused in state {state.name}")
        return following

    def _write(self, record: BootRecord) -> Operations:
        if record != self.record:
            yield from self._memory.record.write(record.encode())


class _Profile:
    def open(self, memory: BootMemory, trust: Trust) -> McubootSwap:
        return McubootSwap(memory, trust)

    def factory_record(self, image: bytes, trust: Trust) -> bytes:  # noqa: ARG002 none is needed
        return BootRecord(lengths=(len(image), 0)).encode()


PROFILE = _Profile()
