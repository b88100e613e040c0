"""No bytes on any socket of a DoIP entity, and no datagrams, make it raise or run on the spot.

Whatever its settings are, and whatever its ECUs and the person in the vehicle say meanwhile.
"""

from typing import Final

from fuzz import Draw, Harness
from fuzz.harnesses.doip_stream import SEEDS
from protocols.doip.entity import DoipEntity, EntityEvent, EntitySettings, Request, Transmit
from protocols.doip.messages import DiagnosticNack
from protocols.doip.settings import Acknowledge, ActivationRule, Confirmation
from protocols.editions import DoipEdition

_PAUSES_S: Final = (0.0, 0.3, 3.0, 400.0)
_ECU: Final = 0x1031
_LONGEST: Final = 200
_RULES: Final = {
    0x00: ActivationRule(),
    0x01: ActivationRule(confirmation=Confirmation(after_s=1.0)),
    0xE1: ActivationRule(key=b"open"),
    0xE2: ActivationRule(confirmation=Confirmation(after_s=None)),
}


def _settings(choice: int) -> EntitySettings:
    return EntitySettings(
        vin="A" * 17,
        logical_address=_ECU,
        eid=bytes(6),
        gid=bytes(6),
        max_testers=1 + (choice & 1),
        edition=DoipEdition.E2012 if choice & 2 else DoipEdition.E2019,
        acknowledge=Acknowledge.ON_DELIVERY if choice & 4 else Acknowledge.ON_ACCEPTANCE,
        answer_in_kind=not choice & 8,
        tls_only=bool(choice & 16),
        targets=frozenset({0x1010, 0x1011}) if choice & 32 else None,
        repeated_bytes=choice >> 6,
        activations=_RULES,
    )


def prove(data: bytes) -> None:
    draw, now = Draw(data), 0.0
    entity = DoipEntity(_settings(draw.byte()))
    for connection in range(4):
        entity.connected(connection, now=now)
    while draw:
        head = draw.byte()
        connection = head & 7
        said: list[EntityEvent] = []
        match head >> 3 & 7:
            case 0 | 1:
                said = entity.receive(connection, draw.chunk(), now=now)
            case 2:
                entity.receive_datagram(draw.chunk(), now=now)
            case 3:
                said = entity.connected(connection, now=now)
            case 4:
                said = entity.disconnected(connection, now=now)
            case 5:
                said = entity.confirm(0x0F00, granted=bool(head & 1), now=now)
            case _:
                said = entity.receive(connection, draw.take(draw.byte() & 0x0F), now=now)
        nack = DiagnosticNack.TRANSPORT_PROTOCOL_ERROR if head & 1 else None
        for event in list(said):
            if isinstance(event, Request):
                said += entity.delivered(event, nack)
        now += _PAUSES_S[head >> 6]
        said += entity.handle_timeout(now=now)
        if any(isinstance(event, Transmit) and len(event.data) > _LONGEST for event in said):
            raise AssertionError(f"at {now} s it says more than it was asked")
        due = entity.next_deadline()
        if due is not None and due <= now:
            raise AssertionError(f"at {now} s it asks to be called at {due} s")


HARNESS: Final = Harness(
    prove=prove,
    seeds=tuple(
        bytes((settings, head, len(seed))) + seed
        for seed in SEEDS
        for settings, head in ((0x00, 0x00), (0x2E, 0x01), (0x00, 0x10))
    ),
)
