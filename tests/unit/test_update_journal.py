import errno
import logging
import os
import resource
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vehicle_gateway.update import Inventory, ReadBack
from vehicle_gateway.update.journal import Entry, Journal, JournalError, Kind, sync_folder
from vehicle_gateway.update.records import from_json, to_json

ENTRIES = (
    Entry(kind=Kind.STAGING, ecu="ccu", time_us=5),
    Entry(kind=Kind.VERIFIED, ecu="ccu", time_us=6, fields={"verified": 8192}),
    Entry(kind=Kind.FAILED, ecu="ccu", time_us=7, fields={"step": "a", "cause": 'b "c"\n'}),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "state" / "journal.jsonl"
    with Journal(found) as journal:
        for entry in ENTRIES:
            journal.append(entry)
    return found


def test_entries_are_read_back_as_they_were_written(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.entries == ENTRIES


def test_a_line_cut_off_anywhere_is_dropped_and_writing_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = path.read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    for length in range(last + 1, len(whole)):
        path.write_bytes(whole[:length])
        with caplog.at_level(logging.WARNING), Journal(path) as journal:
            assert journal.entries == ENTRIES[:2]
            journal.append(ENTRIES[2])
        assert path.read_bytes() == whole
    assert "journal_tail_dropped" in caplog.text


def test_a_tail_of_zeros_is_dropped(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(512))
    with Journal(path) as journal:
        assert journal.entries == ENTRIES
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", [1, 2])
def test_damage_before_a_sound_line_is_an_error_that_names_file_and_line(
    path: Path, line: int
) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b"ccu", b"cCu")
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match=rf"journal.jsonl: line {line}: damaged"):
        Journal(path)


def test_a_missing_line_is_an_error(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(JournalError, match="line 2: entry 2 where 1 belongs"):
        Journal(path)


def test_an_archived_journal_is_put_away_and_an_empty_one_begins(path: Path) -> None:
    with Journal(path) as journal:
        journal.reserve()
        journal.archive(path.parent / "updates")
        assert journal.entries == ()
        journal.append(ENTRIES[0])
    assert (path.parent / "updates" / "00000001.jsonl").exists()
    assert not path.with_suffix(".reserve").exists()
    with Journal(path) as journal:
        assert journal.entries == ENTRIES[:1]


def test_the_newest_archived_journals_are_kept(path: Path) -> None:
    folder = path.parent / "updates"
    with Journal(path) as journal:
        for _ in range(25):
            journal.append(Entry(kind=Kind.FINISHED))
            journal.archive(folder)
    kept = sorted(found.stem for found in folder.iterdir())
    assert kept == [f"{number:08d}" for number in range(6, 26)]


class FullDisk(Journal):
    """A journal on a disk that takes `room` more bytes, and what the reserve gives back."""

    room = 0

    def _write(self, line: bytes, *, sync: bool) -> None:
        room = self.room + (10_000 if not self._reserve.exists() else 0)
        if len(line) > room:
            os.write(self._file, line[: len(line) // 2])
            os.ftruncate(self._file, self._end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super()._write(line, sync=sync)


def test_the_reserve_carries_an_update_over_a_disk_that_fills_up(path: Path) -> None:
    with FullDisk(path) as journal:
        journal.reserve()
        journal.append(Entry(kind=Kind.COMMIT))
    with Journal(path) as journal:
        assert journal.entries[-1].kind is Kind.COMMIT


def test_a_full_disk_is_named_and_the_entry_does_not_count(path: Path) -> None:
    device = Path("/dev/full")
    with Journal(path) as journal:
        handle = os.dup(journal._file)  # noqa: SLF001 the one way to a disk that is full
        full = os.open(device, os.O_RDWR)
        os.dup2(full, journal._file)  # noqa: SLF001 as above
        os.close(full)
        with pytest.raises(JournalError, match=r"journal.jsonl: the disk is full"):
            journal.append(Entry(kind=Kind.COMMIT))
        assert journal.entries == ENTRIES
        os.dup2(handle, journal._file)  # noqa: SLF001 as above
        os.close(handle)
        journal.append(Entry(kind=Kind.COMMIT))
    with Journal(path) as journal:
        assert len(journal.entries) == 4


def test_values_survive_json_with_their_types() -> None:
    inventory = Inventory(
        ecu="ccu", read_back=ReadBack(nonce=b"\0\1", image_sha256=b"\2", signature=b"")
    )
    assert from_json(Inventory, to_json(inventory)) == inventory
    assert from_json(Inventory, to_json(Inventory(ecu="x"))) == Inventory(ecu="x")


@pytest.mark.parametrize("value", [{"ecu": 5}, {"ecu": "x", "read_back": {"nonce": "zz"}}, {}])
def test_values_of_another_shape_are_refused(value: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json(Inventory, value)


def _open_files() -> set[str]:
    found = os.listdir("/proc/self/fd")  # noqa: PTH208 the names are numbers
    return {one for one in found if Path(f"/proc/self/fd/{one}").is_symlink()}


class Disk:
    """What was synced, by its name, and how much of a file was there by then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[tuple[str, int]] = []
        sync = os.fsync

        def note(handle: int) -> None:
            name = Path(f"/proc/self/fd/{handle}").readlink().name
            found = os.fstat(handle)
            self.synced.append((name, 0 if stat.S_ISDIR(found.st_mode) else found.st_size))
            sync(handle)

        monkeypatch.setattr(os, "fsync", note)


@pytest.fixture
def disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:  # noqa: ARG001 written before
    return Disk(monkeypatch)


def test_an_entry_is_on_the_disk_when_append_returns_and_a_hint_need_not_be(
    path: Path, disk: Disk
) -> None:
    with Journal(path) as journal:
        assert disk.synced == [("state", 0)]  # the file itself survives a cut
        disk.synced.clear()
        journal.append(ENTRIES[0])
        assert disk.synced == [("journal.jsonl", path.stat().st_size)]
        journal.append(ENTRIES[1], sync=False)
        assert len(disk.synced) == 1


def test_the_end_of_a_line_that_was_cut_off_is_gone_from_the_disk(path: Path, disk: Disk) -> None:
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"0000")
    with Journal(path):
        assert disk.synced == [("journal.jsonl", whole), ("state", 0)]


def test_what_is_put_away_and_what_begins_survive_a_cut(path: Path, disk: Disk) -> None:
    with Journal(path) as journal:
        disk.synced.clear()
        journal.archive(path.parent / "updates")
    assert disk.synced == [("updates", 0), ("state", 0)]


def test_the_reserve_is_on_the_disk_before_it_is_counted_on(path: Path, disk: Disk) -> None:
    with Journal(path) as journal:
        disk.synced.clear()
        journal.reserve()
    assert disk.synced == [("journal.reserve", 256 * 1024)]


def test_a_journal_is_for_its_owner_alone_and_leaves_no_file_open(path: Path) -> None:
    handles = _open_files()
    with Journal(path) as journal:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        journal.archive(path.parent / "updates")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        (opened,) = _open_files() - handles
        assert not os.get_inheritable(int(opened))
    assert _open_files() == handles
    journal.close()  # once more does nothing
    assert _open_files() == handles


def test_a_journal_that_cannot_be_read_leaves_no_file_open(path: Path) -> None:
    path.write_bytes(b"x\n" + path.read_bytes())
    handles = _open_files()
    with pytest.raises(JournalError, match=r"journal.jsonl: line 1: damaged"):
        Journal(path)
    assert _open_files() == handles


def test_a_journal_where_none_can_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match=r"journal.jsonl: .*(directory|exists)"):
        Journal(tmp_path / "file" / "journal.jsonl")


def test_the_journals_folder_may_be_several_deep(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "journal.jsonl"
    with Journal(path) as journal:
        journal.archive(tmp_path / "c" / "d")
    assert (tmp_path / "c" / "d" / "00000001.jsonl").exists()


def test_a_line_of_an_unknown_kind_is_an_error_that_names_it(path: Path) -> None:
    text = b'{"sequence":3,"kind":"teleported","ecu":"","time_us":0}'
    with path.open("ab") as file:
        file.write(b"%08x %s\n" % (zlib.crc32(text), text))
    with pytest.raises(JournalError, match=r"line 4: 'teleported' is not a valid Kind"):
        Journal(path)


@pytest.mark.parametrize("text", [b"[1]", b"{", b"[" * 100_000])
def test_a_sound_checksum_over_something_else_is_damage_all_the_same(
    path: Path, text: bytes
) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b"%08x %s\n" % (zlib.crc32(text), text))
    with Journal(path) as journal:
        assert journal.entries == ENTRIES
    assert path.read_bytes() == whole


def test_a_line_is_its_checksum_and_its_fields(path: Path) -> None:
    first = path.read_bytes().splitlines()[1]
    text = b'{"sequence":1,"kind":"verified","ecu":"ccu","time_us":6,"_verified":8192}'
    assert first == b"%08x %s" % (zlib.crc32(text), text)


def test_what_is_in_memory_is_what_a_restart_reads(path: Path) -> None:
    with Journal(path) as journal:
        journal.append(Entry(kind=Kind.COMMIT, fields={"discards": (b"\1",)}))
        written = journal.entries
    with Journal(path) as journal:
        assert journal.entries == written
        assert written[-1].fields == {"discards": ["01"]}


def test_a_reserve_is_used_once_and_a_disk_without_one_is_full(path: Path) -> None:
    with FullDisk(path) as journal:
        journal.room = -10_000
        journal.reserve()
        for _ in range(2):  # nothing is left after the first try
            with pytest.raises(JournalError, match=r"journal.jsonl: the disk is full"):
                journal.append(Entry(kind=Kind.COMMIT))
            assert not path.with_suffix(".reserve").exists()
        assert journal.entries == ENTRIES
    with Journal(path) as journal:
        assert journal.entries == ENTRIES


def test_another_error_of_the_disk_does_not_use_the_reserve(path: Path) -> None:
    with Journal(path) as journal:
        journal.reserve()
        os.close(journal._file)  # noqa: SLF001 the one way to a disk that is gone
        handle = os.open(os.devnull, os.O_RDONLY)
        os.dup2(handle, journal._file)  # noqa: SLF001 as above
        if handle != journal._file:  # noqa: SLF001 as above
            os.close(handle)
        with pytest.raises(JournalError, match="Bad file descriptor"):
            journal.append(Entry(kind=Kind.COMMIT))
        assert path.with_suffix(".reserve").exists()


def test_no_room_for_the_reserve_is_an_error_and_leaves_none(path: Path) -> None:
    reserve = path.with_suffix(".reserve")
    reserve.symlink_to("/dev/full")
    with Journal(path) as journal, pytest.raises(JournalError, match="reserve: the disk is full"):
        journal.reserve()
    assert not reserve.is_symlink()


def test_an_archive_with_a_name_of_another_kind_is_an_error(path: Path) -> None:
    folder = path.parent / "updates"
    folder.mkdir()
    (folder / "notes.jsonl").touch()
    with Journal(path) as journal, pytest.raises(JournalError, match="notes"):
        journal.archive(folder)
    with Journal(path) as journal:
        assert journal.entries == ENTRIES


def test_the_folder_can_be_synced_again_and_again(tmp_path: Path) -> None:
    handles = _open_files()
    sync_folder(tmp_path)
    sync_folder(tmp_path)
    assert _open_files() == handles


@contextmanager
def _limited(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: a write takes what fits, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("archived", [False, True])
def test_half_a_line_is_taken_back_and_writing_goes_on_behind_the_last_whole_one(
    path: Path,
    archived: bool,  # noqa: FBT001 of the table
) -> None:
    with Journal(path) as journal:
        if archived:
            journal.archive(path.parent / "updates")
        journal.append(Entry(kind=Kind.CLEARED))
        kept, entries = path.read_bytes(), journal.entries
        with _limited(len(kept) + 10), pytest.raises(JournalError, match="the disk is full"):
            journal.append(Entry(kind=Kind.COMMIT))
        assert (path.read_bytes(), journal.entries) == (kept, entries)
        journal.append(Entry(kind=Kind.COMMIT))
    with Journal(path) as journal:
        assert [one.kind for one in journal.entries[-2:]] == [Kind.CLEARED, Kind.COMMIT]


def test_an_entry_that_cannot_be_synced_does_not_count(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(path) as journal:
        kept = path.read_bytes()
        monkeypatch.setattr(os, "fsync", _fails_to_sync)
        with pytest.raises(JournalError, match="Input/output error"):
            journal.append(Entry(kind=Kind.COMMIT))
        assert (path.read_bytes(), journal.entries) == (kept, ENTRIES)
        journal.append(Entry(kind=Kind.VERIFIED), sync=False)


def _fails_to_sync(_: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_journal_whose_disk_fails_is_an_error_and_leaves_no_file_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles = _open_files()
    monkeypatch.setattr(os, "fsync", _fails_to_sync)
    with pytest.raises(JournalError, match=r"journal.jsonl: .*Input/output error"):
        Journal(path)
    assert _open_files() == handles


def test_a_reserve_whose_folder_is_gone_is_an_error(path: Path) -> None:
    with Journal(path) as journal:
        shutil.rmtree(path.parent)
        with pytest.raises(JournalError, match=r"journal.reserve: .*No such file"):
            journal.reserve()


def test_a_first_line_that_was_cut_off_leaves_an_empty_journal(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])
    with Journal(path) as journal:
        assert journal.entries == ()
        assert path.read_bytes() == b""
