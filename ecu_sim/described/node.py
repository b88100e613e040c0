"""A described ECU on its CAN wire: it boots, answers, and is reset."""

import asyncio
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
from ecu_sim.memory import Flash, Nvm, PowerLossError
from ecu_sim.transport import Addresses, IsoTpBinding
from protocols.can import CanPort, FrameHeader
from protocols.isotp import IsoTpParameters

#: Level and seed -> key.
KeyHook = Callable[[int, bytes], bytes]


def complement(_level: int, seed: bytes) -> bytes:
    """The key of an ECU whose own function nobody has given: every bit of the seed inverted."""
    return bytes(byte ^ 0xFF for byte in seed)


class DescribedNode:
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
    ) -> None:
        self.ecu = ecu
        self._port = port
        self.flash = flash
        self._nvm = nvm
        self._random_bytes = random_bytes
        self._fd = fd
        self._key = key
        self._loop = asyncio.get_running_loop()
        self._server: UdsServer | None = None
        self._bindings: list[IsoTpBinding] = []
        self._timer = Timer(self._loop, self._timeout)
        self._boot_timer: asyncio.TimerHandle | None = None
        self._booted = asyncio.Event()
        self.boots = 0

    def power_on(self) -> None:
        """Silent for the boot time."""
        self._booted.clear()
        self._boot_timer = self._loop.call_later(self.ecu.boot_s, self._boot)

    async def booted(self) -> None:
        await self._booted.wait()

    def power_off(self) -> None:
        """Everything volatile ends."""
        if self._boot_timer is not None:
            self._boot_timer.cancel()
            self._boot_timer = None
        self._timer.cancel()
        for binding in self._bindings:
            binding.close()
        self._bindings = []
        self._server = None

    def _boot(self) -> None:
        self._boot_timer = None
        self.boots += 1
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
        self._bindings = [self._bind(functional=False), self._bind(functional=True)]
        self._booted.set()

    def _bind(self, *, functional: bool) -> IsoTpBinding:
        ecu = self.ecu
        identifier = ecu.functional_id if functional else ecu.request_id
        parameters = IsoTpParameters(
            tx_data_length=64 if self._fd else 8,
            max_message_length=ecu.max_block_length,
            functional=functional,
        )
        return IsoTpBinding(
            self._port,
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
                case Respond(payload):
                    self._bindings[0].send(payload, partial(self._sent, event))
                case Restart() | EnterBootloader():
                    self._bindings[0].when_idle(self._restart)
                case _:
                    pass  # a described ECU has no periodic messages and no link control

    def _restart(self) -> None:
        self.power_off()
        self.power_on()
