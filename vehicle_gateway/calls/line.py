"""The way to the cloud over a simulated wireless link, in virtual time.

A real call costs no virtual time, for the clock is held; here its bytes take what the link lets
them take. Link time 0 is loop time 0, so an outage comes at the same virtual moment in every run.
"""

import asyncio
from typing import Final

from protocols.link import Link, Way
from protocols.link.model import Connected

#: Bytes of one message that are given to the link at once, so that messages take turns on it:
#: HTTP/2's frame size (RFC 9113, 4.2).
_PIECE: Final = 16 * 1024


class LineError(Exception):
    """The link has broken what was going over it; the message says when."""


class Line:
    """One gateway's connection over the link; it is opened when something goes over it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._connected: Connected | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> "Passage":
        """Wait until there is a connection; `LineError` if the link gives it up meanwhile."""
        async with self._opening:
            if self._connected is None or self._loop.time() >= self._connected.reset_s:
                self._connected = None
                opened = self._link.connect(now_s=self._loop.time())
                if opened.reset_s <= opened.open_s:
                    await self.until(opened.reset_s)
                    raise self.broken("no connection")
                await self.until(opened.open_s)
                self._connected = opened
            return Passage(self, self._link, self._connected)

    async def until(self, then_s: float) -> None:
        if then_s > self._loop.time():
            await asyncio.sleep(then_s - self._loop.time())

    def broken(self, what: str) -> LineError:
        name = self._link.profile.name
        return LineError(f"link {name}: {what} at {self._loop.time():.1f} s")


class Passage:
    """One call's way over the connection it began on."""

    def __init__(self, line: Line, link: Link, connected: Connected) -> None:
        self._line = line
        self._link = link
        self._connected = connected
        #: By direction: when the last bytes had left their sender, and when they were there.
        self._left_s = {"up": 0.0, "down": 0.0}
        self._arrived_s = {"up": 0.0, "down": 0.0}
        #: Bytes that were given to the link; of what came, those that arrived.
        self.sent = 0
        self.received = 0

    async def send(self, length: int) -> None:
        """Have `length` bytes arrive at the cloud; `LineError` if the connection breaks."""
        self._left_s["up"] = asyncio.get_running_loop().time()
        for at in range(0, length, _PIECE):
            piece = min(_PIECE, length - at)
            self.sent += piece
            await self._carry("up", self._link.up, piece, last=at + piece == length)

    async def receive(self, length: int, *, streamed: bool = False) -> None:
        """Have `length` bytes arrive from the cloud; `LineError` if the connection breaks.

        A `streamed` message follows the one before it as fast as the link lets it.
        """
        if not streamed:
            self._left_s["down"] = asyncio.get_running_loop().time()
        for at in range(0, length, _PIECE):
            piece = min(_PIECE, length - at)
            await self._carry("down", self._link.down, piece, last=at + piece == length)
            self.received += piece

    async def _carry(self, name: str, way: Way, length: int, *, last: bool) -> None:
        sent = way.send(length, now_s=self._left_s[name], behind_s=self._arrived_s[name])
        self._left_s[name], self._arrived_s[name] = sent.leaves_s, sent.arrives_s
        if sent.arrives_s >= self._connected.reset_s:
            await self._line.until(self._connected.reset_s)
            raise self._line.broken("connection reset")
        await self._line.until(sent.arrives_s if last else sent.leaves_s)
