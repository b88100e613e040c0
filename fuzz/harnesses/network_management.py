"""Any frame in place of a network management PDU gives one, or a `PduError`; a node stands any."""

from typing import Final

from fuzz import Draw, Harness
from protocols.network_management import Control, NetworkManager, Pdu, PduError, decode

_PAUSES_S: Final = (0.0, 0.4, 1.6, 5.0)
#: So often may a node act within the longest pause: it sends twice a second.
_MOST_ACTIONS: Final = 20


def prove(data: bytes) -> None:
    try:
        pdu = decode(data)
    except PduError:
        pass
    else:
        if decode(pdu.encode()) != pdu:
            raise AssertionError(f"{pdu} does not survive")
    draw, now, node = Draw(data), 0.0, NetworkManager(7)
    while draw:
        head = draw.byte()
        match head & 3:
            case 0 | 1:
                node.set_requested(bool(head & 1), now=now)
            case 2:
                node.wake(now=now)
            case _:
                node.receive(draw.take(8), now=now)
        now += _PAUSES_S[head >> 6]
        actions = 0
        while (due := node.next_deadline()) is not None and due <= now:
            node.handle_timeout(now=due)
            actions += 1
            if actions > _MOST_ACTIONS:
                raise AssertionError(f"at {due} s it acts without end")


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        Pdu(3).encode(),
        Pdu(3, Control.REPEAT_MESSAGE_REQUEST).encode(),
        b"\x01\x43" + Pdu(3, Control.REPEAT_MESSAGE_REQUEST).encode() + b"\xc0\xc0\x02",
    ),
    max_length=128,
)
