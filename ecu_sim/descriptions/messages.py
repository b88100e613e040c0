"""The messages of each service after its identifier and sub-function (ISO 14229-1).

One row per service, or per service and sub-function where they differ. What has no row is
described all the same, with its record as plain bytes. Which of these an ECU has, in which session
and to whom, is not said here: the server's rules say it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntFlag
from types import MappingProxyType
from typing import Final

from ecu_sim.descriptions.layout import (
    Case,
    CountedText,
    Field,
    Fields,
    LengthKey,
    Number,
    Packed,
    Raw,
    Repeat,
    Sized,
    Switch,
    TroubleCode,
)
from protocols.uds.dtc import FunctionalGroup, StatusBit
from protocols.uds.enums import EventType, FileOperation
from protocols.uds.rules.special import EVENT_WINDOWS
from protocols.uds.rules.special_rows import STORE_EVENT
from protocols.uds.secured_data import Administrative
from protocols.uds.security_access import KEY_LENGTH, SEED_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    #: Says the sub-function in a name; empty for a service that has none.
    name: str = ""
    request: Fields = ()
    response: Fields = ()


def status_byte() -> Packed:
    return Packed(name="status_of_dtc", parts=_flags(StatusBit))


def _flags(bits: type[IntFlag]) -> tuple[Number, ...]:
    """One bit per member."""
    return tuple(
        Number(name=bit.name.lower(), bits=1, bit=bit.bit_length() - 1) for bit in bits if bit.name
    )


#: Stands for the data records of the ECU's identifiers, behind each its identifier.
DATA_RECORD: Final = Switch(name="data_record", key_bits=16)
#: Stands for the ECU's extended data records, behind each its number.
EXTENDED_RECORD: Final = Switch(name="extended_data_record", key_bits=8)
#: Stands for everything that 14 and 85 may name: all, a functional group, or one code.
GROUP_OF_DTC: Final = Number(name="group_of_dtc", bits=24)
#: Stands for the periodic identifiers, and for the records behind them.
PERIODIC_IDENTIFIER: Final = Number(name="periodic_data_identifier")
PERIODIC_RECORD: Final = Switch(name="periodic_data_record", key_bits=8)
#: Stands for the requests that 86 may answer to an event.
RESPOND_TO: Final = Switch(name="service_to_respond_to", key_bits=8)
#: Stands for the events that 86 04 reports: as many as the number before them says.
ACTIVE_EVENTS: Final = Switch(name="activated_events", key_bits=8)

_MASK: Final = Number(name="dtc_status_mask")
_AVAILABLE: Final = Number(name="dtc_status_availability_mask")
_SEVERITY_MASK: Final = Number(name="dtc_severity_mask")
_RECORD: Final = Number(name="record_number")
_SELECTION: Final = Number(name="memory_selection")
_CODE: Final = TroubleCode(name="dtc")
_STATUS: Final = status_byte()
_FORMAT: Final = Number(
    name="dtc_format_identifier",
    texts={
        0: "SAE J2012-DA, two bytes",
        1: "ISO 14229-1",
        2: "SAE J1939-73",
        3: "ISO 11992-4",
        4: "SAE J2012-DA, three bytes",
    },
)
_GROUP: Final = Number(
    name="functional_group_identifier",
    texts={int(group): group.name.lower().replace("_", " ") for group in FunctionalGroup},
)
_GROUPS: Final = Repeat(name="groups", items=(GROUP_OF_DTC,))
_LISTED: Final = Repeat(name="dtcs", items=(_CODE, _STATUS))
_SNAPSHOT: Final = Repeat(name="data_records", items=(DATA_RECORD,), counted=True)
_SNAPSHOTS: Final = Repeat(name="snapshot_records", items=(_RECORD, _SNAPSHOT))
_STORED: Final = (_CODE, _STATUS, _SNAPSHOT)
_EXTENDED: Final = Repeat(name="extended_data_records", items=(EXTENDED_RECORD,))
_SEVERITY: Final = Packed(
    name="dtc_severity_record",
    parts=(
        Number(name="dtc_class", bits=5, bit=0),
        Number(
            name="dtc_severity",
            bits=3,
            bit=5,
            texts={
                0: "none",
                1: "maintenance only",
                2: "check at next halt",
                4: "check immediately",
            },
        ),
    ),
)
_SEVERE: Final = (
    _SEVERITY,
    Number(name="dtc_functional_unit"),
    _CODE,
    _STATUS,
)
_COUNT: Final = (_AVAILABLE, _FORMAT, Number(name="dtc_count", bits=16))
_LIST: Final = (_AVAILABLE, _LISTED)


def _by_mask(name: str) -> Layout:
    return Layout(name=name, request=(_MASK,), response=_LIST)


def _listing(name: str) -> Layout:
    return Layout(name=name, response=_LIST)


_DTC_REPORTS: Final[Mapping[int, Layout]] = {
    0x01: Layout(name="number by status mask", request=(_MASK,), response=_COUNT),
    0x02: _by_mask("by status mask"),
    0x03: Layout(
        name="snapshot identification",
        response=(Repeat(name="snapshots", items=(_CODE, _RECORD)),),
    ),
    0x04: Layout(
        name="snapshot record by DTC number",
        request=(_CODE, _RECORD),
        response=(_CODE, _STATUS, _SNAPSHOTS),
    ),
    0x05: Layout(
        name="stored data by record number",
        request=(_RECORD,),
        # Each record begins with its number; where none is stored, the number stands alone.
        response=(
            _RECORD,
            Repeat(
                name="stored_data",
                most=1,
                items=(*_STORED, Repeat(name="further_stored_data", items=(_RECORD, *_STORED))),
            ),
        ),
    ),
    0x06: Layout(
        name="extended data record by DTC number",
        request=(_CODE, _RECORD),
        response=(_CODE, _STATUS, _EXTENDED),
    ),
    0x07: Layout(name="number by severity mask", request=(_SEVERITY_MASK, _MASK), response=_COUNT),
    0x08: Layout(
        name="by severity mask",
        request=(_SEVERITY_MASK, _MASK),
        response=(_AVAILABLE, Repeat(name="dtcs", items=_SEVERE)),
    ),
    0x09: Layout(
        name="severity of DTC",
        request=(_CODE,),
        response=(_AVAILABLE, Repeat(name="dtcs", items=_SEVERE)),
    ),
    0x0A: _listing("supported DTCs"),
    0x0B: _listing("first test failed DTC"),
    0x0C: _listing("first confirmed DTC"),
    0x0D: _listing("most recent test failed DTC"),
    0x0E: _listing("most recent confirmed DTC"),
    0x0F: _by_mask("mirror memory by status mask"),
    0x10: Layout(
        name="mirror memory extended data record by DTC number",
        request=(_CODE, _RECORD),
        response=(_CODE, _STATUS, _EXTENDED),
    ),
    0x11: Layout(name="number of mirror memory DTCs", request=(_MASK,), response=_COUNT),
    0x12: Layout(name="number of emissions DTCs", request=(_MASK,), response=_COUNT),
    0x13: _by_mask("emissions DTCs by status mask"),
    0x14: Layout(
        name="fault detection counter",
        response=(
            Repeat(
                name="counters",
                items=(_CODE, Number(name="fault_detection_counter", signed=True)),
            ),
        ),
    ),
    0x15: _listing("DTCs with permanent status"),
    0x16: Layout(
        name="extended data record by record number",
        request=(_RECORD,),
        response=(
            _RECORD,
            Repeat(name="dtcs", items=(_CODE, _STATUS, Number(name="extended_data"))),
        ),
    ),
    0x17: Layout(
        name="user defined memory by status mask",
        request=(_MASK, _SELECTION),
        response=(_SELECTION, *_LIST),
    ),
    0x18: Layout(
        name="user defined memory snapshot record by DTC number",
        request=(_CODE, _RECORD, _SELECTION),
        response=(_SELECTION, _CODE, _STATUS, _SNAPSHOTS),
    ),
    0x19: Layout(
        name="user defined memory extended data record by DTC number",
        request=(_CODE, _RECORD, _SELECTION),
        response=(_SELECTION, _CODE, _STATUS, _EXTENDED),
    ),
    0x1A: Layout(
        name="supported extended data record",
        request=(_RECORD,),
        response=(_AVAILABLE, _RECORD, _LISTED),
    ),
    0x42: Layout(
        name="WWH-OBD DTCs by mask",
        request=(_GROUP, _MASK, _SEVERITY_MASK),
        response=(
            _GROUP,
            _AVAILABLE,
            Number(name="dtc_severity_availability_mask"),
            _FORMAT,
            Repeat(name="dtcs", items=(_SEVERITY, _CODE, _STATUS)),
        ),
    ),
    0x55: Layout(
        name="WWH-OBD DTCs with permanent status",
        request=(_GROUP,),
        response=(_GROUP, _AVAILABLE, _FORMAT, _LISTED),
    ),
    0x56: Layout(
        name="DTCs by readiness group",
        request=(_GROUP, Number(name="readiness_group_identifier")),
        response=(
            _GROUP,
            _AVAILABLE,
            _FORMAT,
            Number(name="readiness_group_identifier"),
            _LISTED,
        ),
    ),
}

#: 55 where a severity stands before each DTC (`DtcRules.permanent_severity`).
PERMANENT_WITH_SEVERITY: Final = replace(
    _DTC_REPORTS[0x55],
    response=(
        _GROUP,
        _AVAILABLE,
        _FORMAT,
        Repeat(name="dtcs", items=(Number(name="dtc_severity"), _CODE, _STATUS)),
    ),
)

_FORMAT_KEYS: Final = Packed(
    name="address_and_length_format_identifier",
    parts=(LengthKey(name="address_length", bit=0), LengthKey(name="size_length", bit=4)),
)
_RANGE: Final = (
    Sized(name="memory_address", key="address_length"),
    Sized(name="memory_size", key="size_length"),
)
_DATA_FORMAT: Final = Packed(
    name="data_format_identifier",
    parts=(
        Number(name="encrypting_method", bits=4, bit=0),
        Number(name="compression_method", bits=4, bit=4),
    ),
)
_LARGEST: Final = (
    Packed(
        name="length_format_identifier",
        parts=(Number(name="reserved", bits=4, bit=0), LengthKey(name="length_of_length", bit=4)),
    ),
    Sized(name="max_number_of_block_length", key="length_of_length"),
)
_TRANSFER: Final = Layout(request=(_DATA_FORMAT, _FORMAT_KEYS, *_RANGE), response=_LARGEST)
_COUNTER: Final = Number(name="block_sequence_counter")
_DYNAMIC: Final = Number(name="dynamically_defined_data_identifier", bits=16)
_WINDOW: Final = Number(
    name="event_window_time",
    texts={
        code: "infinite" if seconds is None else f"{seconds:g} s"
        for code, seconds in EVENT_WINDOWS.items()
    },
)
_TIMING: Final = (
    Number(name="p2_server_max", bits=16, unit="ms"),
    Number(name="p2_star_server_max", bits=16, scale=10, unit="ms"),
)
_LIMITS: Final = (
    Number(name="p2_server_least", bits=16, unit="ms"),
    Number(name="p2_star_server_least", bits=16, scale=10, unit="ms"),
    Number(name="p2_server_most", bits=16, unit="ms"),
    Number(name="p2_star_server_most", bits=16, scale=10, unit="ms"),
)
_ADMINISTRATIVE: Final = _flags(Administrative)
#: The inner message may be encrypted, its service identifier too; and its end shows only to who
#: counts the signature back from the end of the whole, which no ODX type does.
_SECURED: Final = (
    Packed(
        name="administrative_parameter",
        length=2,
        parts=(
            *_ADMINISTRATIVE,
            Number(name="reserved_1_2", bits=2, bit=1),
            Number(name="reserved_7_15", bits=9, bit=7),
        ),
    ),
    Number(name="signature_encryption_calculation", texts={0: "AES-CMAC over clear text, AES-CTR"}),
    Number(name="signature_length", bits=16, unit="byte"),
    Number(name="anti_replay_counter", bits=16),
    Number(name="internal_service"),
    Raw(name="data_and_signature"),
)


def _communication(name: str, *further: Field) -> Layout:
    kind = Packed(
        name="communication_type",
        parts=(
            Number(
                name="messages",
                bits=2,
                bit=0,
                texts={1: "normal", 2: "network management", 3: "normal and network management"},
            ),
            Number(name="reserved", bits=2, bit=2),
            Number(name="subnet", bits=4, bit=4),
        ),
    )
    return Layout(name=name, request=(kind, *further))


#: Event type -> its record.
_EVENT_RECORDS: Final[Mapping[int, Fields]] = {
    EventType.ON_DTC_STATUS_CHANGE: (_MASK,),
    EventType.ON_TIMER_INTERRUPT: (
        Number(name="timer_schedule", texts={1: "slow rate", 2: "medium rate", 3: "fast rate"}),
    ),
    EventType.ON_CHANGE_OF_DATA_IDENTIFIER: (Number(name="data_identifier", bits=16),),
    EventType.ON_COMPARISON_OF_VALUES: (
        Number(name="data_identifier", bits=16),
        Number(
            name="comparison_logic",
            texts={1: "less than", 2: "greater than", 3: "equal", 4: "not equal"},
        ),
        Number(name="reference_value", bits=32),
        Number(name="hysteresis", unit="%"),
        Packed(
            name="localization",
            length=2,
            parts=(
                Number(name="bit_offset", bits=10, bit=0),
                Number(name="bits_of_value", bits=5, bit=10),
                Number(name="signed_value", bits=1, bit=15),
            ),
        ),
    ),
    EventType.MOST_RECENT_DTC_ON_STATUS_CHANGE: (
        Number(name="report_type", texts={0x0D: "test failed", 0x0E: "confirmed"}),
    ),
    EventType.DTC_RECORD_ON_STATUS_CHANGE: (
        _MASK,
        Switch(
            name="report_type",
            key_bits=8,
            cases={
                0x04: Case(name="snapshot", fields=(_RECORD,)),
                0x06: Case(name="extended_data", fields=(_RECORD,)),
                0x18: Case(name="snapshot_of_user_memory", fields=(_RECORD, _SELECTION)),
                0x19: Case(name="extended_data_of_user_memory", fields=(_RECORD, _SELECTION)),
            },
        ),
    ),
}
_EVENT_NAMES: Final[Mapping[int, str]] = {
    0x00: "stop",
    0x01: "on DTC status change",
    0x02: "on timer interrupt",
    0x03: "on change of data identifier",
    0x04: "report activated events",
    0x05: "start",
    0x06: "clear",
    0x07: "on comparison of values",
    0x08: "report most recent DTC on status change",
    0x09: "report DTC record information on status change",
}
#: Their record says itself what is answered: no request follows it.
_ANSWERED_BY_19: Final = frozenset(
    {EventType.MOST_RECENT_DTC_ON_STATUS_CHANGE, EventType.DTC_RECORD_ON_STATUS_CHANGE}
)


def _set_up(event: int) -> Fields:
    """What follows the window where an event is set up; nothing for what only controls events."""
    record = _EVENT_RECORDS.get(event, ())
    return (*record, RESPOND_TO) if record and event not in _ANSWERED_BY_19 else record


def _event(number: int) -> Layout:
    event = number & ~STORE_EVENT
    name = f"store {_EVENT_NAMES[event]}" if number & STORE_EVENT else _EVENT_NAMES[event]
    if event == EventType.REPORT_ACTIVATED:
        # Any window will do.
        window = Number(name="event_window_time")
        return Layout(name=name, request=(window,), response=(ACTIVE_EVENTS,))
    rest = _set_up(event)
    number_of = Number(name="number_of_identified_events")
    return Layout(name=name, request=(_WINDOW, *rest), response=(number_of, _WINDOW, *rest))


def active_event() -> Switch:
    """One event of those that 86 04 reports."""
    return Switch(
        name="event",
        key_bits=8,
        cases={
            event: Case(name=_EVENT_NAMES[event], fields=(_WINDOW, *_set_up(event)))
            for event in _EVENT_RECORDS
        },
    )


#: Service -> sub-function -> messages.
SUB_FUNCTIONS: Final[Mapping[int, Mapping[int, Layout]]] = MappingProxyType(
    {
        0x10: {
            session: Layout(
                name=name,
                response=_TIMING,
            )
            for session, name in {
                1: "default",
                2: "programming",
                3: "extended",
                4: "safety system",
            }.items()
        },
        0x11: {
            1: Layout(name="hard reset"),
            2: Layout(name="key off on reset"),
            3: Layout(name="soft reset"),
            4: Layout(
                name="enable rapid power shut down",
                response=(Number(name="power_down_time", unit="s"),),
            ),
            5: Layout(name="disable rapid power shut down"),
        },
        0x19: _DTC_REPORTS,
        0x28: {
            0: _communication("enable reception and transmission"),
            1: _communication("enable reception disable transmission"),
            2: _communication("disable reception enable transmission"),
            3: _communication("disable reception and transmission"),
            4: _communication(
                "enable reception disable transmission with address",
                Number(name="node_identification_number", bits=16),
            ),
            5: _communication(
                "enable reception and transmission with address",
                Number(name="node_identification_number", bits=16),
            ),
        },
        0x2C: {
            1: Layout(
                name="define by identifier",
                request=(
                    _DYNAMIC,
                    Repeat(
                        name="sources",
                        items=(
                            Number(name="source_data_identifier", bits=16),
                            Number(name="position_in_source"),
                            Number(name="size", unit="byte"),
                        ),
                    ),
                ),
                response=(_DYNAMIC,),
            ),
            2: Layout(
                name="define by memory address",
                request=(_DYNAMIC, _FORMAT_KEYS, Repeat(name="sources", items=_RANGE)),
                response=(_DYNAMIC,),
            ),
            3: Layout(
                name="clear",
                request=(Repeat(name="identifiers", items=(_DYNAMIC,)),),
                response=(Repeat(name="identifiers", items=(_DYNAMIC,)),),
            ),
        },
        0x3E: {0: Layout(name="")},
        0x83: {
            1: Layout(name="read extended timing parameters", response=_LIMITS),
            2: Layout(name="set timing parameters to default"),
            3: Layout(name="read active timing parameters", response=_TIMING),
            4: Layout(name="set timing parameters", request=_TIMING),
        },
        0x85: {
            1: Layout(name="on", request=(_GROUPS,)),
            2: Layout(name="off", request=(_GROUPS,)),
        },
        0x86: {
            stored | number: _event(stored | number)
            for stored in (0, STORE_EVENT)
            for number in _EVENT_NAMES
        },
        0x87: {
            1: Layout(
                name="verify mode transition with fixed parameter",
                request=(
                    Number(
                        name="link_control_mode",
                        texts={
                            0x01: "9600 bit/s",
                            0x02: "19200 bit/s",
                            0x03: "38400 bit/s",
                            0x04: "57600 bit/s",
                            0x05: "115200 bit/s",
                            0x10: "CAN 125 kbit/s",
                            0x11: "CAN 250 kbit/s",
                            0x12: "CAN 500 kbit/s",
                            0x13: "CAN 1 Mbit/s",
                            0x20: "programming set-up",
                        },
                    ),
                ),
            ),
            2: Layout(
                name="verify mode transition with specific parameter",
                request=(Number(name="link_record", bits=24, unit="bit/s"),),
            ),
            3: Layout(name="transition mode"),
        },
    }
)

#: Services without sub-function -> messages.
WHOLE: Final[Mapping[int, Layout]] = MappingProxyType(
    {
        0x23: Layout(request=(_FORMAT_KEYS, *_RANGE), response=(Raw(name="data"),)),
        0x14: Layout(request=(GROUP_OF_DTC,)),
        0x2A: Layout(
            request=(
                Number(
                    name="transmission_mode",
                    texts={1: "slow rate", 2: "medium rate", 3: "fast rate", 4: "stop"},
                ),
                Repeat(name="identifiers", items=(PERIODIC_IDENTIFIER,)),
            ),
            # The first answer has none, and where periodic data go in frames of their own, no one.
            response=(Repeat(name="periodic_data", most=1, items=(PERIODIC_RECORD,)),),
        ),
        0x34: _TRANSFER,
        0x35: _TRANSFER,
        0x36: Layout(
            request=(_COUNTER, Raw(name="data")),
            response=(_COUNTER, Raw(name="data")),
        ),
        0x37: Layout(),
        0x3D: Layout(
            request=(_FORMAT_KEYS, *_RANGE, Raw(name="data", least=1)),
            response=(_FORMAT_KEYS, *_RANGE),
        ),
        0x84: Layout(request=_SECURED, response=_SECURED),
    }
)

_PATH: Final = CountedText(name="file_path_and_name", length_bits=16)
_SIZES: Final = (
    LengthKey(name="file_size_parameter_length", bits=8),
    Sized(name="file_size_uncompressed", key="file_size_parameter_length"),
    Sized(name="file_size_compressed", key="file_size_parameter_length"),
)
_FILE_BLOCK: Final = (
    LengthKey(name="length_of_length", bits=8),
    Sized(name="max_number_of_block_length", key="length_of_length"),
    _DATA_FORMAT,
)
_INFO_LENGTH: Final = LengthKey(name="file_size_or_directory_length", bits=16)


def _sized_info(*names: str) -> Fields:
    return (_INFO_LENGTH, *(Sized(name=name, key=_INFO_LENGTH.name) for name in names))


#: Mode of operation of 38 -> messages behind the mode.
FILES: Final[Mapping[int, Layout]] = MappingProxyType(
    {
        FileOperation.ADD: Layout(
            name="add file", request=(_PATH, _DATA_FORMAT, *_SIZES), response=_FILE_BLOCK
        ),
        FileOperation.DELETE: Layout(name="delete file", request=(_PATH,)),
        FileOperation.REPLACE: Layout(
            name="replace file", request=(_PATH, _DATA_FORMAT, *_SIZES), response=_FILE_BLOCK
        ),
        FileOperation.READ: Layout(
            name="read file",
            request=(_PATH, _DATA_FORMAT),
            response=(
                *_FILE_BLOCK,
                *_sized_info("file_size_uncompressed", "file_size_compressed"),
            ),
        ),
        FileOperation.READ_DIRECTORY: Layout(
            name="read directory",
            request=(_PATH,),
            response=(*_FILE_BLOCK, *_sized_info("directory_size")),
        ),
        FileOperation.RESUME: Layout(
            name="resume file",
            request=(_PATH, _DATA_FORMAT, *_SIZES),
            # Eight bytes on the wire; ODX's numbers have four.
            response=(
                *_FILE_BLOCK,
                Number(name="file_position_upper", bits=32),
                Number(name="file_position", bits=32, unit="byte"),
            ),
        ),
    }
)

#: Odd sub-functions of 27 ask for a seed, even ones send the key.
SEED: Final = Layout(name="request seed", response=(Raw(name="seed", length=SEED_LENGTH),))
KEY: Final = Layout(name="send key", request=(Raw(name="key", length=KEY_LENGTH),))
