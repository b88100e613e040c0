"""What a DoIP entity asks of its shell."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transmit:
    connection: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection once what was sent to it is out."""

    connection: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A diagnostic request: acknowledged already, or by `DoipEntity.delivered` as it is set."""

    payload: bytes
    #: The tester.
    source: int
    #: The ECU, or the group.
    target: int
    functional: bool
    connection: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Broadcast this datagram."""

    data: bytes


EntityEvent = Transmit | Close | Request | Announce
