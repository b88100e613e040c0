"""A bench ECU on DoIP: the small device behind a server behind an entity, on the running loop."""

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest

from clock import Timer
from ecu_sim.diagnostics import Respond, ServerEvent
from ecu_sim.diagnostics.doip import DoipNode
from ecu_sim.diagnostics.server import UdsServer
from ecu_sim.diagnostics.state import ServerTiming
from protocols.doip import messages as m
from protocols.doip.decoder import DoipDecoder, HeaderFault
from protocols.doip.entity import DoipEntity, EntitySettings, Request
from protocols.doip.messages import VERSION_2019, Message, encode
from protocols.stream import ByteStream
from protocols.uds.rules import ServerRules
from tests.support.diagnostics import BenchDevice

if TYPE_CHECKING:
    from collections.abc import Callable

ECU = 0x1031
VIN = "WVWZZZ1KZAW000001"
EID = bytes.fromhex("02cafe001031")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


#: Some containers have no IPv6 at all, not even on loopback.
needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")
SETTINGS = EntitySettings(vin=VIN, logical_address=ECU, eid=EID, gid=bytes(6), max_testers=2)


class DoipEcu:
    def __init__(
        self, rules: ServerRules, device: BenchDevice, settings: EntitySettings = SETTINGS
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = UdsServer(
            device, rules, timing=ServerTiming(), now=self._loop.time(), max_response=4095
        )
        self._timer = Timer(self._loop, self._timeout)
        self.announced: list[bytes] = []
        self.entity = DoipEntity(settings)
        #: Where announcements go; kept here by default.
        self.announce: Callable[[bytes], None] = self.announced.append
        self.node = DoipNode(self.entity, self._request, announce=self._announce)

    async def stop(self) -> None:
        self._timer.cancel()
        await self.node.stop()

    def _announce(self, data: bytes) -> None:
        self.announce(data)

    def _request(self, request: Request) -> None:
        self._handle(
            self._server.receive(
                request.payload,
                source=request.source,
                functional=request.functional,
                now=self._loop.time(),
            )
        )

    def _timeout(self) -> None:
        self._handle(self._server.handle_timeout(now=self._loop.time()))

    def _sent(self, answer: Respond) -> None:
        self._server.sent(answer, now=self._loop.time())
        self._timer.set(self._server.next_deadline())

    def _handle(self, events: list[ServerEvent]) -> None:
        for event in events:
            if isinstance(event, Respond):
                sent = partial(self._sent, event)
                self.node.respond(event.payload, tester=event.source, sent=sent)
        self._timer.set(self._server.next_deadline())


class DoipTester:
    """A tester on a stream, by the plain messages: what it gets is kept in the order it came."""

    def __init__(self, stream: ByteStream, address: int = 0x0E80) -> None:
        self.address = address
        self.closed = False
        self._stream = stream
        self._decoder = DoipDecoder()
        self._received: list[Message | HeaderFault] = []

    async def send(self, message: Message) -> None:
        await self._stream.send(encode(message, version=VERSION_2019))

    async def request(self, data: str, target: int) -> None:
        await self.send(
            m.DiagnosticMessage(
                source_address=self.address, target_address=target, user_data=bytes.fromhex(data)
            )
        )

    async def next(self) -> Message | HeaderFault | None:
        """The next message, `None` once the other end has closed."""
        while not self._received:
            data = await self._stream.receive()
            if not data:
                self.closed = True
                return None
            self._received += self._decoder.receive(data)
        return self._received.pop(0)

    async def activate(self, kind: int = 0) -> int:
        await self.send(
            m.RoutingActivationRequest(source_address=self.address, activation_type=kind)
        )
        answer = await self.next()
        assert isinstance(answer, m.RoutingActivationResponse), answer
        return answer.code

    async def ask(self, data: str, target: int) -> str:
        """A request that is acknowledged, and the response that follows."""
        await self.request(data, target)
        acknowledged = await self.next()
        assert acknowledged == m.DiagnosticAcknowledge(
            source_address=target, target_address=self.address
        )
        return await self.response(target)

    async def response(self, source: int) -> str:
        answer = await self.next()
        assert isinstance(answer, m.DiagnosticMessage), answer
        assert (answer.source_address, answer.target_address) == (source, self.address)
        return answer.user_data.hex(" ")

    async def refusal(self, data: str, target: int) -> int:
        """The code of the 8003 that a request gets."""
        await self.request(data, target)
        answer = await self.next()
        assert isinstance(answer, m.DiagnosticNegativeAcknowledge), answer
        assert (answer.source_address, answer.target_address) == (target, self.address)
        return answer.code

    async def close(self) -> None:
        await self._stream.close()
