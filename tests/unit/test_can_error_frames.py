import pytest

from protocols.can.error_frames import in_words


@pytest.mark.parametrize(
    ("identifier", "data", "words"),
    [
        (0x001, b"", "transmission timed out"),
        (0x002, bytes([5]), "arbitration lost"),
        (0x020, bytes(8), "no acknowledgement"),
        (0x040, bytes(8), "bus-off"),
        (0x004, bytes([0, 0x30]), "receive error passive, transmit error passive"),
        (0x004, bytes([0, 0x01]), "receive buffer overflow"),
        (0x004, bytes(8), "controller"),
        (0x008, bytes([0, 0, 0x04]), "stuff error, protocol violation"),
        (0x088, bytes([0, 0, 0x82, 0x08]), "bus error, form error, while sending, CRC error"),
        (0x200, bytes([0, 0, 0, 0, 0, 0, 128, 7]), "transmit errors 128, receive errors 7"),
        (0x100, bytes(8), "controller restarted"),
        (0, bytes(8), "error class 0x0"),
        (0x1000, bytes(64), "error class 0x1000"),
    ],
)
def test_an_error_frame_is_told_in_words(identifier: int, data: bytes, words: str) -> None:
    assert in_words(identifier, data) == words
