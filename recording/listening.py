"""Records a CAN wire, simulated or real: what a node that never sends hears."""

from collections.abc import Callable, Sequence

from protocols.can import CanPort, FrameHeader
from protocols.can.bits import NS_PER_S
from protocols.can.stamps import Stamps
from recording.recorder import Recorder
from recording.records import CanFrame, CanRun


def listen(recorder: Recorder, channel: int, port: CanPort, *, epoch_ns: int) -> Callable[[], None]:
    """Record every frame of others at its last bit; returns what ends it.

    `epoch_ns`: ns since 1970 at the loop's time 0.
    """

    def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
        recorder.add(CanFrame(epoch_ns + round(at_s * NS_PER_S), channel, header, data))

    def hear_run(header: FrameHeader, payloads: Sequence[bytes], times: Sequence[float]) -> None:
        if isinstance(times, Stamps):
            stamps_ns = times.ns(after=epoch_ns)
        else:
            stamps_ns = [epoch_ns + round(at_s * NS_PER_S) for at_s in times]
        recorder.extend(CanRun(stamps_ns, channel, header, payloads))

    return port.listen(hear, receive_run=hear_run)
