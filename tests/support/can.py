"""A CAN frame bit by bit, slowly and plainly: the reference for `protocols.can.bits`."""

import random

from protocols.can import FrameHeader
from protocols.can.bits import DATA_LENGTH_CODES

Bits = list[int]


def seeded(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311 data of a test


def to_bits(value: int, width: int) -> Bits:
    return [value >> place & 1 for place in range(width - 1, -1, -1)]


def arbitration_bits(header: FrameHeader) -> Bits:
    """SOF through IDE (and the extended identifier with its RTR or RRS)."""
    if header.extended:
        base = to_bits(header.identifier >> 18, 11)
        rest = to_bits(header.identifier & 0x3FFFF, 18)
        return [0, *base, 1, 1, *rest, 0]
    return [0, *to_bits(header.identifier, 11), 0, 0]


def crc15(bits: Bits) -> Bits:
    register = [0] * 15
    for bit in bits:
        feedback = bit ^ register[0]
        register = [*register[1:], 0]
        if feedback:
            # x^14 + x^10 + x^8 + x^7 + x^4 + x^3 + 1, left to right
            polynomial = [1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1]
            register = [ours ^ theirs for ours, theirs in zip(register, polynomial, strict=True)]
    return register


def stuffed(bits: Bits) -> Bits:
    """With an inverse bit after every five equal ones, stuff bits counted among them."""
    out: Bits = []
    for bit in bits:
        out.append(bit)
        if len(out) >= 5 and len(set(out[-5:])) == 1 and not _has_stuff_in(out):
            out.append(1 - bit)
    return out


def _has_stuff_in(out: Bits) -> bool:
    """Five equal bits always end a run here: a sixth never gets in."""
    return len(out) >= 6 and len(set(out[-6:])) == 1


def reference_bits(header: FrameHeader, data: bytes) -> tuple[int, int]:
    """(nominal, data phase) bits, intermission included."""
    payload = [bit for byte in data for bit in to_bits(byte, 8)]
    code = to_bits(DATA_LENGTH_CODES[len(data)], 4)
    tail = 1 + 1 + 1 + 7 + 3
    if not header.fd:
        reserved = [0, 0] if header.extended else [0]
        plain = [*arbitration_bits(header), *reserved, *code, *payload]
        return len(stuffed([*plain, *crc15(plain)])) + tail, 0
    control = [1, 0, int(header.bit_rate_switch)]  # FDF, res, BRS
    slow = [*arbitration_bits(header), *control]
    fast = [0, *code, *payload]  # ESI
    whole = stuffed([*slow, *fast])
    # The fixed stuff bit that opens the CRC field stands in for a dynamic one that is due there.
    if whole[-1] != fast[-1] or _ends_in_stuff([*slow, *fast]):
        whole = whole[:-1]
    crc = 4 + (17 if len(data) <= 16 else 21)
    fixed = -(-crc // 4)
    nominal = len(stuffed(slow))
    rest = len(whole) - nominal + crc + fixed
    return (nominal + tail, rest) if header.bit_rate_switch else (nominal + tail + rest, 0)


def _ends_in_stuff(bits: Bits) -> bool:
    return len(stuffed(bits)) - len(stuffed(bits[:-1])) == 2
