"""The cloud as one program: store, services and server put together, started and stopped."""

import asyncio
import fcntl
import logging
import os
import random
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from sqlalchemy import Connection, func, select

from cloud.api.campaigns import CampaignService
from cloud.api.diagnostics import DiagnosticsService
from cloud.api.guard import Guard
from cloud.api.releases import ReleaseService
from cloud.api.remote import RemoteAccessService
from cloud.api.reports import ReportService
from cloud.api.vehicles import VehicleService
from cloud.management.grpc import GatewayManagement
from cloud.store import releases, tables
from cloud.store.campaigns import NewNonce
from cloud.store.changes import Changes
from cloud.store.database import Database
from cloud.store.errors import StoreError
from cloud.store.files import Files, FreeSpace
from cloud.store.now import Clock, VirtualClock, WallClock, from_microseconds
from cloud.store.recordings import Recordings
from cloud.store.store import Store
from cloud.transfer.grpc import GatewayTransfer
from protocols.fleet.v1 import (
    campaigns_pb2_grpc,
    diagnostics_pb2_grpc,
    gateway_pb2_grpc,
    releases_pb2_grpc,
    remote_access_pb2_grpc,
    reports_pb2_grpc,
    vehicles_pb2_grpc,
)

_log = logging.getLogger(__name__)

VIRTUAL_START: Final = datetime(2026, 6, 1, 8, tzinfo=UTC)
NONCE_LENGTH: Final = 32
#: Seconds that calls under way get to end when the server stops.
_GRACE_S: Final = 1.0
#: Services of `fleet.v1`, for health and reflection.
SERVICES: Final = tuple(
    f"fleet.v1.{name}"
    for name in (
        "VehicleService",
        "ReleaseService",
        "CampaignService",
        "DiagnosticsService",
        "RemoteAccessService",
        "ReportService",
        "GatewayService",
    )
)
#: Calls at once, of one connection and of all; the next is RESOURCE_EXHAUSTED.
_CALLS_LIMIT: Final = 1000
_SERVER_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.max_concurrent_streams", _CALLS_LIMIT),
    # A vehicle that left coverage holds nothing for longer than this.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    # Two clouds on one port would each get half of the calls.
    ("grpc.so_reuseport", 0),
)


_Health: TypeAlias = Any  # the asyncio servicer, which the stubs of grpc_health leave out


class CloudError(Exception):
    """The cloud cannot start; the message names the address or directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudOptions:
    #: Where everything is kept; made if it is not there.
    state_directory: Path
    host: str = "127.0.0.1"
    #: 0 takes a free one.
    port: int = 0
    #: True: the date is the newest one that any caller told in `canota-time-us`.
    virtual_clock: bool = False
    start_date: datetime = VIRTUAL_START
    #: Makes nonces repeatable; None draws them from the system.
    seed: int | None = None
    #: Seconds until a vehicle shall check in again.
    poll_s: float = 30.0
    #: A SQLAlchemy URL in place of the SQLite file in `state_directory`.
    database_url: str | None = None
    #: How many bytes may still be stored; None asks the file system.
    free_space: FreeSpace | None = None


class GatewayService(GatewayManagement, GatewayTransfer, gateway_pb2_grpc.GatewayServiceServicer):
    """Both halves of what a gateway calls."""

    def __init__(self, store: Store, *, poll_s: float, new_nonce: NewNonce) -> None:
        GatewayManagement.__init__(self, store, poll_s=poll_s, new_nonce=new_nonce)
        GatewayTransfer.__init__(self, store)


class Cloud:
    """One running cloud; all its calls belong to the loop that started it."""

    def __init__(self, options: CloudOptions) -> None:
        self._options = options
        self._running: _Running | None = None

    @property
    def port(self) -> int:
        """The port it listens on; `CloudError` unless it runs."""
        if self._running is None:
            raise CloudError("the cloud does not run")
        return self._running.port

    @property
    def target(self) -> str:
        """What a client connects to."""
        return f"{self._options.host}:{self.port}"

    async def start(self) -> int:
        """Open the store, bring it up to date and serve; return the port.

        `CloudError` names the address or the directory that cannot be had.
        """
        if self._running is not None:
            raise CloudError("the cloud runs already")
        options = self._options
        lock = _lock(options.state_directory)
        try:
            store = await _open_store(options)
        except BaseException:
            os.close(lock)
            raise
        # Its threaded twin holds a thread of the loop's pool for every watch, for ever.
        checks: _Health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # see _Health
        try:
            for name in ("", *SERVICES):
                await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
            remote = RemoteAccessService(store, Recordings(options.state_directory / "remote"))
            server = _server(options, store, checks, remote)
            port = _bind(server, options)
            await server.start()
        except BaseException:
            await store.database.close()
            os.close(lock)
            raise
        self._running = _Running(
            server=server, checks=checks, store=store, remote=remote, lock=lock, port=port
        )
        _log.info("cloud-started target=%s", self.target)
        return port

    async def stop(self) -> None:
        """End watches, let short calls finish, close the store; again is no harm."""
        if (running := self._running) is None:
            return
        self._running = None
        running.store.changes.close()
        await running.remote.close()
        await running.checks.enter_graceful_shutdown()
        await running.server.stop(_GRACE_S)
        await running.store.database.close()
        os.close(running.lock)

    async def wait(self) -> None:
        """Return when the server has stopped."""
        if self._running is not None:
            await self._running.server.wait_for_termination()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    server: aio.Server
    checks: _Health
    store: Store
    remote: RemoteAccessService
    lock: int
    port: int


class CloudThread:
    """A cloud on a real loop in a thread of its own, for programs that have another loop."""

    def __init__(self, options: CloudOptions) -> None:
        self._cloud = Cloud(options)
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None

    @property
    def target(self) -> str:
        """What a client connects to; `CloudError` unless it runs."""
        return self._cloud.target

    def start(self) -> int:
        """Return the port once the cloud serves; raises what `Cloud.start` raised."""
        if self._thread is not None:
            raise CloudError("the cloud runs already")
        self._started.clear()
        self._error = None
        self._thread = threading.Thread(target=self._run, name="canota-cloud", daemon=True)
        self._thread.start()
        self._started.wait()
        self._raise_error()
        return self._cloud.port

    def stop(self) -> None:
        """Return when the cloud has stopped and its thread has ended."""
        if self._thread is None:
            return
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._join()
        self._raise_error()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _raise_error(self) -> None:
        if self._error is not None:
            self._join()
            raise self._error

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 handed to the thread that started this one
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with self._cloud:
            self._started.set()
            await self._stopping.wait()


async def _open_store(options: CloudOptions) -> Store:
    url = options.database_url or f"sqlite:///{options.state_directory / 'canota.db'}"
    database = Database(url)
    try:
        files = Files.local(options.state_directory / "objects", free_space=options.free_space)
        await database.open()
        for name in await files.sweep(await database.read(releases.file_hashes)):
            _log.info("orphan-swept name=%s", name)
        clock = await _clock(options, database)
    except (StoreError, OSError) as error:
        await database.close()
        raise CloudError(f"{options.state_directory}: {error}") from error
    return Store(database=database, files=files, clock=clock, changes=Changes())


async def _clock(options: CloudOptions, database: Database) -> Clock:
    if not options.virtual_clock:
        return WallClock()
    clock = VirtualClock(options.start_date)
    newest_us = await database.read(_newest_us)
    if newest_us is not None:
        clock.seen(from_microseconds(newest_us))
    return clock


def _newest_us(connection: Connection) -> int | None:
    """Return the newest date that was kept: virtual time goes on where it stood."""
    columns = (
        tables.vehicle.c.last_seen_us,
        tables.campaign.c.created_us,
        tables.assignment.c.updated_us,
        tables.release.c.created_us,
    )
    found = [connection.execute(select(func.max(column))).scalar() for column in columns]
    return max((value for value in found if value is not None), default=None)


def _new_nonce(seed: int | None) -> NewNonce:
    """Nonces depend on seed, campaign and vehicle alone, so a run repeats after any restart."""
    if seed is None:
        return lambda _campaign_id, _vin: secrets.token_bytes(NONCE_LENGTH)
    return lambda campaign_id, vin: random.Random(  # noqa: S311 repeatable on purpose: a seed was given
        f"{seed}/{campaign_id}/{vin}"
    ).randbytes(NONCE_LENGTH)


def _server(
    options: CloudOptions, store: Store, checks: _Health, remote: RemoteAccessService
) -> aio.Server:
    server = aio.server(
        interceptors=[Guard(store.clock)],
        options=_SERVER_OPTIONS,
        maximum_concurrent_rpcs=_CALLS_LIMIT,
    )
    new_nonce = _new_nonce(options.seed)
    vehicles_pb2_grpc.add_VehicleServiceServicer_to_server(VehicleService(store), server)
    releases_pb2_grpc.add_ReleaseServiceServicer_to_server(ReleaseService(store), server)
    campaigns_pb2_grpc.add_CampaignServiceServicer_to_server(
        CampaignService(store, new_nonce=new_nonce), server
    )
    diagnostics_pb2_grpc.add_DiagnosticsServiceServicer_to_server(DiagnosticsService(store), server)
    reports_pb2_grpc.add_ReportServiceServicer_to_server(
        ReportService(
            store, clock="virtual" if options.virtual_clock else "real", seed=options.seed
        ),
        server,
    )
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(
        GatewayService(store, poll_s=options.poll_s, new_nonce=new_nonce), server
    )
    remote_access_pb2_grpc.add_RemoteAccessServiceServicer_to_server(remote, server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection(
        (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    return server


def _bind(server: aio.Server, options: CloudOptions) -> int:
    address = f"{options.host}:{options.port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise CloudError(f"{address}: cannot listen there, is the port taken?") from error
    if port == 0:
        raise CloudError(f"{address}: cannot listen there")
    return port


def _lock(directory: Path) -> int:
    """Take the directory for this process until the descriptor is closed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise CloudError(f"{directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise CloudError(f"{directory}: another cloud uses it") from error
    return descriptor
