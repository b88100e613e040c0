"""Remote sessions."""

from datetime import datetime

from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import remote_session_name
from cloud.fleet.remote import RemoteScope, RemoteSession
from cloud.messages.times import to_duration, to_timestamp
from protocols.fleet.v1 import remote_access_pb2


def to_session(session: RemoteSession) -> remote_access_pb2.RemoteSession:
    return remote_access_pb2.RemoteSession(
        name=remote_session_name(session.vin, session.session_id),
        state=remote_access_pb2.RemoteSessionState.ValueType(session.state),
        operator=session.operator,
        purpose=session.purpose,
        scope=remote_access_pb2.RemoteScope.ValueType(session.scope),
        create_time=to_timestamp(session.create_time),
        expire_time=to_timestamp(session.expire_time),
        vehicle_time=to_timestamp(session.vehicle_time),
        tester_time=to_timestamp(session.tester_time),
        end_time=to_timestamp(session.end_time),
        end_reason=session.end_reason,
        bytes_to_vehicle=session.bytes_to_vehicle,
        bytes_from_vehicle=session.bytes_from_vehicle,
        recording_bytes=session.recording_bytes,
        recording_sha256=session.recording_sha256,
    )


def to_session_offer(
    session: RemoteSession, *, now: datetime
) -> remote_access_pb2.RemoteSessionOffer:
    return remote_access_pb2.RemoteSessionOffer(
        name=remote_session_name(session.vin, session.session_id),
        scope=remote_access_pb2.RemoteScope.ValueType(session.scope),
        vehicle_token=session.vehicle_token,
        remaining=to_duration((session.expire_time - now).total_seconds()),
    )


def from_scope(number: int, *, field: str) -> RemoteScope:
    try:
        return RemoteScope(number)
    except ValueError as error:
        raise InvalidFieldError(field, f"{number} is neither READ nor FULL") from error
