"""A trouble code's letter form is read back as it is shown, and anything else is a `ValueError`."""

from typing import Final

from fuzz import Harness
from protocols.uds.dtc import display, parse


def prove(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        code = parse(text)
    except ValueError:
        return
    if display(code) != text.upper():
        raise AssertionError(f"{text!r} is read as {display(code)}")


HARNESS: Final = Harness(prove=prove, seeds=(b"B1A01-00", b"U0140-87", b"P0000-ff"), max_length=16)
