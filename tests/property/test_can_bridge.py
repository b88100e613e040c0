from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from protocols.can import FrameHeader
from protocols.can.bridge import (
    BridgeDecoder,
    BridgeError,
    Frames,
    Listen,
    Open,
    Opened,
    Record,
    Refused,
    Send,
    Sent,
    encode,
)

numbers = st.integers(0, 0xFFFF_FFFF)
names = st.text(max_size=20)
classic_headers = st.integers(0, 0x7FF).map(FrameHeader)
fd_headers = st.integers(0, 0x1FFF_FFFF).map(
    lambda identifier: FrameHeader(identifier, extended=True, fd=True, bit_rate_switch=True)
)
bursts = st.tuples(
    classic_headers, st.lists(st.binary(max_size=8), min_size=1, max_size=30).map(tuple)
) | st.tuples(
    fd_headers,
    st.lists(
        st.sampled_from((0, 8, 12, 64)).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
        min_size=1,
        max_size=10,
    ).map(tuple),
)
records: st.SearchStrategy[Record] = (
    st.builds(Open, wire=names, node=names, version=st.integers(0, 255))
    | st.builds(Opened, bit_rate=numbers, data_bit_rate=numbers)
    | st.builds(Refused, st.text(max_size=100))
    | st.builds(Listen, st.none() | st.lists(classic_headers | fd_headers, max_size=9).map(tuple))
    | st.tuples(numbers, bursts).map(lambda pair: Send(pair[0], *pair[1]))
    | st.builds(Sent, numbers)
    | bursts.map(lambda burst: Frames(*burst))
)


@given(sent=st.lists(records, max_size=6), cuts=st.lists(st.integers(1, 50), min_size=1))
def test_records_survive_a_stream_however_it_is_cut(sent: list[Record], cuts: list[int]) -> None:
    stream = b"".join(map(encode, sent))
    decoder = BridgeDecoder()
    received: list[Record] = []
    at, turn = 0, 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        received += decoder.receive(stream[at : at + step])
        at, turn = at + step, turn + 1
    assert received == sent


@given(data=st.binary(max_size=60) | st.binary(max_size=20).map(lambda b: b"\0\0\0\x0a" + b))
def test_any_bytes_are_records_or_a_bridge_error(data: bytes) -> None:
    with suppress(BridgeError):
        BridgeDecoder().receive(data)
