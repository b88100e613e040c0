"""The driver's consent: what is asked, what can be answered, and the port to whoever asks.

An answer names the question that it answers. A question's id is made from the offer's nonce and the
release's SHA-256, so an answer to another release, or to an earlier offer, is none.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from vehicle_gateway.update.offer import Notice, Offer, release_sha256


class Choice(Enum):
    ACCEPTED = "accepted"
    #: Ask again at a given time.
    DEFERRED = "deferred"
    #: Final: this release is not offered to the driver again.
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    id: str
    release: str
    version: str
    release_sha256: bytes
    notice: Notice | None
    #: Each condition that the vehicle has to meet, for the driver to read.
    conditions: tuple[str, ...]
    #: Seconds in which ECUs do not do their work, by the computed bound.
    out_of_use_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    question: str
    release_sha256: bytes
    choice: Choice
    #: Of `DEFERRED`: Unix time in microseconds.
    defer_until_us: int = 0


class Consent(Protocol):
    """Where the driver is asked. Coroutines may be cancelled at any point."""

    async def ask(self, question: Question) -> Answer:
        """Show it until it is answered; an answer to anything else does not come back.

        The same question again is shown again, and its earlier answer does not count any more.
        """

    def close(self) -> None:
        """Show nothing any more."""

    def denied(self, release_sha256: bytes) -> bool:
        """Whether the driver has denied this release for good."""

    def deny(self, release_sha256: bytes) -> None:
        """Remember it for good; `OSError` if that cannot be."""


def question_id(offer: Offer) -> str:
    """16 hexadecimal digits: one question for one offer of one release."""
    return hashlib.sha256(b"canota consent\0" + offer.nonce + release_sha256(offer)).hexdigest()[
        :16
    ]
