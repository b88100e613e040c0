"""The database behind asyncio: one thread that writes, a few that read, transactions around both.

SQLite has one writer at a time anyway, so a queue of one thread costs nothing and no write ever
waits for a lock. A function given to `read` or `write` runs in a thread inside one transaction:
either all of it is kept or nothing.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from cloud.store import migrate
from cloud.store.errors import StoreError, StoreFullError

_P = ParamSpec("_P")
_T = TypeVar("_T")

READERS: Final = 3
#: Another process (a backup, a shell) may hold the file for so long, in seconds.
_BUSY_S: Final = 10


class Database:
    """Rows by transactions; `StoreError` for whatever the database says against one."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, pool_size=READERS + 1, max_overflow=0)
        self._writers = ThreadPoolExecutor(1, thread_name_prefix="canota-store-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="canota-store-read")
        if self._engine.dialect.name == "sqlite":
            _prepare_sqlite(self._engine)

    async def open(self) -> None:
        """Make or bring up to date the tables."""
        await self._run(self._writers, lambda: migrate.upgrade(self._engine))

    async def close(self) -> None:
        """Wait for what runs, then let go of every thread and connection."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writers, self._engine.dispose)
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._writers.shutdown)

    async def read(
        self,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run `work(connection, ...)` on one consistent view of the data."""

        def transaction() -> _T:
            with self._engine.connect() as connection, connection.begin():
                return work(connection, *args, **kwargs)

        return await self._run(self._readers, transaction)

    async def write(
        self,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run `work(connection, ...)` alone; on disk when this returns."""
        return await self._run(
            self._writers, partial(self._transaction, "FULL", work, *args, **kwargs)
        )

    async def write_passing(
        self,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run like `write`, without waiting for the disk: a power cut may lose the last ones.

        For what the next report overtakes anyway; a killed process loses nothing.
        """
        return await self._run(
            self._writers, partial(self._transaction, "NORMAL", work, *args, **kwargs)
        )

    def _transaction(
        self,
        synchronous: str,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        with self._engine.connect() as connection:
            writing = connection.execution_options(canota_synchronous=synchronous)
            with writing.begin():
                return work(writing, *args, **kwargs)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except OperationalError as error:
            if _is_full(error):
                raise StoreFullError(f"{self._place}: the disk is full") from error
            raise StoreError(f"{self._place}: {error.orig}") from error
        except DBAPIError as error:
            raise StoreError(f"{self._place}: {error.orig}") from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self._place}: {error}") from error

    @property
    def _place(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)


def _is_full(error: OperationalError) -> bool:
    """SQLite says SQLITE_FULL; PostgreSQL class 53, insufficient resources."""
    if isinstance(error.orig, sqlite3.OperationalError):
        return error.orig.sqlite_errorcode == sqlite3.SQLITE_FULL
    return str(getattr(error.orig, "sqlstate", "")).startswith("53")


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # The driver's own transactions begin too late; SQLAlchemy's `begin` below is in charge.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_S * 1000}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        synchronous = connection.get_execution_options().get("canota_synchronous")
        if synchronous is None:
            connection.exec_driver_sql("BEGIN")
            return
        # FULL: a report is acknowledged after its commit, and the vehicle then forgets it.
        connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
