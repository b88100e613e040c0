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
    REQUEST_FILE_TRANSFER = 0x38
    WRITE_MEMORY_BY_ADDRESS = 0x3D
    TESTER_PRESENT = 0x3E
    #: Edition 2013 only.
    ACCESS_TIMING_PARAMETER = 0x83
    SECURED_DATA_TRANSMISSION = 0x84
    CONTROL_DTC_SETTING = 0x85
    RESPONSE_ON_EVENT = 0x86
    LINK_CONTROL = 0x87


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
    SECURE_DATA_TRANSMISSION_REQUIRED = 0x38
    SECURE_DATA_TRANSMISSION_NOT_ALLOWED = 0x39
    SECURE_DATA_VERIFICATION_FAILED = 0x3A
    UPLOAD_DOWNLOAD_NOT_ACCEPTED = 0x70
    TRANSFER_DATA_SUSPENDED = 0x71
    GENERAL_PROGRAMMING_FAILURE = 0x72
    WRONG_BLOCK_SEQUENCE_COUNTER = 0x73
    RESPONSE_PENDING = 0x78
    SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION = 0x7E
    SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION = 0x7F
    RPM_TOO_HIGH = 0x81
    RPM_TOO_LOW = 0x82
    ENGINE_IS_RUNNING = 0x83
    ENGINE_IS_NOT_RUNNING = 0x84
    ENGINE_RUN_TIME_TOO_LOW = 0x85
    TEMPERATURE_TOO_HIGH = 0x86
    TEMPERATURE_TOO_LOW = 0x87
    VEHICLE_SPEED_TOO_HIGH = 0x88
    VEHICLE_SPEED_TOO_LOW = 0x89
    THROTTLE_PEDAL_TOO_HIGH = 0x8A
    THROTTLE_PEDAL_TOO_LOW = 0x8B
    TRANSMISSION_RANGE_NOT_IN_NEUTRAL = 0x8C
    TRANSMISSION_RANGE_NOT_IN_GEAR = 0x8D
    BRAKE_SWITCH_NOT_CLOSED = 0x8F
    SHIFTER_LEVER_NOT_IN_PARK = 0x90
    TORQUE_CONVERTER_CLUTCH_LOCKED = 0x91
    VOLTAGE_TOO_HIGH = 0x92
    VOLTAGE_TOO_LOW = 0x93


class Session(IntEnum):
    """The sessions of this project; others (04, 40-7E) are values without a name."""

    DEFAULT = 0x01
    PROGRAMMING = 0x02
    EXTENDED = 0x03

    @classmethod
    def _missing_(cls, value: object) -> "Session | None":
        if not isinstance(value, int) or not (value == 0x04 or 0x40 <= value <= 0x7E):
            return None
        made = int.__new__(cls, value)
        made._name_ = f"SESSION_{value:02X}"
        made._value_ = value
        return made


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
    STORED_DATA_BY_RECORD_NUMBER = 0x05
    EXTENDED_DATA_RECORD_BY_DTC_NUMBER = 0x06
    NUMBER_BY_SEVERITY_MASK = 0x07
    BY_SEVERITY_MASK = 0x08
    SEVERITY_OF_DTC = 0x09
    SUPPORTED_DTCS = 0x0A
    FIRST_TEST_FAILED = 0x0B
    FIRST_CONFIRMED = 0x0C
    MOST_RECENT_TEST_FAILED = 0x0D
    MOST_RECENT_CONFIRMED = 0x0E
    #: 0F to 13 are in the edition of 2013 alone.
    MIRROR_MEMORY_BY_STATUS_MASK = 0x0F
    MIRROR_MEMORY_EXTENDED_DATA_RECORD_BY_DTC_NUMBER = 0x10
    NUMBER_OF_MIRROR_MEMORY_BY_STATUS_MASK = 0x11
    NUMBER_OF_EMISSIONS_BY_STATUS_MASK = 0x12
    EMISSIONS_BY_STATUS_MASK = 0x13
    FAULT_DETECTION_COUNTER = 0x14
    PERMANENT_STATUS = 0x15
    EXTENDED_DATA_RECORD_BY_RECORD_NUMBER = 0x16
    USER_MEMORY_BY_STATUS_MASK = 0x17
    USER_MEMORY_SNAPSHOT_RECORD_BY_DTC_NUMBER = 0x18
    USER_MEMORY_EXTENDED_DATA_RECORD_BY_DTC_NUMBER = 0x19
    #: Since 2020.
    SUPPORTED_EXTENDED_DATA_RECORD = 0x1A
    WWH_OBD_BY_MASK_RECORD = 0x42
    WWH_OBD_PERMANENT_STATUS = 0x55
    #: Since 2020.
    BY_READINESS_GROUP = 0x56


class CommunicationControl(IntEnum):
    """Sub-functions of 28."""

    ENABLE_RX_AND_TX = 0x00
    ENABLE_RX_DISABLE_TX = 0x01
    DISABLE_RX_ENABLE_TX = 0x02
    DISABLE_RX_AND_TX = 0x03
    #: With enhanced address information: a node's number (two bytes) follows.
    ENABLE_RX_DISABLE_TX_OF_NODE = 0x04
    ENABLE_RX_AND_TX_OF_NODE = 0x05


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
    """Sub-functions of 31."""

    START = 0x01
    STOP = 0x02
    REQUEST_RESULTS = 0x03


class DtcSetting(IntEnum):
    """Sub-functions of 85."""

    ON = 0x01
    OFF = 0x02


class FileOperation(IntEnum):
    """38's modeOfOperation; not a sub-function. 06 came in 2020."""

    ADD = 0x01
    DELETE = 0x02
    REPLACE = 0x03
    READ = 0x04
    READ_DIRECTORY = 0x05
    RESUME = 0x06


class TimingAccess(IntEnum):
    """Sub-functions of 83."""

    READ_EXTENDED = 0x01
    SET_DEFAULT = 0x02
    READ_ACTIVE = 0x03
    SET_GIVEN = 0x04


class EventType(IntEnum):
    """Low six bits of 86's eventType; bit 6 is storageState, bit 7 suppresses the response."""

    STOP = 0x00
    ON_DTC_STATUS_CHANGE = 0x01
    #: In the edition of 2013 alone.
    ON_TIMER_INTERRUPT = 0x02
    ON_CHANGE_OF_DATA_IDENTIFIER = 0x03
    REPORT_ACTIVATED = 0x04
    START = 0x05
    CLEAR = 0x06
    ON_COMPARISON_OF_VALUES = 0x07
    #: Since 2020.
    MOST_RECENT_DTC_ON_STATUS_CHANGE = 0x08
    DTC_RECORD_ON_STATUS_CHANGE = 0x09


class LinkControl(IntEnum):
    """Sub-functions of 87."""

    VERIFY_FIXED = 0x01
    VERIFY_SPECIFIC = 0x02
    TRANSITION = 0x03


class RoutineId(IntEnum):
    """FF00 and FF01 are the standard's; the others are this project's defaults."""

    CHECK_MEMORY = 0x0202
    CHECK_PRECONDITIONS = 0x0203
    ACTIVATE = 0x0210
    CONFIRM = 0x0211
    REVERT = 0x0212
    SELF_TEST = 0x0213
    SLOT_DIGEST = 0x0214
    OUTPUT_SWEEP = 0x0220
    START_SECONDARY_LOADER = 0x0301
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
