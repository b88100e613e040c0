"""When something that failed is tried again: one policy for every client of the gateway. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

import grpc


class Remedy(Enum):
    """What helps against a failure."""

    #: It may pass by itself: again, after a pause, on from where it broke off.
    AGAIN = "again"
    #: The cloud asks to be left alone: not before the next check-in.
    LATER = "later"
    #: What has come does not fit what is there now: again, from the first byte.
    FROM_START = "from_start"
    #: The answer is no, and would be the same again.
    GIVE_UP = "give_up"


#: Every status of gRPC but OK, which is no failure.
GRPC_REMEDIES: Final[Mapping[grpc.StatusCode, Remedy]] = MappingProxyType(
    {
        grpc.StatusCode.UNAVAILABLE: Remedy.AGAIN,
        grpc.StatusCode.DEADLINE_EXCEEDED: Remedy.AGAIN,
        grpc.StatusCode.ABORTED: Remedy.AGAIN,
        # A stream that was reset on its way, or a server that ends: who cancels here asks no more.
        grpc.StatusCode.CANCELLED: Remedy.AGAIN,
        # A mistake of the cloud, which may be mended; the tries are bounded.
        grpc.StatusCode.INTERNAL: Remedy.AGAIN,
        grpc.StatusCode.UNKNOWN: Remedy.AGAIN,
        grpc.StatusCode.RESOURCE_EXHAUSTED: Remedy.LATER,
        grpc.StatusCode.OUT_OF_RANGE: Remedy.FROM_START,
        grpc.StatusCode.DATA_LOSS: Remedy.FROM_START,
        grpc.StatusCode.INVALID_ARGUMENT: Remedy.GIVE_UP,
        grpc.StatusCode.NOT_FOUND: Remedy.GIVE_UP,
        grpc.StatusCode.ALREADY_EXISTS: Remedy.GIVE_UP,
        grpc.StatusCode.PERMISSION_DENIED: Remedy.GIVE_UP,
        grpc.StatusCode.UNAUTHENTICATED: Remedy.GIVE_UP,
        grpc.StatusCode.FAILED_PRECONDITION: Remedy.GIVE_UP,
        grpc.StatusCode.UNIMPLEMENTED: Remedy.GIVE_UP,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Tries of one thing, and the pauses between them: doubled each time, up to a longest."""

    #: Failures in a row that brought nothing, and failures at all.
    tries: int = 5
    most_failures: int = 200
    first_s: float = 0.5
    longest_s: float = 30.0

    def pause_s(self, failures: int, chance: float) -> float:
        """Seconds before the next try after so many failures in a row.

        `chance` lies between 0 and 1 and decides on half of it, so that a fleet spreads.
        """
        whole = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 32))
        return whole * (0.5 + 0.5 * chance)


@dataclass(slots=True, kw_only=True)
class Attempts:
    """One thing that is tried: it counts its failures and knows when there were enough."""

    policy: RetryPolicy
    #: Failures at all, and in a row without progress.
    failures: int = 0
    idle: int = 0

    def failed(self, remedy: Remedy, *, progressed: bool, chance: float) -> float | None:
        """Seconds until the next try, None: no more of them for now."""
        self.failures += 1
        self.idle = 0 if progressed else self.idle + 1
        if remedy is not Remedy.AGAIN or self.failures >= self.policy.most_failures:
            return None
        if self.idle >= self.policy.tries:
            return None
        return self.policy.pause_s(max(1, self.idle), chance)
