"""Holds: real work that a virtual clock waits for, released in an order that repeats."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable


class Hold:
    """One stretch of real work on one loop; its users are the work itself and what nests in it."""

    __slots__ = ("loop", "name", "number", "released", "users")

    def __init__(
        self,
        name: str,
        number: int,
        loop: asyncio.AbstractEventLoop,
        released: "asyncio.Future[None]",
    ) -> None:
        self.name = name
        #: Order of entry: decides between holds of one name.
        self.number = number
        self.loop = loop
        self.released = released
        self.users = 1

    @property
    def finished(self) -> bool:
        return self.users == 0


class Holds:
    """The holds of one loop.

    A hold that has finished is not released until every other one has finished too and the loop
    has nothing else to do; then all are released together, in the order of their names. Real
    answers come in any order; what follows from them comes in one order.
    """

    def __init__(self) -> None:
        self._open: list[Hold] = []
        self._unfinished = 0
        self._entered = 0

    @property
    def any(self) -> bool:
        """Whether the clock must stand still."""
        return bool(self._open)

    def enter(self, name: str, loop: asyncio.AbstractEventLoop) -> Hold:
        self._entered += 1
        hold = Hold(name, self._entered, loop, loop.create_future())
        self._open.append(hold)
        self._unfinished += 1
        return hold

    def join(self, hold: Hold) -> None:
        """Nest in a hold that has not finished."""
        hold.users += 1

    def leave(self, hold: Hold) -> None:
        hold.users -= 1
        if hold.finished:
            self._unfinished -= 1

    def abandon(self, hold: Hold) -> None:
        """Give up waiting for the release of a hold that was left."""
        if hold in self._open:
            self._open.remove(hold)

    def release_finished(self) -> bool:
        """Release all holds if all have finished; called when the loop has nothing ready."""
        if not self._open or self._unfinished:
            return False
        released, self._open = self._open, []
        for hold in sorted(released, key=lambda hold: (hold.name, hold.number)):
            if not hold.released.done():
                hold.released.set_result(None)
        return True


@runtime_checkable
class HoldingLoop(Protocol):
    """A loop whose clock can be held."""

    holds: Holds


#: The hold that the running task works in; tasks that it starts inherit it.
current_hold: ContextVar[Hold | None] = ContextVar("current_hold", default=None)


def enclosing_hold(loop: asyncio.AbstractEventLoop) -> Hold | None:
    """The unfinished hold of `loop` that the caller works in, if any."""
    hold = current_hold.get()
    return hold if hold is not None and hold.loop is loop and not hold.finished else None


@asynccontextmanager
async def held(name: str) -> AsyncIterator[None]:
    """Hold the running loop's clock while real work is done inside.

    On a virtual loop no virtual time passes inside, and when several holds overlap they are left
    in the order of `name` (an ECU's, a vehicle's), so that a run repeats. Inside another hold of
    the same task, or of the task that started it, it only prolongs that one. On a real loop it
    does nothing. A timeout on the loop's clock never fires inside: bound real work by the wall
    clock (gRPC's `timeout=`). Never wait inside for what needs this loop's time to pass.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, HoldingLoop):
        yield
        return
    holds = loop.holds
    outer = enclosing_hold(loop)
    if outer is not None:
        holds.join(outer)
        try:
            yield
        finally:
            holds.leave(outer)
        return
    hold = holds.enter(name, loop)
    token = current_hold.set(hold)
    try:
        yield
    finally:
        current_hold.reset(token)
        holds.leave(hold)
        try:
            await hold.released
        except asyncio.CancelledError:
            holds.abandon(hold)
            raise
