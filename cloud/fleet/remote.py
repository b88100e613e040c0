"""Remote sessions: who may reach a vehicle's edge node by way of the cloud, why and how long."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

from cloud.fleet.errors import InvalidFieldError

LONGEST: Final = timedelta(hours=4)
_TEXT_LIMIT: Final = 1024


class RemoteState(IntEnum):
    """Numbers as in fleet.v1."""

    WAITING = 1
    OPEN = 2
    ENDED = 3


class RemoteScope(IntEnum):
    """Numbers as in fleet.v1."""

    READ = 1
    FULL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSession:
    vin: str
    session_id: str
    operator: str
    purpose: str
    scope: RemoteScope
    create_time: datetime
    expire_time: datetime
    #: SHA-256 of what the tester proves itself with; the gateway gets its own token as it is.
    tester_sha256: bytes
    vehicle_token: bytes
    state: RemoteState = RemoteState.WAITING
    vehicle_time: datetime | None = None
    tester_time: datetime | None = None
    end_time: datetime | None = None
    end_reason: str = ""
    bytes_to_vehicle: int = 0
    bytes_from_vehicle: int = 0
    recording_bytes: int = 0
    recording_sha256: bytes = b""


def check_duration(duration: timedelta, *, field: str) -> timedelta:
    """Return it; `InvalidFieldError` unless it is above 0 and at most `LONGEST`."""
    if not timedelta() < duration <= LONGEST:
        raise InvalidFieldError(
            field, f"{duration.total_seconds():g} s; above 0, at most {LONGEST.total_seconds():g} s"
        )
    return duration


def check_words(text: str, *, field: str) -> str:
    """Return what the audit needs; `InvalidFieldError` if it says nothing."""
    if not text.strip():
        raise InvalidFieldError(field, "is empty; who and why belong to every session")
    if len(text) > _TEXT_LIMIT or not text.isprintable():
        raise InvalidFieldError(field, f"printable text of at most {_TEXT_LIMIT} characters")
    return text


def at(session: RemoteSession, now: datetime) -> RemoteSession:
    """The session as it stands now: its time may be over."""
    if session.state is RemoteState.ENDED or now < session.expire_time:
        return session
    return replace(
        session,
        state=RemoteState.ENDED,
        end_time=session.expire_time,
        end_reason="its time was over",
    )
