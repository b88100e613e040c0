"""The least time that a download can take: block by block the slower of wire and memory.

An ECU takes the next block while it programs the last one. So a block costs the larger of its own
time on the wire and the memory time of the block before it; the first block's wire time and the
last one's memory time stand alone, and so do 34 and 37. Nothing is added for thinking.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final, Protocol

from dbc import EcuDescription, WireDescription
from protocols.can import FrameHeader
from protocols.can.bits import burst_ns, frame_ns
from protocols.isotp import first_and_rest
from protocols.uds import requests

_NS: Final = 1e9
_FLOW_CONTROL: Final = b"\x30\x00\x00".ljust(8, b"\xcc")
#: TCP on Ethernet: 1460 bytes of payload take 1538 on the wire, gap and preamble included; an
#: acknowledgement with the answer takes 90. DoIP adds a header and two addresses to each message.
_MSS: Final = 1460
_WIRE_BYTES: Final = 1538
_ANSWER_WIRE_BYTES: Final = 90
_DOIP_OVERHEAD: Final = 12


class WireTime(Protocol):
    """Seconds that a request and its answer take on an otherwise idle wire."""

    def exchange_s(self, request: bytes, answer: bytes) -> float: ...


@dataclass(frozen=True, slots=True)
class CanWireTime:
    """Exact bits of every frame, flow control included; one window, no separation time."""

    wire: WireDescription
    ecu: EcuDescription

    def exchange_s(self, request: bytes, answer: bytes) -> float:
        there = self._header(self.ecu.request_id)
        back = self._header(self.ecu.response_id)
        asked = _extension(self.ecu.request_extension)
        answered = _extension(self.ecu.response_extension)
        return (
            self._message_ns(request, there, back, asked)
            + self._message_ns(answer, back, there, answered)
        ) / _NS

    def _message_ns(
        self, message: bytes, header: FrameHeader, against: FrameHeader, extension: bytes
    ) -> int:
        first, rest = first_and_rest(message, 64 if header.fd else 8, extension=extension)
        total = self._frame_ns(header, first)
        if rest:
            total += self._frame_ns(against, _FLOW_CONTROL)
            total += int(burst_ns(header, rest, **self._rates).sum())
        return total

    def _frame_ns(self, header: FrameHeader, frame: bytes) -> int:
        return frame_ns(header, frame, **self._rates)

    @property
    def _rates(self) -> dict[str, int]:
        return {"bit_rate": self.wire.bit_rate, "data_bit_rate": self.wire.data_bit_rate}

    def _header(self, identifier: int) -> FrameHeader:
        fd = self.wire.kind == "canfd"
        return FrameHeader(
            identifier,
            extended=self.ecu.extended_ids or identifier > 0x7FF,
            fd=fd,
            bit_rate_switch=fd and self.wire.data_bit_rate > 0,
        )


def _extension(byte: int | None) -> bytes:
    return b"" if byte is None else bytes([byte])


@dataclass(frozen=True, slots=True)
class DoipWireTime:
    """One TCP connection with full segments; acknowledgement and answer share a small frame."""

    bit_rate: int

    def exchange_s(self, request: bytes, answer: bytes) -> float:  # noqa: ARG002 its size is counted in _ANSWER_WIRE_BYTES
        there = (len(request) + _DOIP_OVERHEAD) / _MSS * _WIRE_BYTES
        return (there + _ANSWER_WIRE_BYTES) * 8 / self.bit_rate


class RoughWireTime:
    """As much per byte as a whole block takes: to compare downloads, not to measure them by."""

    def __init__(self, exact: WireTime, longest: bytes) -> None:
        self._per_byte_s = exact.exchange_s(longest, b"\x76\x01") / len(longest)

    def exchange_s(self, request: bytes, answer: bytes) -> float:  # noqa: ARG002 it is in the block's
        return self._per_byte_s * len(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The bound of one download, in seconds."""

    #: Per block: what it adds to the time at least.
    blocks_s: tuple[float, ...]
    #: 34, 37 and the memory time of the last block.
    serial_s: float

    @property
    def total_s(self) -> float:
        return sum(self.blocks_s) + self.serial_s


def wire_time(wire: WireDescription, ecu: EcuDescription) -> WireTime:
    return DoipWireTime(wire.bit_rate) if wire.kind == "doip" else CanWireTime(wire, ecu)


def block_size(max_block_length: int, page_size: int) -> int:
    """Data bytes per 36: whole pages, as many as fit beside service id and counter."""
    room = max_block_length - 2
    return room // page_size * page_size or room


class BoundCalculator:
    """Works the bound out one block at a time, so that a loop can do other things between."""

    def __init__(self, wire: WireTime, ecu: EcuDescription, *, address: int) -> None:
        self._wire = wire
        self._ecu = ecu
        self._address = address
        self._blocks_s: list[float] = []
        self._size = 0
        self._memory_s = 0.0

    def add(self, request: bytes, size: int | None = None) -> None:
        """The next 36, as it goes to the ECU, and the bytes of memory that come out of it."""
        on_wire_s = self._wire.exchange_s(request, bytes([0x76, request[1]]))
        self._blocks_s.append(max(on_wire_s, self._memory_s))
        before = self._size // self._ecu.page_size
        self._size += len(request) - 2 if size is None else size
        self._memory_s = (self._size // self._ecu.page_size - before) * self._ecu.program_s

    def result(self) -> Bound:
        """The bound of all blocks; the last one's memory time has its unfinished page too."""
        download = requests.request_download(self._address, self._size)
        rest = ceil(self._size / self._ecu.page_size) - self._size // self._ecu.page_size
        announced_s = self._wire.exchange_s(download, b"\x74\x40\x00\x00\xff\xff")
        exit_s = self._wire.exchange_s(requests.request_transfer_exit(), b"\x77")
        last_s = self._memory_s + rest * self._ecu.program_s
        return Bound(blocks_s=tuple(self._blocks_s), serial_s=announced_s + exit_s + last_s)
