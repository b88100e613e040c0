"""What an endpoint tells its shell."""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.isotp.errors import IsoTpError


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send these frames in order, then call `transmitted` (once per `Transmit`, in order)."""

    frames: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class ReceptionStarted:
    """A first frame of a message of this many bytes is here (N_USData_FF.indication): stops P2."""

    length: int


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A whole message (N_USData.indication)."""

    message: bytes


@dataclass(frozen=True, slots=True)
class MessageSent:
    """The last bit of our message is on the wire (N_USData.confirm, N_OK)."""


@dataclass(frozen=True, slots=True)
class SendFailed:
    """Our message is not, or not wholly, on the wire (N_USData.confirm with an error)."""

    error: IsoTpError


@dataclass(frozen=True, slots=True)
class ReceptionFailed:
    """A message that had begun, or was too long to begin, is lost."""

    error: IsoTpError


Event = Transmit | ReceptionStarted | MessageReceived | MessageSent | SendFailed | ReceptionFailed
