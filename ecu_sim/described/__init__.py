"""An ECU as a description tells it, and no code of ours: read from a PDX, completed by options.

The description becomes the rules and the device of the same diagnostic server that every other
ECU has. What can be acted on is (sessions, the lock, data, trouble codes, downloads, the routines
of a programming sequence); the rest is answered with what the description says a positive
response is made of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from protocols.uds.rules import ALL_SESSIONS, Access


class DescriptionError(Exception):
    """A description that no ECU can be made of; the message names file and element."""


class Role(Enum):
    """What a routine does to the ECU."""

    ERASE = "erase"
    START_LOADER = "start_loader"
    CHECK = "check"
    #: Answered with its described status record, and nothing more.
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Datum:
    """One data identifier."""

    name: str
    record: bytes
    #: Bytes of a record that may be written; `None`: any number.
    length: int | None = None
    readable: Access | None = None
    writable: Access | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routine:
    """One routine identifier, and the status record of its success."""

    name: str
    role: Role
    status: bytes
    access: Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A range of memory that takes downloads."""

    name: str
    start: int
    size: int
    #: Bytes erased at a time; 0: RAM, gone with a reset, that takes a secondary boot loader.
    sector: int

    @property
    def ram(self) -> bool:
        return self.sector == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedEcu:
    name: str
    #: CAN identifiers: tester -> ECU, ECU -> tester.
    request_id: int
    response_id: int
    extended: bool = False
    functional_id: int = 0x7DF
    #: Sub-functions of 10 -> who may ask for it.
    sessions: Mapping[int, Access]
    #: Sub-functions of 11.
    resets: tuple[int, ...] = ()
    #: Odd sub-functions of 27 -> who may ask for a seed.
    levels: Mapping[int, Access] = field(default_factory=dict)
    data: Mapping[int, Datum] = field(default_factory=dict)
    routines: Mapping[int, Routine] = field(default_factory=dict)
    #: Trouble code -> text, and the sub-functions of 19.
    dtcs: Mapping[int, str] = field(default_factory=dict)
    reports: frozenset[int] = frozenset()
    #: Services (14, 28, 85, 34, 36, 37, 3E) that the server acts on -> who may.
    services: Mapping[int, Access] = field(default_factory=dict)
    #: Start of a request -> the whole answer, for what the server cannot act on.
    stock: Mapping[bytes, bytes] = field(default_factory=dict)
    memory: tuple[Region, ...] = ()
    max_block_length: int = 0x402
    seed_length: int = 4
    p2_s: float = 0.05
    p2_star_s: float = 5.0
    s3_s: float = 5.0
    boot_s: float = 0.2
    erase_s: float = 0.02
    page_size: int = 0x80
    program_s: float = 0.0005

    @property
    def serial(self) -> str:
        return f"{self.name}-0001"

    @property
    def has_loader(self) -> bool:
        """Whether flash is open only to a secondary boot loader."""
        starts = any(one.role is Role.START_LOADER for one in self.routines.values())
        return starts and any(region.ram for region in self.memory)


__all__ = [
    "ALL_SESSIONS",
    "Access",
    "Datum",
    "DescribedEcu",
    "DescriptionError",
    "Region",
    "Role",
    "Routine",
]
