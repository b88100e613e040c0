"""The gateway's network management: it wakes a CAN wire that sleeps, and keeps it awake in use."""

import asyncio
from contextlib import suppress
from typing import Final

from clock import Timer
from protocols.can import CanPort, FrameHeader
from protocols.network_management import NODES, Event, NetworkManager, SendPdu, identifier
from vehicle_gateway.wires import LinkError

_NODE: Final = 0
#: Nodes that are awake answer the first PDU within this time, in seconds.
_ANSWER_S: Final = 0.05
#: What an ECU may take above its boot time, in seconds.
_MARGIN_S: Final = 0.1
#: The wire is released so many seconds after its last use.
_KEEP_S: Final = 10.0


class NetworkKeeper:
    """Says on one wire that the gateway needs it, while it does."""

    def __init__(self, port: CanPort) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._header = FrameHeader(identifier(_NODE))
        self._core = NetworkManager(_NODE)
        self._timer = Timer(self._loop, self._timeout)
        self._used_s = 0.0
        #: When we began to need the wire; None: we do not.
        self._asked_s: float | None = None
        #: Nodes that have said since then that they are there.
        self._there: set[int] = set()
        self._somebody_spoke = asyncio.Event()
        others = [FrameHeader(identifier(node)) for node in range(NODES) if node != _NODE]
        self._stop = port.listen(self._receive, *others)

    async def awake(self, node: int, boot_s: float) -> None:
        """Return once this node hears us: at once where it is known to be awake."""
        asked_s = self.use()
        try:
            async with asyncio.timeout_at(asked_s + _ANSWER_S):
                while node not in self._there:
                    await self._somebody_spoke.wait()
        except TimeoutError:
            left_s = asked_s + boot_s + _MARGIN_S - self._loop.time()
            if left_s > 0:
                await asyncio.sleep(left_s)
            self._there.add(node)  # booted by now, or not there at all: the request will show

    def use(self) -> float:
        """Need the wire for some seconds from now on; since when we have needed it."""
        now = self._loop.time()
        self._used_s = now
        if self._asked_s is None:
            self._asked_s = now
            self._there.clear()
            self._act(self._core.set_requested(True, now=now))
        return self._asked_s

    def close(self) -> None:
        """Need the wire no more, and hear it no more."""
        self._stop()
        self._timer.cancel()

    def _receive(self, _: FrameHeader, data: bytes, now: float) -> None:
        if data:
            self._there.add(data[0])
            self._somebody_spoke.set()
            self._somebody_spoke.clear()
        self._act(self._core.receive(data, now=now))

    def _timeout(self) -> None:
        now = self._loop.time()
        if self._asked_s is not None and now - self._used_s >= _KEEP_S:
            self._asked_s = None
            self._act(self._core.set_requested(False, now=now))
        self._act(self._core.handle_timeout(now=now))

    def _act(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, SendPdu):
                # A wire that is away hears the next one; who has a request for it is told so.
                with suppress(LinkError):
                    self._port.send(self._header, (event.data,))
        self._timer.set(self._core.next_deadline())
