"""No PDUs, whatever their order and pauses, make network management raise or speak out of turn."""

from typing import Final

from fuzz import Draw, Harness
from protocols.network_management import SPEAKING, NetworkManager, SendPdu, StateChanged

_PAUSES_S: Final = (0.0, 0.1, 0.6, 2.5)


def prove(data: bytes) -> None:
    draw = Draw(data)
    node, now = NetworkManager(5), 0.0
    while draw:
        head = draw.byte()
        now += _PAUSES_S[head >> 6]
        events = node.handle_timeout(now=now)
        match head >> 4 & 0x3:
            case 0:
                events += node.receive(draw.take(head & 0xF), now=now)
            case 1:
                events += node.wake(now=now)
            case wanted:
                events += node.set_requested(wanted == 2, now=now)
        state = None
        for event in events:
            match event:
                case StateChanged():
                    state = event.state
                case SendPdu() if state is not None and state not in SPEAKING:
                    raise AssertionError(f"a PDU in {state}")
                case SendPdu(pdu) if len(pdu) != 8:
                    raise AssertionError(f"a PDU of {len(pdu)} bytes")


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        bytes.fromhex("20 08 09 00 FF FF FF FF FF FF C0 C0 C0 C0"),
        bytes.fromhex("10 C0 C0 C0 C0 08 09 01 FF FF FF FF FF FF"),
        bytes.fromhex("08 09 11 FF FF FF FF FF FF 30 C0 C0 20 60 60 60"),
    ),
    max_length=512,
)
