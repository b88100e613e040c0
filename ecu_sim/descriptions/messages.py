"""The messages of each service after its identifier and sub-function (ISO 14229-1).

One row per service, or per service and sub-function where they differ. What has no row is
described all the same, with its record as plain bytes. Which of these an ECU has, in which session
and to whom, is not said here: the server's rules say it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ecu_sim.descriptions.layout import (
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
from protocols.uds.dtc import StatusBit


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    #: Says the sub-function in a name; empty for a service that has none.
    name: str = ""
    request: Fields = ()
    response: Fields = ()


def status_byte() -> Packed:
    return Packed(
        parts=tuple(
            Number(name=bit.name.lower(), bits=1, bit=bit.bit_length() - 1)
            for bit in StatusBit
            if bit.name
        )
    )


#: Stands for the data records of the ECU's identifiers, behind each its identifier.
DATA_RECORD: Final = Switch(name="data_record", key_bits=16)
#: Stands for the ECU's extended data records, behind each its number.
EXTENDED_RECORD: Final = Switch(name="extended_data_record", key_bits=8)

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
_GROUP: Final = Number(name="functional_group_identifier")
_DTCS: Final = Repeat(name="dtcs", items=(_CODE,))
_LISTED: Final = Repeat(name="dtcs", items=(_CODE, _STATUS))
_SNAPSHOT: Final = Repeat(name="data_records", items=(DATA_RECORD,), counted=True)
_SNAPSHOTS: Final = Repeat(name="snapshot_records", items=(_RECORD, _SNAPSHOT))
_EXTENDED: Final = Repeat(name="extended_data_records", items=(EXTENDED_RECORD,))
_SEVERE: Final = (
    Number(name="dtc_severity"),
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
        response=(_RECORD, Raw(name="stored_data")),
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
            Repeat(name="dtcs", items=(Number(name="dtc_severity"), _CODE, _STATUS)),
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

_FORMAT_KEYS: Final = Packed(
    parts=(LengthKey(name="address_length", bit=0), LengthKey(name="size_length", bit=4))
)
_RANGE: Final = (
    Sized(name="memory_address", key="address_length"),
    Sized(name="memory_size", key="size_length"),
)
_DATA_FORMAT: Final = Packed(
    parts=(
        Number(name="encrypting_method", bits=4, bit=0),
        Number(name="compression_method", bits=4, bit=4),
    )
)
_LARGEST: Final = (
    Packed(
        parts=(Number(name="reserved", bits=4, bit=0), LengthKey(name="length_of_length", bit=4))
    ),
    Sized(name="max_number_of_block_length", key="length_of_length"),
)
_TRANSFER: Final = Layout(request=(_DATA_FORMAT, _FORMAT_KEYS, *_RANGE), response=_LARGEST)
_COUNTER: Final = Number(name="block_sequence_counter")
_REST: Final = Raw(name="record")
_DYNAMIC: Final = Number(name="dynamically_defined_data_identifier", bits=16)
_WINDOW: Final = Number(name="event_window_time")
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
_SECURED: Final = (
    Number(name="administrative_parameter", bits=16),
    Number(name="signature_encryption_calculation"),
    Number(name="signature_length", bits=16, unit="byte"),
    Number(name="anti_replay_counter", bits=16),
    Number(name="internal_service"),
    Raw(name="data_and_signature"),
)


def _communication(name: str, *further: Field) -> Layout:
    kind = Packed(
        parts=(
            Number(
                name="messages",
                bits=2,
                bit=0,
                texts={1: "normal", 2: "network management", 3: "normal and network management"},
            ),
            Number(name="reserved", bits=2, bit=2),
            Number(name="subnet", bits=4, bit=4),
        )
    )
    return Layout(name=name, request=(kind, *further))


#: 86: what is set up says more than its window.
_SET_UP: Final = {0x01, 0x02, 0x03, 0x07, 0x08, 0x09}
_ACTIVATED: Final = 0x04


def _event(name: str, event: int) -> Layout:
    record: Fields = (Raw(name="event_record", least=1),) if event in _SET_UP else ()
    count = Number(name="number_of_events")
    head = (count,) if event == _ACTIVATED else (count, _WINDOW)
    return Layout(name=name, request=(_WINDOW, *record), response=(*head, Raw(name="event_record")))


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
            1: Layout(name="on", request=(_DTCS,)),
            2: Layout(name="off", request=(_DTCS,)),
        },
        0x86: {
            number: _event(name, number & 0x3F)
            for number, name in {
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
                0x40: "store stop",
                0x41: "store on DTC status change",
                0x42: "store on timer interrupt",
                0x43: "store on change of data identifier",
                0x44: "store report activated events",
                0x45: "store start",
                0x46: "store clear",
                0x47: "store on comparison of values",
            }.items()
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
        0x2A: Layout(
            request=(
                Number(
                    name="transmission_mode",
                    texts={1: "slow rate", 2: "medium rate", 3: "fast rate", 4: "stop"},
                ),
                Repeat(name="identifiers", items=(Number(name="periodic_data_identifier"),)),
            ),
        ),
        0x34: _TRANSFER,
        0x35: _TRANSFER,
        0x36: Layout(
            request=(_COUNTER, Raw(name="data")),
            response=(_COUNTER, Raw(name="data")),
        ),
        0x37: Layout(request=(_REST,), response=(_REST,)),
        0x38: Layout(
            request=(
                Number(
                    name="mode_of_operation",
                    texts={
                        1: "add file",
                        2: "delete file",
                        3: "replace file",
                        4: "read file",
                        5: "read directory",
                        6: "resume file",
                    },
                ),
                CountedText(name="file_path_and_name", length_bits=16),
                Raw(name="data_format_and_sizes"),
            ),
            response=(Number(name="mode_of_operation"), Raw(name="block_length_and_sizes")),
        ),
        0x3D: Layout(
            request=(_FORMAT_KEYS, *_RANGE, Raw(name="data", least=1)),
            response=(_FORMAT_KEYS, *_RANGE),
        ),
        0x84: Layout(request=_SECURED, response=_SECURED),
    }
)

#: Odd sub-functions of 27 ask for a seed, even ones send the key.
SEED: Final = Layout(name="request seed", response=(Raw(name="seed", least=1),))
KEY: Final = Layout(name="send key", request=(Raw(name="key", least=1),))
