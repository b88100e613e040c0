"""The port through which a program holds a CAN wire, simulated or real."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from protocols.can.frame import FrameHeader

#: From one call of a listener that takes runs to the next, in seconds at most, if there was a frame
#: meanwhile. The first frame of a burst comes alone, at its own last bit.
LONGEST_RUN_S: Final = 0.25

#: Called at the last bit of a received frame: header, data bytes, loop time in seconds.
Receive = Callable[[FrameHeader, bytes, float], None]
#: Called at the last bit of the last of several frames that followed each other under one
#: header: header, data bytes of each, loop time in seconds of each frame's last bit.
ReceiveRun = Callable[[FrameHeader, Sequence[bytes], Sequence[float]], None]
#: Called at the last bit of the last frame of a burst: loop time in seconds.
Sent = Callable[[float], None]


class CanPort(Protocol):
    """One node's access to one wire. All calls are made on the event loop's thread."""

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        """Queue frames with one header, in order; `sent` follows the last bit of the last one.

        Frames compete for the wire by identifier (lowest first); two queued bursts of one node
        with the same identifier keep their order. An empty burst, and frames that the wire cannot
        carry, raise the room's own error, and nothing is queued then.
        """

    def listen(
        self, receive: Receive, *headers: FrameHeader, receive_run: ReceiveRun | None = None
    ) -> Callable[[], None]:
        """Hear frames of other nodes with these identifiers (none given: every frame).

        With `receive_run` the listener also takes a run of frames in one call, at the end of the
        run, and a simulated wire may spare itself an event per frame; frames that come alone
        go to `receive`. Returns a function that ends it. A node does not hear itself.
        """
        ...
