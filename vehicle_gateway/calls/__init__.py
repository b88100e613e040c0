"""Real calls to the cloud: the clock held, retried with growing pauses, failures told apart."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc

from clock import held
from vehicle_gateway.calls.line import Line

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: These may go away by themselves; every other code is the cloud's answer.
RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
    }
)


#: Bound of one call in seconds: a fixed part, and the slowest line worth waiting for.
_CALL_S: Final = 20.0
_SLOWEST_BYTES_PER_S: Final = 2048


def deadline_s(sent: int) -> float:
    """How long one call that sends so many bytes may take, in seconds."""
    return _CALL_S + sent / _SLOWEST_BYTES_PER_S


class CallError(Exception):
    """A call to the cloud that brought nothing; the message names the call."""


class UnavailableError(CallError):
    """The cloud cannot be reached, or asks to come again later."""


class RefusedError(CallError):
    """The cloud's answer is no; trying again would bring the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Tries of one call, and the pauses between them: doubled each time, up to a longest."""

    tries: int = 5
    first_s: float = 0.5
    longest_s: float = 30.0

    def pause_s(self, failures: int, rng: random.Random) -> float:
        """Seconds before the next try; half of it is left to chance, so that a fleet spreads."""
        whole = min(self.longest_s, self.first_s * 2.0 ** (failures - 1))
        return whole * rng.uniform(0.5, 1.0)


class Caller:
    """Makes one vehicle's calls."""

    def __init__(
        self,
        *,
        vin: str,
        now_us: Callable[[], int],
        rng: random.Random,
        backoff: Backoff | None = None,
        line: Line | None = None,
    ) -> None:
        """Over a `line` the channel itself holds the clock, for what is real of each call."""
        self.vin = vin
        self._now_us = now_us
        self._rng = rng
        self._backoff = backoff or Backoff()
        self._line = line

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call: the date by this gateway's clock."""
        return (("canota-time-us", str(self._now_us())),)

    async def call(
        self, name: str, act: Callable[[], Awaitable[T]], *, tries: int | None = None
    ) -> T:
        """Do `act` (which bounds itself by gRPC's own deadline) until it succeeds.

        Raises `UnavailableError` after the last try, `RefusedError` at once.
        """
        tries = self._backoff.tries if tries is None else tries
        failures = 0
        while True:
            try:
                async with nullcontext() if self._line else held(f"{self.vin} {name}"):
                    return await act()
            except grpc.aio.AioRpcError as error:
                failures += 1
                words = f"{name}: {error.code().name}: {error.details() or 'no details'}"
                if error.code() not in RETRYABLE:
                    raise RefusedError(words) from error
                if failures >= tries:
                    raise UnavailableError(f"{words} ({failures} tries)") from error
                _LOG.info("call_again name=%s code=%s", name, error.code().name)
            await self.pause(failures)

    async def pause(self, failures: int) -> None:
        """Wait as long as so many failures in a row ask for."""
        await asyncio.sleep(self._backoff.pause_s(failures, self._rng))
