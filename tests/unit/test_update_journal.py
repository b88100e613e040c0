import errno
import logging
import os
from pathlib import Path

import pytest

from vehicle_gateway.update import Inventory, ReadBack
from vehicle_gateway.update.journal import Entry, Journal, JournalError, Kind
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
