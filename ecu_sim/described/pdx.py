"""A PDX, read with odxtools into a `DescribedEcu`.

The package is hostile until it has been looked at: sizes, document types (entities) and depth are
refused before odxtools sees the XML.
"""

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast  # Any: odxtools' own values
from xml.etree import ElementTree as ET
from xml.parsers import expat

from ecu_sim.described import (
    Access,
    Datum,
    DescribedEcu,
    DescriptionError,
    Region,
    Role,
    Routine,
)
from ecu_sim.described.options import MAX_REGION
from ecu_sim.described.rules import REPORTS
from protocols.uds.enums import POSITIVE_RESPONSE, ServiceId, Session

if TYPE_CHECKING:
    from odxtools.database import Database
    from odxtools.diaglayers.hierarchyelement import HierarchyElement
    from odxtools.diagservice import DiagService
    from odxtools.parameters.parameter import Parameter
    from odxtools.response import Response

_MAX_BYTES: Final = 64 << 20
_MAX_FILES: Final = 512
_MAX_DEPTH: Final = 128
_MAX_SERVICES: Final = 10_000
_MAX_REGIONS: Final = 32

#: What a routine does, by its name in the description: the first that fits.
_ROLES: Final[tuple[tuple[re.Pattern[str], Role], ...]] = (
    (re.compile(r"check_?erase|blank"), Role.PLAIN),
    (re.compile(r"erase"), Role.ERASE),
    (re.compile(r"(start|activate|jump|run).*(sbl|loader)"), Role.START_LOADER),
    (re.compile(r"(check|verify).*(memory|sum|crc|signature|block|flash|data)|crc"), Role.CHECK),
)
#: Services that the server acts on where the description has them, besides those with rows.
_ACTED: Final = (
    ServiceId.CLEAR_DIAGNOSTIC_INFORMATION,
    ServiceId.READ_DTC_INFORMATION,
    ServiceId.COMMUNICATION_CONTROL,
    ServiceId.REQUEST_DOWNLOAD,
    ServiceId.TRANSFER_DATA,
    ServiceId.REQUEST_TRANSFER_EXIT,
    ServiceId.CONTROL_DTC_SETTING,
)
_PROGRAMMING: Final = frozenset(
    {ServiceId.REQUEST_DOWNLOAD, ServiceId.TRANSFER_DATA, ServiceId.REQUEST_TRANSFER_EXIT}
)


def read_pdx(content: bytes, *, name: str, variant: str = "") -> DescribedEcu:
    """The ECU of a package: of the layer `variant`, or of the only (the first) base variant.

    `DescriptionError` names the file and what is wrong; also where odxtools is not installed.
    """
    documents = _documents(content, name)
    try:
        from odxtools.database import Database  # noqa: PLC0415 an extra, needed here alone
    except ImportError as error:
        raise DescriptionError(
            f"{name}: reading a PDX needs odxtools: install canota[odx]"
        ) from error
    try:
        database = Database()
        for root in documents:
            database.add_odx_xml_tree(root)
        database.refresh()
        return _Reading(database, _layer(database, name, variant), name).ecu()
    except DescriptionError:
        raise
    except Exception as error:  # what odxtools raises on a broken file is anything
        raise DescriptionError(f"{name}: {type(error).__name__}: {error}") from error


#: What the zip reader and its decompressors raise on a broken archive.
_BROKEN: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def _documents(content: bytes, name: str) -> list[ET.Element]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive, name)
            return [_document(archive, one, name) for one in members]
    except _BROKEN as error:
        raise DescriptionError(f"{name}: not a PDX: {error}") from error


def _members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    found = [one for one in archive.infolist() if _suffix(one.filename).startswith("odx")]
    if not found or len(found) > _MAX_FILES:
        raise DescriptionError(f"{name}: {len(found)} ODX documents in it")
    if sum(one.file_size for one in found) > _MAX_BYTES:
        raise DescriptionError(f"{name}: more than {_MAX_BYTES} bytes of ODX")
    return found


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _document(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> ET.Element:
    with archive.open(member) as opened:
        text = opened.read(member.file_size + 1)
    try:
        _look_at(text)
        return ET.fromstring(text)  # noqa: S314 no document type, no entities: looked at above
    except (expat.ExpatError, ET.ParseError, ValueError, LookupError) as error:
        raise DescriptionError(f"{name}: {member.filename}: {error}") from error


def _look_at(text: bytes) -> None:
    """`ValueError` for a document type declaration (entities live there), or too much depth."""
    depth = 0

    def begins(_tag: str, _attributes: Mapping[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"elements nested more than {_MAX_DEPTH} deep")

    def ends(_tag: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_declared: object) -> None:
        raise ValueError("a document type declaration is not read")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begins
    parser.EndElementHandler = ends
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(text, True)  # noqa: FBT003 expat's isfinal


def _layer(database: "Database", name: str, variant: str) -> "HierarchyElement":
    layers: list[HierarchyElement] = [*database.base_variants, *database.ecu_variants]
    for layer in layers:
        if layer.short_name == variant or not variant:
            return layer
    known = ", ".join(layer.short_name for layer in layers) or "none"
    raise DescriptionError(f"{name}: no variant {variant!r}; there are: {known}")


class _Reading:
    """One layer, turned into a `DescribedEcu`."""

    def __init__(self, database: "Database", layer: "HierarchyElement", name: str) -> None:
        self._database = database
        self._layer = layer
        self._name = name
        self._services = self._actual_services()
        self._session_states, self._level_states = self._states()

    def ecu(self) -> DescribedEcu:
        layer = self._layer
        request, response = layer.get_can_receive_id(), layer.get_can_send_id()
        stock: dict[bytes, bytes] = {}
        routines: dict[int, Routine] = {}
        data: dict[int, Datum] = {}
        services: dict[int, Access] = {}
        for start, service in self._services.items():
            match start[0]:
                case ServiceId.ROUTINE_CONTROL if start[1:2] == b"\x01" and len(start) >= 4:
                    routines[int.from_bytes(start[2:4])] = self._routine(service, start)
                case ServiceId.READ_DATA_BY_IDENTIFIER if len(start) >= 3:
                    data[int.from_bytes(start[1:3])] = self._datum(service, start)
                case ServiceId.WRITE_DATA_BY_IDENTIFIER | ServiceId.READ_DATA_BY_IDENTIFIER:
                    pass  # written ones below; one that reads any identifier tells none
                case (
                    ServiceId.DIAGNOSTIC_SESSION_CONTROL
                    | ServiceId.ECU_RESET
                    | ServiceId.SECURITY_ACCESS
                    | ServiceId.TESTER_PRESENT
                ):
                    pass  # rows of their own
                case acted if acted in _ACTED:
                    services.setdefault(acted, self._access(service, start))
                case _:
                    answer = _default_answer(service, start)
                    if answer is not None:
                        stock[start] = answer
        self._mark_written(data)
        return DescribedEcu(
            name=layer.short_name,
            request_id=0 if request is None else request,
            response_id=0 if response is None else response,
            functional_id=layer.get_can_func_req_id() or 0x7DF,
            sessions=self._sessions(),
            resets=tuple(sorted({start[1] for start in self._of(ServiceId.ECU_RESET)} & {1, 2, 3})),
            levels={
                start[1]: Access(sessions=self._access(service, start).sessions)
                for start, service in self._of(ServiceId.SECURITY_ACCESS).items()
                if start[1] % 2
            },
            data=data,
            routines=routines,
            dtcs=self._dtcs(),
            reports=frozenset(start[1] for start in self._of(ServiceId.READ_DTC_INFORMATION))
            & REPORTS,
            services=services,
            stock=stock,
            memory=self._memory(),
        )

    def _actual_services(self) -> dict[bytes, "DiagService"]:
        """Start of the request -> service, those with a suppressed answer left out."""
        found: dict[bytes, DiagService] = {}
        for service in self._layer.services:
            request = service.request
            if request is None:
                continue
            start = bytes(request.coded_const_prefix())
            if len(start) == 0 or (
                start[0] in _WITH_SUB_FUNCTION and (len(start) < 2 or start[1] & 0x80)
            ):
                continue
            found.setdefault(start, service)
        if not found or len(found) > _MAX_SERVICES:
            raise DescriptionError(f"{self._name}: {self._layer.short_name}: {len(found)} services")
        return found

    def _of(self, service: int) -> dict[bytes, "DiagService"]:
        return {start: one for start, one in self._services.items() if start[0] == service}

    # Who may ask

    def _states(self) -> tuple[dict[str, int], dict[str, int]]:
        """State of the charts -> session, or level, that it stands for."""
        sessions: dict[str, int] = {}
        levels: dict[str, int] = {}
        for start, service in self._of(ServiceId.DIAGNOSTIC_SESSION_CONTROL).items():
            for move in _moves(service):
                if move.lower().startswith("lock"):
                    continue
                sessions.setdefault(move, start[1])
        for start, service in self._of(ServiceId.SECURITY_ACCESS).items():
            if start[1] % 2 == 0:
                levels |= dict.fromkeys(_moves(service), start[1] - 1)
        return sessions, {state: one for state, one in levels.items() if state not in sessions}

    def _access(self, service: "DiagService", start: bytes) -> Access:
        states = [one.short_name for one in service.pre_condition_states]
        sessions = {self._session_states[one] for one in states if one in self._session_states}
        levels = [self._level_states[one] for one in states if one in self._level_states]
        everywhere = frozenset(map(Session, self._session_numbers()))
        if not states and start[0] in _PROGRAMMING:
            return self._programming()
        return Access(
            sessions=frozenset(map(Session, sessions)) if sessions else everywhere,
            secured=bool(levels),
            level=levels[0] if len(set(levels)) == 1 else 0,
            functional=not levels,
        )

    def _programming(self) -> Access:
        """What changes memory and says nothing of states: not in the default session, unlocked."""
        numbers = self._session_numbers()
        sessions = frozenset(map(Session, numbers - {Session.DEFAULT} or numbers))
        secured = bool(self._of(ServiceId.SECURITY_ACCESS))
        return Access(sessions=sessions, secured=secured, functional=False)

    def _session_numbers(self) -> set[int]:
        named = {start[1] for start in self._of(ServiceId.DIAGNOSTIC_SESSION_CONTROL)}
        usable = {one for one in named if one in _SESSIONS}
        return usable | {int(Session.DEFAULT)}

    def _sessions(self) -> dict[int, Access]:
        everywhere = frozenset(map(Session, self._session_numbers()))
        found = {int(Session.DEFAULT): Access(sessions=everywhere)}
        for start, service in self._of(ServiceId.DIAGNOSTIC_SESSION_CONTROL).items():
            if start[1] in _SESSIONS and start[1] != Session.DEFAULT:
                access = self._access(service, start)
                found[start[1]] = Access(sessions=access.sessions | {Session(start[1])})
        return found

    # What is answered

    def _routine(self, service: "DiagService", start: bytes) -> Routine:
        name = service.short_name.lower()
        role = next((role for pattern, role in _ROLES if pattern.search(name)), Role.PLAIN)
        answer = _default_answer(service, start) or b""
        access = self._access(service, start)
        if role is not Role.PLAIN and not service.pre_condition_states:
            access = self._programming()
        return Routine(name=service.short_name, role=role, status=answer[4:], access=access)

    def _datum(self, service: "DiagService", start: bytes) -> Datum:
        answer = _default_answer(service, start) or b""
        access = self._access(service, start)
        limited = bool(service.pre_condition_states)
        return Datum(
            name=service.short_name, record=answer[3:], readable=access if limited else None
        )

    def _mark_written(self, data: dict[int, Datum]) -> None:
        for start, service in self._of(ServiceId.WRITE_DATA_BY_IDENTIFIER).items():
            if len(start) < 3 or service.request is None:
                continue
            did = int.from_bytes(start[1:3])
            bits = service.request.get_static_bit_length()
            known = data.get(did, Datum(name=service.short_name, record=b""))
            data[did] = Datum(
                name=known.name,
                record=known.record,
                length=None if bits is None else bits // 8 - 3,
                readable=known.readable,
                writable=self._access(service, start),
            )

    def _dtcs(self) -> dict[int, str]:
        spec = self._layer.diag_data_dictionary_spec
        return {
            one.trouble_code: one.text.text or one.short_name
            for dop in spec.dtc_dops
            for one in dop.dtcs
            if 0 < one.trouble_code < 0xFFFFFF
        }

    def _memory(self) -> tuple[Region, ...]:
        """The physical segments of the ECU-MEMs, RAM where nothing is erased."""
        regions: dict[str, Region] = {}
        for flash in self._database.flashs:
            for memory in flash.ecu_mems:
                physical = memory.phys_mem
                for segment in physical.phys_segments if physical else ():
                    region = _region(segment, self._name)
                    regions[region.name] = region
        if len(regions) > _MAX_REGIONS:
            raise DescriptionError(f"{self._name}: {len(regions)} physical segments")
        return tuple(regions.values())


#: Sessions that there can be: of the standard, and others' own.
_SESSIONS: Final = frozenset({1, 2, 3, 4, *range(0x40, 0x7F)})
_WITH_SUB_FUNCTION: Final = frozenset(
    {0x10, 0x11, 0x19, 0x27, 0x28, 0x2C, 0x31, 0x3E, 0x83, 0x85, 0x86, 0x87}
)


def _moves(service: "DiagService") -> Iterable[str]:
    return (one.target_snref for one in service.state_transitions)


def _region(segment: Any, name: str) -> Region:  # noqa: ANN401 one of two classes of odxtools
    start, end = segment.start_address, getattr(segment, "end_address", None)
    size = getattr(segment, "size", 0) if end is None else end - start + 1
    sector = segment.block_size or 0
    if not 0 < size <= MAX_REGION or not 0 <= sector <= size or (sector and size % sector):
        raise DescriptionError(
            f"{name}: physical segment {segment.short_name}: {size} bytes in blocks of {sector}"
        )
    return Region(name=segment.short_name, start=start, size=size, sector=sector)


def _default_answer(service: "DiagService", start: bytes) -> bytes | None:
    """The first positive response with its constants and defaults; zeros for the rest.

    `None` if the service has no positive response.
    """
    if not service.positive_responses:
        return None
    response = service.positive_responses[0]
    head = bytes([start[0] + POSITIVE_RESPONSE]) + start[1 : _ECHOED.get(start[0], 1)]
    try:
        values = {one.short_name: _value(one) for one in response.parameters if _needed(one)}
        found = bytes(response.encode(coded_request=_padded(service, start), **values))
    except Exception:  # noqa: BLE001 odxtools' errors for what cannot be coded are many
        return head + bytes(_fixed_length(response, len(head)))
    return found if found.startswith(head) else head


def _fixed_length(response: "Response", head: int) -> int:
    bits = response.get_static_bit_length()
    return 0 if bits is None else max(0, bits // 8 - head)


def _padded(service: "DiagService", start: bytes) -> bytes:
    """The request with zeros where it is variable, for responses that repeat a part of it."""
    bits = None if service.request is None else service.request.get_static_bit_length()
    return start.ljust(0 if bits is None else bits // 8, b"\x00")


def _needed(parameter: "Parameter") -> bool:
    return bool(parameter.is_required)


def _value(parameter: "Parameter") -> Any:  # noqa: ANN401 what the data object takes
    dop = getattr(parameter, "dop", None)
    method = getattr(dop, "compu_method", None)
    kind = getattr(getattr(dop, "diag_coded_type", None), "base_data_type", None)
    bits = parameter.get_static_bit_length()
    length = 0 if bits is None else bits // 8
    internal: Any = _ZEROS.get(getattr(kind, "name", ""), 0)
    if internal == b"":
        internal = bytes(length)
    elif internal == "":
        internal = "0" * length
    if method is None:
        return internal
    if isinstance(internal, int):
        internal = next((one for one in range(256) if method.is_valid_internal_value(one)), 0)
    return cast("Any", method.convert_internal_to_physical(internal))  # Any: as above


_ZEROS: Final[Mapping[str, object]] = {
    "A_BYTEFIELD": b"",
    "A_ASCIISTRING": "",
    "A_UTF8STRING": "",
    "A_UNICODE2STRING": "",
}
#: Bytes of the request that the response repeats, and its service identifier.
_ECHOED: Final[Mapping[int, int]] = {
    ServiceId.READ_DATA_BY_IDENTIFIER: 3,
    ServiceId.WRITE_DATA_BY_IDENTIFIER: 3,
    ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER: 3,
    ServiceId.ROUTINE_CONTROL: 4,
}
