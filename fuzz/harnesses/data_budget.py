"""A file of counted bytes gives counts that are no less than nothing, or is called damaged."""

from fuzz import Harness
from vehicle_gateway.calls.budget import decode


def prove(data: bytes) -> None:
    used = decode(data)
    for name, counts in (used or {}).items():
        if counts.sent < 0 or counts.received < 0:
            raise AssertionError(f"{name}: {counts}")


HARNESS = Harness(
    prove=prove,
    seeds=(
        b'{"day 2026-06-01": [12, 3456], "campaign campaigns/a": [0, 1]}',
        b"{",
        b"[]",
        b"[" * 9,
    ),
)
