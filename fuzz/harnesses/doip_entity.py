"""No bytes on any socket of a DoIP entity, and no datagrams, make it raise or run on the spot."""

from typing import Final

from fuzz import Draw, Harness
from fuzz.harnesses.doip_stream import SEEDS
from protocols.doip.entity import DoipEntity, EntitySettings

_PAUSES_S: Final = (0.0, 0.3, 3.0, 400.0)


def prove(data: bytes) -> None:
    settings = EntitySettings(
        vin="A" * 17, logical_address=0x1031, eid=bytes(6), gid=bytes(6), max_testers=2
    )
    draw, entity, now = Draw(data), DoipEntity(settings), 0.0
    for connection in range(4):
        entity.connected(connection, now=now)
    while draw:
        head = draw.byte()
        said = draw.chunk()
        if head & 8:
            entity.receive_datagram(said, now=now)
        else:
            entity.receive(head & 7, said, now=now)
        now += _PAUSES_S[head >> 6]
        entity.handle_timeout(now=now)
        due = entity.next_deadline()
        if due is not None and due <= now:
            raise AssertionError(f"at {now} s it asks to be called at {due} s")


HARNESS: Final = Harness(
    prove=prove,
    seeds=tuple(bytes((head, len(seed))) + seed for seed in SEEDS for head in (0x00, 0x08)),
)
