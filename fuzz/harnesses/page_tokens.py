"""Any text for a page token leads where one of the cloud does, or is an `InvalidFieldError`."""

from contextlib import suppress
from typing import Final

from cloud.api.pages import page_request, page_token
from cloud.fleet.errors import InvalidFieldError
from fuzz import Harness

_LISTING: Final = "vehicles"


def prove(data: bytes) -> None:
    token = data.decode("utf-8", "replace")
    with suppress(InvalidFieldError):
        found = page_request(0, token, listing=_LISTING)
        given = page_token(found.after, listing=_LISTING)
        if page_request(0, given, listing=_LISTING) != found:
            raise AssertionError(f"{token!r} leads to {found.after}, {given!r} elsewhere")


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        page_token("WCANHVAC000000001", listing=_LISTING).encode(),
        page_token("12:34", listing=_LISTING).encode(),
        page_token("1", listing="releases").encode(),
    ),
    max_length=128,
)
