"""A TCP conversation as the Ethernet frames that would carry it, for captures of a byte stream.

The simulated Ethernet wire carries bytes and no packets; here they get headers that are made up
but true to each other: addresses, sequence numbers, checksums (RFC 791, RFC 9293).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Payload of a full segment: 1500 bytes of MTU less 20 of IPv4 and 20 of TCP.
SEGMENT: Final = 1460
_IPV4: Final = b"\x08\x00"
_TCP: Final = 6
_FIN, _SYN, _PSH, _ACK = 0x01, 0x02, 0x08, 0x10
_WINDOW: Final = 0xFFFF
#: Maximum segment size; window times 2**7, so that a burst stays inside it.
_SYN_OPTIONS: Final = bytes((2, 4)) + SEGMENT.to_bytes(2) + bytes((1, 3, 3, 7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One end of the conversation."""

    mac: bytes
    ip: bytes
    port: int


class _Side:
    """A host and what it has sent so far."""

    def __init__(self, host: Host, initial_sequence_number: int) -> None:
        self.host = host
        self.sequence_number = initial_sequence_number


class TcpConversation:
    """The frames of one connection, each made when its bytes are known."""

    def __init__(self, client: Host, server: Host) -> None:
        self._client = _Side(client, 0x1000)
        self._server = _Side(server, 0x8000_0000)

    def open(self) -> list[bytes]:
        """The three frames of the handshake: from the client, the server, the client."""
        return [
            self._frame(_SYN, from_client=True, options=_SYN_OPTIONS, acknowledge=False),
            self._frame(_SYN, from_client=False, options=_SYN_OPTIONS),
            self._frame(0, from_client=True),
        ]

    def data(self, payload: bytes, *, from_client: bool) -> Iterator[bytes]:
        """A frame per segment of `payload`."""
        for start in range(0, len(payload), SEGMENT):
            part = payload[start : start + SEGMENT]
            last = start + SEGMENT >= len(payload)
            yield self._frame(_PSH if last else 0, from_client=from_client, payload=part)

    def close(self, *, from_client: bool) -> bytes:
        """The frame that ends one direction."""
        return self._frame(_FIN, from_client=from_client)

    def _frame(
        self,
        flags: int,
        *,
        from_client: bool,
        payload: bytes = b"",
        options: bytes = b"",
        acknowledge: bool = True,
    ) -> bytes:
        source, target = self._client, self._server
        if not from_client:
            source, target = target, source
        head = struct.pack(
            ">HHIIBBHHH",
            source.host.port,
            target.host.port,
            source.sequence_number,
            target.sequence_number if acknowledge else 0,
            (20 + len(options)) // 4 << 4,
            flags | (_ACK if acknowledge else 0),
            _WINDOW,
            0,
            0,
        )
        used = len(payload) + bool(flags & (_SYN | _FIN))
        source.sequence_number = (source.sequence_number + used) & 0xFFFF_FFFF
        segment = head + options + payload
        pseudo = struct.pack(">4s4sBBH", source.host.ip, target.host.ip, 0, _TCP, len(segment))
        segment = _summed(segment, 16, pseudo)
        ip = struct.pack(
            ">BBHHHBBH4s4s",
            0x45,
            0,
            20 + len(segment),
            0,
            0x4000,  # do not fragment
            64,
            _TCP,
            0,
            source.host.ip,
            target.host.ip,
        )
        return target.host.mac + source.host.mac + _IPV4 + _summed(ip, 10) + segment


def _summed(data: bytes, place: int, before: bytes = b"") -> bytes:
    """`data` with the Internet checksum of `before` and itself at `place` (RFC 1071)."""
    whole = before + data
    whole += bytes(len(whole) % 2)
    total: int = sum(struct.unpack(f">{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:place] + (~total & 0xFFFF).to_bytes(2) + data[place + 2 :]
