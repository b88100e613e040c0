"""A flash sequence: how one type of ECU is programmed, as data.

`sequence_file` reads one from a TOML file; `perform` carries it out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final

from dbc import EcuDescription, RoutineIdentifiers
from protocols.uds import DataIdentifier
from vehicle_gateway.flashing.template import EMPTY, Template
from vehicle_gateway.wires.tester import AGAIN_AFTER_S


class SequenceError(Exception):
    """A sequence file that cannot be used; the message names file, line and key."""


class Whom(Enum):
    """Who is asked."""

    ECU = "ecu"
    #: Every ECU of the wire, through its functional address.
    ALL = "all"


class Condition(Enum):
    """What can be found out about the ECU on the way."""

    #: It reads a software number: in the boot loader there is none.
    APPLICATION_RUNS = "application_runs"
    #: Its own digest of what runs is that of the new image, or of the one from before.
    NEW_IMAGE_RUNS = "new_image_runs"
    OLD_IMAGE_RUNS = "old_image_runs"


class Status(Enum):
    """How the status record of a routine is understood."""

    #: First byte 00, or no byte at all: it succeeded.
    ZERO_IS_GOOD = "zero_is_good"
    #: A positive answer is success, whatever the record says.
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routine:
    """A routine identifier, and what its status says."""

    name: str
    #: None: as in the vehicle's description.
    identifier: int | None = None
    status: Status = Status.ZERO_IS_GOOD
    #: First byte of the status record -> what it says.
    texts: Mapping[int, str] = field(default_factory=dict)
    #: Reasons after the first byte (a count, then a byte each) -> what they say.
    reasons: Mapping[int, str] = field(default_factory=dict)
    #: 31 03 is asked until the status is no longer one of these first bytes; none: never asked.
    running: frozenset[int] = frozenset()
    poll_s: float = 0.2

    def number(self, known: RoutineIdentifiers) -> int:
        if self.identifier is not None:
            return self.identifier
        found: int = getattr(known, self.name)
        return found


# What a step does


@dataclass(frozen=True, slots=True)
class EnterSession:
    session: int


@dataclass(frozen=True, slots=True)
class Unlock:
    #: Odd sub-function of 27; None: as in the vehicle's description.
    level: int | None


@dataclass(frozen=True, slots=True)
class RunRoutine:
    routine: Routine
    option: Template = EMPTY


@dataclass(frozen=True, slots=True)
class Erase:
    routine: Routine
    option: Template


@dataclass(frozen=True, slots=True)
class Check:
    routine: Routine
    option: Template = EMPTY


@dataclass(frozen=True, slots=True)
class WriteData:
    did: int
    record: Template


@dataclass(frozen=True, slots=True)
class ReadData:
    #: A name of `Sequence.identification`.
    name: str


@dataclass(frozen=True, slots=True)
class Request:
    """Any request, and what its positive answer begins with."""

    request: Template
    answer: Template = EMPTY


@dataclass(frozen=True, slots=True)
class Download:
    """34, 36 and 37: the block that a step is for, or the secondary boot loader."""

    loader: bool


@dataclass(frozen=True, slots=True)
class EachBlock:
    """Its steps for one block after the other, in the order of the file."""

    steps: tuple["Step", ...]


@dataclass(frozen=True, slots=True)
class Reset:
    kind: int


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The phase is done here if the condition holds (`wanted`), or if it does not."""

    condition: Condition
    wanted: bool


@dataclass(frozen=True, slots=True)
class Require:
    condition: Condition
    #: What to say where it does not hold.
    text: str


Action = (
    EnterSession
    | Unlock
    | RunRoutine
    | Erase
    | Check
    | WriteData
    | ReadData
    | Request
    | Download
    | EachBlock
    | Reset
    | Wait
    | Stop
    | Require
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    #: A word or two, for people: `unlocking`.
    name: str
    action: Action
    to: Whom = Whom.ECU
    #: The positive answer is suppressed (sub-function bit 80).
    quiet: bool = False
    #: To all: if this holds, the ECU that is programmed has to be among those that answer, and is
    #: asked again by itself if it is not.
    must_answer: Condition | None = None
    #: Response codes that count as done.
    accept: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Steps in order, and those that are done at the end whatever happened."""

    steps: tuple[Step, ...]
    finally_: tuple[Step, ...] = ()
    #: Who gets 3E 80 meanwhile; None: nobody.
    tester_present: Whom | None = None

    @property
    def writes(self) -> bool:
        return any(_writes(step.action) for step in self.steps)


def _writes(action: Action) -> bool:
    match action:
        case Download(loader=False):
            return True
        case EachBlock(steps):
            return any(_writes(step.action) for step in steps)
        case _:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of the ECU's memory that is programmed by itself."""

    name: str
    address: int
    size: int
    #: What the ECU calls it: `{index}`.
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFormat:
    """How a range of memory is told to the ECU."""

    #: Bytes of an address and of a size.
    address_bytes: int = 4
    size_bytes: int = 4
    #: dataFormatIdentifier of 34.
    data_format: int = 0
    #: Downloads are transferred in the quickest format that the vehicle description has for the
    #: ECU, whose identifier takes the place of `data_format`.
    encode: bool = False
    #: Downloads are whole multiples of so many bytes, filled up with `fill`.
    align: int = 1
    fill: int = 0xFF

    @property
    def length_format(self) -> int:
        """The addressAndLengthFormatIdentifier."""
        return self.size_bytes << 4 | self.address_bytes

    def aligned(self, data: bytes) -> bytes:
        return data + bytes([self.fill]) * (-len(data) % self.align)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often the ECU is asked."""

    #: An ECU that was told to reset answers again within so many seconds.
    return_s: float = 30.0
    #: Pauses before a request whose answer got lost is sent again.
    again_after_s: tuple[float, ...] = AGAIN_AFTER_S
    #: Seconds between two 3E 80.
    tester_present_s: float = 2.0

    @property
    def tries(self) -> int:
        return 1 + len(self.again_after_s)


#: What is read of an ECU unless the file says otherwise: name -> data identifier.
IDENTIFICATION: Final[Mapping[str, int]] = {
    "hardware_number": DataIdentifier.VEHICLE_MANUFACTURER_ECU_HARDWARE_NUMBER,
    "serial_number": DataIdentifier.ECU_SERIAL_NUMBER,
    "software_number": DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_NUMBER,
    "software_version": DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_VERSION,
    "supplier_version": DataIdentifier.SYSTEM_SUPPLIER_ECU_SOFTWARE_VERSION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """The secondary boot loader that a sequence brings into RAM first."""

    #: As the sequence file names it, relative to that file; empty: told on the command line.
    file: str = ""
    #: Where the file itself does not say it.
    address: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressing:
    """How the ECU is reached, where no vehicle's description says it; None: not told."""

    request_id: int | None = None
    response_id: int | None = None
    extended_ids: bool = False
    request_extension: int | None = None
    response_extension: int | None = None
    functional_id: int | None = None
    functional_extension: int | None = None
    fd: bool = False
    bit_rate: int | None = None
    data_bit_rate: int | None = None
    #: On DoIP.
    ecu_address: int | None = None
    tester_address: int | None = None
    functional_address: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    name: str
    description: str = ""
    #: Fields of `EcuDescription` that the file tells better than the vehicle's description.
    overrides: Mapping[str, object] = field(default_factory=dict)
    phases: Mapping[str, Phase]
    memory: MemoryFormat = field(default_factory=MemoryFormat)
    patience: Patience = field(default_factory=Patience)
    blocks: tuple[Block, ...] = ()
    identification: Mapping[str, int] = field(default_factory=lambda: IDENTIFICATION)
    #: The routine by which a boot loader tells the digest of what runs; None: it does not.
    digest: Routine | None = None
    loader: Loader | None = None
    #: What `{checksum}` is.
    checksum: Callable[[bytes], bytes] | None = None
    addressing: Addressing = field(default_factory=Addressing)
    #: Where its keys come from (`key_hook`); empty: told on the command line, or the vehicle's own.
    key: str = ""
    #: Whether the hook is told the ECU's serial number, which is read for it.
    key_by_serial: bool = False
    #: Handed to the key hook.
    variant: str = ""
    key_options: str = ""
    #: The folder that file names in it are relative to; None: not from a file.
    folder: Path | None = None

    @property
    def single_slot(self) -> bool:
        """Whether the ECU waits while it is programmed: one phase writes and runs the image."""
        return PROGRAM in self.phases

    @property
    def staging_area(self) -> bool:
        """Whether one slot is filled from an area beside it, and by its boot loader if need be."""
        return self.single_slot and ACTIVATE in self.phases

    @property
    def by_block(self) -> bool:
        """Whether it has steps for one block after the other."""
        writing = self.phase(PROGRAM if self.single_slot else STAGE)
        return any(isinstance(step.action, EachBlock) for step in writing.steps)

    @property
    def unlocks(self) -> bool:
        """Whether it asks for keys."""
        return any(
            isinstance(step.action, Unlock)
            for phase in self.phases.values()
            for step in phase.steps
        )

    def phase(self, name: str) -> Phase:
        """Empty where the ECU has nothing to do in it."""
        return self.phases.get(name, Phase(steps=()))

    def describe(self, ecu: EcuDescription) -> EcuDescription:
        """The ECU, with what the sequence knows better."""
        return replace(ecu, **self.overrides)  # type: ignore[arg-type]  # checked by the reader


#: Phases. An ECU with one slot is programmed by `program`; one with two by `stage` (written beside
#: the image that runs), `activate`, `confirm` or `revert`. Both test the new application, running,
#: by `self_test`. One slot with a staging area has all of them: `stage` and `activate` while its
#: application runs, `program` while there is none to run.
STAGE: Final = "stage"
PROGRAM: Final = "program"
ACTIVATE: Final = "activate"
CONFIRM: Final = "confirm"
REVERT: Final = "revert"
SELF_TEST: Final = "self_test"
PHASES: Final = (STAGE, PROGRAM, ACTIVATE, SELF_TEST, CONFIRM, REVERT)
