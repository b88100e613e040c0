"""What this project's routines take and answer (31 01, option and status records).

| RID | option record | status record (after 71 01 rid) |
|---|---|---|
| FF00 erase | 44, address u32, size u32 | status |
| 0202 check, two slots | empty | `CheckStatus` |
| 0202 check, single slot | CRC32 u32 of the whole image | `CheckStatus` |
| 0202 check, staging area | length u32, CRC32 u32, SHA-512 (64) of the image | `CheckStatus` |
| 0202 check, one of several blocks | address u32, CRC32 u32 of the block's image | `CheckStatus` |
| 0301 start the secondary boot loader | address u32 | `CheckStatus` |
| FF01 dependencies | empty | `CheckStatus` |
| 0203 preconditions | empty | status, number of failed, one `Precondition` byte each |
| 0210 activate, 0211 confirm, 0212 revert | empty | status |
| 0213 self-test | empty | `SelfTestStatus`, number of confirmed DTCs |
| 0220 output sweep | empty | `RoutineState`, steps taken, least and greatest value measured u16 |
| 0214 digest of the running slot | nonce, 16 to 32 bytes | 00, SHA-256 (32), signature (64) |

0220 runs on after its 71 01; 31 02 stops it, 31 03 tells the same record at any time.

Numbers are big endian; status 00 is success. What cannot be done now is NRC 22, a range outside
the application area NRC 31, a memory that fails NRC 72.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from protocols.uds.enums import Nrc

#: addressAndLengthFormatIdentifier: four size bytes, four address bytes.
ALFID: Final = 0x44


class CheckStatus(IntEnum):
    """First byte of 0202's and FF01's status record."""

    CORRECT = 0x00
    NOT_AN_IMAGE = 0x01
    DAMAGED = 0x02
    WRONG_SIGNATURE = 0x03
    WRONG_HARDWARE = 0x04
    SECURITY_COUNTER_TOO_LOW = 0x05
    WRONG_CHECKSUM = 0x06
    WRONG_DEPENDENCY = 0x07
    STALE_MAC = 0x08
    WRONG_LENGTH = 0x09
    VERSION_TOO_LOW = 0x0A
    WRONG_DIGEST = 0x0B


#: What each status says to a reader.
CHECK_TEXTS: Final = {
    CheckStatus.CORRECT: "correct",
    CheckStatus.NOT_AN_IMAGE: "not a signed image: no container of this ECU's format",
    CheckStatus.DAMAGED: "incomplete or altered: its own lengths or digest do not fit",
    CheckStatus.WRONG_SIGNATURE: "not signed by a key that the ECU trusts",
    CheckStatus.WRONG_HARDWARE: "made for another hardware id",
    CheckStatus.SECURITY_COUNTER_TOO_LOW: "security counter below the ECU's",
    CheckStatus.WRONG_CHECKSUM: "CRC32 does not match what was sent",
    CheckStatus.WRONG_DEPENDENCY: "another major version than the application's",
    CheckStatus.STALE_MAC: "the MAC in the secure store is not of what stands in the slot",
    CheckStatus.VERSION_TOO_LOW: "older than the version that was confirmed last",
    CheckStatus.WRONG_LENGTH: "not as long as what was sent",
    CheckStatus.WRONG_DIGEST: "SHA-512 does not match what was sent",
}


class SelfTestStatus(IntEnum):
    """First byte of 0213's status record."""

    PASSED = 0x00
    APPLICATION_FAILED = 0x01
    OUTPUT_OUT_OF_RANGE = 0x02
    OUTPUT_NOT_FOLLOWED = 0x03


#: What each status says to a reader.
SELF_TEST_TEXTS: Final = {
    SelfTestStatus.PASSED: "passed",
    SelfTestStatus.APPLICATION_FAILED: "the application's own test failed",
    SelfTestStatus.OUTPUT_OUT_OF_RANGE: "the application drives an output out of its range",
    SelfTestStatus.OUTPUT_NOT_FOLLOWED: "what an output moves does not follow it",
}


class RoutineState(IntEnum):
    """First byte of the status record of a routine that runs on."""

    FINISHED = 0x00
    RUNNING = 0x01
    STOPPED = 0x02
    #: It has ended itself: its conditions were no longer met.
    ABORTED = 0x03


class Precondition(IntEnum):
    """What 0203 can find in the way of programming."""

    SUPPLY_VOLTAGE_TOO_LOW = 0x01
    VEHICLE_MOVING = 0x02
    SUPPLY_VOLTAGE_TOO_HIGH = 0x03
    NOT_IN_PARK = 0x04
    #: What was heard before is silent, or says that it is not available.
    SIGNALS_OF_THE_VEHICLE_MISSING = 0x05


#: What an ECU answers that is asked for something against a condition (ISO 14229-1 annex A); of
#: several the first of these. Nothing in the standard says that a signal is missing.
PRECONDITION_NRCS: Final[Mapping[Precondition, Nrc]] = MappingProxyType(
    {
        Precondition.VEHICLE_MOVING: Nrc.VEHICLE_SPEED_TOO_HIGH,
        Precondition.NOT_IN_PARK: Nrc.SHIFTER_LEVER_NOT_IN_PARK,
        Precondition.SUPPLY_VOLTAGE_TOO_LOW: Nrc.VOLTAGE_TOO_LOW,
        Precondition.SUPPLY_VOLTAGE_TOO_HIGH: Nrc.VOLTAGE_TOO_HIGH,
        Precondition.SIGNALS_OF_THE_VEHICLE_MISSING: Nrc.CONDITIONS_NOT_CORRECT,
    }
)
#: Writing into memory that does not run needs the supply alone: the car may be in use.
SUPPLY_CONDITIONS: Final = frozenset(
    {Precondition.SUPPLY_VOLTAGE_TOO_LOW, Precondition.SUPPLY_VOLTAGE_TOO_HIGH}
)
#: What ends the running application needs all of it.
ALL_CONDITIONS: Final = frozenset(Precondition)
