"""Pages of listings: sizes, and tokens that say where to go on."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from cloud.fleet.errors import InvalidFieldError

DEFAULT_SIZE: Final = 100
MAX_SIZE: Final = 1000
#: What keys look like: VINs, row numbers, pairs of row numbers.
_KEY: Final = re.compile(r"[A-Z0-9]{1,20}(:[0-9]{1,20})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    size: int
    #: Key of the last item of the page before; None on the first page.
    after: str | None


def page_request(page_size: int, page_token: str, *, listing: str) -> PageRequest:
    """Return what a listing was asked for; `InvalidFieldError` names size or token."""
    if page_size < 0:
        raise InvalidFieldError("page_size", f"{page_size} is negative")
    return PageRequest(
        size=min(page_size or DEFAULT_SIZE, MAX_SIZE),
        after=_key(page_token, listing) if page_token else None,
    )


def page_token(next_key: str | None, *, listing: str) -> str:
    if next_key is None:
        return ""
    return base64.urlsafe_b64encode(f"{listing}/{next_key}".encode()).decode()


def _key(token: str, listing: str) -> str:
    try:
        text = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidFieldError("page_token", f"{token!r} did not come from here") from error
    owner, _, key = text.partition("/")
    if owner != listing or not _KEY.fullmatch(key):
        raise InvalidFieldError("page_token", f"{token!r} is not of {listing}")
    return key
