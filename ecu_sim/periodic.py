"""A callback at fixed times, without drift: the n-th call is due at start + n * period."""

import asyncio
from collections.abc import Callable


class Periodic:
    """Calls back every `period_s` seconds of loop time, the first time after one period."""

    __slots__ = ("_callback", "_handle", "_loop", "_period_s", "_start", "_ticks")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, period_s: float, callback: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._period_s = period_s
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._start = 0.0
        self._ticks = 0

    def start(self, *, after_s: float = 0.0) -> None:
        """Begin; `after_s` shifts the whole row of times."""
        self.stop()
        self._start = self._loop.time() + after_s
        self._ticks = 0
        self._arm()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        # A real loop that was held up goes on from now: missed calls are not made up for.
        missed = int((self._loop.time() - self._start) / self._period_s)
        self._ticks = max(self._ticks, missed) + 1
        self._handle = self._loop.call_at(self._start + self._ticks * self._period_s, self._call)

    def _call(self) -> None:
        self._arm()
        self._callback()
