from pathlib import Path

import pytest

from vehicle_gateway.outbox import Outbox, OutboxError


def test_messages_are_kept_in_order_over_a_restart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put("snapshot", "a-before", b"1")
    outbox.put("report", "a", b"2")
    again = Outbox(tmp_path / "outbox")
    assert [(one.kind, again.read(one)) for one in again.waiting()] == [
        ("snapshot", b"1"),
        ("report", b"2"),
    ]


def test_the_same_message_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put("report", "a", b"1")
    outbox.put("snapshot", "b", b"2")
    outbox.put("report", "a", b"3")
    assert [outbox.read(one) for one in outbox.waiting()] == [b"3", b"2"]


def test_what_is_delivered_is_gone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.delivered(outbox.put("report", "a", b"1"))
    assert outbox.waiting() == ()


def test_beyond_its_capacity_the_oldest_snapshot_goes_and_reports_stay(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, capacity=3)
    outbox.put("report", "r", b"")
    for key in "abcd":
        outbox.put("snapshot", key, b"")
    assert [one.key for one in outbox.waiting()] == ["r", "c", "d"]


def test_a_half_written_message_is_none(tmp_path: Path) -> None:
    (tmp_path / "00000001.report.a.part~").write_bytes(b"half")
    assert Outbox(tmp_path).waiting() == ()


def test_a_full_disk_is_named_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "00000001.report.a.part~").symlink_to("/dev/full")
    with pytest.raises(OutboxError, match=r"00000001.report.a: the disk is full"):
        Outbox(tmp_path).put("report", "a", b"1")
