"""What can be wrong with a diagnostic exchange."""

from protocols.uds.enums import Nrc


class UdsError(Exception):
    """Root of this room's errors."""


class MalformedResponseError(UdsError):
    """Bytes that are no well-formed message of the service they claim to belong to."""


class Refusal(UdsError):  # noqa: N818 the standard's word for it is a negative response, not an error
    """A server's no: the negative response code that goes to the tester."""

    def __init__(self, nrc: Nrc, reason: str = "") -> None:
        super().__init__(f"{nrc.name} (0x{nrc:02X})" + (f": {reason}" if reason else ""))
        self.nrc = nrc
        self.reason = reason
