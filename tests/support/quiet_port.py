"""A CAN port for tests that are the only ones to speak."""

import asyncio
from collections.abc import Callable, Sequence

from protocols.can import FrameHeader
from protocols.can.port import Receive, ReceiveRun, Sent


class QuietPort:
    """A CAN port on which only a test speaks."""

    def __init__(self) -> None:
        self._receive: Receive | None = None

    def say(self, header: FrameHeader, data: bytes) -> None:
        assert self._receive is not None
        self._receive(header, data, asyncio.get_running_loop().time())

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        raise NotImplementedError

    def listen(
        self,
        receive: Receive,
        *headers: FrameHeader,  # noqa: ARG002 only those are said
        receive_run: ReceiveRun | None = None,  # noqa: ARG002 frame by frame
    ) -> Callable[[], None]:
        self._receive = receive
        return lambda: None
