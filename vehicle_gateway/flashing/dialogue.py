"""One ECU's side of a programming sequence: each request with the name of its step.

Whatever goes wrong is an `UpdateError` that says ECU, step, service and response code. A lost
answer is asked for again where asking twice does no harm.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, TypeVar

from dbc import EcuDescription
from protocols.uds import (
    DataIdentifier,
    MalformedResponseError,
    Nrc,
    ResetType,
    ServiceId,
    Session,
    requests,
    responses,
)
from protocols.uds.routine_status import CHECK_TEXTS, CheckStatus
from protocols.uds.security_access import compute_key, derive_key
from vehicle_gateway.update import UpdateError
from vehicle_gateway.wires import NoAnswerError, WireError
from vehicle_gateway.wires.tester import (
    AGAIN_AFTER_S,
    TRIES,
    NegativeResponseError,
    UdsTester,
)

T = TypeVar("T")

#: Asking twice is not the same as asking once: a second key fits no seed, a second 37 ends
#: nothing, a second reset resets again.
_ONCE: Final = frozenset(
    {ServiceId.SECURITY_ACCESS, ServiceId.REQUEST_TRANSFER_EXIT, ServiceId.ECU_RESET}
)
#: An ECU that was told to reset answers again within so many seconds, image check included.
RETURN_S: Final = 30.0
_POLL_S: Final = 0.05
#: Security access after too many wrong keys: asked again every second, for so many seconds.
_DELAY_TRIES: Final = 15
_DELAY_S: Final = 1.0
#: Who programmed: ten characters of tester serial number in F15A, after a BCD date.
_TESTER_SERIAL: Final = b"CANOTA-GW1"


class RoutineFailedError(UpdateError):
    """A routine ran to its end and its status record says that it did not succeed."""


class Dialogue:
    """Asks one ECU; every method raises `UpdateError` and nothing else."""

    def __init__(self, tester: UdsTester, ecu: EcuDescription, *, master: bytes) -> None:
        self.ecu = ecu
        self.tester = tester
        self._master = master
        self._serial: str | None = None

    async def ask(self, step: str, request: bytes) -> bytes:
        """The positive answer; a lost one is asked for again where that does no harm."""
        once = request[0] in _ONCE
        try:
            return await (self.tester.request(request) if once else self.tester.insist(request))
        except NoAnswerError as error:
            raise self.failed(step, error, tries=1 if once else TRIES) from error
        except WireError as error:
            raise self.failed(step, error) from error

    async def enter(self, step: str, session: Session) -> None:
        await self.ask(step, requests.session_control(session))

    async def routine(self, step: str, rid: int, option: bytes = b"") -> bytes:
        """The status record of a routine that was started and has ended."""
        answer = await self.ask(step, requests.start_routine(rid, option))
        return self.decoded(step, responses.decode_routine, answer, rid)

    async def check(self, step: str, rid: int, option: bytes = b"") -> None:
        """Run a routine whose first status byte says 00 for success."""
        status = await self.routine(step, rid, option)
        if status and status[0] != 0:
            raise RoutineFailedError(
                ecu=self.ecu.name, step=step, cause=f"routine {rid:04X}: {_status_text(status[0])}"
            )

    async def read(self, step: str, did: int) -> bytes:
        answer = await self.ask(step, requests.read_data(did))
        return self.decoded(step, responses.decode_data, answer, did)

    async def read_text(self, step: str, did: int) -> str:
        """A DID that holds text; what is not ASCII is replaced."""
        record = await self.read(step, did)
        return record.decode("ascii", "replace").rstrip("\0 ")

    async def read_if_known(self, step: str, did: int) -> str:
        """A DID that holds text, empty where the ECU refuses it."""
        try:
            return await self.read_text(step, did)
        except UpdateError as error:
            if isinstance(error.__cause__, NegativeResponseError):
                return ""
            raise

    async def serial(self) -> str:
        """F18C, asked once: the name to which the ECU's keys belong."""
        if self._serial is None:
            self._serial = await self.read_text("identifying", DataIdentifier.ECU_SERIAL_NUMBER)
        return self._serial

    async def unlock(self, step: str) -> None:
        """Security access by AES-CMAC, with the key that belongs to this ECU's serial number."""
        serial = await self.serial()
        level = self.ecu.security_level
        key = derive_key(self._master, serial, level)
        for attempt in range(1, TRIES + 1):
            try:
                seed = await self._seed(step, level)
                if not any(seed):
                    return  # unlocked already
                proof = compute_key(key, level=level, ecu_id=serial, seed=seed)
                await self.tester.request(requests.send_key(level, proof))
            except NoAnswerError as error:
                # Whether the key arrived is unknown: a new seed finds out.
                if attempt == TRIES:
                    raise self.failed(step, error, tries=attempt) from error
                await asyncio.sleep(AGAIN_AFTER_S[attempt - 1])
            except WireError as error:
                raise self.failed(step, error) from error
            else:
                return

    async def ask_once(self, step: str, request: bytes, *, done: frozenset[Nrc]) -> bytes | None:
        """The answer to what an ECU does once; None if it got lost and the thing is done.

        The refusals in `done` are how the ECU says so when it is asked a second time.
        """
        for attempt in range(1, TRIES + 1):
            try:
                return await self.tester.request(request)
            except NoAnswerError as error:
                if attempt == TRIES:
                    raise self.failed(step, error, tries=attempt) from error
                await asyncio.sleep(AGAIN_AFTER_S[attempt - 1])
            except NegativeResponseError as error:
                if attempt == 1 or error.code not in done:
                    raise self.failed(step, error) from error
                return None
            except WireError as error:
                raise self.failed(step, error) from error
        raise AssertionError("the last try has returned or raised")

    async def leave_fingerprint(self, step: str, start_date: datetime) -> None:
        """F15A: the date, and who programs."""
        today = start_date + timedelta(seconds=asyncio.get_running_loop().time())
        record = bytes.fromhex(today.strftime("%y%m%d")) + _TESTER_SERIAL
        await self.ask(step, requests.write_data(DataIdentifier.PROGRAMMING_FINGERPRINT, record))

    async def reset(self, step: str, *, limit_s: float = RETURN_S) -> None:
        """Reset the ECU and wait until it answers again.

        The answer may be lost in the reset itself: an ECU that is still in a session got no such
        request, and is told again.
        """
        for _ in range(TRIES):
            try:
                await self.tester.request(requests.ecu_reset(ResetType.HARD))
                told = True
            except NoAnswerError:
                told = False
            except WireError as error:
                raise self.failed(step, error) from error
            # Its old self must not answer in the place of the new one.
            await asyncio.sleep(self.ecu.boot_s / 2)
            await self.wait_for(step, limit_s=limit_s)
            if told or not await self._in_session(step):
                return
        raise UpdateError(
            ecu=self.ecu.name, step=step, cause=f"does not reset (asked {TRIES} times)"
        )

    async def wait_for(self, step: str, *, limit_s: float = RETURN_S) -> None:
        """Wait until the ECU answers, application or boot loader."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while True:
            try:
                await self.tester.request(requests.tester_present(suppress=False))
            except NegativeResponseError:
                return
            except WireError as error:
                if loop.time() >= deadline:
                    cause = f"does not answer within {limit_s:g} s: {error}"
                    raise UpdateError(ecu=self.ecu.name, step=step, cause=cause) from error
                await asyncio.sleep(_POLL_S)
            else:
                return

    def decoded(self, step: str, decode: Callable[[bytes, int], T], answer: bytes, of: int) -> T:
        """What an answer says, or the `UpdateError` that it says nothing sensible."""
        try:
            return decode(answer, of)
        except MalformedResponseError as error:
            raise self.failed(step, error) from error

    def failed(self, step: str, error: Exception, *, tries: int = 1) -> UpdateError:
        cause = str(error).removeprefix(f"{self.ecu.name}: ")
        if tries > 1:
            cause += f" (asked {tries} times)"
        return UpdateError(ecu=self.ecu.name, step=step, cause=cause)

    async def _in_session(self, step: str) -> bool:
        """Whether the ECU is in another session than the default one, as far as it tells."""
        try:
            session = await self.read(step, DataIdentifier.ACTIVE_DIAGNOSTIC_SESSION)
        except UpdateError as error:
            if isinstance(error.__cause__, NegativeResponseError):
                return False
            raise
        return session != bytes([Session.DEFAULT])

    async def _seed(self, step: str, level: int) -> bytes:
        for _ in range(_DELAY_TRIES):
            try:
                answer = await self.tester.request(requests.request_seed(level))
            except NegativeResponseError as error:
                if error.code != Nrc.REQUIRED_TIME_DELAY_NOT_EXPIRED:
                    raise
                await asyncio.sleep(_DELAY_S)
                continue
            return self.decoded(step, responses.decode_seed, answer, level)
        raise UpdateError(
            ecu=self.ecu.name,
            step=step,
            cause=f"security access still delayed after {_DELAY_TRIES * _DELAY_S:g} s",
        )


def _status_text(status: int) -> str:
    try:
        return CHECK_TEXTS[CheckStatus(status)]
    except ValueError:
        return f"status {status:02X}"
