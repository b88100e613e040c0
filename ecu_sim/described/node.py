"""A described ECU on its CAN wire: it boots, answers, and is reset."""

import random
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from clock import Timer
from ecu_sim.described import DescribedEcu
from ecu_sim.described.device import DescribedDevice
from ecu_sim.described.rules import rules_of
from ecu_sim.diagnostics import EnterBootloader, Respond, Restart, ServerEvent
from ecu_sim.diagnostics.security import KeyScheme
from ecu_sim.diagnostics.server import UdsServer
from ecu_sim.diagnostics.state import ServerTiming
from ecu_sim.faults.cells import Area
from ecu_sim.guest import GuestNode, guest_traits
from ecu_sim.memory import Flash, Nvm, PowerLossError
from ecu_sim.transport import Addresses, IsoTpBinding
from protocols.can import CanPort, FrameHeader
from protocols.isotp import IsoTpParameters

#: Level and seed -> key.
KeyHook = Callable[[int, bytes], bytes]


def complement(_level: int, seed: bytes) -> bytes:
    """The key of an ECU whose own function nobody has given: every bit of the seed inverted."""
    return bytes(byte ^ 0xFF for byte in seed)


class DescribedNode(GuestNode):
    """Made inside a running loop; flash and NVM are handed in and outlive it."""

    def __init__(
        self,
        ecu: DescribedEcu,
        port: CanPort,
        *,
        flash: Mapping[str, Flash],
        nvm: Nvm,
        random_bytes: Callable[[int], bytes],
        fd: bool = False,
        key: KeyHook = complement,
        corrupt: Callable[[float, random.Random | None], None] | None = None,
    ) -> None:
        super().__init__(
            guest_traits(
                ecu.name,
                port,
                request_id=ecu.request_id,
                response_id=ecu.response_id,
                memory=tuple(
                    Area(start=its.start, size=its.size, chip=flash[its.name], places=(0,))
                    for its in ecu.memory
                    if not its.ram
                ),
                p2_s=ecu.p2_s,
                p2_star_s=ecu.p2_star_s,
                corrupt=corrupt,
            ),
            boot_s=ecu.boot_s,
        )
        self.ecu = ecu
        self.flash = flash
        self._nvm = nvm
        self._random_bytes = random_bytes
        self._fd = fd
        self._key = key
        self._server: UdsServer | None = None
        self._bindings: list[IsoTpBinding] = []
        self._timer = Timer(self._loop, self._timeout)

    def _close(self) -> None:
        self._timer.cancel()
        for binding in self._bindings:
            binding.close()
        self._bindings = []
        self._server = None

    def _open(self) -> None:
        ecu = self.ecu
        device = DescribedDevice(
            ecu, flash=self.flash, nvm=self._nvm, random_bytes=self._random_bytes
        )
        self._server = UdsServer(
            device,
            rules_of(ecu),
            timing=ServerTiming(p2_s=ecu.p2_s, p2_star_s=ecu.p2_star_s, s3_s=ecu.s3_s),
            now=self._loop.time(),
            max_response=max(4095, ecu.max_block_length),
            scheme=KeyScheme(expected=self._key, seed_length=ecu.seed_length),
            stock_answer=device.stock_answer,
        )
        self._server.watch_sessions(self.faults.dialogue.entered)
        self._bindings = [self._bind(functional=False), self._bind(functional=True)]

    def _bind(self, *, functional: bool) -> IsoTpBinding:
        ecu = self.ecu
        identifier = ecu.functional_id if functional else ecu.request_id
        parameters = IsoTpParameters(
            tx_data_length=64 if self._fd else 8,
            max_message_length=ecu.max_block_length,
            functional=functional,
        )
        return IsoTpBinding(
            self.port,
            Addresses(request=self._header(identifier), response=self._header(ecu.response_id)),
            parameters,
            partial(self._request, functional=functional),
            began=self._began,
            failed=self._failed,
        )

    def _header(self, identifier: int) -> FrameHeader:
        extended = self.ecu.extended
        return FrameHeader(identifier, extended=extended, fd=self._fd, bit_rate_switch=self._fd)

    def _request(self, message: bytes, *, functional: bool) -> None:
        if not self._bindings:
            return
        self.faults.dialogue.request(
            message,
            source=self.ecu.request_id,
            serve=partial(self._receive, functional=functional),
            send=self._bindings[0].send,
        )
        if not functional:
            self._failed()  # where a fault has kept it from the server

    def _receive(self, message: bytes, *, functional: bool) -> None:
        server = self._server
        if server is not None:
            now, source = self._loop.time(), self.ecu.request_id
            self._serve(
                partial(server.receive, message, source=source, functional=functional, now=now)
            )

    def _began(self) -> None:
        if self._server is not None:
            self._server.reception_began(source=self.ecu.request_id)
            self._arm()

    def _failed(self) -> None:
        if self._server is not None:
            self._server.reception_failed(source=self.ecu.request_id, now=self._loop.time())
            self._arm()

    def _sent(self, answer: Respond) -> None:
        if self._server is not None:
            self._server.sent(answer, now=self._loop.time())
            self._arm()

    def _arm(self) -> None:
        if self._server is not None:
            self._timer.set(self._server.next_deadline())

    def _timeout(self) -> None:
        server = self._server
        if server is not None:
            self._serve(partial(server.handle_timeout, now=self._loop.time()))

    def _serve(self, ask: Callable[[], Iterable[ServerEvent]]) -> None:
        try:
            events = list(ask())
        except PowerLossError:
            self.power_off()
            return
        self._arm()
        for event in events:
            match event:
                case Respond():
                    self._respond(event)
                case Restart() | EnterBootloader():
                    idle = partial(self._bindings[0].when_idle, self._restart)
                    self.faults.dialogue.when_idle(idle)
                case _:
                    pass  # a described ECU has no periodic messages and no link control

    def _respond(self, answer: Respond) -> None:
        sent = partial(self._sent, answer)
        binding = self._bindings[0]
        self.faults.dialogue.answer(
            answer.payload,
            source=answer.source,
            send=lambda payload: binding.send(payload, sent),
            lost=sent,
        )
