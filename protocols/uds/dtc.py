"""Diagnostic trouble codes: status bits, record layouts, and the form that people read."""

import re
from collections.abc import Mapping
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Final


class StatusBit(IntFlag):
    """StatusOfDTC (ISO 14229-1 Annex D.2)."""

    TEST_FAILED = 0x01
    TEST_FAILED_THIS_OPERATION_CYCLE = 0x02
    PENDING_DTC = 0x04
    CONFIRMED_DTC = 0x08
    TEST_NOT_COMPLETED_SINCE_LAST_CLEAR = 0x10
    TEST_FAILED_SINCE_LAST_CLEAR = 0x20
    TEST_NOT_COMPLETED_THIS_OPERATION_CYCLE = 0x40
    WARNING_INDICATOR_REQUESTED = 0x80


#: DTCStatusAvailabilityMask: every bit is kept, the warning indicator included.
STATUS_AVAILABILITY_MASK: Final = 0xFF
#: DTCFormatIdentifier of 59 01: ISO_14229-1_DTCFormat.
DTC_FORMAT_IDENTIFIER: Final = 0x01
#: The one that 42, 55 and 56 allow for three-byte DTCs: SAE_J2012-DA_DTCFormat_04.
OBD_FORMAT_IDENTIFIER: Final = 0x04


class Severity(IntFlag):
    """Bits 7 to 5 of DTCSeverity (ISO 14229-1 Annex D.3); none of them: no severity."""

    MAINTENANCE_ONLY = 0x20
    CHECK_AT_NEXT_HALT = 0x40
    CHECK_IMMEDIATELY = 0x80


#: DTCSeverityAvailabilityMask: severity, and none of the class bits.
SEVERITY_AVAILABILITY_MASK: Final = 0xE0


class FunctionalGroup(IntEnum):
    """FunctionalGroupIdentifier (ISO 14229-1 Annex D.5); 14's group is 0xFFFF00 and this."""

    EMISSIONS = 0x33
    SAFETY = 0xD0
    VEHICLE_OBD = 0xFE
    #: ISO 27145-3's reading; the editions of 14229-1 reserve it.
    ALL = 0xFF


#: High bytes of a groupOfDTC that names a functional group.
GROUP_BASE: Final = 0xFFFF00

#: Fault detection counter: from "passed" to "failed"; 0 is undecided.
COUNTER_FAILED: Final = 127
COUNTER_PASSED: Final = -128

#: Snapshot record taken when the DTC's test failed first since the last clear.
FIRST_FAILURE_SNAPSHOT: Final = 0x01


class ExtendedDataRecord(IntEnum):
    """Extended data records of this project's ECUs: one byte each, saturating at 0xFF."""

    #: Operation cycles in which the test has failed.
    OCCURRENCE_COUNTER = 0x01
    #: Operation cycles without a failure, counted towards the aging of a confirmed DTC.
    AGING_COUNTER = 0x02
    #: Operation cycles since the first failure.
    CYCLES_SINCE_FIRST_FAILURE = 0x03


EXTENDED_DATA_LENGTHS: Final[Mapping[int, int]] = MappingProxyType(
    {int(record): 1 for record in ExtendedDataRecord}
)

_SYSTEMS = "PCBU"
_FORM = re.compile(rf"([{_SYSTEMS}])([0-9A-Fa-f]{{4}})-([0-9A-Fa-f]{{2}})")


def display(code: int) -> str:
    """The letter form of a three-byte DTC (ISO 15031-6): 0x9A0100 is B1A01-00."""
    if not 0 <= code <= 0xFFFFFF:
        raise ValueError(f"a DTC has three bytes, not 0x{code:X}")
    number, failure_type = divmod(code, 0x100)
    letter = _SYSTEMS[number >> 14]
    return f"{letter}{number >> 12 & 0x3}{number & 0xFFF:03X}-{failure_type:02X}"


def parse(text: str) -> int:
    """The number of a letter form; `ValueError` for anything else."""
    if (form := _FORM.fullmatch(text)) is None:
        raise ValueError(f"not a DTC like B1A01-00: {text!r}")
    letter, digits, failure_type = form.groups()
    number, failure = int(digits, 16), int(failure_type, 16)
    if number >= 0x4000:
        raise ValueError(f"second digit above 3: {text!r}")
    return (_SYSTEMS.index(letter) << 14 | number) << 8 | failure
