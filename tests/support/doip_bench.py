"""A DoIP entity's core under a test's own clock."""

from dataclasses import replace
from typing import Any

from protocols.doip import messages as m
from protocols.doip.decoder import DoipDecoder, HeaderFault
from protocols.doip.entity import DoipEntity, EntityEvent, EntitySettings, Transmit
from protocols.doip.messages import ActivationCode, DiagnosticNack, Message, encode
from protocols.doip.settings import PLAIN, Peer

ECU = 0x1031
TESTER = 0x0F00
SETTINGS = EntitySettings(
    vin="WVWZZZ1KZAW000001",
    logical_address=ECU,
    eid=bytes(6),
    gid=bytes(6),
    max_testers=2,
    max_request=100,
)


class Bench:
    def __init__(self, **changes: Any) -> None:  # noqa: ANN401 any of the settings
        self.objection: DiagnosticNack | None = None
        self.entity = DoipEntity(
            replace(SETTINGS, **changes), objection=lambda _target, _request: self.objection
        )
        self.now = 10.0
        self.opened = 0

    def connect(self, tester: int | None = None, *, peer: Peer = PLAIN) -> int:
        self.opened += 1
        assert self.entity.connected(self.opened, now=self.now, peer=peer) == []
        if tester is not None:
            assert self.activate(self.opened, tester) == [ActivationCode.SUCCESS]
        return self.opened

    def tell(self, connection: int, message: Message, *, version: int = 2) -> list[EntityEvent]:
        return self.entity.receive(connection, encode(message, version=version), now=self.now)

    def activate(
        self, connection: int, tester: int, *, kind: int = 0, oem: bytes | None = None
    ) -> list[int]:
        """The activation codes sent at once, to whomever."""
        request = m.RoutingActivationRequest(source_address=tester, activation_type=kind, oem=oem)
        return codes(self.tell(connection, request))

    def ask(
        self, connection: int, data: bytes, *, target: int = ECU, tester: int = TESTER
    ) -> list[EntityEvent]:
        message = m.DiagnosticMessage(source_address=tester, target_address=target, user_data=data)
        return self.tell(connection, message)

    def routes(self, tester: int) -> bool:
        """Whether what an ECU sends would reach this tester."""
        return self.entity.send(b"\x7e\x00", tester=tester, now=self.now) != []

    def wait(self, seconds: float) -> list[EntityEvent]:
        self.now += seconds
        return self.entity.handle_timeout(now=self.now)


def sent(events: list[EntityEvent]) -> list[Message | HeaderFault]:
    """What goes out to testers, read again."""
    return [
        message
        for event in events
        if isinstance(event, Transmit)
        for message in DoipDecoder().receive(event.data)
    ]


def codes(events: list[EntityEvent]) -> list[int]:
    return [
        message.code for message in sent(events) if isinstance(message, m.RoutingActivationResponse)
    ]
