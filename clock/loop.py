"""The virtual event loop, and the one way to start a run on either clock."""

import asyncio
import selectors
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import Context
from heapq import heappush
from typing import Any, TypeVar, TypeVarTuple, Unpack

from clock.holding import Hold, Holds, enclosing_hold

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NS_PER_S = 1_000_000_000
#: Rounds of the loop with callbacks ready, in one of which the machine's descriptors are asked.
_POLLS_EVERY = 16


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0.0 and jumps to the next timer when nothing is ready.

    Time is kept in integer nanoseconds (a float holds whole ones exactly for 104 days). While
    the clock is held it stands, and the loop waits for real descriptors. Without timers and holds
    the loop waits for real descriptors too: it never spins.
    """

    def __init__(self) -> None:
        self._now_ns = 0
        self.holds = Holds()
        self._jobs = 0
        self._timers = 0
        #: The next timer, and its time in ns: asked for at every frame of a wire.
        self._next: tuple[asyncio.TimerHandle, int] | None = None
        super().__init__(_JumpingSelector(self))
        # The base class asks the machine's clock; this one is exact to the nanosecond.
        self._clock_resolution = 1 / _NS_PER_S

    def time(self) -> float:
        return self._now_ns / _NS_PER_S

    @property
    def now_ns(self) -> int:
        return self._now_ns

    def next_timer(self) -> int | None:
        """When the loop's next timer is due, in ns; a cancelled one may still count."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined] # the base class's heap
        if not timers:
            return None
        timer = timers[0]
        if self._next is not None and self._next[0] is timer:
            return self._next[1]
        when = timer.when()
        due_ns = round(when * _NS_PER_S)
        # Never before `when`: a core that is called a fraction of a nanosecond early says
        # "not yet", asks for the same moment again, and time would stand still.
        if due_ns / _NS_PER_S < when:
            due_ns += 1
        self._next = timer, due_ns
        return due_ns

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """The base class's, and what is due at one moment is called in the order of these calls.

        A heap alone puts equal timers in an order that hangs on the others in it, and a run that is
        looked at more closely has others.
        """
        self._check_closed()  # type: ignore[attr-defined] # the base class's
        self._timers += 1
        timer = _OrderedTimer(when, callback, args, self, context, number=self._timers)
        heappush(self._scheduled, timer)  # type: ignore[attr-defined] # the base class's heap
        timer._scheduled = True  # type: ignore[attr-defined] # noqa: SLF001 the base class counts cancelled ones by it
        return timer

    def advance(self, to_ns: int) -> bool:
        """Move the clock from inside a callback, where the loop itself would move it next.

        False, and nothing moves, when a callback is ready, a timer is due first (or at the same
        nanosecond), the clock is held or the loop is stopping. A wire goes from frame to frame
        by this without a timer for each.
        """
        if self._ready or self._stopping or self.holds.any:  # type: ignore[attr-defined] # the base class's queue and flag
            return False
        timer = self.next_timer()
        if timer is not None and timer <= to_ns:
            return False
        self._now_ns = max(self._now_ns, to_ns)
        return True

    def jump(self) -> bool:
        """Move the clock to the next timer; False when there is none or the clock is held."""
        timer = self.next_timer()
        if timer is None or self.holds.any:
            return False
        self._now_ns = max(self._now_ns, timer)
        return True

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> "asyncio.Future[T]":
        """Run a job in a thread with the clock held; jobs that overlap end in call order."""
        job = super().run_in_executor(executor, func, *args)
        outer = enclosing_hold(self)
        if outer is not None:
            self.holds.join(outer)
            job.add_done_callback(lambda _: self.holds.leave(outer))
            return job
        self._jobs += 1
        hold = self.holds.enter(f"executor {self._jobs:09d}", self)
        job.add_done_callback(lambda _: self.holds.leave(hold))
        return _after_release(self, job, hold)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 the base class's signature
        """Wait for the threads with the clock held; `timeout` is the base class's, on the clock."""
        del timeout  # 3.11 has none; later ones would see a standing clock
        hold = self.holds.enter("executor shutdown", self)
        try:
            await super().shutdown_default_executor()
        finally:
            self.holds.leave(hold)
            self.holds.abandon(hold)


def _after_release(loop: VirtualLoop, job: "asyncio.Future[T]", hold: Hold) -> "asyncio.Future[T]":
    """A future that has the job's outcome once the job's hold is released."""
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(_: "asyncio.Future[None]") -> None:
        if outcome.done():
            # Cancelled by its waiter: fetch a failure so that it is not reported as lost.
            if not job.cancelled():
                job.exception()
        elif job.cancelled():
            outcome.cancel()
        elif (error := job.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(job.result())

    hold.released.add_done_callback(settle)
    return outcome


class _OrderedTimer(asyncio.TimerHandle):
    """A timer with its place among those of the same moment."""

    __slots__ = ("_number",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: Sequence[Any],
        loop: AbstractEventLoop,
        context: Context | None,
        *,
        number: int,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self._number = number

    def __lt__(self, other: object) -> bool:
        # A loop's heap has no other kind. It is the hottest comparison of a virtual run.
        ours, theirs = self._when, other._when  # type: ignore[attr-defined] # the base class's
        if ours != theirs:
            return bool(ours < theirs)
        return bool(self._number < other._number)  # type: ignore[attr-defined] # as above


class _JumpingSelector(selectors.BaseSelector):
    """The machine's selector, which moves the loop's clock where it would sleep.

    While callbacks are ready it is asked only now and then: a system call for each of them would
    take some percent of a virtual run, and what waits at a descriptor waits for a thread or a hold.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._real = selectors.DefaultSelector()
        self._loop = loop
        self._busy = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            self._busy = (self._busy + 1) % _POLLS_EVERY
            return [] if self._busy else self._real.select(0)
        # Nothing is ready: the moment at which holds are released and time passes.
        if self._loop.holds.release_finished():
            return self._real.select(0)
        if self._loop.holds.any:
            return self._real.select(None)
        events = self._real.select(0)
        if events or self._loop.jump():
            return events
        return self._real.select(None)

    def register(
        self,
        fileobj: Any,  # noqa: ANN401 the base class's type
        events: int,
        data: Any = None,  # noqa: ANN401 the base class's types
    ) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 the base class's type
        return self._real.unregister(fileobj)

    def modify(
        self,
        fileobj: Any,  # noqa: ANN401 the base class's type
        events: int,
        data: Any = None,  # noqa: ANN401 the base class's types
    ) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 the base class's type
        return self._real.get_key(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


def is_virtual(loop: AbstractEventLoop) -> bool:
    """Whether `loop` has a virtual clock."""
    return isinstance(loop, VirtualLoop)


def run(main: Coroutine[Any, Any, T], *, virtual: bool) -> T:
    """Run `main` to its end on a new loop, virtual or ordinary, and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop if virtual else None) as runner:
        return runner.run(main)
