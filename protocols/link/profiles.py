"""The links there are. Orders of magnitude of what a telematics unit sees, not a measurement."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


class UnknownProfileError(ValueError):
    """No link has this name; the message lists those there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """One direction of a link while there is coverage."""

    bytes_per_s: int
    #: Seconds from one end to the other at least, and what chance adds to them at most.
    delay_s: float
    jitter_s: float
    #: Share of the segments that have to be sent again.
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A link: its two directions, and when it is not there."""

    name: str
    #: In words, for people.
    summary: str
    up: Radio
    down: Radio
    #: Shortest and longest stretch with coverage, in seconds; evenly spread between them.
    covered_s: tuple[float, float]
    #: Shortest and longest outage, in seconds; evenly spread between them.
    outage_s: tuple[float, float]
    #: An outage that lasts longer resets every connection, so many seconds after it began.
    reset_after_s: float
    #: Mean seconds until a connection is reset out of the blue (a new cell, a NAT that forgets).
    life_s: float


_ALL: Final = (
    Profile(
        name="lte",
        summary="LTE on a good day",
        up=Radio(bytes_per_s=1_000_000, delay_s=0.025, jitter_s=0.015, loss=0.0005),
        down=Radio(bytes_per_s=2_500_000, delay_s=0.025, jitter_s=0.015, loss=0.0005),
        covered_s=(600.0, 1800.0),
        outage_s=(0.5, 4.0),
        reset_after_s=20.0,
        life_s=7200.0,
    ),
    Profile(
        name="3g",
        summary="UMTS on a country road",
        up=Radio(bytes_per_s=48_000, delay_s=0.06, jitter_s=0.04, loss=0.003),
        down=Radio(bytes_per_s=250_000, delay_s=0.06, jitter_s=0.04, loss=0.003),
        covered_s=(200.0, 900.0),
        outage_s=(1.0, 25.0),
        reset_after_s=20.0,
        life_s=1800.0,
    ),
    Profile(
        name="edge",
        summary="EDGE at the border of a cell",
        up=Radio(bytes_per_s=12_500, delay_s=0.3, jitter_s=0.2, loss=0.01),
        down=Radio(bytes_per_s=25_000, delay_s=0.3, jitter_s=0.2, loss=0.01),
        covered_s=(60.0, 400.0),
        outage_s=(2.0, 40.0),
        reset_after_s=20.0,
        life_s=900.0,
    ),
    Profile(
        name="parking-garage",
        summary="two floors under ground, one bar now and then",
        up=Radio(bytes_per_s=6_000, delay_s=0.4, jitter_s=0.6, loss=0.05),
        down=Radio(bytes_per_s=16_000, delay_s=0.4, jitter_s=0.6, loss=0.05),
        covered_s=(20.0, 90.0),
        outage_s=(10.0, 120.0),
        reset_after_s=20.0,
        life_s=600.0,
    ),
    Profile(
        name="tunnel",
        summary="LTE on a road with a tunnel behind every bend",
        up=Radio(bytes_per_s=500_000, delay_s=0.04, jitter_s=0.03, loss=0.002),
        down=Radio(bytes_per_s=1_250_000, delay_s=0.04, jitter_s=0.03, loss=0.002),
        covered_s=(5.0, 30.0),
        outage_s=(3.0, 45.0),
        reset_after_s=8.0,
        life_s=3600.0,
    ),
)
#: By name, in the order of the help texts.
PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({one.name: one for one in _ALL})


def profile_named(name: str) -> Profile:
    """The profile of that name; `UnknownProfileError` lists them."""
    try:
        return PROFILES[name]
    except KeyError:
        known = ", ".join(PROFILES)
        raise UnknownProfileError(f"{name!r}: no such link; there are {known}") from None
