"""Text in the fixed fields of headers: ASCII, filled with NUL."""

from protocols.firmware.containers import ContainerError


def encode_text(text: str, size: int, name: str) -> bytes:
    if not text.isascii() or "\0" in text or len(text) > size:
        raise ContainerError(f"{name}: {text!r} does not fit {size} ASCII characters")
    return text.encode("ascii").ljust(size, b"\0")


def decode_text(field: bytes, name: str) -> str:
    text = field.rstrip(b"\0")
    if not text.isascii() or b"\0" in text:
        raise ContainerError(f"{name}: not ASCII: {field.hex(' ')}")
    return text.decode("ascii")


def version_text(numbers: tuple[int, int, int, int]) -> str:
    """major, minor, revision, build as "2.0.0", with "+build" where there is one."""
    major, minor, revision, build = numbers
    text = f"{major}.{minor}.{revision}"
    return f"{text}+{build}" if build else text
