"""udsoncan's own `Client`, unchanged, over our wires.

The client is synchronous: each of its calls runs our event loop, virtual or real, until the answer
is there, in the calling thread. Between two calls the loop stands still, and a virtual clock with
it; use the client where nothing else needs the loop meanwhile.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from udsoncan.connections import BaseConnection
from udsoncan.exceptions import TimeoutException

from dbc import VehicleDescription, describe_vehicle
from vehicle_gateway.wires import (
    AnswerBroken,
    AnswerReceived,
    AnswerStarted,
    Channel,
    LinkError,
    WireError,
)
from vehicle_gateway.wires.testers import Testers
from vehicle_gateway.wires.uri import UriLinks


class UdsoncanConnection(BaseConnection):
    """One ECU for one udsoncan `Client`; `loop` must not be running when the client is used."""

    def __init__(self, loop: asyncio.AbstractEventLoop, testers: Testers, ecu: str) -> None:
        super().__init__(ecu)
        self._loop = loop
        self._testers = testers
        self._ecu = ecu
        self._opened: Channel | None = None

    def open(self) -> "UdsoncanConnection":
        """`LinkError` if there is no link to the ECU."""

        async def open_channel() -> Channel:
            return self._testers.channel(self._ecu)

        self._opened = self._loop.run_until_complete(open_channel())
        return self

    def close(self) -> None:
        self._opened = None

    def is_open(self) -> bool:
        return self._opened is not None

    @property
    def _channel(self) -> Channel:
        if self._opened is None:
            raise LinkError(f"{self._ecu}: connection not open")
        return self._opened

    def __exit__(self, *_: object) -> None:
        self.close()

    def specific_send(
        self,
        payload: bytes,
        timeout: float | None = None,  # noqa: ARG002 the transport has timers of its own
    ) -> None:
        """Returns at the last bit, so that the client's P2 starts there."""
        try:
            self._loop.run_until_complete(self._channel.send(payload))
        except WireError as error:
            raise _timeout(str(error)) from error

    def specific_wait_frame(self, timeout: float | None = None) -> bytes:
        """The next message; `TimeoutException` if none has begun within `timeout` seconds."""
        return self._loop.run_until_complete(self._next(timeout))

    def empty_rxqueue(self) -> None:
        self._channel.discard()

    async def _next(self, timeout_s: float | None) -> bytes:
        deadline = None if timeout_s is None else self._loop.time() + timeout_s
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    event = await self._channel.receive()
            except TimeoutError:
                raise _timeout(f"{self.name}: no answer within {timeout_s} s") from None
            match event:
                case AnswerReceived(message):
                    return message
                case AnswerStarted():
                    # P2 is kept: how long the rest may take is the transport's affair.
                    deadline = None
                case AnswerBroken(reason):
                    raise _timeout(f"{self.name}: the answer broke off: {reason}")


def _timeout(text: str) -> TimeoutException:
    return TimeoutException(text)  # type: ignore[no-untyped-call]  # the library leaves it untyped


@contextmanager
def udsoncan_connection(
    ecu: str, uri: str, *, description: VehicleDescription | None = None
) -> Iterator[UdsoncanConnection]:
    """A connection to one ECU on the wire behind `uri`, in real time, on a loop of its own.

    `LinkError` if the wire cannot be opened; `KeyError` if the vehicle has no such ECU.
    """
    vehicle = describe_vehicle() if description is None else description
    wire = vehicle.ecus[ecu].wire
    with asyncio.Runner() as runner:
        links = runner.run(UriLinks({wire: uri}).open())
        testers = Testers(vehicle, links)
        try:
            yield UdsoncanConnection(runner.get_loop(), testers, ecu)
        finally:
            runner.run(testers.close())
            runner.run(links.close())
