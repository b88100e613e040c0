"""What every frame of one sender has in common; the data bytes travel beside it."""

from dataclasses import dataclass


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
