"""ISO-TP on a CAN port, driven by callbacks: one binding per pair of identifiers."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from clock import Timer
from protocols.can import CanPort, FrameHeader
from protocols.isotp import (
    Endpoint,
    Event,
    IsoTpParameters,
    MessageReceived,
    MessageSent,
    ReceptionFailed,
    ReceptionStarted,
    SendFailed,
    Transmit,
)
from protocols.isotp.errors import MessageTooLongError


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    request: FrameHeader
    response: FrameHeader


#: Messages that wait for a tester who does not take the one before; further ones are dropped.
_MOST_WAITING: Final = 32


def _nobody_asks() -> None:
    """Nothing depends on it."""


class IsoTpBinding:
    """One ISO-TP connection of an ECU. Messages that it sends wait for each other."""

    def __init__(
        self,
        port: CanPort,
        addresses: Addresses,
        parameters: IsoTpParameters,
        received: Callable[[bytes], None],
        *,
        began: Callable[[], None] = _nobody_asks,
        failed: Callable[[], None] = _nobody_asks,
    ) -> None:
        """`began` and `failed` tell of messages of several frames, as `received` of whole ones."""
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._response = addresses.response
        self._received = received
        self._began = began
        self._failed = failed
        self._endpoint = Endpoint(parameters)
        self._timer = Timer(self._loop, self._timeout)
        #: Messages, and what is to be called when they are out.
        self._waiting: deque[tuple[bytes, Callable[[], None]]] = deque()
        self._sending = False
        self._when_sent = _nobody_asks
        self._when_idle: list[Callable[[], None]] = []
        self._open = True
        self._unlisten = port.listen(
            self._receive,
            addresses.request,
            receive_run=self._receive_run if parameters.takes_runs else None,
        )

    def send(self, message: bytes, sent: Callable[[], None] = _nobody_asks) -> None:
        """Queue a message; what the tester does not take is dropped, as on a real wire.

        `sent` follows its last bit, or the moment in which it was dropped.
        """
        if len(self._waiting) >= _MOST_WAITING:
            sent()
            return
        self._waiting.append((message, sent))
        self._send_next()

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call back once everything queued is on the wire (at once if nothing is)."""
        if self._sending:
            self._when_idle.append(callback)
        else:
            callback()

    def hold(self) -> None:
        """Not ready for more: testers with messages of several frames are told to wait."""
        self._endpoint.hold()

    def release(self) -> None:
        """Ready again: testers that wait go on."""
        self._handle(self._endpoint.release(now=self._loop.time()))

    def close(self) -> None:
        """Silent from here on: frames already handed to the wire still go out."""
        self._open = False
        self._unlisten()
        self._timer.cancel()
        self._waiting.clear()
        self._when_idle.clear()

    def _send_next(self) -> None:
        while self._waiting and not self._sending and self._open:
            message, sent = self._waiting.popleft()
            try:
                events = self._endpoint.send(message, now=self._loop.time())
            except MessageTooLongError:
                sent()
                continue  # the edition has no frames for it: the tester hears nothing
            self._sending = True
            self._when_sent = sent
            self._handle(events)

    def _receive(self, _header: FrameHeader, data: bytes, now: float) -> None:
        self._handle(self._endpoint.receive(data, now=now))

    def _receive_run(
        self, _header: FrameHeader, run: Sequence[bytes], times: Sequence[float]
    ) -> None:
        self._handle(self._endpoint.receive_run(run, now=times[-1]))

    def _timeout(self) -> None:
        self._handle(self._endpoint.handle_timeout(now=self._loop.time()))

    def _transmitted(self, now: float) -> None:
        if self._open:
            self._handle(self._endpoint.transmitted(now=now))

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Transmit(frames):
                    self._port.send(self._response, frames, self._transmitted)
                case MessageReceived(message):
                    self._received(message)
                case MessageSent() | SendFailed():
                    self._sent()
                case ReceptionStarted():
                    self._began()
                case ReceptionFailed():
                    self._failed()  # the tester repeats a lost request
        if self._open:
            self._timer.set(self._endpoint.next_deadline())

    def _sent(self) -> None:
        self._sending = False
        self._when_sent()
        self._send_next()
        if not self._sending:
            callbacks, self._when_idle = self._when_idle, []
            for callback in callbacks:
                callback()
