"""Wakes whoever watches a campaign. Only a hint: the rows are the truth, and watchers also poll."""

import asyncio
from typing import Final, Self

#: Seconds after which a watcher looks anyway: another process may have written.
POLL_S: Final = 1.0


class Changes:
    """Campaigns that have changed, for watchers on the same loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """True once the server goes down: nothing more will come."""
        return self._closed

    def notify(self, campaign_id: str) -> None:
        for event in self._waiting.get(campaign_id, ()):
            event.set()

    def close(self) -> None:
        """Let every watcher go."""
        self._closed = True
        for campaign_id in self._waiting:
            self.notify(campaign_id)

    def watch(self, campaign_id: str) -> "Watch":
        return Watch(self._waiting, campaign_id)


class Watch:
    """One watcher of one campaign; a change between two waits is not lost."""

    def __init__(self, waiting: dict[str, set[asyncio.Event]], campaign_id: str) -> None:
        self._waiting = waiting
        self._campaign_id = campaign_id
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        self._waiting.setdefault(self._campaign_id, set()).add(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        events = self._waiting[self._campaign_id]
        events.discard(self._event)
        if not events:
            del self._waiting[self._campaign_id]

    async def changed(self) -> None:
        """Return after the next change, or after `POLL_S`."""
        try:
            async with asyncio.timeout(POLL_S):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()
