"""What an ECU offers of the services that few have (38 83 84 86 87)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from protocols.uds.enums import EventType, FileOperation, ServiceId, Session, TransmissionMode
from protocols.uds.rules.access import EXTENDED, NON_DEFAULT, Access

#: linkControlModeIdentifier -> bit/s, those of CAN (ISO 14229-1 Annex B.3).
CAN_BIT_RATES: Final[Mapping[int, int]] = MappingProxyType(
    {0x10: 125_000, 0x11: 250_000, 0x12: 500_000, 0x13: 1_000_000}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRules(Access):
    """87: bit rates that the controller can be set to."""

    sessions: frozenset[Session] = NON_DEFAULT
    #: 01: linkControlModeIdentifier -> bit/s.
    fixed: Mapping[int, int] = field(default_factory=lambda: CAN_BIT_RATES)
    #: 02: bit/s that may be asked for as a number.
    specific: frozenset[int] = frozenset()


#: 86's eventWindowTime -> seconds from the start of the events; `None`: no end. 02 is the
#: standard's, 03 to 05 (short, medium, long) are named by edition 2020, their length by nobody.
EVENT_WINDOWS: Final[Mapping[int, float | None]] = MappingProxyType(
    {0x02: None, 0x03: 10.0, 0x04: 60.0, 0x05: 600.0}
)


#: 86 02's timer schedule -> period in seconds.
EVENT_TIMERS: Final[Mapping[int, float]] = MappingProxyType(
    {TransmissionMode.SLOW: 1.0, TransmissionMode.MEDIUM: 0.2, TransmissionMode.FAST: 0.05}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRules(Access):
    """86: what is watched, and what may be answered to an event."""

    functional: bool = False
    windows: Mapping[int, float | None] = field(default_factory=lambda: EVENT_WINDOWS)
    timers: Mapping[int, float] = field(default_factory=lambda: EVENT_TIMERS)
    #: Event types that may carry storageState; `None`: those of the edition.
    storable: frozenset[EventType] | None = None
    #: Services that serviceToRespondTo may name; each must answer at once.
    services: frozenset[int] = frozenset(
        {ServiceId.READ_DATA_BY_IDENTIFIER, ServiceId.READ_DTC_INFORMATION}
    )
    #: Events set up at a time.
    limit: int = 4
    #: Seconds between two looks at what is watched: two changes in between are one event.
    sample_s: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """38: a small file store, and who may do what with it."""

    operations: Mapping[FileOperation, Access] = field(
        default_factory=lambda: {
            operation: Access(
                sessions=EXTENDED,
                secured=operation not in {FileOperation.READ, FileOperation.READ_DIRECTORY},
                functional=False,
            )
            for operation in FileOperation
        }
    )
    #: Bytes of all files and their names, number of files, longest name.
    capacity: int = 8192
    files: int = 16
    max_path: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRules(Access):
    """83: P2 and P2* in the limits that the server can hold, in seconds."""

    sessions: frozenset[Session] = EXTENDED
    functional: bool = False
    p2_s: tuple[float, float] = (0.025, 1.0)
    p2_star_s: tuple[float, float] = (0.5, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuredDataRules(Access):
    """84: what may, and what must, come inside a secured message."""

    functional: bool = False
    #: Services that are answered inside.
    services: frozenset[int]
    #: Services that are answered nowhere else (NRC 38).
    required: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialRules:
    """`None`: the ECU type does not have the service."""

    link: LinkRules | None = None
    events: EventRules | None = None
    files: FileRules | None = None
    #: Only in the edition of 2013.
    timing: TimingRules | None = None
    #: In the layout of 2020, which fills the record that 2013 leaves open.
    secured_data: SecuredDataRules | None = None
