import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from clock import run
from dbc import describe_vehicle
from ecu_sim.bus.can import CanWire
from protocols.can import CanPort, FrameHeader
from protocols.can.port import Sent
from protocols.network_management import identifier
from vehicle_gateway.wires import (
    AnswerBroken,
    AnswerReceived,
    AnswerStarted,
    LinkError,
    NoAnswerError,
)
from vehicle_gateway.wires.isotp import IsoTpWire

VEHICLE = describe_vehicle()
CCU = VEHICLE.ecus["ccu"]
REQUEST, ANSWER = FrameHeader(CCU.request_id), FrameHeader(CCU.response_id)
CONTINUE = b"\x30\x00\x00".ljust(8, b"\xcc")


class ComesAndGoes:
    """A port whose wire can be away, as a bridge's is while its process starts again."""

    def __init__(self, port: CanPort) -> None:
        self._port = port
        self.is_away = False
        self.listen = port.listen

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        if self.is_away:
            raise LinkError("the wire is away")
        self._port.send(header, payloads, sent)


def on_wire(
    main: Callable[[CanWire, IsoTpWire], Awaitable[None]],
    between: Callable[[CanPort], CanPort] = lambda port: port,
) -> None:
    async def whole() -> None:
        bus = CanWire("comfort", bit_rate=500_000, loop=asyncio.get_running_loop())
        wire = IsoTpWire(between(bus.port("gateway")), VEHICLE.wires["comfort"])
        try:
            await main(bus, wire)
        finally:
            await wire.close()
            bus.close()

    run(whole(), virtual=True)


def test_sending_ends_with_the_last_bit_on_the_wire() -> None:
    async def main(bus: CanWire, wire: IsoTpWire) -> None:
        ecu = bus.port("ccu")
        ends: list[float] = []

        def hear(_header: FrameHeader, data: bytes, at_s: float) -> None:
            ends.append(at_s)
            if data[0] >> 4 == 1:
                ecu.send(ANSWER, [CONTINUE])

        ecu.listen(hear, REQUEST)
        sent_s = await wire.channel(CCU).send(bytes(4094))
        assert len(ends) == 585
        assert sent_s == ends[-1] == asyncio.get_running_loop().time()

    on_wire(main)


def test_a_first_frame_that_nobody_answers_is_no_answer() -> None:
    async def main(_: CanWire, wire: IsoTpWire) -> None:
        with pytest.raises(NoAnswerError, match="ccu: request not taken"):
            await wire.channel(CCU).send(bytes(100))
        # N_Bs, and before it the time that an ECU on a sleeping wire takes to boot.
        assert asyncio.get_running_loop().time() == pytest.approx(CCU.boot_s + 0.1 + 1.0, abs=0.01)
        await wire.channel(CCU).send(b"\x3e\x00")

    on_wire(main)


def test_a_cancelled_send_leaves_the_channel_usable() -> None:
    async def main(bus: CanWire, wire: IsoTpWire) -> None:
        channel = wire.channel(CCU)
        sending = asyncio.create_task(channel.send(bytes(100)))
        await asyncio.sleep(0.1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await channel.send(b"\x3e\x00")
        bus.port("ccu").send(ANSWER, [b"\x02\x7e\x00"])
        event = await channel.receive()
        assert isinstance(event, AnswerReceived)
        assert event.message == b"\x7e\x00"

    on_wire(main)


def test_a_cancelled_receive_loses_nothing() -> None:
    async def main(bus: CanWire, wire: IsoTpWire) -> None:
        channel = wire.channel(CCU)
        for after_s in (0.0, 0.0001, 0.001):
            receiving = asyncio.create_task(channel.receive())
            bus.port("ccu").send(ANSWER, [b"\x02\x7e\x00"])
            await asyncio.sleep(after_s)
            receiving.cancel()
            got = await asyncio.gather(receiving, return_exceptions=True)
            event = got[0] if isinstance(got[0], AnswerReceived) else await channel.receive()
            assert isinstance(event, AnswerReceived)

    on_wire(main)


def test_a_functional_request_is_one_frame() -> None:
    async def main(_: CanWire, wire: IsoTpWire) -> None:
        with pytest.raises(LinkError, match="comfort: a functional request is one frame"):
            await wire.broadcast(bytes(8))

    on_wire(main)


def test_a_functional_request_gets_between_two_messages_of_a_busy_tester() -> None:
    async def main(bus: CanWire, wire: IsoTpWire) -> None:
        ecu = bus.port("ccu")

        def hear(_header: FrameHeader, data: bytes, _at_s: float) -> None:
            if data[0] >> 4 == 1:
                ecu.send(ANSWER, [CONTINUE])

        ecu.listen(hear, REQUEST)
        channel = wire.channel(CCU)

        async def load() -> None:
            while True:
                await channel.send(bytes(256))

        loading = asyncio.create_task(load())
        await asyncio.sleep(1.0)
        await wire.broadcast(b"\x3e\x80")
        waited_s = asyncio.get_running_loop().time() - 1.0
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        assert waited_s < 0.015  # one message of 38 frames, and the request itself

    on_wire(main)


CONTINUE_SLOWLY = b"\x30\x00\x14".ljust(8, b"\xcc")  # 20 ms between two frames


def on_a_wire_that_goes(
    main: Callable[[CanWire, IsoTpWire, ComesAndGoes], Awaitable[None]],
) -> None:
    ports: list[ComesAndGoes] = []

    def between(port: CanPort) -> CanPort:
        ports.append(ComesAndGoes(port))
        return ports[0]

    on_wire(lambda bus, wire: main(bus, wire, ports[0]), between)


def test_a_wire_that_goes_between_two_frames_ends_the_message_and_comes_back_for_the_next() -> None:
    async def main(bus: CanWire, wire: IsoTpWire, port: ComesAndGoes) -> None:
        ecu = bus.port("ccu")

        def hear(_header: FrameHeader, data: bytes, _at_s: float) -> None:
            if data[0] >> 4 == 1:
                ecu.send(ANSWER, [CONTINUE_SLOWLY])

        ecu.listen(hear, REQUEST)
        channel = wire.channel(CCU)
        sending = asyncio.create_task(channel.send(bytes(100)))
        await asyncio.sleep(CCU.boot_s + 0.2)
        port.is_away = True
        async with asyncio.timeout(0.1):
            with pytest.raises(LinkError, match="away"):
                await sending
        with pytest.raises(LinkError, match="away"):
            await channel.send(bytes(100))
        port.is_away = False
        await channel.send(bytes(100))

    on_a_wire_that_goes(main)


def test_a_wire_that_goes_under_an_answer_breaks_it_and_brings_the_next() -> None:
    async def main(bus: CanWire, wire: IsoTpWire, port: ComesAndGoes) -> None:
        ecu = bus.port("ccu")
        channel = wire.channel(CCU)
        port.is_away = True
        ecu.send(ANSWER, [b"\x10\x10\x49\x04\x01\x35\x36\x30"])  # asks for a flow control
        assert isinstance(await channel.receive(), AnswerStarted)
        assert await channel.receive() == AnswerBroken("the wire is away")
        port.is_away = False
        ecu.send(ANSWER, [b"\x02\x7e\x00"])
        event = await channel.receive()
        assert isinstance(event, AnswerReceived)
        assert event.message == b"\x7e\x00"

    on_a_wire_that_goes(main)


def test_the_wire_is_told_again_that_it_is_needed_when_it_has_come_back() -> None:
    async def main(bus: CanWire, wire: IsoTpWire, port: ComesAndGoes) -> None:
        said: list[float] = []
        bus.port("ccu").listen(
            lambda _header, _data, at_s: said.append(at_s), FrameHeader(identifier(0))
        )
        wire.channel(CCU)
        port.is_away = True
        wire.wake()
        await asyncio.sleep(2.0)
        assert not said
        port.is_away = False
        await asyncio.sleep(2.0)
        assert said

    on_a_wire_that_goes(main)
