"""N_PDUs as bytes (ISO 15765-2, 9.6 "Network layer protocol data units").

All lengths here are without the address extension byte; `endpoint` puts it before a frame and
takes it off.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from protocols.can.payloads import Payloads
from protocols.isotp.errors import FrameFormatError, ParameterError
from protocols.isotp.parameters import FRAME_LENGTHS

#: FF_DL above which the 32-bit escape is used.
MAX_SHORT_LENGTH: Final = 0xFFF
MAX_LENGTH: Final = 0xFFFF_FFFF

#: First bytes of consecutive frames, by sequence number.
CF_CYCLE: Final = bytes(range(0x20, 0x30))


class FlowStatus(IntEnum):
    CONTINUE_TO_SEND = 0
    WAIT = 1
    OVERFLOW = 2


@dataclass(frozen=True, slots=True)
class SingleFrame:
    message: bytes


@dataclass(frozen=True, slots=True)
class FirstFrame:
    #: FF_DL: bytes of the whole message.
    length: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ConsecutiveFrame:
    sequence_number: int
    #: Padding included.
    data: bytes


@dataclass(frozen=True, slots=True)
class FlowControl:
    #: As received: values above 2 are reserved and end the sender's message.
    status: int
    block_size: int
    st_min_s: float


Frame = SingleFrame | FirstFrame | ConsecutiveFrame | FlowControl


def decode(frame: bytes, *, data_length: int | None = None) -> Frame:
    """One N_PDU; `FrameFormatError` for what the standard tells a receiver to ignore.

    `data_length` is the CAN_DL, where that is not `len(frame)` (an address extension).
    """
    length = len(frame)
    if not length:
        raise FrameFormatError("an empty frame is no N_PDU")
    pci = frame[0]
    match pci >> 4:
        case 0x2:
            return ConsecutiveFrame(pci & 0xF, frame[1:])
        case 0x0:
            return _single(frame, data_length or length)
        case 0x1 if length >= 7:  # CAN_DL 8 at least, less one byte of address extension
            return _first(frame, data_length or length)
        case 0x3 if length >= 3:
            return FlowControl(pci & 0xF, frame[1], st_min_seconds(frame[2]))
        case _:
            raise FrameFormatError(f"not an N_PDU: {frame.hex(' ')}")


def _single(frame: bytes, data_length: int) -> SingleFrame:
    short = frame[0] & 0xF
    if data_length <= 8:
        # A frame below 8 bytes is as short as its content: padding always fills up to 8.
        if 0 < short < len(frame) and (data_length == 8 or short == len(frame) - 1):
            return SingleFrame(frame[1 : 1 + short])
    elif short == 0 and _escaped_minimum(frame, data_length) <= frame[1] <= len(frame) - 2:
        return SingleFrame(frame[2 : 2 + frame[1]])
    raise FrameFormatError(f"SingleFrame with a wrong SF_DL: {frame.hex(' ')}")


def _escaped_minimum(frame: bytes, data_length: int) -> int:
    """Least SF_DL that needs the escape: one less with an address extension (9.6.2)."""
    return 8 - (data_length - len(frame))


def _first(frame: bytes, data_length: int) -> FirstFrame:
    length = (frame[0] & 0xF) << 8 | frame[1]
    start = 2
    if length == 0:
        length = int.from_bytes(frame[2:6], "big")
        start = 6
        if length <= MAX_SHORT_LENGTH:
            raise FrameFormatError(f"FirstFrame with an escape for {length} bytes")
    if data_length < 8 or length <= single_frame_limit(len(frame)):
        raise FrameFormatError(f"FirstFrame for {length} bytes that a SingleFrame carries")
    return FirstFrame(length, frame[start:])


def single_frame_limit(room: int) -> int:
    """Bytes that a single frame with `room` bytes (CAN_DL less address extension) carries."""
    return room - 1 if room <= 8 else room - 2


def st_min_seconds(code: int) -> float:
    """STmin in seconds; reserved codes count as the longest, 127 ms (9.6.5.5)."""
    if code <= 0x7F:
        return code / 1000
    if 0xF1 <= code <= 0xF9:
        return (code - 0xF0) / 10_000
    return 0.127


def flow_control(status: FlowStatus, *, block_size: int, st_min: int) -> bytes:
    return bytes((0x30 | status, block_size, st_min))


def single_frame(message: bytes, tx_data_length: int, extension: bytes = b"") -> bytes | None:
    """The frame that carries `message` alone, extension included; None if it is too long."""
    length = len(message)
    if length <= 7 - len(extension):
        return extension + bytes((length,)) + message
    if tx_data_length > 8 and length <= tx_data_length - 2 - len(extension):
        return extension + bytes((0, length)) + message
    return None


def first_frame(message: bytes, room: int) -> bytes:
    """The frame that opens `message`, always full."""
    length = len(message)
    if length <= MAX_SHORT_LENGTH:
        return (0x1000 | length).to_bytes(2, "big") + message[: room - 2]
    if length > MAX_LENGTH:
        raise ParameterError(f"a message of {length} bytes does not fit 32 bits")
    return b"\x10\x00" + length.to_bytes(4, "big") + message[: room - 6]


def first_frame_room(length: int, room: int) -> int:
    """Message bytes that the first frame of a message of `length` bytes carries."""
    return room - (2 if length <= MAX_SHORT_LENGTH else 6)


def consecutive_frames(
    message: bytes,
    start: int,
    stop: int,
    *,
    room: int,
    sequence_number: int,
    padding: int | None,
    extension: bytes,
) -> Payloads:
    """The frames that carry `message[start:stop]`, from `sequence_number` on, as they go out.

    `stop` is the end of the message or of one of its frames. Only the last frame may be padded.
    """
    step = room - 1
    whole = (stop - start) // step
    length = room + len(extension)
    numbers = (CF_CYCLE * (whole // 16 + 2))[sequence_number : sequence_number + whole + 1]
    frames = np.empty((whole, length), dtype=np.uint8)
    if extension:
        frames[:, 0] = extension[0]
    frames[:, len(extension)] = np.frombuffer(numbers, dtype=np.uint8, count=whole)
    content = np.frombuffer(message, dtype=np.uint8, count=whole * step, offset=start)
    frames[:, len(extension) + 1 :] = content.reshape(whole, step)
    rest = message[start + whole * step : stop]
    last = pad(extension + numbers[-1:] + rest, padding) if rest else b""
    return Payloads(frames.tobytes() + last, length)


def pad(frame: bytes, padding: int | None) -> bytes:
    """`frame` filled up to a length that CAN has: to 8 at least if padding is asked for."""
    length = len(frame)
    if length >= 8 or padding is None:
        target = next(allowed for allowed in FRAME_LENGTHS if allowed >= length)
    else:
        target = 8
    if target == length:
        return frame
    return frame + bytes((0xCC if padding is None else padding,)) * (target - length)


def segment(
    message: bytes, tx_data_length: int, *, padding: int | None = 0xCC, extension: bytes = b""
) -> list[bytes]:
    """All frames of `message` as they go on the wire, flow control left out."""
    first, rest = first_and_rest(message, tx_data_length, padding=padding, extension=extension)
    return [first, *rest]


def first_and_rest(
    message: bytes, tx_data_length: int, *, padding: int | None = 0xCC, extension: bytes = b""
) -> tuple[bytes, Payloads]:
    """`segment` for bounds: the first or only frame, and the consecutive frames of one window."""
    single = single_frame(message, tx_data_length, extension)
    if single is not None:
        return pad(single, padding), Payloads(b"", tx_data_length)
    room = tx_data_length - len(extension)
    rest = consecutive_frames(
        message,
        first_frame_room(len(message), room),
        len(message),
        room=room,
        sequence_number=1,
        padding=padding,
        extension=extension,
    )
    return extension + first_frame(message, room), rest
