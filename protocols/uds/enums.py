"""The numbers of ISO 14229-1 that this project speaks."""

from enum import IntEnum, IntFlag


class ServiceId(IntEnum):
    """Request service identifiers; a positive response carries the same plus 0x40."""

    DIAGNOSTIC_SESSION_CONTROL = 0x10
    ECU_RESET = 0x11
    CLEAR_DIAGNOSTIC_INFORMATION = 0x14
    READ_DTC_INFORMATION = 0x19
    READ_DATA_BY_IDENTIFIER = 0x22
    READ_MEMORY_BY_ADDRESS = 0x23
    READ_SCALING_DATA_BY_IDENTIFIER = 0x24
    SECURITY_ACCESS = 0x27
    COMMUNICATION_CONTROL = 0x28
    READ_DATA_BY_PERIODIC_IDENTIFIER = 0x2A
    DYNAMICALLY_DEFINE_DATA_IDENTIFIER = 0x2C
    WRITE_DATA_BY_IDENTIFIER = 0x2E
    INPUT_OUTPUT_CONTROL_BY_IDENTIFIER = 0x2F
    ROUTINE_CONTROL = 0x31
    REQUEST_DOWNLOAD = 0x34
    REQUEST_UPLOAD = 0x35
    TRANSFER_DATA = 0x36
    REQUEST_TRANSFER_EXIT = 0x37
    WRITE_MEMORY_BY_ADDRESS = 0x3D
    TESTER_PRESENT = 0x3E
    CONTROL_DTC_SETTING = 0x85


#: Added to a request's service identifier in the positive response.
POSITIVE_RESPONSE: int = 0x40
#: First byte of every negative response.
NEGATIVE_RESPONSE: int = 0x7F
#: Bit 7 of a sub-function: suppressPosRspMsgIndicationBit.
SUPPRESS_POSITIVE_RESPONSE: int = 0x80


class Nrc(IntEnum):
    """Negative response codes (ISO 14229-1 Annex A)."""

    GENERAL_REJECT = 0x10
    SERVICE_NOT_SUPPORTED = 0x11
    SUB_FUNCTION_NOT_SUPPORTED = 0x12
    INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT = 0x13
    RESPONSE_TOO_LONG = 0x14
    BUSY_REPEAT_REQUEST = 0x21
    CONDITIONS_NOT_CORRECT = 0x22
    REQUEST_SEQUENCE_ERROR = 0x24
    NO_RESPONSE_FROM_SUBNET_COMPONENT = 0x25
    FAILURE_PREVENTS_EXECUTION = 0x26
    REQUEST_OUT_OF_RANGE = 0x31
    SECURITY_ACCESS_DENIED = 0x33
    AUTHENTICATION_REQUIRED = 0x34
    INVALID_KEY = 0x35
    EXCEEDED_NUMBER_OF_ATTEMPTS = 0x36
    REQUIRED_TIME_DELAY_NOT_EXPIRED = 0x37
    UPLOAD_DOWNLOAD_NOT_ACCEPTED = 0x70
    TRANSFER_DATA_SUSPENDED = 0x71
    GENERAL_PROGRAMMING_FAILURE = 0x72
    WRONG_BLOCK_SEQUENCE_COUNTER = 0x73
    RESPONSE_PENDING = 0x78
    SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION = 0x7E
    SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION = 0x7F
    VOLTAGE_TOO_HIGH = 0x92
    VOLTAGE_TOO_LOW = 0x93


class Session(IntEnum):
    DEFAULT = 0x01
    PROGRAMMING = 0x02
    EXTENDED = 0x03


class ResetType(IntEnum):
    HARD = 0x01
    KEY_OFF_ON = 0x02
    SOFT = 0x03


class DtcReport(IntEnum):
    """Sub-functions of 19."""

    NUMBER_BY_STATUS_MASK = 0x01
    BY_STATUS_MASK = 0x02
    SNAPSHOT_IDENTIFICATION = 0x03
    SNAPSHOT_RECORD_BY_DTC_NUMBER = 0x04
    EXTENDED_DATA_RECORD_BY_DTC_NUMBER = 0x06
    SUPPORTED_DTCS = 0x0A


class CommunicationControl(IntEnum):
    """Sub-functions of 28."""

    ENABLE_RX_AND_TX = 0x00
    ENABLE_RX_DISABLE_TX = 0x01
    DISABLE_RX_ENABLE_TX = 0x02
    DISABLE_RX_AND_TX = 0x03


class CommunicationType(IntFlag):
    """Low two bits of 28's communicationType (the high nibble names a subnet; 0 is all)."""

    NORMAL = 0x01
    NETWORK_MANAGEMENT = 0x02


class TransmissionMode(IntEnum):
    """2A's first parameter; not a sub-function, so it has no suppress bit."""

    SLOW = 0x01
    MEDIUM = 0x02
    FAST = 0x03
    STOP = 0x04


class DynamicDefinition(IntEnum):
    """Sub-functions of 2C."""

    BY_IDENTIFIER = 0x01
    BY_MEMORY_ADDRESS = 0x02
    CLEAR = 0x03


class OutputControl(IntEnum):
    """2F's inputOutputControlParameter."""

    RETURN_TO_ECU = 0x00
    RESET_TO_DEFAULT = 0x01
    FREEZE = 0x02
    SHORT_TERM_ADJUSTMENT = 0x03


class RoutineControl(IntEnum):
    """Sub-functions of 31; this project's routines are started and run to their end."""

    START = 0x01
    STOP = 0x02
    REQUEST_RESULTS = 0x03


class DtcSetting(IntEnum):
    """Sub-functions of 85."""

    ON = 0x01
    OFF = 0x02


class RoutineId(IntEnum):
    """FF00 and FF01 are the standard's; the others are this project's defaults."""

    CHECK_MEMORY = 0x0202
    CHECK_PRECONDITIONS = 0x0203
    ACTIVATE = 0x0210
    CONFIRM = 0x0211
    REVERT = 0x0212
    SELF_TEST = 0x0213
    SLOT_DIGEST = 0x0214
    ERASE_MEMORY = 0xFF00
    CHECK_DEPENDENCIES = 0xFF01


class DataIdentifier(IntEnum):
    """Data identifiers of ISO 14229-1 Annex C.1 in use here; F15A is a convention."""

    PROGRAMMING_FINGERPRINT = 0xF15A
    BOOT_SOFTWARE_IDENTIFICATION = 0xF180
    ACTIVE_DIAGNOSTIC_SESSION = 0xF186
    VEHICLE_MANUFACTURER_ECU_SOFTWARE_NUMBER = 0xF188
    VEHICLE_MANUFACTURER_ECU_SOFTWARE_VERSION = 0xF189
    ECU_SERIAL_NUMBER = 0xF18C
    VIN = 0xF190
    VEHICLE_MANUFACTURER_ECU_HARDWARE_NUMBER = 0xF191
    SYSTEM_SUPPLIER_ECU_SOFTWARE_VERSION = 0xF195
