"""A recorded ECU on its CAN wire."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from ecu_sim.guest import GuestNode, Site, guest_traits
from ecu_sim.recorded import Answer, RecordedEcu
from ecu_sim.recorded.answers import Answers
from ecu_sim.transport import Addresses, IsoTpBinding
from protocols.can import CanPort, FrameHeader
from protocols.isotp import IsoTpParameters
from protocols.uds import ServiceId
from protocols.uds.enums import POSITIVE_RESPONSE

if TYPE_CHECKING:
    import asyncio

_BOOT_S: Final = 0.05
_SESSION: Final = ServiceId.DIAGNOSTIC_SESSION_CONTROL + POSITIVE_RESPONSE


class RecordedNode(GuestNode):
    """Made inside a running loop."""

    def __init__(
        self,
        ecu: RecordedEcu,
        port: CanPort,
        *,
        corrupt: Callable[[float, random.Random | None], None] | None = None,
    ) -> None:
        super().__init__(
            guest_traits(
                ecu.name,
                port,
                request_id=ecu.request_id,
                response_id=ecu.response_id,
                corrupt=corrupt,
            ),
            boot_s=_BOOT_S,
        )
        self.ecu = ecu
        self._answers = Answers(())
        self._bindings: list[IsoTpBinding] = []
        self._due: set[asyncio.TimerHandle] = set()

    def _open(self) -> None:
        self._answers = Answers(self.ecu.exchanges)
        self._bindings = [self._bind(functional=False), self._bind(functional=True)]

    def _close(self) -> None:
        for handle in self._due:
            handle.cancel()
        self._due.clear()
        for binding in self._bindings:
            binding.close()
        self._bindings = []

    def _bind(self, *, functional: bool) -> IsoTpBinding:
        ecu = self.ecu
        identifier = ecu.functional_id if functional else ecu.request_id
        return IsoTpBinding(
            self.port,
            Addresses(request=self._header(identifier), response=self._header(ecu.response_id)),
            IsoTpParameters(
                tx_data_length=64 if ecu.fd else 8,
                max_message_length=_LONGEST,
                functional=functional,
            ),
            partial(self._request, functional=functional),
        )

    def _header(self, identifier: int) -> FrameHeader:
        fd = self.ecu.fd
        return FrameHeader(identifier, extended=self.ecu.extended, fd=fd, bit_rate_switch=fd)

    def _request(self, message: bytes, *, functional: bool) -> None:
        if self._bindings:
            self.faults.dialogue.request(
                message,
                source=self.ecu.request_id,
                serve=partial(self._serve, functional=functional),
                send=self._bindings[0].send,
            )

    def _serve(self, message: bytes, *, functional: bool) -> None:
        for answer in self._answers.of(message, functional=functional):
            self._answer_later(answer)

    def _answer_later(self, answer: Answer) -> None:
        def due() -> None:
            self._due.discard(handle)
            if not self._bindings:
                return
            if answer.payload[:1] == bytes((_SESSION,)) and answer.payload[1:]:
                self.faults.dialogue.entered(answer.payload[1])
            self.faults.dialogue.answer(
                answer.payload, source=self.ecu.request_id, send=self._bindings[0].send
            )

        handle = self._loop.call_later(answer.after_s, due)
        self._due.add(handle)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedGuest:
    """`ecu_sim.guest.Guest` of a log."""

    ecu: RecordedEcu
    wire: str

    @property
    def name(self) -> str:
        return self.ecu.name

    def build(self, site: Site) -> GuestNode:
        # An ECU that was heard with classic frames answers with them on any wire.
        return RecordedNode(self.ecu, site.port, corrupt=site.corrupt)


#: Bytes of a request.
_LONGEST: Final = 1 << 20
