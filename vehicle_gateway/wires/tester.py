"""The tester: one request, its answer, and all that may happen between them (ISO 14229-2).

P2 runs from the last bit of the request; a 78 opens P2*; an answer that has started stops both.
A 21 is asked again. Answers that belong to an earlier request are passed over.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from protocols.uds import Nrc, ServiceId, requests
from vehicle_gateway.wires import (
    AnswerBroken,
    AnswerReceived,
    AnswerStarted,
    Channel,
    NoAnswerError,
    Wire,
    WireError,
)

_NEGATIVE: Final = 0x7F
_SUPPRESS: Final = 0x80

#: How many bytes after the service id a positive answer repeats from its request; the rest have
#: none. This is how a late answer to an earlier request is told from the one that is waited for.
_ECHO: Final = {
    ServiceId.DIAGNOSTIC_SESSION_CONTROL: 1,
    ServiceId.ECU_RESET: 1,
    ServiceId.READ_DTC_INFORMATION: 1,
    ServiceId.READ_DATA_BY_IDENTIFIER: 2,
    ServiceId.SECURITY_ACCESS: 1,
    ServiceId.COMMUNICATION_CONTROL: 1,
    ServiceId.WRITE_DATA_BY_IDENTIFIER: 2,
    ServiceId.ROUTINE_CONTROL: 3,
    ServiceId.TRANSFER_DATA: 1,
    ServiceId.TESTER_PRESENT: 1,
    ServiceId.CONTROL_DTC_SETTING: 1,
}

#: Pauses in seconds before a request is sent again whose answer got lost: at once, then when an ECU
#: has given up (N_Bs) that waits for our flow control to a first frame which we never saw.
AGAIN_AFTER_S: Final = (0.0, 1.0)
#: So often is such a request sent.
TRIES: Final = 1 + len(AGAIN_AFTER_S)
#: S3client: an ECU whose last answer got lost must not leave its session before P2* has told us.
S3_CLIENT_S: Final = 2.0
_KEEP_ALIVE: Final = requests.tester_present(suppress=True)

#: Services whose first byte is a sub-function, with the suppressPosRspMsgIndicationBit on top.
_WITH_SUB_FUNCTION: Final = frozenset(
    {
        ServiceId.DIAGNOSTIC_SESSION_CONTROL,
        ServiceId.ECU_RESET,
        ServiceId.READ_DTC_INFORMATION,
        ServiceId.SECURITY_ACCESS,
        ServiceId.COMMUNICATION_CONTROL,
        ServiceId.ROUTINE_CONTROL,
        ServiceId.TESTER_PRESENT,
        ServiceId.CONTROL_DTC_SETTING,
    }
)


class NegativeResponseError(WireError):
    """The ECU refused: `service` and `nrc` (the raw code if the standard has no name for it)."""

    def __init__(self, ecu: str, service: int, code: int) -> None:
        self.ecu = ecu
        self.service = service
        self.code = code
        super().__init__(f"{ecu}: {_service_name(service)} refused: {nrc_name(code)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TesterTiming:
    """What the tester allows; P2 and P2* are the ECU's, the margins pay for wire and network."""

    p2_s: float = 0.05
    p2_star_s: float = 5.0
    p2_margin_s: float = 0.1
    p2_star_margin_s: float = 1.0
    #: An ECU that keeps saying 78 is given up after so many, or so many seconds, for one request.
    pending_limit: int = 100
    pending_total_s: float = 180.0
    #: A busy ECU (21) is asked again so often; the pause doubles from the first to the last.
    busy_tries: int = 8
    busy_first_s: float = 0.05
    busy_last_s: float = 1.0


class UdsTester:
    """Asks one ECU, one request at a time; further ones wait their turn."""

    def __init__(self, ecu: str, channel: Channel, timing: TesterTiming | None = None) -> None:
        self.ecu = ecu
        self.timing = timing or TesterTiming()
        self.lock = asyncio.Lock()
        self._channel = channel

    async def request(self, payload: bytes) -> bytes:
        """The positive answer.

        Raises `NegativeResponseError`, `NoAnswerError`, or `LinkError` from the transport.
        """
        async with self.lock:
            pause_s = self.timing.busy_first_s
            for _ in range(self.timing.busy_tries - 1):
                try:
                    return await self._exchange(payload)
                except NegativeResponseError as error:
                    if error.code != Nrc.BUSY_REPEAT_REQUEST:
                        raise
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self.timing.busy_last_s)
            return await self._exchange(payload)

    async def insist(self, payload: bytes) -> bytes:
        """`request`, up to `TRIES` times if answers get lost; where asking twice is harmless."""
        for pause_s in AGAIN_AFTER_S:
            try:
                return await self.request(payload)
            except NoAnswerError:
                await asyncio.sleep(pause_s)
        return await self.request(payload)

    async def tell(self, payload: bytes) -> None:
        """Send a request that suppresses its positive answer, without waiting for a refusal."""
        async with self.lock:
            await self._channel.send(payload)

    async def collect(self, request: bytes, sent_at_s: float) -> bytes:
        """The answer to what was sent at `sent_at_s`; the caller holds `lock`.

        Raises as `request` does.
        """
        deadline = sent_at_s + self.timing.p2_s + self.timing.p2_margin_s
        pending_until = sent_at_s + self.timing.pending_total_s
        pending = 0
        started = False
        keep_alive: float | None = None
        while True:
            keeps = keep_alive is not None and keep_alive < deadline
            try:
                async with asyncio.timeout_at(keep_alive if keeps else deadline):
                    event = await self._channel.receive()
            except TimeoutError:
                if keeps:
                    keep_alive = await self._channel.send(_KEEP_ALIVE) + S3_CLIENT_S
                    continue
                within = "P2*" if pending else "P2"
                if started:
                    within = f"{self.timing.pending_total_s:g} s, though it has begun"
                raise NoAnswerError(
                    f"{self.ecu}: no answer to {_service_name(request[0])} within {within}"
                ) from None
            match event:
                case AnswerStarted():
                    # From here on the transport's own timers (N_Cr) watch over its frames.
                    deadline, keep_alive, started = pending_until, None, True
                case AnswerBroken(reason):
                    raise NoAnswerError(
                        f"{self.ecu}: the answer to {_service_name(request[0])} broke off: {reason}"
                    )
                case AnswerReceived(message):
                    if refers_to(request, message):
                        return message
                    code = _refusal(request, message)
                    if code == Nrc.RESPONSE_PENDING:
                        pending += 1
                        now = event.at_s
                        if pending > self.timing.pending_limit or now > pending_until:
                            raise NoAnswerError(
                                f"{self.ecu}: {_service_name(request[0])} still pending after "
                                f"{pending} answers 78 in {now - sent_at_s:.1f} s"
                            )
                        deadline = now + self.timing.p2_star_s + self.timing.p2_star_margin_s
                        keep_alive = keep_alive or now + S3_CLIENT_S
                    elif code is not None:
                        raise NegativeResponseError(self.ecu, request[0], code)
                    elif started:
                        # The long answer was an earlier request's: P2 of ours starts afresh.
                        started = False
                        deadline = event.at_s + self.timing.p2_s + self.timing.p2_margin_s

    @property
    def longest_request(self) -> int | None:
        """Bytes of the longest request that the way to the ECU takes; None: any."""
        return self._channel.longest_request

    def discard(self) -> None:
        """Pass over whatever came before the next request."""
        self._channel.discard()

    async def _exchange(self, payload: bytes) -> bytes:
        self._channel.discard()
        sent_at_s = await self._channel.send(payload)
        return await self.collect(payload, sent_at_s)


class FunctionalTester:
    """Asks every ECU of one wire at once, through the wire's functional address."""

    def __init__(self, wire: Wire, testers: Sequence[UdsTester]) -> None:
        self._wire = wire
        self._testers = sorted(testers, key=lambda tester: tester.ecu)

    async def tell(self, payload: bytes) -> None:
        """Send, wait for nothing: for tester present with the suppress bit."""
        await self._wire.broadcast(payload)

    async def request(self, payload: bytes) -> dict[str, bytes | NegativeResponseError]:
        """Send and collect until P2 (P2* of those who said 78): answers and refusals by ECU.

        An ECU that stays silent (it does not know the request, or the suppress bit is set) is not
        among them. Raises `LinkError` if the request could not be sent.
        """
        async with AsyncExitStack() as locks:
            # Always in the order of names: two functional requests cannot lock each other out.
            for tester in self._testers:
                await locks.enter_async_context(tester.lock)
                tester.discard()
            sent_at_s = await self._wire.broadcast(payload)
            answers = await asyncio.gather(
                *(_answer_of(tester, payload, sent_at_s) for tester in self._testers)
            )
        return {
            tester.ecu: answer
            for tester, answer in zip(self._testers, answers, strict=True)
            if answer is not None
        }


async def _answer_of(
    tester: UdsTester, request: bytes, sent_at_s: float
) -> bytes | NegativeResponseError | None:
    try:
        return await tester.collect(request, sent_at_s)
    except NegativeResponseError as refusal:
        return refusal
    except NoAnswerError:
        return None


def refers_to(request: bytes, answer: bytes) -> bool:
    """Whether this is a positive answer to this request, and not to an earlier one."""
    if not answer or answer[0] != request[0] + 0x40:
        return False
    try:
        service = ServiceId(request[0])
    except ValueError:
        return True
    echoed = bytearray(request[1 : 1 + _ECHO.get(service, 0)])
    if echoed and service in _WITH_SUB_FUNCTION:
        echoed[0] &= ~_SUPPRESS & 0xFF
    return answer[1 : 1 + len(echoed)] == echoed


def _refusal(request: bytes, answer: bytes) -> int | None:
    """The response code of a negative answer to this service, else None."""
    if len(answer) == 3 and answer[0] == _NEGATIVE and answer[1] == request[0]:
        return answer[2]
    return None


def nrc_name(code: int) -> str:
    """`securityAccessDenied (33)` style name of a negative response code."""
    try:
        return f"{Nrc(code).name} (0x{code:02X})"
    except ValueError:
        return f"0x{code:02X}"


def _service_name(service: int) -> str:
    try:
        return f"{ServiceId(service).name} (0x{service:02X})"
    except ValueError:
        return f"service 0x{service:02X}"
