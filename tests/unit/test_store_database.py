"""The database: its schema, its transactions, and how it says that something is wrong."""

import asyncio
import hashlib
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, text

from cloud.fleet.releases import AnnouncedFile
from cloud.store import migrate, tables
from cloud.store.database import Database
from cloud.store.errors import StoreDamagedError, StoreError, StoreFullError
from cloud.store.files import Files
from tests.support.cloud import on_a_loop


def test_the_migrations_make_the_tables_that_the_code_sees(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        made = set(inspect(connection).get_table_names())
    engine.dispose()
    assert made == {*tables.metadata.tables, "alembic_version"}


def test_a_database_that_is_up_to_date_stays_as_it_is(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    migrate.upgrade(engine)
    before = (tmp_path / "a.db").read_bytes()
    migrate.upgrade(engine)
    engine.dispose()
    assert (tmp_path / "a.db").read_bytes() == before


def _count(connection: Connection) -> int:
    found: int = connection.execute(text("SELECT count(*) FROM vehicle")).scalar_one()
    return found


def _insert(connection: Connection, vin: str, *, fail: bool = False) -> None:
    connection.execute(tables.vehicle.insert(), {"vin": vin, "model": "", "created_us": 0})
    if fail:
        raise ValueError(vin)


@on_a_loop
async def test_a_transaction_is_kept_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    await database.open()
    with pytest.raises(ValueError, match="lost"):
        await database.write(_insert, "lost", fail=True)
    await asyncio.gather(*(database.write(_insert, f"kept {number}") for number in range(20)))
    assert await database.read(_count) == 20
    await database.close()


@on_a_loop
async def test_what_is_acknowledged_is_on_disk_and_only_passing_words_are_not(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    await database.open()

    def synchronous(connection: Connection) -> object:
        return connection.exec_driver_sql("PRAGMA synchronous").scalar_one()

    for write, level in ((database.write, 2), (database.write_passing, 1), (database.write, 2)):
        assert await write(synchronous) == level
    await database.close()


@on_a_loop
async def test_a_full_database_is_a_full_store_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    await database.open()

    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        try:
            for number in range(100):
                connection.execute(
                    tables.vehicle.insert(),
                    {"vin": f"{number}", "model": "x" * 4000, "created_us": 0},
                )
        finally:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")

    with pytest.raises(StoreFullError, match=r"a\.db"):
        await database.write(fill)
    assert await database.read(_count) == 0
    await database.write(_insert, "after")
    assert await database.read(_count) == 1
    await database.close()


@on_a_loop
async def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is not a database, it is a letter" * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StoreError, match=r"a\.db"):
        await database.open()
    await database.close()


@on_a_loop
async def test_a_file_that_was_damaged_on_disk_is_not_sent_as_if_it_were_whole(
    tmp_path: Path,
) -> None:
    files = Files.local(tmp_path)
    digest = bytes(32)
    path = tmp_path / "files" / digest.hex()
    path.parent.mkdir()
    path.write_bytes(b"x" * 10)
    for size, missing in ((20, False), (10, True)):
        if missing:
            path.unlink()
        with pytest.raises(StoreDamagedError, match=digest.hex()):
            async for _ in files.read(digest, size=size, offset=0, chunk_size=100):
                pass


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]


@pytest.mark.parametrize("size", [900_000, 3_000_000])
@on_a_loop
async def test_a_file_that_the_operating_system_has_no_room_for_says_so(
    size: int, tmp_path: Path
) -> None:
    content = bytes(size)
    file = AnnouncedFile(
        hardware_id="A", file_name="a.bin", size=size, sha256=hashlib.sha256(content).digest()
    )
    files = Files.local(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(StoreFullError, match=r"a\.bin was not kept"):
            await files.receive(file, _pieces(content), key="1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await files.receive(file, _pieces(content), key="2") == "uploads/2"
