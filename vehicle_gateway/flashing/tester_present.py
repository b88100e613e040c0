"""Keeps a session open while a flow has nothing else to say (S3 of ISO 14229-2)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from protocols.uds import requests

#: S3client: well inside the server's S3 of 5 s.
PERIOD_S: Final = 2.0


@asynccontextmanager
async def session_kept_open(
    tell: Callable[[bytes], Awaitable[None]], *, period_s: float = PERIOD_S
) -> AsyncIterator[None]:
    """Send `3E 80` now and every `period_s` seconds until the block is left.

    A link that breaks ends the sending; its `WireError` comes out where the block is left.
    """
    request = requests.tester_present(suppress=True)
    loop = asyncio.get_running_loop()

    async def keep_on() -> None:
        due_s = loop.time()
        while True:
            due_s += period_s
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            await tell(request)

    await tell(request)
    keeping = asyncio.create_task(keep_on())
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
