"""What every frame of one sender has in common; the data bytes travel beside it."""

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """Identifier and format of a frame (ISO 11898-1).

    A burst of consecutive frames shares one header, so headers are made once and kept.
    """

    identifier: int
    extended: bool = False
    #: CAN FD frame format, up to 64 data bytes.
    fd: bool = False
    #: Data phase at the wire's data bit rate; only with `fd`.
    bit_rate_switch: bool = False

    def __hash__(self) -> int:
        # Asked for several times per frame; headers that share an identifier are few.
        return self.identifier


@lru_cache(maxsize=4096)
def arbitration_key(header: FrameHeader) -> int:
    """The arbitration field as a number: the lowest wins (dominant bits are 0).

    A base frame wins against an extended one with the same first 11 bits, by its RTR and IDE.
    One key is one identifier.
    """
    if header.extended:
        return (header.identifier >> 18) << 20 | 0b11 << 18 | header.identifier & 0x3FFFF
    return header.identifier << 20
