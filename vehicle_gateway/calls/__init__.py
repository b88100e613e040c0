"""Real calls to the cloud: bounded, retried with growing pauses, counted, failures told apart.

Every client of the gateway makes its calls through a `Caller`, whatever it speaks; one that is not
gRPC raises `TransportError` with the remedy that its own table has for what happened.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Final, TypeVar

import grpc

from clock import held
from vehicle_gateway.calls.budget import DataBudget
from vehicle_gateway.calls.line import Line
from vehicle_gateway.calls.policy import GRPC_REMEDIES, Attempts, Remedy, RetryPolicy

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: Bound of one call in seconds: a fixed part, and the slowest line worth waiting for.
_CALL_S: Final = 20.0
_SLOWEST_BYTES_PER_S: Final = 2048


def deadline_s(sent: int) -> float:
    """How long one call that sends so many bytes may take, in seconds."""
    return _CALL_S + sent / _SLOWEST_BYTES_PER_S


class TransportError(Exception):
    """One try has failed; what a client that is not gRPC raises inside `Caller.call`."""

    def __init__(self, words: str, remedy: Remedy) -> None:
        super().__init__(words)
        self.remedy = remedy


class CallError(Exception):
    """A call to the cloud that brought nothing; the message names the call."""


class UnavailableError(CallError):
    """The cloud cannot be reached, or asks to come again later."""


class RefusedError(CallError):
    """The cloud's answer is no; trying again would bring the same."""


class StartAgainError(RefusedError):
    """What has come does not fit what the cloud has now: it is to come from its beginning."""


class Caller:
    """Makes one vehicle's calls."""

    def __init__(
        self,
        *,
        vin: str,
        now_us: Callable[[], int],
        rng: random.Random,
        policy: RetryPolicy | None = None,
        line: Line | None = None,
        budget: DataBudget | None = None,
    ) -> None:
        """Over a `line` the channel itself holds the clock, for what is real of each call."""
        self.vin = vin
        self._now_us = now_us
        self._rng = rng
        self._policy = policy or RetryPolicy()
        self._line = line
        self._budget = budget

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call: the date by this gateway's clock."""
        return (("canota-time-us", str(self._now_us())),)

    def admit(self, coming: int) -> None:
        """Return if the data budget lets a file come, of which so many bytes are missing.

        Raises `DataSpentError`, see `DataBudget.admit`.
        """
        if self._budget is not None:
            self._budget.admit(coming)

    def count(self, *, sent: int = 0, received: int = 0) -> None:
        """Count bytes of a stream that the channel does not see."""
        if self._budget is not None:
            self._budget.charge(sent=sent, received=received)

    async def call(
        self,
        name: str,
        act: Callable[[], Awaitable[T]],
        *,
        tries: int | None = None,
        position: Callable[[], int] = lambda: 0,
    ) -> T:
        """Do `act` (which bounds itself by gRPC's own deadline) until it succeeds.

        `position` tells how far it has come, for what goes on where it broke off: only failures
        in a row that brought nothing count as `tries`. Raises `UnavailableError` after the last
        try or where the cloud asks for it, `StartAgainError` and `RefusedError` at once.
        """
        policy = self._policy if tries is None else replace(self._policy, tries=tries)
        attempts = Attempts(policy=policy)
        while True:
            before = position()
            try:
                async with nullcontext() if self._line else held(f"{self.vin} {name}"):
                    return await act()
            except (grpc.aio.AioRpcError, TransportError) as error:
                remedy, words = _told(error)
                pause_s = attempts.failed(
                    remedy, progressed=position() > before, chance=self._rng.random()
                )
                if pause_s is None:
                    raise _given_up(f"{name}: {words}", remedy, attempts) from error
                _LOG.info("call_again name=%s at=%d cause=%s", name, position(), words)
            await asyncio.sleep(pause_s)


def _told(error: grpc.aio.AioRpcError | TransportError) -> tuple[Remedy, str]:
    if isinstance(error, TransportError):
        return error.remedy, str(error)
    # A code that is not in the table yet is the cloud's answer.
    remedy = GRPC_REMEDIES.get(error.code(), Remedy.GIVE_UP)
    return remedy, f"{error.code().name}: {error.details() or 'no details'}"


def _given_up(words: str, remedy: Remedy, attempts: Attempts) -> CallError:
    match remedy:
        case Remedy.AGAIN | Remedy.LATER:
            return UnavailableError(f"{words} ({attempts.failures} tries)")
        case Remedy.FROM_START:
            return StartAgainError(words)
        case Remedy.GIVE_UP:
            return RefusedError(words)
