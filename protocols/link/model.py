"""What a wireless link does to byte streams: rate, delay, loss, outages and resets.

Time is in seconds since the link began and never goes back. A stream loses nothing: a segment that
is lost is sent again, takes its share of the rate again, and holds up what follows it (RFC 9293,
3.8.1: retransmission). TCP's congestion window is not modelled: a sender uses the whole rate.
"""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from protocols.link.profiles import Profile, Radio

NEVER: Final = math.inf
#: Payload of a full TCP segment within 1500 bytes with options, rounded down.
SEGMENT: Final = 1400
#: RFC 6298, 2.4 asks for a second; stacks take 0.2 s as the least retransmission timeout.
LEAST_RTO_S: Final = 0.2
#: A segment that is lost so often in a row gets through: streams break by resets alone.
_MOST_LOSSES: Final = 6
#: Outages that are remembered: hours of the worst link.
_MOST_KNOWN: Final = 4096
_MASK: Final = (1 << 64) - 1


class Chance:
    """Numbers between 0 and 1 that follow from a seed and a name: the n-th is always the same."""

    def __init__(self, seed: int, name: str) -> None:
        self._key = int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:16], 16)

    def at(self, number: int) -> float:
        """The number's share of 1, evenly spread (SplitMix64's mixing of a counter)."""
        mixed = (self._key + (number + 1) * 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)

    def between(self, number: int, low: float, high: float) -> float:
        return low + (high - low) * self.at(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A stretch without coverage: from `start_s` up to, but not with, `end_s`."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


class Coverage:
    """When the link is there. Questions may go back in time, by hours and not for ever."""

    def __init__(self, profile: Profile, *, seed: int) -> None:
        self._profile = profile
        self._chance = Chance(seed, f"{profile.name}/coverage")
        self._known: list[Outage] = []
        #: Number of the first that is known.
        self._first = 0

    def outages(self, now_s: float) -> Iterator[Outage]:
        """The outage that holds `now_s`, if one does, and all that follow, without end."""
        while not self._known or self._known[-1].end_s <= now_s:
            self._draw()
        number = self._first + bisect_right(self._known, now_s, key=lambda outage: outage.end_s)
        while True:
            while number >= self._first + len(self._known):
                self._draw()
            yield self._known[number - self._first]
            number += 1

    def outage_at(self, now_s: float) -> Outage | None:
        """The outage that holds `now_s`; None with coverage."""
        outage = next(self.outages(now_s))
        return outage if outage.start_s <= now_s else None

    def after(self, start_s: float, busy_s: float) -> float:
        """When `busy_s` seconds of coverage are over that begin at `start_s` or later."""
        for outage in self.outages(start_s):
            if start_s + busy_s <= outage.start_s:
                break
            busy_s -= max(0.0, outage.start_s - start_s)
            start_s = max(start_s, outage.end_s)
        return start_s + busy_s

    def _draw(self) -> None:
        """The next outage of all; of very many the oldest are forgotten."""
        last_s = self._known[-1].end_s if self._known else 0.0
        chance, twice = self._chance, 2 * (self._first + len(self._known))
        start_s = last_s + chance.between(twice, *self._profile.covered_s)
        end_s = start_s + chance.between(twice + 1, *self._profile.outage_s)
        self._known.append(Outage(start_s=start_s, end_s=end_s))
        if len(self._known) > _MOST_KNOWN:
            del self._known[: _MOST_KNOWN // 2]
            self._first += _MOST_KNOWN // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What becomes of bytes that were given to the link."""

    #: The last of them is on the air: the sender may give it more.
    leaves_s: float
    #: The last of them is at the other end.
    arrives_s: float


@dataclass(slots=True, kw_only=True)
class Counts:
    """Bytes of one direction."""

    #: Given to the link by senders.
    sent: int = 0
    #: Sent on the air, with what had to be sent again.
    on_air: int = 0


class Way:
    """One direction. Its connections share its rate in the order in which they send."""

    def __init__(self, name: str, radio: Radio, coverage: Coverage, *, seed: int) -> None:
        self._radio = radio
        self._coverage = coverage
        self._losses = Chance(seed, f"{name}/losses")
        self._jitters = Chance(seed, f"{name}/jitter")
        self._lost = self._sendings = 0
        self._free_s = 0.0
        self.counts = Counts()

    def send(self, length: int, *, now_s: float, behind_s: float = 0.0) -> Sent:
        """Give the link `length` bytes; what its stream sent before arrives at `behind_s`."""
        on_air, held_up_s = 0, 0.0
        for at in range(0, length, SEGMENT):
            losses = self._losses_of_one()
            on_air += min(SEGMENT, length - at) * (1 + losses)
            # Each loss is found out after a timeout that doubles (RFC 6298, 5.5).
            held_up_s = max(held_up_s, self._rto_s() * (2**losses - 1))
        start_s = max(now_s, self._free_s)
        self._free_s = self._coverage.after(start_s, on_air / self._radio.bytes_per_s)
        self.counts.sent += length
        self.counts.on_air += on_air
        delay_s = self._radio.delay_s + self._jitters.between(
            self._sendings, 0.0, self._radio.jitter_s
        )
        self._sendings += 1
        arrives_s = max(behind_s, self._free_s + delay_s + held_up_s)
        return Sent(leaves_s=self._free_s, arrives_s=arrives_s)

    def _losses_of_one(self) -> int:
        losses = 0
        while losses < _MOST_LOSSES:
            lost = self._losses.at(self._lost) < self._radio.loss
            self._lost += 1
            if not lost:
                break
            losses += 1
        return losses

    def _rto_s(self) -> float:
        return max(LEAST_RTO_S, 2 * (self._radio.delay_s + self._radio.jitter_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A connection over the link."""

    number: int
    #: Its handshake is done.
    open_s: float
    #: It is reset then, if nobody closes it before; `NEVER` where the link resets none.
    reset_s: float


@dataclass(slots=True)
class Link:
    """One link from its beginning at 0 s."""

    profile: Profile
    seed: int
    coverage: Coverage = field(init=False)
    up: Way = field(init=False)
    down: Way = field(init=False)
    connections: int = field(default=0, init=False)
    _lives: Chance = field(init=False)

    def __post_init__(self) -> None:
        name, seed = self.profile.name, self.seed
        self.coverage = Coverage(self.profile, seed=seed)
        self.up = Way(f"{name}/up", self.profile.up, self.coverage, seed=seed)
        self.down = Way(f"{name}/down", self.profile.down, self.coverage, seed=seed)
        self._lives = Chance(seed, f"{name}/lives")

    def connect(self, *, now_s: float) -> Connected:
        """Open a connection: SYN, SYN-ACK and ACK, each as long on its way as a segment."""
        up_s, down_s = self.profile.up.delay_s, self.profile.down.delay_s
        number = self.connections
        self.connections += 1
        # The last ACK travels with the first bytes.
        open_s = self.coverage.after(now_s, up_s + down_s)
        life_s = -self.profile.life_s * math.log(1.0 - self._lives.at(number))
        return Connected(
            number=number, open_s=open_s, reset_s=min(open_s + life_s, self._given_up(now_s))
        )

    def _given_up(self, now_s: float) -> float:
        """When an outage has lasted so long that a connection that is there at `now_s` is reset."""
        patience_s = self.profile.reset_after_s
        if self.profile.outage_s[1] <= patience_s:
            return NEVER
        resets = (
            reset_s
            for outage in self.coverage.outages(now_s)
            if (reset_s := max(outage.start_s, now_s) + patience_s) < outage.end_s
        )
        return next(resets)
