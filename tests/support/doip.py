"""A bench ECU on DoIP: the small device behind a server behind an entity, on the running loop."""

import asyncio

from clock import Timer
from ecu_sim.diagnostics import Respond, ServerEvent
from ecu_sim.diagnostics.doip import DoipNode
from ecu_sim.diagnostics.server import UdsServer
from ecu_sim.diagnostics.state import ServerTiming
from protocols.doip.entity import DoipEntity, EntitySettings, Request
from protocols.uds.rules import ServerRules
from tests.support.diagnostics import BenchDevice

ECU = 0x1031
VIN = "WVWZZZ1KZAW000001"
EID = bytes.fromhex("02cafe001031")


class DoipEcu:
    def __init__(self, rules: ServerRules, device: BenchDevice) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = UdsServer(
            device, rules, timing=ServerTiming(), now=self._loop.time(), max_response=4095
        )
        self._timer = Timer(self._loop, self._timeout)
        self.announced: list[bytes] = []
        settings = EntitySettings(
            vin=VIN, logical_address=ECU, eid=EID, gid=bytes(6), max_testers=2
        )
        self.node = DoipNode(DoipEntity(settings), self._request, announce=self.announced.append)

    async def stop(self) -> None:
        self._timer.cancel()
        await self.node.stop()

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

    def _handle(self, events: list[ServerEvent]) -> None:
        for event in events:
            if isinstance(event, Respond):
                self.node.respond(event.payload, tester=event.source)
        self._timer.set(self._server.next_deadline())
