"""A request for every row of a server's rules, and the answer that the tables document.

The decision is restated here, so that `check` and the handlers are not measured by themselves.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final

from ecu_sim.diagnostics import Device, Respond, ServerEvent
from ecu_sim.diagnostics.server import UdsServer
from ecu_sim.diagnostics.state import ServerTiming
from ecu_sim.ecus import EcuType
from protocols.editions import UdsEdition
from protocols.uds import (
    CommunicationControl,
    CommunicationType,
    Nrc,
    RoutineControl,
    ServiceId,
    Session,
)
from protocols.uds.enums import (
    NEGATIVE_RESPONSE,
    EventType,
    FileOperation,
    LinkControl,
    RoutineId,
    TimingAccess,
)
from protocols.uds.requests import ALL_DTCS
from protocols.uds.rules import Access, MemoryRegion, RoutineRule, ServerRules, file_operations
from protocols.uds.rules.special_rows import STORE_EVENT
from protocols.uds.secured_data import KEY_LEVEL, Administrative, Keys, SecuredMessage
from protocols.uds.security_access import compute_key
from tests.support.diagnostics import TESTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    request: bytes
    #: The identifier's, routine's or region's own row; `None`: there is none.
    own: Access | None = None
    #: Requests that are asked first where the row is open (27 with its key); where one is refused
    #: the row's answer is `unready`.
    before: tuple[bytes, ...] = ()
    unready: Nrc = Nrc.REQUEST_SEQUENCE_ERROR
    #: 27: the level whose key follows the request.
    key_of: int = 0
    #: The row's own does not have the sub-function: 12 where everything else fits.
    lacks: bool = False
    #: What the ECU's state refuses it with, where everything else fits.
    state: Callable[["Situation"], Nrc | None] = lambda _: None
    #: Makes the request anew each time: one that no ECU takes twice.
    fresh: Callable[[], bytes] | None = None

    @property
    def service(self) -> int:
        return self.request[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One program of an ECU, and its device."""

    ecu: EcuType
    rules: ServerRules
    device: Device


@dataclass(frozen=True, slots=True)
class Situation:
    session: Session
    level: int
    functional: bool


def rows(subject: Subject) -> Iterator[Row]:
    """`KeyError` for a service, report or routine that has no example here."""
    for service_id, rule in subject.rules.services.items():
        for sub_function in rule.sub_functions or (0,):
            yield from _EXAMPLES[service_id](subject, sub_function)


def situations(subject: Subject) -> Iterator[Situation]:
    """Every session that this program can be in, with every level that can be open in it."""
    rules = subject.rules
    sessions = [Session(one) for one in rules.services[0x10].sub_functions]
    if rules.programming_restarts:
        sessions.remove(Session.PROGRAMMING)
    lock = rules.services[0x27]
    for session in sessions:
        levels = [level for level in lock.sub_functions if level % 2]
        for level in (0, *levels) if session in lock.sessions else (0,):
            for functional in (False, True):
                yield Situation(session, level, functional)


# The answers


def documented(rules: ServerRules, row: Row, when: Situation) -> Nrc | None:
    """ISO 14229-1's order: service, session, lock; the same for its sub-function; its own row."""
    service = rules.services[row.service]
    checks: list[tuple[Access, Nrc, Nrc]] = [
        (service, Nrc.SERVICE_NOT_SUPPORTED, Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION)
    ]
    if service.sub_functions:
        checks.append(
            (
                service.sub_functions[row.request[1]],
                Nrc.SUB_FUNCTION_NOT_SUPPORTED,
                Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION,
            )
        )
    if row.own is not None:
        checks.append((row.own, Nrc.REQUEST_OUT_OF_RANGE, Nrc.REQUEST_OUT_OF_RANGE))
    for access, not_here, not_now in checks:
        if when.functional and not access.functional:
            return not_here
        if when.session not in access.sessions:
            return not_now
        if access.secured and (not when.level or access.level not in {0, when.level}):
            return Nrc.SECURITY_ACCESS_DENIED
    return Nrc.SUB_FUNCTION_NOT_SUPPORTED if row.lacks else row.state(when)


#: What a functional request is not told (ISO 14229-1, server response behaviour).
UNSAID_TO_ALL: Final = frozenset({0x11, 0x12, 0x31, 0x7E, 0x7F})


class Walker:
    """A server fresh from its reset for each situation; the device goes on."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.now = 1000.0
        self.server = self._fresh()

    def _fresh(self) -> UdsServer:
        self.now += 1000.0
        return UdsServer(
            self.subject.device, self.subject.rules, timing=ServerTiming(), now=self.now
        )

    def enter(self, when: Situation) -> None:
        device = self.subject.device
        # What the session before holds is given back; the answer is another test's.
        self.ask(b"\x10\x01")
        device.set_dtc_logging(on=True, groups=(ALL_DTCS,))
        device.communication_control(
            CommunicationControl.ENABLE_RX_AND_TX, CommunicationType.NORMAL
        )
        device.transfer_abort()
        for code in device.dtcs.codes * 4:
            device.dtcs.report(code, failed=True)
        self.server = self._fresh()
        if when.session != Session.DEFAULT:
            assert self.ask(bytes((0x10, when.session)))[-1][0] == 0x50
        if when.level:
            assert self.ask(self.keyed(bytes((0x27, when.level + 1)), when.level))[-1][0] == 0x67

    def keyed(self, request: bytes, level: int) -> bytes:
        """A 27 with the key to a seed that is asked for now; zeros where none is given."""
        seed = self.ask(bytes((0x27, level)))[-1]
        if seed[0] != 0x67:
            return request + bytes(16)
        device = self.subject.device
        secret = device.security_key(level)
        return request + compute_key(secret, level=level, ecu_id=device.serial, seed=seed[2:])

    def prepare(self, row: Row) -> bool:
        """Ask what comes before the row; whether all of it was answered."""
        for request in row.before:
            is_key = request[0] == ServiceId.SECURITY_ACCESS
            sent = self.keyed(request, request[1] - 1) if is_key else request
            if self.ask(sent)[-1][0] == NEGATIVE_RESPONSE:
                return False
        return True

    def ask(self, request: bytes, *, functional: bool = False) -> list[bytes]:
        """Every message that comes until the request has been served."""
        events: list[ServerEvent] = self.server.receive(
            request, source=TESTER, functional=functional, now=self.now
        )
        while self.server.busy and (due := self.server.next_deadline()) is not None:
            self.now = max(self.now, due)
            events += self.server.handle_timeout(now=self.now)
        for event in events:
            if isinstance(event, Respond):
                self.server.sent(event, now=self.now)
        return [event.payload for event in events if isinstance(event, Respond)]


# A good request for every row


def _plain(_: Subject, sub_function: int, service: int) -> Iterator[Row]:
    yield Row(request=bytes((service, sub_function)))


def _security(_: Subject, sub_function: int) -> Iterator[Row]:
    level = sub_function - 1 + sub_function % 2
    yield Row(
        request=bytes((0x27, sub_function)),
        key_of=0 if sub_function % 2 else level,
        # Where the level is open already, the seed is zero and no key is expected.
        state=lambda when: (
            Nrc.REQUEST_SEQUENCE_ERROR if not sub_function % 2 and when.level == level else None
        ),
    )


def _reports(subject: Subject, sub_function: int) -> Iterator[Row]:
    code = next(iter(subject.ecu.dtcs)).to_bytes(3).hex()
    memory = f"{next(iter(subject.rules.dtcs.memories), 0):02x}"
    parameters = {
        0x01: "ff",
        0x02: "ff",
        0x04: code + "01",
        0x05: "01",
        0x06: code + "ff",
        0x07: "e0ff",
        0x08: "e0ff",
        0x09: code,
        0x16: "01",
        0x17: "ff" + memory,
        0x18: code + "ff" + memory,
        0x19: code + "ff" + memory,
        0x0F: "ff",
        0x10: code + "ff",
        0x11: "ff",
        0x12: "ff",
        0x13: "ff",
        0x1A: "01",
        0x42: "33ffe0",
        0x55: "33",
        0x56: "3301",
    }
    rest = bytes.fromhex(parameters.get(sub_function, ""))
    yield Row(request=bytes((0x19, sub_function)) + rest)


def _communication(subject: Subject, sub_function: int) -> Iterator[Row]:
    nodes = sorted(subject.rules.nodes) if sub_function in {4, 5} else [None]
    for node in nodes:
        rest = b"" if node is None else node.to_bytes(2)
        yield Row(request=bytes((0x28, sub_function, 0x01)) + rest)


def _readable(subject: Subject) -> list[int]:
    application = {**subject.ecu.data_identifiers, **subject.ecu.engineering_identifiers}
    in_loader = (0xF18C, 0xF190, 0xF191, 0xF15A, 0xF186)
    return list(application if not subject.rules.default_restarts else in_loader)


def _read(subject: Subject, _: int, service: int) -> Iterator[Row]:
    for did in _readable(subject):
        own = subject.rules.data.readable.get(did)
        yield Row(request=bytes((service,)) + did.to_bytes(2), own=own)


def _write(subject: Subject, _: int) -> Iterator[Row]:
    for did, own in subject.rules.writable.items():
        yield Row(request=bytes((0x2E,)) + did.to_bytes(2) + b"\x00\x00", own=own)


def _outputs(subject: Subject, _: int) -> Iterator[Row]:
    for did, own in subject.rules.data.outputs.items():
        yield Row(request=bytes((0x2F,)) + did.to_bytes(2) + b"\x00", own=own)


def _periodic(subject: Subject, _: int) -> Iterator[Row]:
    rules = subject.rules.data.periodic
    assert rules is not None
    for did in rules.identifiers:
        yield Row(request=bytes((0x2A, 0x01, did & 0xFF)))


def _dynamic(subject: Subject, sub_function: int) -> Iterator[Row]:
    match sub_function:
        case 0x01:
            yield Row(request=bytes.fromhex("2c01f300f1900102"))
        case 0x02:
            for region in subject.rules.data.memory:
                request = bytes.fromhex("2c02f30044") + _range(region)
                yield Row(request=request, own=region.read or NOBODY)
        case _:
            yield Row(request=bytes.fromhex("2c03"))


#: An operation that a region does not have.
NOBODY: Final = Access(sessions=frozenset())


def _range(region: MemoryRegion) -> bytes:
    return region.start.to_bytes(4) + (2).to_bytes(4)


def _memory(
    subject: Subject,
    _: int,
    head: bytes,
    operation: Callable[[MemoryRegion], Access | None],
    data: bytes = b"",
) -> Iterator[Row]:
    for region in subject.rules.data.memory:
        own = operation(region) or NOBODY
        yield Row(request=head + b"\x44" + _range(region) + data, own=own)


def _routines(subject: Subject, sub_function: int) -> Iterator[Row]:
    for rid, own in subject.rules.routines.items():
        if own.runs_on:
            yield from _running_on(rid, own, sub_function)
            continue
        if sub_function != RoutineControl.START:
            # The identifier is judged first; the routine does not have the sub-function.
            request = bytes((0x31, sub_function)) + rid.to_bytes(2)
            yield Row(request=request, own=own, lacks=True)
            continue
        option, refusal = _OPTIONS[rid](subject), _refused(subject, rid)
        yield Row(
            request=bytes.fromhex("3101") + rid.to_bytes(2) + option,
            own=own,
            state=partial(_always, refusal),
        )


def _always(nrc: Nrc | None, _: Situation) -> Nrc | None:
    return nrc


def _refused(subject: Subject, rid: int) -> Nrc | None:
    """What a routine is refused with on an ECU fresh from the factory; others' tests let it run."""
    loader, ecu = subject.rules.default_restarts, subject.ecu
    # Nothing that was downloaded is there to be activated.
    refusals = {RoutineId.ACTIVATE: Nrc.CONDITIONS_NOT_CORRECT}
    if loader:
        # No application runs that it could speak for.
        refusals[RoutineId.SLOT_DIGEST] = Nrc.CONDITIONS_NOT_CORRECT
    if loader and ecu.blocks:
        # Without its secondary loader it erases nothing; no block has been written.
        refusals[RoutineId.ERASE_MEMORY] = Nrc.CONDITIONS_NOT_CORRECT
        refusals[RoutineId.CHECK_MEMORY] = Nrc.REQUEST_OUT_OF_RANGE
    elif loader and ecu.single_slot and not ecu.staging_area:
        # The walk has erased its only image.
        refusals[RoutineId.CHECK_DEPENDENCIES] = Nrc.CONDITIONS_NOT_CORRECT
    return refusals.get(RoutineId(rid))


def _running_on(rid: int, own: RoutineRule, sub_function: int) -> Iterator[Row]:
    start = b"\x31\x01" + rid.to_bytes(2)
    request = bytes((0x31, sub_function)) + rid.to_bytes(2)
    begins = sub_function == RoutineControl.START
    yield Row(request=request, own=own, before=() if begins else (start,))


def _sector(subject: Subject) -> bytes:
    ecu = subject.ecu
    return ecu.application_base.to_bytes(4) + ecu.slot.sector_size.to_bytes(4)


def _check_option_size(ecu: EcuType) -> int:
    if ecu.staging_area:
        return 4 + 4 + 64  # length, CRC32, SHA-512
    return (4 if ecu.single_slot else 0) + (4 if ecu.blocks else 0)


_OPTIONS: Final[Mapping[int, Callable[[Subject], bytes]]] = {
    0x0202: lambda subject: bytes(_check_option_size(subject.ecu)),
    0x0203: lambda _: b"",
    0x0210: lambda _: b"",
    0x0211: lambda _: b"",
    0x0212: lambda _: b"",
    0x0213: lambda _: b"",
    0x0214: lambda _: bytes(range(16)),
    0x0301: lambda subject: (
        subject.ecu.secondary_loader.start.to_bytes(4) if subject.ecu.secondary_loader else b""
    ),
    0xFF00: lambda subject: b"\x44" + _sector(subject),
    0xFF01: lambda _: b"",
}


def _announced(subject: Subject) -> bytes:
    """34 of one page, or where the program takes none, 38 or 35."""
    ecu = subject.ecu
    if ServiceId.REQUEST_DOWNLOAD in subject.rules.services:
        loader = ecu.secondary_loader
        start = ecu.application_base if loader is None else loader.start
        size = ecu.slot.page_size.to_bytes(4)
        return bytes.fromhex("340044") + start.to_bytes(4) + size
    if ServiceId.REQUEST_FILE_TRANSFER in subject.rules.services:
        return _FILE_REQUESTS[FileOperation.ADD]
    region = next(region for region in subject.rules.data.memory if region.upload)
    return bytes.fromhex("350044") + _range(region)


def _block(subject: Subject) -> bytes:
    services = subject.rules.services
    if ServiceId.REQUEST_DOWNLOAD in services:
        return b"\x36\x01" + bytes(subject.ecu.slot.page_size)
    return b"\x36\x01" + (b"file" if ServiceId.REQUEST_FILE_TRANSFER in services else b"")


#: One file of four bytes, neither compressed nor encrypted.
_SIZES: Final = bytes.fromhex("00010404")
_FILE_REQUESTS: Final[Mapping[int, bytes]] = {
    FileOperation.ADD: b"\x38\x01\x00\x02/a" + _SIZES,
    FileOperation.DELETE: b"\x38\x02\x00\x02/d",
    FileOperation.REPLACE: b"\x38\x03\x00\x02/a" + _SIZES,
    FileOperation.READ: b"\x38\x04\x00\x02/d\x00",
    FileOperation.READ_DIRECTORY: b"\x38\x05\x00\x01/",
    FileOperation.RESUME: b"\x38\x06\x00\x02/a" + _SIZES,
}
_STORED: Final = (b"\x38\x03\x00\x02/d" + _SIZES, b"\x36\x01file", b"\x37")
#: What makes a file one that is there, or that was broken off.
_BEFORE_FILES: Final[Mapping[int, tuple[bytes, ...]]] = {
    FileOperation.DELETE: _STORED,
    FileOperation.READ: _STORED,
    FileOperation.RESUME: (_FILE_REQUESTS[FileOperation.ADD], b"\x10\x03", b"\x27\x02"),
}


def _files(subject: Subject, _: int) -> Iterator[Row]:
    rules = subject.rules
    for operation, own in file_operations(rules.special, rules.edition).items():
        yield Row(
            request=_FILE_REQUESTS[operation],
            own=own,
            before=_BEFORE_FILES.get(operation, ()),
            # No such file: who may not write one reads none.
            unready=Nrc.REQUEST_OUT_OF_RANGE,
        )


_EVENTS: Final[Mapping[int, str]] = {
    EventType.STOP: "02",
    EventType.ON_DTC_STATUS_CHANGE: "0208190208",
    EventType.ON_TIMER_INTERRUPT: "020122f190",
    EventType.ON_CHANGE_OF_DATA_IDENTIFIER: "02f19022f190",
    EventType.ON_COMPARISON_OF_VALUES: "02f188010000000000200022f190",
    EventType.REPORT_ACTIVATED: "02",
    EventType.START: "02",
    EventType.CLEAR: "02",
    EventType.MOST_RECENT_DTC_ON_STATUS_CHANGE: "020e",
    EventType.DTC_RECORD_ON_STATUS_CHANGE: "020806ff",
}


def _events(subject: Subject, sub_function: int) -> Iterator[Row]:
    request = bytes((0x86, sub_function)) + bytes.fromhex(_EVENTS[sub_function & 0x3F])
    set_up = bytes.fromhex("8603") + bytes.fromhex(_EVENTS[EventType.ON_CHANGE_OF_DATA_IDENTIFIER])
    started = sub_function & 0x3F in {EventType.START, EventType.STOP}
    # In 2020 it is the default session's events alone that can be stored.
    stores = sub_function == EventType.START | STORE_EVENT
    newest = subject.rules.edition >= UdsEdition.E2020
    yield Row(
        request=request,
        before=(set_up,) if started else (),
        state=lambda when: (
            Nrc.CONDITIONS_NOT_CORRECT
            if stores and newest and when.session != Session.DEFAULT
            else None
        ),
    )


def _secured(subject: Subject, _: int) -> Iterator[Row]:
    """Signed with the ECU's own key, and with one that it does not trust."""
    counters = count(1)

    def signed(key: bytes) -> bytes:
        return SecuredMessage(
            administrative=Administrative.REQUEST | Administrative.SIGNED,
            counter=next(counters),
            inner=bytes.fromhex("22f190"),
        ).encode(Keys.derive(key))

    trusted = partial(signed, subject.device.security_key(KEY_LEVEL))
    yield Row(request=trusted(), fresh=trusted)
    yield Row(request=signed(bytes(16)), state=lambda _: Nrc.SECURE_DATA_VERIFICATION_FAILED)


def _link(_: Subject, sub_function: int) -> Iterator[Row]:
    verified = bytes.fromhex("870112")
    match sub_function:
        case LinkControl.VERIFY_FIXED:
            yield Row(request=verified)
        case LinkControl.VERIFY_SPECIFIC:
            yield Row(request=bytes.fromhex("87020c3500"))
        case _:
            yield Row(request=b"\x87\x03", before=(verified,))


def _timing(_: Subject, sub_function: int) -> Iterator[Row]:
    record = "006403e8" if sub_function == TimingAccess.SET_GIVEN else ""
    yield Row(request=bytes((0x83, sub_function)) + bytes.fromhex(record))


def _download(subject: Subject, _: int) -> Iterator[Row]:
    yield Row(request=_announced(subject))


def _transfer(subject: Subject, _: int) -> Iterator[Row]:
    yield Row(request=_block(subject), before=(_announced(subject),))


def _exit(subject: Subject, _: int) -> Iterator[Row]:
    yield Row(request=b"\x37", before=(_announced(subject), _block(subject)))


_EXAMPLES: Final[Mapping[int, Callable[[Subject, int], Iterator[Row]]]] = {
    0x10: lambda subject, sub: _plain(subject, sub, 0x10),
    0x11: lambda subject, sub: _plain(subject, sub, 0x11),
    0x14: lambda _subject, _sub: iter((Row(request=b"\x14\xff\xff\xff"),)),
    0x19: _reports,
    0x22: lambda subject, sub: _read(subject, sub, 0x22),
    0x23: lambda subject, sub: _memory(subject, sub, b"\x23", lambda region: region.read),
    0x24: lambda subject, sub: _read(subject, sub, 0x24),
    0x27: _security,
    0x28: _communication,
    0x2A: _periodic,
    0x2C: _dynamic,
    0x2E: _write,
    0x2F: _outputs,
    0x31: _routines,
    0x34: _download,
    0x35: lambda subject, sub: _memory(subject, sub, b"\x35\x00", lambda region: region.upload),
    0x36: _transfer,
    0x37: _exit,
    0x38: _files,
    0x3D: lambda subject, sub: _memory(
        subject, sub, b"\x3d", lambda region: region.write, data=b"\x00\x00"
    ),
    0x3E: lambda subject, sub: _plain(subject, sub, 0x3E),
    0x83: _timing,
    0x84: _secured,
    0x85: lambda subject, sub: _plain(subject, sub, 0x85),
    0x86: _events,
    0x87: _link,
}
