"""RemoteAccessService: remote sessions, and the tunnel between a tester and a vehicle."""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from grpc import aio

from cloud.api.pages import page_request, page_token
from cloud.fleet.errors import InvalidFieldError, NotFoundError, PreconditionError
from cloud.fleet.names import remote_session_name, remote_session_of, vin_of
from cloud.fleet.remote import RemoteSession, RemoteState, check_duration, check_words
from cloud.messages.remote import from_scope, to_session
from cloud.messages.times import from_duration, to_timestamp
from cloud.store import remote_sessions
from cloud.store.errors import StoreError
from cloud.store.now import VirtualClock
from cloud.store.recordings import Recording, RecordingFullError, Recordings
from cloud.store.store import Store
from protocols.fleet.v1 import remote_access_pb2
from protocols.fleet.v1.remote_access_pb2 import (
    ConnectTesterRequest,
    ConnectTesterResponse,
    ConnectVehicleRequest,
    ConnectVehicleResponse,
    TunnelEnd,
    TunnelFrame,
    TunnelHello,
    TunnelReady,
)
from protocols.fleet.v1.remote_access_pb2_grpc import RemoteAccessServiceServicer

_log = logging.getLogger(__name__)

_SESSIONS: Final = "remoteSessions"
_TOKEN_LENGTH: Final = 32
#: Frames on their way to one end; whoever sends more waits.
_QUEUE: Final = 8
_MOST_DATA: Final = 64 * 1024
#: Connections of one session at once.
_MOST_CONNECTIONS: Final = 4
#: Seconds in which the first message has to come.
_HELLO_S: Final = 10.0

_Context = aio.ServicerContext[object, object]
_Request = TypeVar("_Request", ConnectTesterRequest, ConnectVehicleRequest)


@dataclass(slots=True)
class _End:
    """One end of a tunnel, as the other sends to it."""

    #: What the end is called in recordings and reasons.
    name: str
    frames: asyncio.Queue[TunnelFrame] = field(default_factory=lambda: asyncio.Queue(_QUEUE))
    here: asyncio.Event = field(default_factory=asyncio.Event)


class _Tunnel:
    """One session while it runs; it ends once, for one reason."""

    def __init__(self, session: RemoteSession, recording: Recording) -> None:
        self.session = session
        self.recording = recording
        self.ends = {"tester": _End("tester"), "vehicle": _End("vehicle")}
        self.open: set[int] = set()
        self.bytes_to = {"vehicle": 0, "tester": 0}
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        #: The end is in the database.
        self.written = asyncio.Event()

    def end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


class RemoteAccessService(RemoteAccessServiceServicer):
    def __init__(self, store: Store, recordings: Recordings) -> None:
        self._store = store
        self._recordings = recordings
        self._tunnels: dict[tuple[str, str], _Tunnel] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End every session, and return when that is written down."""
        for tunnel in self._tunnels.values():
            tunnel.end("the cloud went down")
        await asyncio.gather(*self._running)

    async def CreateRemoteSession(  # noqa: N802 the service's word
        self,
        request: remote_access_pb2.CreateRemoteSessionRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> remote_access_pb2.CreateRemoteSessionResponse:
        vin = vin_of(request.parent, field="parent")
        operator = check_words(request.operator, field="operator")
        purpose = check_words(request.purpose, field="purpose")
        scope = from_scope(request.scope, field="scope")
        duration = check_duration(
            from_duration(request.duration, field="duration"), field="duration"
        )
        if isinstance(self._store.clock, VirtualClock):
            raise PreconditionError(
                "REAL_TIME", "remote session", "a live stream needs a cloud in real time"
            )
        now = self._store.clock.now()
        token = secrets.token_bytes(_TOKEN_LENGTH)

        def make(session_id: str) -> RemoteSession:
            return RemoteSession(
                vin=vin,
                session_id=session_id,
                operator=operator,
                purpose=purpose,
                scope=scope,
                create_time=now,
                expire_time=now + duration,
                tester_sha256=hashlib.sha256(token).digest(),
                vehicle_token=secrets.token_bytes(_TOKEN_LENGTH),
            )

        session = await self._store.database.write(remote_sessions.create, vin, make, now=now)
        _log.info(
            "remote-session-created name=%s operator=%r scope=%s purpose=%r",
            remote_session_name(vin, session.session_id),
            operator,
            scope.name,
            purpose,
        )
        self._begin(session)
        return remote_access_pb2.CreateRemoteSessionResponse(
            session=to_session(session), tester_token=token
        )

    async def GetRemoteSession(  # noqa: N802 the service's word
        self,
        request: remote_access_pb2.GetRemoteSessionRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> remote_access_pb2.RemoteSession:
        return to_session(await self._session(request.name))

    async def ListRemoteSessions(  # noqa: N802 the service's word
        self,
        request: remote_access_pb2.ListRemoteSessionsRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> remote_access_pb2.ListRemoteSessionsResponse:
        vin = vin_of(request.parent, field="parent")
        wanted = page_request(request.page_size, request.page_token, listing=_SESSIONS)
        page = await self._store.database.read(
            remote_sessions.list_page,
            vin,
            after_key=wanted.after,
            size=wanted.size,
            now=self._store.clock.now(),
        )
        return remote_access_pb2.ListRemoteSessionsResponse(
            sessions=[to_session(self._live(session)) for session in page.items],
            next_page_token=page_token(page.next_key, listing=_SESSIONS),
        )

    async def RevokeRemoteSession(  # noqa: N802 the service's word
        self,
        request: remote_access_pb2.RevokeRemoteSessionRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> remote_access_pb2.RemoteSession:
        operator = check_words(request.operator, field="operator")
        session = await self._session(request.name)
        if session.state is RemoteState.ENDED:
            return to_session(session)
        tunnel = self._tunnels.get((session.vin, session.session_id))
        if tunnel is None:  # of a cloud that was killed: nobody is connected
            return to_session(await self._write_end(session, f"revoked by {operator}", None))
        tunnel.end(f"revoked by {operator}")
        await tunnel.written.wait()
        return to_session(await self._session(request.name))

    async def DownloadRecording(  # noqa: N802 the service's word
        self,
        request: remote_access_pb2.DownloadRecordingRequest,
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> AsyncIterator[remote_access_pb2.DownloadRecordingResponse]:
        session = await self._session(request.name)
        for piece in self._recordings.read(session.vin, session.session_id):
            yield remote_access_pb2.DownloadRecordingResponse(data=piece)

    async def ConnectTester(  # noqa: N802 the service's word
        self,
        request_iterator: AsyncIterator[ConnectTesterRequest],
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> AsyncIterator[ConnectTesterResponse]:
        tunnel = await self._joined(await _hello(request_iterator), "tester")
        async for frame in self._relay(tunnel, "tester", request_iterator):
            if frame is None:
                yield ConnectTesterResponse(ready=_ready(tunnel))
            else:
                yield ConnectTesterResponse(frame=frame)

    async def ConnectVehicle(  # noqa: N802 the service's word
        self,
        request_iterator: AsyncIterator[ConnectVehicleRequest],
        context: _Context,  # noqa: ARG002 the guard has used it
    ) -> AsyncIterator[ConnectVehicleResponse]:
        tunnel = await self._joined(await _hello(request_iterator), "vehicle")
        async for frame in self._relay(tunnel, "vehicle", request_iterator):
            if frame is None:
                yield ConnectVehicleResponse(ready=_ready(tunnel))
            else:
                yield ConnectVehicleResponse(frame=frame)

    async def _session(self, name: str) -> RemoteSession:
        vin, session_id = remote_session_of(name, field="name")
        now = self._store.clock.now()
        session = await self._store.database.read(remote_sessions.get, vin, session_id, now=now)
        return self._live(session)

    def _live(self, session: RemoteSession) -> RemoteSession:
        """The session with the bytes of the tunnel that runs."""
        tunnel = self._tunnels.get((session.vin, session.session_id))
        if tunnel is None or session.state is RemoteState.ENDED:
            return session
        return _counted(session, tunnel)

    def _begin(self, session: RemoteSession) -> None:
        recording = self._recordings.begin(session.vin, session.session_id)
        tunnel = _Tunnel(session, recording)
        recording.note(session.create_time, 0, f"asked for by {session.operator}")
        self._tunnels[session.vin, session.session_id] = tunnel
        task = asyncio.create_task(self._watch(tunnel), name="remote session")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _watch(self, tunnel: _Tunnel) -> None:
        """Wait for the session's end, and write it down."""
        session = tunnel.session
        left_s = (session.expire_time - self._store.clock.now()).total_seconds()
        try:
            async with asyncio.timeout(left_s):
                reason = await asyncio.shield(tunnel.ended)
        except TimeoutError:
            reason = "its time was over"
            tunnel.end(reason)
        try:
            await self._write_end(session, reason, tunnel)
        finally:
            # Only now: until it is written, whoever asks is answered from the tunnel.
            del self._tunnels[session.vin, session.session_id]
            tunnel.written.set()
        name = remote_session_name(session.vin, session.session_id)
        _log.info("remote-session-ended name=%s reason=%r", name, reason)

    async def _write_end(
        self, session: RemoteSession, reason: str, tunnel: _Tunnel | None
    ) -> RemoteSession:
        """Have the end in the database, with what the tunnel has counted and recorded."""
        now = self._store.clock.now()
        length, digest = 0, b""
        if tunnel is not None:
            try:
                tunnel.recording.note(now, 0, f"ended: {reason}")
            except (RecordingFullError, StoreError) as error:
                _log.warning("recording-cut-short session=%s cause=%s", session.session_id, error)
            length, digest = tunnel.recording.close()

        def new(old: RemoteSession) -> RemoteSession:
            return replace(
                old if tunnel is None else _counted(old, tunnel),
                state=RemoteState.ENDED,
                end_time=now,
                end_reason=reason,
                recording_bytes=length,
                recording_sha256=digest,
            )

        return await self._store.database.write(
            remote_sessions.change, session.vin, session.session_id, new, now=now
        )

    async def _joined(self, hello: TunnelHello, side: str) -> _Tunnel:
        """The tunnel that this end belongs to; it takes each end once."""
        key = remote_session_of(hello.name, field="hello.name")
        tunnel = self._tunnels.get(key)
        if tunnel is None or tunnel.ended.done() or not _proved(tunnel.session, side, hello.token):
            # Whether it exists is no business of whoever has no token for it.
            raise NotFoundError("remote session", hello.name)
        end = tunnel.ends[side]
        if end.here.is_set():
            raise PreconditionError("ONCE", hello.name, f"its {side} is there already")
        end.here.set()
        now = self._store.clock.now()

        def new(old: RemoteSession) -> RemoteSession:
            if side == "vehicle":
                return replace(old, vehicle_time=now, state=RemoteState.OPEN)
            return replace(old, tester_time=now)

        tunnel.recording.note(now, 0, f"{side} is there")
        await self._store.database.write(remote_sessions.change, *key, new, now=now)
        return tunnel

    async def _relay(
        self,
        tunnel: _Tunnel,
        side: str,
        requests: AsyncIterator[_Request],
    ) -> AsyncIterator[TunnelFrame | None]:
        """What goes to this end: None when the tunnel is ready, then frames, to the end."""
        to = "vehicle" if side == "tester" else "tester"
        taking = asyncio.create_task(self._take(tunnel, requests, to), name=f"from {side}")
        try:
            if await _unless_ended(tunnel, tunnel.ends["vehicle"].here.wait()):
                yield None
            frames = tunnel.ends[side].frames
            while (frame := await _unless_ended(tunnel, frames.get())) is not None:
                yield frame
            reason = tunnel.ended.result()
            yield TunnelFrame(connection=0, end=TunnelEnd(reason=reason))
        finally:
            taking.cancel()
            tunnel.end(f"the {side} has left")

    async def _take(self, tunnel: _Tunnel, requests: AsyncIterator[_Request], to: str) -> None:
        """Record what one end says, and hand it to the other; no faster than that takes it."""
        reason = f"the {'tester' if to == 'vehicle' else 'vehicle'} has left"
        try:
            async for request in requests:
                if request.WhichOneof("content") != "frame":
                    raise InvalidFieldError("content", "a frame is expected")  # noqa: TRY301 one end for all
                frame = request.frame
                if frame.connection == 0:
                    reason = frame.end.reason or reason
                    break
                if not self._concerns(tunnel, frame, to):
                    continue
                self._record(tunnel, frame, to)
                await tunnel.ends[to].frames.put(frame)
        except (InvalidFieldError, RecordingFullError, StoreError) as error:
            reason = str(error)
        tunnel.end(reason)

    def _concerns(self, tunnel: _Tunnel, frame: TunnelFrame, to: str) -> bool:
        """Whether it is of a connection that is open; what crosses its end on the way is not."""
        number = frame.connection
        match frame.WhichOneof("content"):
            case "begin" if to == "vehicle" and number not in tunnel.open:
                if len(tunnel.open) >= _MOST_CONNECTIONS:
                    raise InvalidFieldError(
                        "frame.connection", f"more than {_MOST_CONNECTIONS} at once"
                    )
                tunnel.open.add(number)
            case "data" if len(frame.data) <= _MOST_DATA:
                if number not in tunnel.open:
                    return False
                tunnel.bytes_to[to] += len(frame.data)
            case "end":
                if number not in tunnel.open:
                    return False
                tunnel.open.discard(number)
            case other:
                raise InvalidFieldError("frame", f"{other} of connection {number} is out of place")
        return True

    def _record(self, tunnel: _Tunnel, frame: TunnelFrame, to: str) -> None:
        now, recording = self._store.clock.now(), tunnel.recording
        match frame.WhichOneof("content"):
            case "data":
                recording.data(now, frame.connection, to, frame.data)
            case "begin":
                recording.note(now, frame.connection, "tester connects")
            case _:
                recording.note(now, frame.connection, f"closed: {frame.end.reason or 'as usual'}")
                recording.over(frame.connection)


_T = TypeVar("_T")


async def _unless_ended(tunnel: _Tunnel, waiting: "Coroutine[object, object, _T]") -> _T | None:
    """What comes; None if the session ends before."""
    task = asyncio.ensure_future(waiting)
    either: set[asyncio.Future[Any]] = {task, tunnel.ended}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()


async def _hello(requests: AsyncIterator[_Request]) -> TunnelHello:
    async with asyncio.timeout(_HELLO_S):
        async for request in requests:
            if request.WhichOneof("content") == "hello":
                return request.hello
            break
    raise InvalidFieldError("content", "hello is expected first")


def _proved(session: RemoteSession, side: str, token: bytes) -> bool:
    if side == "vehicle":
        return hmac.compare_digest(session.vehicle_token, token)
    return hmac.compare_digest(session.tester_sha256, hashlib.sha256(token).digest())


def _ready(tunnel: _Tunnel) -> TunnelReady:
    session = tunnel.session
    return TunnelReady(
        expire_time=to_timestamp(session.expire_time),
        scope=remote_access_pb2.RemoteScope.ValueType(session.scope),
    )


def _counted(session: RemoteSession, tunnel: _Tunnel) -> RemoteSession:
    return replace(
        session,
        bytes_to_vehicle=tunnel.bytes_to["vehicle"],
        bytes_from_vehicle=tunnel.bytes_to["tester"],
    )
