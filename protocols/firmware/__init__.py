"""Firmware as bytes: file formats (Intel HEX, VBF, ELF, ...) and the containers inside them.

A *format* says where bytes go (`formats`); a *container* is what stands at that address and what a
boot loader checks before it starts it (`containers`). Both are pure: bytes in, values out.
"""


class FirmwareError(Exception):
    """A firmware file or image that breaks its own rules; the message says where."""
