"""Runs of frames in a log are their frames one by one, whatever else comes between."""

from io import BytesIO

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.can import FrameHeader, Payloads
from recording import CanFrame, Channel, EthernetFrame, Record
from recording.formats import LogFormat, formats
from recording.recorder import merged
from recording.records import CanRun

START_NS = 1_800_000_000_000_000_000
CLASSIC, FAST = FrameHeader(0x7A0), FrameHeader(0x18DA1020, extended=True, fd=True)


@st.composite
def runs(draw: st.DrawFn, channel: int) -> CanRun:
    length, count = draw(st.integers(1, 8)), draw(st.integers(1, 9))
    last = draw(st.integers(1, length))
    data = draw(st.binary(min_size=(count - 1) * length + last, max_size=count * length))
    payloads = Payloads(data, length)
    steps = st.lists(st.integers(1, 20), min_size=len(payloads), max_size=len(payloads))
    first = START_NS + draw(st.integers(0, 100))
    stamps = (first + np.cumsum(draw(steps), dtype=np.int64)).data
    return CanRun(stamps, channel, draw(st.sampled_from((CLASSIC, FAST))), payloads)


singles = st.lists(
    st.integers(0, 300).map(lambda at: EthernetFrame(START_NS + at, 9, bytes(20))), max_size=9
)


@settings(deadline=None)
@given(singles=singles, several=st.lists(st.integers(0, 2).flatmap(runs), max_size=4))
def test_what_is_merged_is_every_record_in_the_order_of_stamps(
    singles: list[Record], several: list[CanRun]
) -> None:
    singles.sort(key=lambda record: record[0])
    parts = list(merged(singles, several))
    whole = [record for part in parts for record in part]
    every = [*singles, *(frame for run in several for frame in run)]
    assert [record[0] for record in whole] == sorted(record[0] for record in every)
    assert sorted(map(repr, whole)) == sorted(map(repr, every))


@settings(deadline=None)
@given(run=runs(0))
def test_a_run_that_nothing_comes_between_is_left_whole(run: CanRun) -> None:
    before: Record = EthernetFrame(run.stamps_ns[0], 9, b"")
    after: Record = EthernetFrame(run.stamps_ns[-1] + 1, 9, b"")
    assert list(map(len, merged([before, after], [run]))) == [1, len(run), 1]


def written(form: LogFormat, records: list[CanFrame] | CanRun) -> bytes:
    file = BytesIO()
    writer = form.write(file, (Channel(name="can"),), START_NS)
    writer.write(records)
    assert writer.size >= len(file.getvalue())
    return file.getvalue()


@settings(deadline=None)
@given(run=runs(0))
def test_the_bytes_of_a_run_are_those_of_its_frames(run: CanRun) -> None:
    form = formats()["pcapng"]
    assert written(form, run) == written(form, list(run))
