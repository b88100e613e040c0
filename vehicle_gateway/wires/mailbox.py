"""What arrived for one channel and was not taken yet."""

import asyncio
from collections import deque

from vehicle_gateway.wires import ChannelEvent


class Mailbox:
    """Events in order; `get` is safe to cancel. One receiver at a time."""

    def __init__(self) -> None:
        self._events: deque[ChannelEvent] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def put(self, event: ChannelEvent) -> None:
        self._events.append(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def get(self) -> ChannelEvent:
        while not self._events:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._events.popleft()

    def clear(self) -> None:
        self._events.clear()
