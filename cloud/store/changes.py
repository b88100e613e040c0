"""Wakes whoever watches a campaign or a subscription.

Only a hint: the rows are the truth, and watchers also poll.
"""

import asyncio
from typing import Final, Self

#: Seconds after which a watcher looks anyway: another process may have written.
POLL_S: Final = 1.0


class Changes:
    """Campaigns (by id) and subscriptions (by name) that changed, for watchers on the same loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """True once the server goes down: nothing more will come."""
        return self._closed

    def notify(self, key: str) -> None:
        for event in self._waiting.get(key, ()):
            event.set()

    def close(self) -> None:
        """Let every watcher go."""
        self._closed = True
        for key in self._waiting:
            self.notify(key)

    def watch(self, key: str) -> "Watch":
        return Watch(self._waiting, key)


class Watch:
    """One watcher of one of them; a change between two waits is not lost."""

    def __init__(self, waiting: dict[str, set[asyncio.Event]], key: str) -> None:
        self._waiting = waiting
        self._key = key
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        self._waiting.setdefault(self._key, set()).add(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        events = self._waiting[self._key]
        events.discard(self._event)
        if not events:
            del self._waiting[self._key]

    async def changed(self) -> None:
        """Return after the next change, or after `POLL_S`."""
        try:
            async with asyncio.timeout(POLL_S):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()
