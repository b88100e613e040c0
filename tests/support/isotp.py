"""Two endpoints joined by an ideal wire, and one endpoint on a CAN port by callbacks."""

from collections.abc import Callable, Sequence

from protocols.can import CanPort, FrameHeader
from protocols.isotp import Endpoint, Event, IsoTpParameters, Transmit


def exchange(
    ours: Endpoint, theirs: Endpoint, events: list[Event], *, now: float = 0.0, runs: bool = False
) -> tuple[list[Event], list[Event]]:
    """Carry every Transmit across until nothing moves; what else happened at either end."""
    happened: tuple[list[Event], list[Event]] = ([], [])
    ends = (ours, theirs)
    work = [(0, event) for event in events]
    while work:
        side, event = work.pop(0)
        if not isinstance(event, Transmit):
            happened[side].append(event)
            continue
        here, there = ends[side], ends[1 - side]
        if runs:
            answers = there.receive_run(event.frames, now=now)
        else:
            answers = [answer for frame in event.frames for answer in there.receive(frame, now=now)]
        work += [(side, more) for more in here.transmitted(now=now)]
        work += [(1 - side, answer) for answer in answers]
    return happened


class PortEndpoint:
    """An endpoint that acts on its port at once; other events go to `notify` with their time."""

    def __init__(
        self,
        port: CanPort,
        *,
        tx: FrameHeader,
        rx: FrameHeader,
        parameters: IsoTpParameters,
        notify: Callable[[Event, float], None],
        runs: bool = True,
    ) -> None:
        self.endpoint = Endpoint(parameters)
        self._port = port
        self._tx = tx
        self._notify = notify
        self.close = port.listen(
            self._receive, rx, receive_run=self._run if runs and parameters.takes_runs else None
        )

    def send(self, message: bytes, now: float) -> None:
        self._act(self.endpoint.send(message, now=now), now)

    def _receive(self, _: FrameHeader, data: bytes, now: float) -> None:
        self._act(self.endpoint.receive(data, now=now), now)

    def _run(self, _: FrameHeader, payloads: Sequence[bytes], times: Sequence[float]) -> None:
        self._act(self.endpoint.receive_run(payloads, now=times[-1]), times[-1])

    def _sent(self, now: float) -> None:
        self._act(self.endpoint.transmitted(now=now), now)

    def _act(self, events: list[Event], now: float) -> None:
        for event in events:
            if isinstance(event, Transmit):
                self._port.send(self._tx, event.frames, self._sent)
            else:
                self._notify(event, now)
