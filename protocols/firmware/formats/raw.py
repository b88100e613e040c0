"""Raw binary: the bytes as they stand; the address is told apart from the file."""

from protocols.firmware.formats import MAX_SPAN, Content, FormatError, Image


class Raw:
    name = "raw binary"
    suffixes = (".bin", ".img", ".raw")
    carries_address = False
    in_lines = False

    def recognizes(self, data: bytes) -> bool:
        """Whether there is anything at all: every byte string is a raw image."""
        return bool(data)

    def content(self, data: bytes) -> Content:
        return Content(segments=(self.decode(data),))

    def decode(self, data: bytes) -> Image:
        if not data:
            raise FormatError("the file is empty")
        if len(data) > MAX_SPAN:
            raise FormatError(f"{len(data)} bytes are more than {MAX_SPAN}")
        return Image(address=0, data=bytes(data))

    def encode(self, image: Image) -> bytes:
        return image.data


FORMAT = Raw()
