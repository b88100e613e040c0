"""The clock of a bench test."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

from clock import VirtualLoop

T = TypeVar("T")

#: How often `until` looks, in seconds on the clock.
_LOOK_S = 0.01


class VirtualClock:
    """Time that jumps from event to event and stands still between a test's calls.

    It owns the event loop of the bench. Used from a test that itself runs on that loop
    (`async def`), its waiting calls raise `RuntimeError`: such a test awaits.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.run(self._stack.aclose())
        finally:
            self._runner.__exit__(kind, error, trace)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._runner.get_loop()

    @property
    def now_s(self) -> float:
        """Seconds since the clock was made."""
        return self.loop.time()

    def run(self, awaited: Awaitable[T], *, within_s: float | None = None) -> T:
        """Let time pass until `awaited` has its result; `TimeoutError` after `within_s`."""
        if self.loop.is_running():
            if asyncio.iscoroutine(awaited):
                awaited.close()
            raise RuntimeError("the clock is running already: a test that is `async def` awaits")
        return self._runner.run(_bounded(awaited, within_s))

    def advance(self, seconds: float) -> None:
        """Let so much time pass, with all that happens in it."""
        self.run(asyncio.sleep(seconds))

    def until(self, condition: Callable[[], object], *, within_s: float = 60.0) -> float:
        """Let time pass until the condition holds, and give the seconds that it took.

        It is looked at every 10 ms. `TimeoutError` if it does not hold `within_s`.
        """
        began_s = self.now_s

        async def look() -> None:
            while not condition():  # noqa: ASYNC110 what a test waits for tells nobody
                await asyncio.sleep(_LOOK_S)

        try:
            self.run(look(), within_s=within_s)
        except TimeoutError:
            raise TimeoutError(f"not so within {within_s} s") from None
        return self.now_s - began_s

    def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Enter it on this clock; it is left when the clock is, the last one first."""
        return self.run(self._stack.enter_async_context(context))


async def _bounded(awaited: Awaitable[T], within_s: float | None) -> T:
    async with asyncio.timeout(within_s):
        return await awaited
