"""Messages out of a byte stream, framed by the header's length and bounded by the receiver."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from protocols.doip.messages import (
    LAYOUTS,
    VERSION_2012,
    VERSION_2019,
    VERSION_DISCOVERY,
    HeaderNack,
    Message,
    PayloadType,
)

HEADER_LENGTH: Final = 8
#: Room for the largest block that an ECU of this project takes, and then some.
DEFAULT_MAX_PAYLOAD: Final = 0x2_0000

EDITIONS: Final = frozenset({VERSION_2012, VERSION_2019})
_DISCOVERY: Final = frozenset(
    {
        PayloadType.VEHICLE_IDENTIFICATION_REQUEST,
        PayloadType.VEHICLE_IDENTIFICATION_REQUEST_EID,
        PayloadType.VEHICLE_IDENTIFICATION_REQUEST_VIN,
    }
)
#: After these the byte stream cannot be trusted: the connection is closed.
_CLOSING: Final = frozenset(
    {HeaderNack.INCORRECT_PATTERN_FORMAT, HeaderNack.INVALID_PAYLOAD_LENGTH}
)


@dataclass(frozen=True, slots=True)
class HeaderFault:
    """A message that the generic header handler refuses."""

    code: HeaderNack
    reason: str

    @property
    def closes(self) -> bool:
        return self.code in _CLOSING


class DoipDecoder:
    """Feed bytes as they come, in any pieces; the same messages come out.

    A message above `max_payload` bytes, or one for which `has_room(length)` is false, is refused
    at its header and its bytes are dropped as they arrive, so no more than one allowed message is
    ever held. After a closing fault nothing more comes out.
    """

    def __init__(
        self,
        *,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        versions: frozenset[int] = EDITIONS,
        has_room: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._max_payload = max_payload
        self._versions = versions
        self._has_room = has_room
        self._buffer = bytearray()
        #: Payload type and length of the message whose header has been let through.
        self._begun: tuple[int, int] | None = None
        self._discard = 0
        self._broken = False
        #: Protocol version of the last header that was let through; `None` before the first.
        self.version: int | None = None

    @property
    def held(self) -> int:
        """Bytes kept of a message that has not come whole yet."""
        return len(self._buffer)

    @property
    def reserved(self) -> int:
        """Payload bytes of the message that is coming in, 0 between two messages."""
        return 0 if self._begun is None else self._begun[1]

    def receive(self, data: bytes) -> list[Message | HeaderFault]:
        found: list[Message | HeaderFault] = []
        if self._broken:
            return found
        if self._discard:
            skipped = min(self._discard, len(data))
            self._discard -= skipped
            data = data[skipped:]
        self._buffer += data
        at = 0
        while step := self._step(at, found):
            at += step
        del self._buffer[:at]
        return found

    def _step(self, at: int, found: list[Message | HeaderFault]) -> int:
        """Decode one message at this place; returns the bytes used, 0 if more must come."""
        if self._begun is None:
            header = self._buffer[at : at + HEADER_LENGTH]
            if len(header) < HEADER_LENGTH:
                return 0
            payload_type, length = int.from_bytes(header[2:4]), int.from_bytes(header[4:8])
            if fault := self._fault(header[0], header[1], payload_type, length):
                found.append(fault)
                return self._skip(at, length, closes=fault.closes)
            self.version = header[0]
            self._begun = payload_type, length
        payload_type, length = self._begun
        end = at + HEADER_LENGTH + length
        if len(self._buffer) < end:
            return 0
        self._begun = None
        payload = bytes(memoryview(self._buffer)[at + HEADER_LENGTH : end])
        found.append(LAYOUTS[payload_type][1](payload))
        return HEADER_LENGTH + length

    def _skip(self, at: int, length: int, *, closes: bool) -> int:
        """Bytes of a refused message that are here; those to come are dropped as they come."""
        held = len(self._buffer) - at
        if closes:
            self._broken = True
            return held
        self._discard = max(0, length - (held - HEADER_LENGTH))
        return min(HEADER_LENGTH + length, held)

    def _fault(
        self, version: int, inverse: int, payload_type: int, length: int
    ) -> HeaderFault | None:
        """The header checks of ISO 13400-2 in their order: pattern, type, size, memory, length."""
        discovery = version == VERSION_DISCOVERY and payload_type in _DISCOVERY
        if version ^ inverse != 0xFF or not (version in self._versions or discovery):
            return HeaderFault(
                HeaderNack.INCORRECT_PATTERN_FORMAT, f"version {version:02X} {inverse:02X}"
            )
        layout = LAYOUTS.get(payload_type)
        if layout is None:
            return HeaderFault(HeaderNack.UNKNOWN_PAYLOAD_TYPE, f"type {payload_type:04X}")
        if length > self._max_payload:
            return HeaderFault(HeaderNack.MESSAGE_TOO_LARGE, f"{length} bytes")
        if not self._has_room(length):
            return HeaderFault(HeaderNack.OUT_OF_MEMORY, f"no room for {length} bytes")
        if length not in layout[0]:
            return HeaderFault(
                HeaderNack.INVALID_PAYLOAD_LENGTH, f"type {payload_type:04X} with {length} bytes"
            )
        return None


def decode_datagram(
    data: bytes,
    *,
    max_payload: int = DEFAULT_MAX_PAYLOAD,
    versions: frozenset[int] = EDITIONS,
) -> Message | HeaderFault | None:
    """The message that one UDP datagram holds; `None` if it is too short for a header."""
    decoder = DoipDecoder(max_payload=max_payload, versions=versions)
    found = decoder.receive(data)
    if not found and decoder.version is not None:
        return HeaderFault(HeaderNack.INVALID_PAYLOAD_LENGTH, "datagram cut short")
    return found[0] if found else None
