"""Records a CAN wire, simulated or real: what a node that never sends hears."""

from collections.abc import Callable, Sequence
from typing import Final

from protocols.can import CanPort, FrameHeader
from protocols.can.bits import NS_PER_S
from protocols.can.stamps import Stamps
from protocols.pcapng import CanError
from recording.recorder import Recorder
from recording.records import CanErrorFrame, CanFrame, CanRun

#: From so many frames on a run is quicker to write as a whole.
_MANY: Final = 12


def listen(recorder: Recorder, channel: int, port: CanPort, *, epoch_ns: int) -> Callable[[], None]:
    """Record every frame of others at its last bit; returns what ends it.

    `epoch_ns`: ns since 1970 at the loop's time 0.
    """

    def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
        recorder.add(CanFrame(epoch_ns + round(at_s * NS_PER_S), channel, header, data))

    def hear_run(header: FrameHeader, payloads: Sequence[bytes], times: Sequence[float]) -> None:
        if isinstance(times, Stamps) and len(times) >= _MANY:
            recorder.extend(CanRun(times.ns(after=epoch_ns), channel, header, payloads))
            return
        for data, at_s in zip(payloads, times, strict=True):
            hear(header, data, at_s)

    return port.listen(hear, receive_run=hear_run)


def error_frame(identifier: int, at_s: float, channel: int, *, epoch_ns: int) -> CanErrorFrame:
    """What a CAN interface tells by an error frame of SocketCAN with this identifier."""
    unheard = identifier & CanError.NO_ACKNOWLEDGEMENT
    kind = CanError.NO_ACKNOWLEDGEMENT if unheard else CanError.PROTOCOL_VIOLATION
    return CanErrorFrame(epoch_ns + round(at_s * NS_PER_S), channel, kind)
