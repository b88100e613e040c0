"""A deadline that a callback shell moves about."""

import asyncio
from collections.abc import Callable


class Timer:
    """One re-armable deadline: `callback` runs once when the loop's time has reached it.

    Moving the deadline later costs nothing: the scheduled call comes early, sees that and
    schedules itself again.
    """

    __slots__ = ("_callback", "_deadline", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._deadline: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    @property
    def deadline(self) -> float | None:
        """Loop time in seconds at which the callback will run; None while not armed."""
        return self._deadline

    def set(self, deadline: float | None) -> None:
        """Run the callback at `deadline` (loop time in seconds); None disarms."""
        self._deadline = deadline
        if deadline is None:
            return
        if self._handle is not None:
            if self._handle.when() <= deadline:
                return
            self._handle.cancel()
        self._handle = self._loop.call_at(deadline, self._fire)

    def cancel(self) -> None:
        """Disarm, and leave nothing scheduled on the loop."""
        self._deadline = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        if self._deadline is None:
            return
        if self._deadline > self._loop.time():
            # Moved, or woken within the loop's clock resolution: never call a core early.
            self._handle = self._loop.call_at(self._deadline, self._fire)
            return
        self._deadline = None
        self._callback()
