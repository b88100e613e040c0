"""Timestamps and durations."""

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from cloud.fleet.errors import InvalidFieldError
from cloud.store.now import from_microseconds, microseconds


def to_timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    seconds, rest_us = divmod(microseconds(moment), 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest_us * 1000)


def from_timestamp(message: Timestamp, *, field: str) -> datetime:
    """Return the date to the microsecond; `InvalidFieldError` outside of the years 1 to 9999."""
    try:
        return from_microseconds(message.seconds * 1_000_000 + message.nanos // 1000)
    except OverflowError as error:
        raise InvalidFieldError(field, f"{message.seconds} s is no date") from error


def to_duration(seconds: float) -> Duration:
    whole, rest = divmod(round(seconds * 1_000_000_000), 1_000_000_000)
    return Duration(seconds=whole, nanos=rest)


def from_duration(message: Duration, *, field: str) -> timedelta:
    try:
        return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError as error:
        raise InvalidFieldError(field, f"{message.seconds} s is no duration") from error
