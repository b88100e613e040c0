"""The wireless link between a gateway and its cloud: when a byte leaves and when it arrives.

`profiles` is the table of links, `model` what one of them does to a byte stream. Both are pure:
the date, in seconds since the link began, is an argument, and whatever is left to chance follows
from a seed alone. A TCP proxy in real time and a gateway's calls in virtual time ask the same
model, and so meet the same outages at the same moments.
"""

from protocols.link.model import NEVER, Connected, Counts, Coverage, Link, Outage, Sent, Way
from protocols.link.profiles import PROFILES, Profile, Radio, UnknownProfileError, profile_named

__all__ = [
    "NEVER",
    "PROFILES",
    "Connected",
    "Counts",
    "Coverage",
    "Link",
    "Outage",
    "Profile",
    "Radio",
    "Sent",
    "UnknownProfileError",
    "Way",
    "profile_named",
]
