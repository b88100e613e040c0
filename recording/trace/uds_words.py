"""UDS messages in words (ISO 14229-1): one row per service for requests, one for answers.

Rows take the bytes after the service identifier. A row that meets fewer bytes than it needs says
what there is; nothing here refuses a message.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from protocols.uds.enums import (
    NEGATIVE_RESPONSE,
    POSITIVE_RESPONSE,
    SUPPRESS_POSITIVE_RESPONSE,
    CommunicationControl,
    DtcReport,
    DtcSetting,
    DynamicDefinition,
    EventType,
    FileOperation,
    LinkControl,
    Nrc,
    OutputControl,
    ResetType,
    RoutineControl,
    ServiceId,
    Session,
    TimingAccess,
    TransmissionMode,
)
from recording.trace.names import EcuNames, record, refusal, service, word

#: Codes that are listed one by one; of more there is the number.
_LISTED: Final = 6
_ALL_DTCS: Final = 0xFFFFFF
#: Reports of 59 that are a mask and a list of codes with their status.
_LISTS: Final = frozenset(
    {
        DtcReport.BY_STATUS_MASK,
        DtcReport.SUPPORTED_DTCS,
        DtcReport.FIRST_TEST_FAILED,
        DtcReport.FIRST_CONFIRMED,
        DtcReport.MOST_RECENT_TEST_FAILED,
        DtcReport.MOST_RECENT_CONFIRMED,
        DtcReport.MIRROR_MEMORY_BY_STATUS_MASK,
        DtcReport.EMISSIONS_BY_STATUS_MASK,
        DtcReport.PERMANENT_STATUS,
    }
)
_COUNTS: Final = frozenset(
    {
        DtcReport.NUMBER_BY_STATUS_MASK,
        DtcReport.NUMBER_BY_SEVERITY_MASK,
        DtcReport.NUMBER_OF_MIRROR_MEMORY_BY_STATUS_MASK,
        DtcReport.NUMBER_OF_EMISSIONS_BY_STATUS_MASK,
    }
)
#: Reports of 19 that name a code.
_OF_ONE: Final = frozenset(
    {
        DtcReport.SNAPSHOT_RECORD_BY_DTC_NUMBER,
        DtcReport.EXTENDED_DATA_RECORD_BY_DTC_NUMBER,
        DtcReport.SEVERITY_OF_DTC,
        DtcReport.USER_MEMORY_SNAPSHOT_RECORD_BY_DTC_NUMBER,
        DtcReport.USER_MEMORY_EXTENDED_DATA_RECORD_BY_DTC_NUMBER,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message."""

    service_id: int
    #: As the standard writes it.
    service: str
    text: str
    request: bool
    #: The code of a negative response.
    code: int | None = None

    @property
    def refused(self) -> bool:
        return self.code is not None and not self.pending

    @property
    def pending(self) -> bool:
        return self.code == Nrc.RESPONSE_PENDING


Row = Callable[[bytes, EcuNames], str]


def request(message: bytes, names: EcuNames, *, length: int) -> Said:
    """What a tester asks; `message` is the beginning, one byte at least, of `length` bytes."""
    service_id, body = message[0], message[1:]
    text = _told(_REQUESTS, service_id, body, names) + _cut(message, length)
    if service_id in _WITH_SUB_FUNCTION and body and body[0] & SUPPRESS_POSITIVE_RESPONSE:
        text = f"{text}, no answer wanted".removeprefix(", ")
    return Said(service_id=service_id, service=service(service_id), text=text, request=True)


def response(message: bytes, names: EcuNames, *, length: int, asked: bytes = b"") -> Said:
    """What an ECU answers; `asked` is the request, if it is known, and tells where records end."""
    if message[0] == NEGATIVE_RESPONSE:
        service_id = message[1] if len(message) > 1 else 0
        code = message[2] if len(message) > 2 else 0
        text = "pending" if code == Nrc.RESPONSE_PENDING else f"refused: {refusal(code)}"
        return Said(
            service_id=service_id, service=service(service_id), text=text, request=False, code=code
        )
    service_id, body = message[0] - POSITIVE_RESPONSE & 0xFF, message[1:]
    if service_id == ServiceId.READ_DATA_BY_IDENTIFIER and len(asked) > 3:
        text = _several(asked, body, names)
    else:
        text = _told(_RESPONSES, service_id, body, names)
    text += _cut(message, length)
    return Said(service_id=service_id, service=service(service_id), text=text, request=False)


def _cut(message: bytes, length: int) -> str:
    return f" (the first of {length} bytes)" if length > len(message) else ""


def _told(rows: Mapping[int, Row], service_id: int, body: bytes, names: EcuNames) -> str:
    row = rows.get(service_id)
    if row is None:
        return body.hex(" ").upper() if len(body) <= 16 else f"{len(body)} bytes"
    try:
        return row(body, names)
    except (IndexError, ValueError):
        return f"cut short: {body.hex(' ').upper()}".rstrip(": ")


def _number(data: bytes, at: int, size: int) -> int:
    if len(data) < at + size:
        raise IndexError(f"{len(data)} bytes, {at + size} are needed")
    return int.from_bytes(data[at : at + size])


def _sub(body: bytes) -> int:
    return body[0] & ~SUPPRESS_POSITIVE_RESPONSE


def _session(body: bytes, _: EcuNames) -> str:
    return word(Session, _sub(body))


def _session_answer(body: bytes, _: EcuNames) -> str:
    if len(body) < 5:
        return word(Session, _sub(body))
    p2_ms, p2_star_ms = _number(body, 1, 2), 10 * _number(body, 3, 2)
    return f"{word(Session, _sub(body))}, P2 {p2_ms} ms, P2* {p2_star_ms} ms"


def _reset(body: bytes, _: EcuNames) -> str:
    return word(ResetType, _sub(body))


def _group(body: bytes, names: EcuNames) -> str:
    group = _number(body, 0, 3)
    return "every code" if group == _ALL_DTCS else names.dtc(group)


def _dtcs(body: bytes, names: EcuNames) -> str:
    report = word(DtcReport, _sub(body))
    if _sub(body) in _OF_ONE:
        numbered = f", record {body[4]:02X}" if len(body) > 4 else ""
        return f"{report}, {names.dtc(_number(body, 1, 3))}{numbered}"
    return f"{report}, {body[1:].hex(' ').upper()}".removesuffix(", ")


def _dtcs_answer(body: bytes, names: EcuNames) -> str:
    report = word(DtcReport, _sub(body))
    if _sub(body) in _COUNTS:
        return f"{report}: {_number(body, 3, 2)}"
    if _sub(body) in _LISTS:
        found = [body[at : at + 4] for at in range(2, len(body) - 3, 4)]
        if not found:
            return f"{report}: none"
        listed = ", ".join(
            f"{names.dtc(int.from_bytes(one[:3]))} (status {one[3]:02X})" for one in found[:_LISTED]
        )
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        return f"{report}: {listed}{more}"
    if _sub(body) in _OF_ONE and len(body) >= 5:
        return f"{report}: {names.dtc(_number(body, 1, 3))}, {len(body) - 5} bytes of records"
    return f"{report}: {record(body[1:])}"


def _dids(body: bytes, names: EcuNames) -> str:
    found = [names.did(_number(body, at, 2)) for at in range(0, len(body), 2)]
    return ", ".join(found) or "nothing"


def _data(body: bytes, names: EcuNames) -> str:
    did = _number(body, 0, 2)
    return f"{names.did(did)} = {names.value(did, body[2:])}"


def _several(asked: bytes, body: bytes, names: EcuNames) -> str:
    """The records of several identifiers: each ends where the next one's identifier stands."""
    dids = [asked[at : at + 2] for at in range(1, len(asked) - 1, 2)]
    ends = [body.find(did, 2) for did in dids[1:]]
    starts = [0, *ends, len(body)]
    if not body.startswith(dids[0]) or -1 in ends or starts != sorted(set(starts)):
        return f"{len(body)} bytes of {len(dids)} identifiers"
    pieces = (body[start:end] for start, end in pairwise(starts))
    return ", ".join(_data(piece, names) for piece in pieces)


def _memory(body: bytes, _: EcuNames) -> str:
    address, size = _range(body)
    return f"{size} bytes at {address:#x}"


def _range(body: bytes) -> tuple[int, int]:
    """Address and size behind their format byte."""
    address_bytes, size_bytes = body[0] & 0xF, body[0] >> 4
    return _number(body, 1, address_bytes), _number(body, 1 + address_bytes, size_bytes)


def _scaling(body: bytes, names: EcuNames) -> str:
    return f"{names.did(_number(body, 0, 2))}: {record(body[2:])}"


def _access(body: bytes, _: EcuNames) -> str:
    # Neither seeds nor keys are written out.
    if _sub(body) % 2:
        return f"seed of level {_sub(body)}"
    return f"key of level {_sub(body) - 1}, {len(body) - 1} bytes"


def _access_answer(body: bytes, _: EcuNames) -> str:
    if not _sub(body) % 2:
        return f"level {_sub(body) - 1} unlocked"
    if not any(body[1:]):
        return f"level {_sub(body)} is unlocked already"
    return f"seed of level {_sub(body)}, {len(body) - 1} bytes"


def _communication(body: bytes, _: EcuNames) -> str:
    kinds = {1: "normal messages", 2: "network management", 3: "both kinds of messages"}
    what = kinds.get(body[1] & 3, "") if len(body) > 1 else ""
    return f"{word(CommunicationControl, _sub(body))}, {what}".removesuffix(", ")


def _periodic(body: bytes, _: EcuNames) -> str:
    listed = ", ".join(f"F2{number:02X}" for number in body[1:]) or "all"
    return f"{word(TransmissionMode, body[0])}: {listed}"


def _dynamic(body: bytes, names: EcuNames) -> str:
    did = names.did(_number(body, 1, 2)) if len(body) >= 3 else "all"
    return f"{word(DynamicDefinition, _sub(body))}: {did}"


def _did(body: bytes, names: EcuNames) -> str:
    return names.did(_number(body, 0, 2))


def _output(body: bytes, names: EcuNames) -> str:
    did = _number(body, 0, 2)
    value = f": {record(body[3:])}" if len(body) > 3 else ""
    return f"{names.did(did)}, {word(OutputControl, body[2])}{value}"


def _routine(body: bytes, names: EcuNames) -> str:
    option = f": {record(body[3:])}" if len(body) > 3 else ""
    control = word(RoutineControl, _sub(body))
    return f"{control} {names.routine(_number(body, 1, 2))}{option}"


def _download(body: bytes, _: EcuNames) -> str:
    address, size = _range(body[1:])
    packed = f", format {body[0]:02X}" if body[0] else ""
    return f"{size} bytes at {address:#x}{packed}"


def _download_answer(body: bytes, _: EcuNames) -> str:
    return f"blocks of {_number(body, 1, body[0] >> 4)} bytes at most"


def _block(body: bytes, _: EcuNames) -> str:
    return f"block {body[0]:02X}, {len(body) - 1} bytes"


def _block_answer(body: bytes, _: EcuNames) -> str:
    return f"block {body[0]:02X}" + (f", {len(body) - 1} bytes" if len(body) > 1 else "")


def _file(body: bytes, _: EcuNames) -> str:
    name = body[3 : 3 + _number(body, 1, 2)]
    return f"{word(FileOperation, body[0])} {record(name)}"


def _file_answer(body: bytes, _: EcuNames) -> str:
    return word(FileOperation, body[0])


def _write_memory(body: bytes, _: EcuNames) -> str:
    address, size = _range(body)
    return f"{size} bytes at {address:#x}"


def _nothing(body: bytes, _: EcuNames) -> str:
    return "" if len(body) <= 1 and not any(byte & 0x7F for byte in body) else record(body)


def _length(body: bytes, _: EcuNames) -> str:
    return f"{len(body)} bytes"


def _event(body: bytes, _: EcuNames) -> str:
    stored = ", stored" if body[0] & 0x40 else ""
    return f"{word(EventType, body[0] & 0x3F)}{stored}"


def _timing(body: bytes, _: EcuNames) -> str:
    return word(TimingAccess, _sub(body))


def _setting(body: bytes, _: EcuNames) -> str:
    return word(DtcSetting, _sub(body))


def _link(body: bytes, _: EcuNames) -> str:
    return word(LinkControl, _sub(body))


#: Services whose first parameter is a sub-function, with the bit that asks for no answer.
_WITH_SUB_FUNCTION: Final = frozenset(
    {0x10, 0x11, 0x19, 0x27, 0x28, 0x2C, 0x31, 0x3E, 0x83, 0x85, 0x86, 0x87}
)

_REQUESTS: Final[Mapping[int, Row]] = MappingProxyType(
    {
        0x10: _session,
        0x11: _reset,
        0x14: _group,
        0x19: _dtcs,
        0x22: _dids,
        0x23: _memory,
        0x24: _did,
        0x27: _access,
        0x28: _communication,
        0x2A: _periodic,
        0x2C: _dynamic,
        0x2E: _data,
        0x2F: _output,
        0x31: _routine,
        0x34: _download,
        0x35: _download,
        0x36: _block,
        0x37: _nothing,
        0x38: _file,
        0x3D: _write_memory,
        0x3E: _nothing,
        0x83: _timing,
        0x84: _length,
        0x85: _setting,
        0x86: _event,
        0x87: _link,
    }
)

_RESPONSES: Final[Mapping[int, Row]] = MappingProxyType(
    {
        0x10: _session_answer,
        0x11: _reset,
        0x14: _nothing,
        0x19: _dtcs_answer,
        0x22: _data,
        0x23: _length,
        0x24: _scaling,
        0x27: _access_answer,
        0x28: _communication,
        0x2A: _nothing,
        0x2C: _dynamic,
        0x2E: _did,
        0x2F: _output,
        0x31: _routine,
        0x34: _download_answer,
        0x35: _download_answer,
        0x36: _block_answer,
        0x37: _nothing,
        0x38: _file_answer,
        0x3D: _write_memory,
        0x3E: _nothing,
        0x83: _timing,
        0x84: _length,
        0x85: _setting,
        0x86: _event,
        0x87: _link,
    }
)
