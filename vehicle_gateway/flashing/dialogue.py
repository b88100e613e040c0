"""One ECU's side of a programming sequence: each request with the name of its step.

Whatever goes wrong is an `UpdateError` that says ECU, step, service and response code. A lost
answer is asked for again where asking twice does no harm.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
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
from vehicle_gateway.flashing.keys import Challenge, KeyFailedError, Keys
from vehicle_gateway.flashing.sequence import Patience
from vehicle_gateway.update import UpdateError
from vehicle_gateway.wires import LinkError, NoAnswerError, WireError
from vehicle_gateway.wires.tester import NegativeResponseError, UdsTester

T = TypeVar("T")

#: Asking twice is not the same as asking once: a second key fits no seed, a second 37 ends
#: nothing, a second reset resets again.
_ONCE: Final = frozenset(
    {ServiceId.SECURITY_ACCESS, ServiceId.REQUEST_TRANSFER_EXIT, ServiceId.ECU_RESET}
)
#: An ECU that was reset or asleep is in its default session again.
_LEFT: Final = frozenset(
    {
        Nrc.SUB_FUNCTION_NOT_SUPPORTED_IN_ACTIVE_SESSION,
        Nrc.SERVICE_NOT_SUPPORTED_IN_ACTIVE_SESSION,
    }
)
_POLL_S: Final = 0.05
#: Bytes of 50 with sessionParameterRecord.
_SESSION_ANSWER: Final = 6
#: Security access after too many wrong keys: asked again every second, for so many seconds.
_DELAY_TRIES: Final = 15
_DELAY_S: Final = 1.0


class Dialogue:
    """Asks one ECU; every method raises `UpdateError` and nothing else."""

    def __init__(
        self,
        tester: UdsTester,
        ecu: EcuDescription,
        *,
        keys: Keys,
        patience: Patience | None = None,
        serial_did: int = DataIdentifier.ECU_SERIAL_NUMBER,
    ) -> None:
        self.ecu = ecu
        self.tester = tester
        self._keys = keys
        self._patience = patience or Patience()
        self._serial_did = serial_did
        self._serial: str | None = None

    async def ask(self, step: str, request: bytes) -> bytes:
        """The positive answer; a lost one is asked for again where that does no harm."""
        pauses = () if request[0] in _ONCE else self._patience.again_after_s
        for pause_s in pauses:
            try:
                return await self.tester.request(request)
            except NoAnswerError:
                await asyncio.sleep(pause_s)
            except WireError as error:
                raise self.failed(step, error) from error
        try:
            return await self.tester.request(request)
        except NoAnswerError as error:
            raise self.failed(step, error, tries=1 + len(pauses)) from error
        except WireError as error:
            raise self.failed(step, error) from error

    async def read(self, step: str, did: int) -> bytes:
        answer = await self.ask(step, requests.read_data(did))
        return self.decoded(step, responses.decode_data, answer, did)

    async def read_text(self, step: str, did: int) -> str:
        """A DID that holds text; what is not ASCII is replaced."""
        return _text(await self.read(step, did))

    async def read_if_known(self, step: str, did: int) -> str:
        """A DID that holds text, empty where the ECU refuses it."""
        return _text(await self.record_if_known(step, did) or b"")

    async def record_if_known(self, step: str, did: int) -> bytes | None:
        """A DID, None where the ECU refuses it."""
        try:
            return await self.read(step, did)
        except UpdateError as error:
            if isinstance(error.__cause__, NegativeResponseError):
                return None
            raise

    async def serial(self) -> str:
        """F18C, asked once: the name to which the ECU's keys belong."""
        if self._serial is None:
            self._serial = await self.read_text("identifying", self._serial_did)
        return self._serial

    async def unlock(self, step: str, level: int) -> None:
        """Security access of this level with the key that `keys` has for the ECU's seed."""
        serial = await self.serial() if self._keys.by_serial else ""
        for pause_s in (*self._patience.again_after_s, None):
            try:
                seed = await self._seed(step, level)
                if not any(seed):
                    return  # unlocked already
                challenge = Challenge(ecu=self.ecu.name, level=level, seed=seed, serial=serial)
                await self.tester.request(requests.send_key(level, await self._keys.key(challenge)))
            except NoAnswerError as error:
                # Whether the key arrived is unknown: a new seed finds out.
                if pause_s is None:
                    raise self.failed(step, error, tries=self._patience.tries) from error
                await asyncio.sleep(pause_s)
            except (WireError, KeyFailedError) as error:
                raise self.failed(step, error) from error
            else:
                return

    async def ask_once(self, step: str, request: bytes, *, done: frozenset[Nrc]) -> bytes | None:
        """The answer to what an ECU does once; None if it got lost and the thing is done.

        The refusals in `done` are how the ECU says so when it is asked a second time.
        """
        for attempt, pause_s in enumerate((*self._patience.again_after_s, None)):
            try:
                return await self.tester.request(request)
            except NoAnswerError as error:
                if pause_s is None:
                    raise self.failed(step, error, tries=self._patience.tries) from error
                await asyncio.sleep(pause_s)
            except NegativeResponseError as error:
                if attempt == 0 or error.code not in done:
                    raise self.failed(step, error) from error
                return None
            except WireError as error:
                raise self.failed(step, error) from error
        raise AssertionError("the last try has returned or raised")

    async def reset(self, step: str, kind: int = ResetType.HARD) -> None:
        """Reset the ECU and wait until it answers again.

        The answer may be lost in the reset itself: an ECU that is still in a session got no such
        request, and is told again.
        """
        for _ in range(self._patience.tries):
            try:
                await self.tester.request(bytes([ServiceId.ECU_RESET, kind]))
                told = True
            except NoAnswerError:
                told = False
            except WireError as error:
                raise self.failed(step, error) from error
            # Its old self must not answer in the place of the new one.
            await asyncio.sleep(self.ecu.boot_s / 2)
            await self.wait_for(step)
            if told or not await self._in_session(step):
                return
        raise UpdateError(
            ecu=self.ecu.name,
            step=step,
            cause=f"does not reset (asked {self._patience.tries} times)",
        )

    async def wait_for(self, step: str, *, limit_s: float | None = None) -> None:
        """Wait until the ECU answers, application or boot loader."""
        loop = asyncio.get_running_loop()
        limit_s = self._patience.return_s if limit_s is None else limit_s
        deadline = loop.time() + limit_s
        while True:
            try:
                await self.tester.request(requests.tester_present(suppress=False))
            except NegativeResponseError:
                return
            except WireError as error:
                if loop.time() >= deadline:
                    cause = f"does not answer within {limit_s:g} s: {error}"
                    raise UpdateError(
                        ecu=self.ecu.name, step=step, cause=cause, absent=True
                    ) from error
                await asyncio.sleep(_POLL_S)
            else:
                return

    def take_timing(self, answer: bytes) -> None:
        """P2 and P2* of the new session, as 50 tells them: never less than what is known."""
        if len(answer) != _SESSION_ANSWER:
            return
        timing = self.tester.timing
        self.tester.timing = replace(
            timing,
            p2_s=max(timing.p2_s, int.from_bytes(answer[2:4]) / 1000),
            p2_star_s=max(timing.p2_star_s, int.from_bytes(answer[4:6]) / 100),
        )

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
        absent = isinstance(error, NoAnswerError | LinkError) or (
            isinstance(error, NegativeResponseError) and error.code in _LEFT
        )
        return UpdateError(ecu=self.ecu.name, step=step, cause=cause, absent=absent)

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


def _text(record: bytes) -> str:
    return record.decode("ascii", "replace").rstrip("\0 ")
