import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from clock import run
from dbc import describe_vehicle
from protocols.doip.decoder import DoipDecoder, HeaderFault
from protocols.doip.messages import (
    ActivationCode,
    AliveCheckRequest,
    AliveCheckResponse,
    DiagnosticAcknowledge,
    DiagnosticMessage,
    Message,
    RoutingActivationRequest,
    RoutingActivationResponse,
    encode,
)
from protocols.stream import ByteStream
from vehicle_gateway.wires import AnswerBroken, AnswerReceived, LinkError, NoAnswerError
from vehicle_gateway.wires.doip import DoipWire

T = TypeVar("T")
VEHICLE = describe_vehicle()
REAR = VEHICLE.ecus["rear"]
TESTER, ECU = VEHICLE.tester_address, REAR.logical_address
ANSWER = bytes.fromhex("62 F1 89 31")


class Entity:
    """A `ByteStream` with an entity behind it that answers by a function of the request."""

    def __init__(self, answers: Callable[[Message], Sequence[Message] | None]) -> None:
        self._answers = answers
        self._decoder = DoipDecoder()
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard: list[Message] = []
        self.closed = False

    def say(self, *messages: Message) -> None:
        for message in messages:
            # One byte at a time: what arrives together is not what was sent together.
            for byte in encode(message):
                self._outgoing.put_nowait(bytes([byte]))

    def hang_up(self) -> None:
        self._outgoing.put_nowait(b"")

    async def receive(self) -> bytes:
        return await self._outgoing.get()

    async def send(self, data: bytes) -> None:
        for message in self._decoder.receive(data):
            assert not isinstance(message, HeaderFault)
            self.heard.append(message)
            answer = self._answers(message)
            if answer is None:
                self.hang_up()
            else:
                self.say(*answer)

    async def close(self) -> None:
        self.closed = True


def activation(code: int = ActivationCode.SUCCESS) -> RoutingActivationResponse:
    return RoutingActivationResponse(source_address=TESTER, entity_address=ECU, code=code)


def well(message: Message) -> Sequence[Message] | None:
    match message:
        case RoutingActivationRequest():
            return [activation()]
        case DiagnosticMessage():
            return [
                DiagnosticAcknowledge(source_address=ECU, target_address=TESTER),
                DiagnosticMessage(source_address=ECU, target_address=TESTER, user_data=ANSWER),
            ]
    return []


def with_wire(
    main: Callable[[DoipWire, list[Entity]], Awaitable[T]],
    *behaviours: Callable[[Message], Sequence[Message] | None],
) -> T:
    """Each connection gets the next behaviour; one more is refused."""
    left = list(behaviours)
    entities: list[Entity] = []

    async def open_stream() -> ByteStream:
        if not left:
            raise LinkError("doip://test: connection refused")
        entities.append(Entity(left.pop(0)))
        return entities[-1]

    async def whole() -> T:
        wire = DoipWire(open_stream, VEHICLE.wires["rear"], tester_address=TESTER)
        try:
            return await main(wire, entities)
        finally:
            await wire.close()
            assert all(entity.closed for entity in entities)

    return run(whole(), virtual=True)


def test_a_request_is_acknowledged_and_then_answered() -> None:
    async def main(wire: DoipWire, entities: list[Entity]) -> None:
        channel = wire.channel(REAR)
        await channel.send(b"\x22\xf1\x89")
        event = await channel.receive()
        assert isinstance(event, AnswerReceived)
        assert event.message == ANSWER
        await channel.send(b"\x22\xf1\x89")
        assert len(entities) == 1

    with_wire(main, well)


def test_an_alive_check_is_answered_while_nothing_else_happens() -> None:
    async def main(wire: DoipWire, entities: list[Entity]) -> None:
        await wire.channel(REAR).send(b"\x3e\x00")
        entities[0].say(AliveCheckRequest())
        await asyncio.sleep(0.1)
        assert entities[0].heard[-1] == AliveCheckResponse(TESTER)

    with_wire(main, well)


def test_a_closed_connection_breaks_the_answer_and_is_opened_again() -> None:
    async def main(wire: DoipWire, entities: list[Entity]) -> None:
        channel = wire.channel(REAR)
        await channel.send(b"\x11\x01")
        await channel.receive()
        entities[0].hang_up()
        event = await channel.receive()
        assert event == AnswerBroken("connection closed by the entity")
        await channel.send(b"\x3e\x00")
        assert len(entities) == 2

    with_wire(main, well, well)


def test_a_connection_that_cannot_be_opened_again_is_a_link_error() -> None:
    async def main(wire: DoipWire, entities: list[Entity]) -> None:
        await wire.channel(REAR).send(b"\x11\x01")
        entities[0].hang_up()
        await asyncio.sleep(0.1)
        with pytest.raises(LinkError, match="connection refused"):
            await wire.channel(REAR).send(b"\x3e\x00")

    with_wire(main, well)


def test_a_refused_activation_says_its_code() -> None:
    async def main(wire: DoipWire, _: list[Entity]) -> None:
        with pytest.raises(LinkError, match=r"rear: no routing activation: .*refused \(0x03\)"):
            await wire.channel(REAR).send(b"\x3e\x00")

    with_wire(main, lambda _: [activation(0x03)])


def test_an_entity_that_does_not_activate_is_given_up() -> None:
    async def main(wire: DoipWire, _: list[Entity]) -> float:
        with pytest.raises(LinkError, match="no routing activation response within"):
            await wire.channel(REAR).send(b"\x3e\x00")
        return asyncio.get_running_loop().time()

    assert with_wire(main, lambda _: []) == pytest.approx(2.0)


def test_a_message_that_is_not_acknowledged_is_no_answer() -> None:
    async def main(wire: DoipWire, _: list[Entity]) -> None:
        with pytest.raises(NoAnswerError, match="not acknowledged"):
            await wire.channel(REAR).send(b"\x3e\x00")

    with_wire(
        main,
        lambda message: [activation()] if isinstance(message, RoutingActivationRequest) else [],
    )


def test_an_entity_that_hangs_up_instead_of_acknowledging_is_no_answer() -> None:
    async def main(wire: DoipWire, _: list[Entity]) -> None:
        with pytest.raises(NoAnswerError, match="closed by the entity"):
            await wire.channel(REAR).send(b"\x3e\x00")

    with_wire(
        main,
        lambda message: [activation()] if isinstance(message, RoutingActivationRequest) else None,
    )
