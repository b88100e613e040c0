"""ISO-TP over a CAN port: the asyncio shell of `protocols.isotp`, one endpoint per ECU.

Frames are handled in the port's callbacks and not by a task, so that a run of consecutive frames
costs no trip through the loop each.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from clock import Timer
from dbc import EcuDescription, WireDescription
from protocols.can import CanPort, FrameHeader
from protocols.isotp import (
    Endpoint,
    Event,
    IsoTpError,
    IsoTpParameters,
    MessageReceived,
    MessageSent,
    ReceptionFailed,
    ReceptionStarted,
    SendFailed,
    Transmit,
    segment,
)
from protocols.network_management import node_of
from vehicle_gateway.wires import (
    AnswerBroken,
    AnswerReceived,
    AnswerStarted,
    Channel,
    ChannelEvent,
    LinkError,
    NoAnswerError,
)
from vehicle_gateway.wires.mailbox import Mailbox
from vehicle_gateway.wires.network import NetworkKeeper

#: A functional request waits for the messages that are being sent: so many seconds at most.
_BROADCAST_S: Final = 5.0
_CLASSIC_DATA_LENGTH: Final = 8
_FD_DATA_LENGTH: Final = 64


class Gate:
    """Holds our own new messages back while a functional request waits for the wire.

    Physical identifiers win against the functional one: a download that never pauses would keep
    a tester present from the wire until the session of every other ECU has run out.
    """

    def __init__(self) -> None:
        self._requests = 0
        self._open = asyncio.Event()
        self._open.set()

    def __enter__(self) -> None:
        self._requests += 1
        self._open.clear()

    def __exit__(self, *_: object) -> None:
        self._requests -= 1
        if self._requests == 0:
            self._open.set()

    async def passed(self) -> None:
        await self._open.wait()  # returns at once while open


class IsoTpChannel:
    """One ECU's messages between two CAN identifiers (normal addressing)."""

    def __init__(
        self,
        port: CanPort,
        *,
        name: str,
        parameters: IsoTpParameters,
        request: FrameHeader,
        response: FrameHeader,
        gate: Gate,
        awake: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        #: Waits until the ECU is awake; None where ECUs never sleep.
        self._awake = awake
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._port = port
        self._header = request
        self._parameters = parameters
        self._core = Endpoint(parameters)
        self._timer = Timer(self._loop, self._time_out)
        self._mailbox = Mailbox()
        self.longest_request: int | None = None
        self._sending: asyncio.Future[float] | None = None
        self._stop_listening: Callable[[], None] = port.listen(
            self._hear,
            response,
            receive_run=self._hear_run if parameters.takes_runs else None,
        )

    async def send(self, request: bytes) -> float:
        if self._sending is not None:
            raise LinkError(f"{self._name}: a request is being sent already")
        self._sending = self._loop.create_future()
        try:
            if self._awake is not None:
                await self._awake()
            await self._gate.passed()
            now = self._loop.time()
            self._act(self._core.send(request, now=now), now)
            return await self._sending
        except IsoTpError as error:
            self._start_afresh()
            raise NoAnswerError(f"{self._name}: request not taken: {error}") from error
        except asyncio.CancelledError:
            self._start_afresh()
            raise
        finally:
            self._sending = None

    async def receive(self) -> ChannelEvent:
        return await self._mailbox.get()

    def discard(self) -> None:
        self._mailbox.clear()

    def close(self) -> None:
        self._stop_listening()
        self._timer.cancel()

    def _start_afresh(self) -> None:
        """Leave a half-sent message behind: the ECU's N_Cr ends it there."""
        self._core = Endpoint(self._parameters)
        self._timer.cancel()

    def _break_off(self, error: LinkError) -> None:
        """The wire is away: no frame more of what was going either way."""
        self._start_afresh()
        if self._sending is not None and not self._sending.done():
            self._sending.set_exception(error)
        else:
            self._mailbox.put(AnswerBroken(str(error)))

    def _hear(self, _header: FrameHeader, data: bytes, at_s: float) -> None:
        self._act(self._core.receive(data, now=at_s), at_s)

    def _hear_run(
        self, _header: FrameHeader, frames: Sequence[bytes], times_s: Sequence[float]
    ) -> None:
        self._act(self._core.receive_run(frames, now=times_s[-1]), times_s[-1])

    def _time_out(self) -> None:
        now = self._loop.time()
        self._act(self._core.handle_timeout(now=now), now)

    def _act(self, events: Sequence[Event], now: float) -> None:
        for event in events:
            match event:
                case Transmit(frames):
                    try:
                        self._port.send(self._header, frames, partial(self._on_wire, self._core))
                    except LinkError as error:
                        self._break_off(error)
                        return
                case MessageReceived(message):
                    self._mailbox.put(AnswerReceived(message, now))
                case ReceptionStarted():
                    self._mailbox.put(AnswerStarted())
                case ReceptionFailed(error):
                    self._mailbox.put(AnswerBroken(str(error)))
                case MessageSent():
                    if self._sending is not None and not self._sending.done():
                        self._sending.set_result(now)
                case SendFailed(error):
                    if self._sending is not None and not self._sending.done():
                        self._sending.set_exception(error)
        self._timer.set(self._core.next_deadline())

    def _on_wire(self, core: Endpoint, at_s: float) -> None:
        if core is self._core:
            self._act(core.transmitted(now=at_s), at_s)


class _ClosingChannel(Channel, Protocol):
    def close(self) -> None: ...


class IsoTpWire:
    """A CAN or CAN FD wire with its ECUs (`Wire`)."""

    def __init__(
        self,
        port: CanPort,
        description: WireDescription,
        parameters: IsoTpParameters | None = None,
    ) -> None:
        """Without `parameters`: the longest frames of the wire, and no separation time."""
        self._port = port
        self._description = description
        self._fd = description.kind == "canfd"
        length = _FD_DATA_LENGTH if self._fd else _CLASSIC_DATA_LENGTH
        self._parameters = parameters or IsoTpParameters(tx_data_length=length)
        self._functional = self._header(description.functional_id)
        extension = description.functional_extension
        self._functional_extension = b"" if extension is None else bytes([extension])
        self._gate = Gate()
        self._keeper = NetworkKeeper(port) if description.network_management else None
        self._channels: dict[str, _ClosingChannel] = {}
        #: ECU -> what waits until it is awake; none where ECUs never sleep.
        self._wakers: dict[str, Callable[[], Awaitable[None]]] = {}

    def channel(self, ecu: EcuDescription) -> Channel:
        if ecu.name not in self._channels:
            if self._keeper is not None:
                node = node_of(ecu.logical_address)
                self._wakers[ecu.name] = partial(self._keeper.awake, node, ecu.boot_s)
            parameters = replace(
                self._parameters,
                tx_address_extension=ecu.request_extension,
                rx_address_extension=ecu.response_extension,
            )
            awake = self._wakers.get(ecu.name)
            self._channels[ecu.name] = self._make_channel(ecu, parameters, awake)
        return self._channels[ecu.name]

    def _make_channel(
        self,
        ecu: EcuDescription,
        parameters: IsoTpParameters,
        awake: Callable[[], Awaitable[None]] | None,
    ) -> "_ClosingChannel":
        return IsoTpChannel(
            self._port,
            name=ecu.name,
            parameters=parameters,
            request=self._header(ecu.request_id, extended=ecu.extended_ids),
            response=self._header(ecu.response_id, extended=ecu.extended_ids),
            gate=self._gate,
            awake=awake,
        )

    async def broadcast(self, request: bytes) -> float:
        """Send one single frame to all; raises `LinkError` if it does not get on the wire."""
        frames = segment(
            request, self._parameters.tx_data_length, extension=self._functional_extension
        )
        if len(frames) != 1:
            raise LinkError(
                f"{self._description.name}: a functional request is one frame, not "
                f"{len(request)} bytes"
            )
        for awake in self._wakers.values():
            await awake()
        on_wire: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def sent(at_s: float) -> None:
            if not on_wire.done():
                on_wire.set_result(at_s)

        try:
            with self._gate:
                self._port.send(self._functional, frames, sent)
                async with asyncio.timeout(_BROADCAST_S):
                    return await on_wire
        except TimeoutError:
            raise LinkError(
                f"{self._description.name}: functional request not on the wire within "
                f"{_BROADCAST_S} s"
            ) from None

    def wake(self) -> None:
        """See `Wire`."""
        if self._keeper is not None:
            self._keeper.use()

    async def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        if self._keeper is not None:
            self._keeper.close()

    def _header(self, identifier: int, *, extended: bool = False) -> FrameHeader:
        return FrameHeader(
            identifier,
            extended=extended or identifier > 0x7FF,
            fd=self._fd,
            bit_rate_switch=self._fd and self._description.data_bit_rate > 0,
        )
