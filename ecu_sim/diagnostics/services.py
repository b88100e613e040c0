"""The services one by one: what is left to decide once the rules have let a request through."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ecu_sim.diagnostics import EnterBootloader, Job, Nrc, Refusal, Respond, Restart
from ecu_sim.diagnostics.download import Download
from ecu_sim.diagnostics.dtc_reports import report
from ecu_sim.diagnostics.state import ServerState
from ecu_sim.diagnostics.work import Answer, Work, done
from protocols.uds import (
    CommunicationControl,
    CommunicationType,
    DataIdentifier,
    DtcSetting,
    ResetType,
    ServiceId,
    Session,
)
from protocols.uds.enums import NEGATIVE_RESPONSE, POSITIVE_RESPONSE, SUPPRESS_POSITIVE_RESPONSE
from protocols.uds.rules import Access, check_access

#: High nibble of communicationType: all subnets, or the one that the request came on.
_SUBNETS = frozenset({0x0, 0xF})


def _positive(service: ServiceId, rest: bytes = b"") -> bytes:
    return bytes([service + POSITIVE_RESPONSE]) + rest


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the general rules have passed."""

    data: bytes
    source: int
    functional: bool
    now: float

    @property
    def sub_function(self) -> int:
        return self.data[1] & ~SUPPRESS_POSITIVE_RESPONSE


class Services:
    """Each method answers one service: at once (`Answer`), by a job (`Work`), or by `Refusal`."""

    def __init__(self, state: ServerState, *, max_response: int) -> None:
        self._state = state
        self._device = state.device
        self._max_response = max_response
        self._handlers: dict[int, Callable[[Request], Answer | Work]] = {
            ServiceId.DIAGNOSTIC_SESSION_CONTROL: self._session_control,
            ServiceId.ECU_RESET: self._ecu_reset,
            ServiceId.CLEAR_DIAGNOSTIC_INFORMATION: self._clear_dtcs,
            ServiceId.READ_DTC_INFORMATION: self._read_dtcs,
            ServiceId.READ_DATA_BY_IDENTIFIER: self._read_data,
            ServiceId.SECURITY_ACCESS: self._security_access,
            ServiceId.COMMUNICATION_CONTROL: self._communication_control,
            ServiceId.WRITE_DATA_BY_IDENTIFIER: self._write_data,
            ServiceId.ROUTINE_CONTROL: self._routine_control,
            ServiceId.REQUEST_DOWNLOAD: self._request_download,
            ServiceId.TRANSFER_DATA: self._transfer_data,
            ServiceId.REQUEST_TRANSFER_EXIT: self._transfer_exit,
            ServiceId.TESTER_PRESENT: self._tester_present,
            ServiceId.CONTROL_DTC_SETTING: self._control_dtc_setting,
        }

    def serve(self, request: Request) -> Answer | Work:
        handler = self._handlers.get(request.data[0])
        if handler is None:
            raise Refusal(Nrc.SERVICE_NOT_SUPPORTED)
        return handler(request)

    def _check_access(self, request: Request, access: Access | None) -> None:
        nrc = check_access(
            access,
            session=self._state.session,
            unlocked=self._state.unlocked_for(request.source),
            functional=request.functional,
        )
        if nrc is not None:
            raise Refusal(nrc)

    def _fitting(self, response: bytes) -> Answer:
        if len(response) > self._max_response:
            raise Refusal(Nrc.RESPONSE_TOO_LONG)
        return Answer(response)

    # Sessions and resets

    def _session_control(self, request: Request) -> Answer:
        session, left = Session(request.sub_function), self._state.session
        if session != Session.DEFAULT:
            self._device.check_session(session)
        if session == Session.PROGRAMMING and self._state.rules.programming_restarts:
            # The boot loader answers; P2* runs from here until it does.
            pending = bytes([NEGATIVE_RESPONSE, request.data[0], Nrc.RESPONSE_PENDING])
            enter = (Respond(pending, request.source), EnterBootloader(request.source))
            return Answer(None, then=enter)
        answer = self._state.enter(session, source=request.source)
        ends = self._state.rules.default_restarts and left == Session.PROGRAMMING
        restarts = ends and session == Session.DEFAULT
        return Answer(answer, then=(Restart(ResetType.HARD),) if restarts else ())

    def _ecu_reset(self, request: Request) -> Answer:
        reset = ResetType(request.sub_function)
        self._device.check_reset(reset)
        return Answer(_positive(ServiceId.ECU_RESET, bytes([reset])), then=(Restart(reset),))

    def _tester_present(self, request: Request) -> Answer:  # noqa: ARG002 the rules have read all of it
        return Answer(_positive(ServiceId.TESTER_PRESENT, b"\x00"))

    # Diagnostic trouble codes

    def _clear_dtcs(self, request: Request) -> Work:
        group = int.from_bytes(request.data[1:4])
        if not self._device.dtcs.has_group(group):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
        return Work(
            start=lambda _: self._device.clear_dtcs(group),
            finish=lambda _: Answer(_positive(ServiceId.CLEAR_DIAGNOSTIC_INFORMATION)),
        )

    def _read_dtcs(self, request: Request) -> Answer:
        reported = bytes([request.sub_function]) + report(self._device.dtcs, request.data)
        return self._fitting(_positive(ServiceId.READ_DTC_INFORMATION, reported))

    def _control_dtc_setting(self, request: Request) -> Answer:
        setting = DtcSetting(request.sub_function)
        self._device.set_dtc_logging(on=setting == DtcSetting.ON)
        return Answer(_positive(ServiceId.CONTROL_DTC_SETTING, bytes([setting])))

    def _communication_control(self, request: Request) -> Answer:
        control = CommunicationControl(request.sub_function)
        communication = CommunicationType(request.data[2] & 0x03)
        # Bits 2 and 3 are reserved.
        if not communication or request.data[2] & 0x0C or request.data[2] >> 4 not in _SUBNETS:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
        self._device.communication_control(control, communication)
        return Answer(_positive(ServiceId.COMMUNICATION_CONTROL, bytes([control])))

    # Data and routines

    def _read_data(self, request: Request) -> Answer:
        """Several DIDs at once: those that the ECU has are answered, if there is one at all."""
        if len(request.data) % 2 == 0:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        response = bytearray(_positive(ServiceId.READ_DATA_BY_IDENTIFIER))
        for at in range(1, len(request.data), 2):
            response += self._data_record(request.data[at : at + 2])
            if len(response) > self._max_response:
                raise Refusal(Nrc.RESPONSE_TOO_LONG)
        if len(response) == 1:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
        return Answer(bytes(response))

    def _data_record(self, did: bytes) -> bytes:
        if int.from_bytes(did) == DataIdentifier.ACTIVE_DIAGNOSTIC_SESSION:
            return did + bytes([self._state.session])
        try:
            return did + self._device.read_data(int.from_bytes(did))
        except Refusal as refusal:
            if refusal.nrc == Nrc.REQUEST_OUT_OF_RANGE:
                return b""
            raise

    def _write_data(self, request: Request) -> Work:
        did, record = request.data[1:3], request.data[3:]
        self._check_access(request, self._state.rules.writable.get(int.from_bytes(did)))
        return Work(
            start=lambda _: self._device.write_data(int.from_bytes(did), record),
            finish=lambda _: Answer(_positive(ServiceId.WRITE_DATA_BY_IDENTIFIER, did)),
        )

    def _routine_control(self, request: Request) -> Work:
        control, rid = bytes([request.sub_function]), request.data[2:4]
        option = request.data[4:]
        access = self._state.rules.routines.get(int.from_bytes(rid))
        self._check_access(request, access)
        if self._state.download is not None and access is not None and access.secured:
            # What changes memory or boot state waits for the transfer's end.
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a download is under way")
        return Work(
            start=lambda _: self._device.routine(int.from_bytes(rid), option),
            finish=lambda status: Answer(
                _positive(ServiceId.ROUTINE_CONTROL, control + rid + status)
            ),
        )

    # Security access

    def _security_access(self, request: Request) -> Answer | Work:
        sub_function, key = request.sub_function, request.data[2:]
        security, source, now = self._state.security, request.source, request.now
        if sub_function % 2:
            seed = security.seed(sub_function, source=source, now=now)
            return Answer(_positive(ServiceId.SECURITY_ACCESS, bytes([sub_function]) + seed))
        return Work(
            start=lambda _: security.try_key(sub_function - 1, key, source=source, now=now),
            finish=lambda _: Answer(_positive(ServiceId.SECURITY_ACCESS, bytes([sub_function]))),
        )

    # Download

    def _request_download(self, request: Request) -> Answer:
        data_format, size_length, address_length = (
            request.data[1],
            request.data[2] >> 4,
            request.data[2] & 0x0F,
        )
        if not (1 <= size_length <= 4 and 1 <= address_length <= 4):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "address and length format")
        if len(request.data) != 3 + address_length + size_length:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        address = int.from_bytes(request.data[3 : 3 + address_length])
        size = int.from_bytes(request.data[3 + address_length :])
        if size == 0 or address + size > 0x1_0000_0000:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
        if self._state.download is not None:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a download is under way")
        max_block_length = self._device.request_download(address, size, data_format)
        self._state.download = Download(self._device, size=size, max_block_length=max_block_length)
        length = 2 if max_block_length <= 0xFFFF else 4
        largest = bytes([length << 4]) + max_block_length.to_bytes(length)
        return Answer(_positive(ServiceId.REQUEST_DOWNLOAD, largest))

    def _active_download(self) -> Download:
        if self._state.download is None:
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR)
        return self._state.download

    def _end_download(self) -> None:
        if self._state.download is not None:
            self._state.download.abort()
        self._state.download = None

    def _transfer_data(self, request: Request) -> Answer | Work:
        download = self._active_download()
        self._check(download, partial(download.check, request.data))
        answer = Answer(_positive(ServiceId.TRANSFER_DATA, request.data[1:2]))
        if download.is_repeated(request.data[1]):
            return answer
        if not download.full:
            download.take(request.data, now=request.now)
            return answer
        return Work(
            start=partial(self._take_late, download, request.data),
            finish=lambda _: answer,
            waits=lambda: download.full,
        )

    def _check(self, download: Download, check: Callable[[], None]) -> None:
        """Run a check; a download that failed is over once that has been told."""
        try:
            check()
        except Refusal:
            if download.failure is not None:
                self._end_download()
            raise

    def _take_late(self, download: Download, block: bytes, now: float) -> Job:
        self._check(download, partial(download.check, block))
        download.take(block, now=now)
        return done()

    def _transfer_exit(self, request: Request) -> Work:  # noqa: ARG002 the rules have read all of it
        download = self._active_download()
        self._check(download, download.check_exit)
        return Work(
            start=lambda _: self._exit(download),
            finish=lambda record: Answer(_positive(ServiceId.REQUEST_TRANSFER_EXIT, record)),
            waits=lambda: download.busy,
        )

    def _exit(self, download: Download) -> Job:
        try:
            record = yield from download.exit()
        except Refusal:
            self._end_download()
            raise
        self._state.download = None
        return record
