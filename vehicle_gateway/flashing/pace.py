"""Whether downloads go on: someone else may hold them between two blocks."""

import asyncio
from collections.abc import Awaitable, Callable

from protocols.uds import requests


class Pace:
    """Downloads go on until `hold`, then wait before their next block until `go_on`.

    A download that waits keeps its session open, for as long as it takes.
    """

    def __init__(self) -> None:
        self._going = asyncio.Event()
        self._going.set()

    @property
    def held(self) -> bool:
        return not self._going.is_set()

    def hold(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    async def turn(self, tell: Callable[[bytes], Awaitable[None]], *, period_s: float) -> float:
        """Wait while held, with 3E 80 every `period_s`; the seconds that it took."""
        if self._going.is_set():
            return 0.0
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not self._going.is_set():
            await tell(requests.tester_present(suppress=True))
            try:
                async with asyncio.timeout(period_s):
                    await self._going.wait()
            except TimeoutError:
                continue
        return loop.time() - began_s
