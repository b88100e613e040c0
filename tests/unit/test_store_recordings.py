"""Recordings of remote sessions: messages with their times, bounded, and hashed."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud.store.recordings import Recording, RecordingFullError, Recordings
from protocols.doip.messages import DiagnosticMessage, encode

AT = datetime(2026, 6, 1, 8, tzinfo=UTC)
ASKED = encode(
    DiagnosticMessage(source_address=0x0E80, target_address=0x1010, user_data=b"\x22\xf1\x90")
)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_messages_are_recorded_whole_whatever_pieces_they_come_in(tmp_path: Path) -> None:
    recording = Recordings(tmp_path).begin("V", "one")
    for number in range(len(ASKED)):
        time = AT + timedelta(milliseconds=number)
        recording.data(time, 1, "vehicle", ASKED[number : number + 1])
    length, digest = recording.close()
    (line,) = lines_of(tmp_path / "V" / "one.jsonl")
    assert line == {
        "time": "2026-06-01T08:00:00.014000Z",
        "connection": 1,
        "to": "vehicle",
        "type": "DiagnosticMessage",
        "source_address": "0E80",
        "target_address": "1010",
        "user_data": "22f190",
    }
    content = b"".join(Recordings(tmp_path).read("V", "one"))
    assert (length, digest) == (len(content), hashlib.sha256(content).digest())
    assert list(Recordings(tmp_path).read("V", "two")) == []


def test_what_is_not_doip_is_recorded_as_it_came(tmp_path: Path) -> None:
    recording = Recordings(tmp_path).begin("V", "one")
    recording.data(AT, 1, "vehicle", b"GET / HTTP")
    recording.data(AT, 1, "vehicle", b"/1.1")
    recording.data(AT, 1, "tester", ASKED)
    recording.data(AT, 2, "vehicle", ASKED)
    recording.close()
    found = [(line["type"], line.get("data")) for line in lines_of(tmp_path / "V" / "one.jsonl")]
    assert found == [
        ("fault", None),
        ("raw", b"GET / HTTP".hex()),
        ("raw", b"/1.1".hex()),
        ("DiagnosticMessage", None),
        ("DiagnosticMessage", None),
    ]


def test_a_recording_ends_before_it_grows_beyond_its_bound(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "one.jsonl", most_bytes=1000)

    def record_without_end() -> None:
        while True:
            recording.data(AT, 1, "vehicle", ASKED)

    with pytest.raises(RecordingFullError, match="1000 bytes"):
        record_without_end()
    length, _ = recording.close()
    assert 500 < length == (tmp_path / "one.jsonl").stat().st_size <= 1000
