"""Whatever a tester asks about data and memory, there is an answer or silence, and no leak."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ecu_sim.diagnostics import Respond, SendUnsegmented
from protocols.uds import Session
from tests.support.data import DATA, IMAGE, KEYS, RAM, SIZE, DataBench

_SERVICES = [0x22, 0x23, 0x24, 0x2A, 0x2C, 0x2E, 0x2F, 0x35, 0x36, 0x37, 0x3D]
_DIDS = st.sampled_from(
    [0x0100, 0x0102, 0x0180, 0x0181, 0x0200, 0x0201, 0xF190, 0xF201, 0xF210, 0xF300, 0xF301]
).map(lambda did: did.to_bytes(2))
_ADDRESSES = st.builds(
    lambda start, offset: (start + offset).to_bytes(4),
    st.sampled_from([RAM, IMAGE, KEYS]),
    st.integers(-2, SIZE),
)
_RANGES = st.builds(
    lambda address, size: b"\x14" + address + size, _ADDRESSES, st.binary(min_size=1, max_size=1)
)
_PIECES = st.one_of(
    _DIDS,
    _RANGES,
    st.binary(max_size=6),
    st.sampled_from([b"\x01", b"\x02", b"\x03", b"\x01\x01", b"\x00"]),
)
_REQUESTS = st.builds(
    lambda service, pieces: bytes([service]) + b"".join(pieces),
    st.sampled_from(_SERVICES),
    st.lists(_PIECES, max_size=5),
)
_STEPS = st.lists(
    st.tuples(
        _REQUESTS | st.sampled_from([b"\x10\x03", b"\x10\x01", b"\x3e\x80"]),
        st.booleans(),
        st.sampled_from([0.0, 0.05, 0.9, 6.0]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=_STEPS, level=st.sampled_from([0, 1, 3]))
def test_any_request_is_answered_or_met_with_silence(
    steps: list[tuple[bytes, bool, float]], level: int
) -> None:
    bench = DataBench()
    bench.ask("1003")
    if level:
        bench.unlock(level)
    for request, functional, pause_s in steps:
        events = bench.tell(request, functional=functional)
        for _, event in [(0.0, event) for event in events] + bench.run(pause_s):
            if isinstance(event, SendUnsegmented):
                assert 1 <= len(event.payload) <= 8
            else:
                assert isinstance(event, Respond)
                assert 0 < len(event.payload) <= 256
                assert event.payload[0] in {0x7F, 0x50, request[0] + 0x40}
    # Only what its row lets be written was written, and only by its own level.
    assert all(RAM <= at < RAM + SIZE for at in bench.memory.cells)
    assert not bench.memory.cells or level == 3
    assert bench.device.data[0x0200] == b"\x00\x05" or level == 3
    if bench.session() == Session.DEFAULT:
        assert bench.channels.overridden == {}
        assert bench.run(10.0) == []


@settings(max_examples=100, deadline=None)
@given(steps=_STEPS, level=st.sampled_from([1, 3]))
def test_no_way_leads_to_the_keys(steps: list[tuple[bytes, bool, float]], level: int) -> None:
    bench = DataBench()
    secret = bytes.fromhex("c0ffee") * 4
    bench.memory.cells |= {KEYS + at: secret[at % 12] for at in range(SIZE)}
    bench.ask("1003")
    bench.unlock(level)
    for request, functional, pause_s in steps:
        events = bench.tell(request, functional=functional)
        for _, event in [(0.0, event) for event in events] + bench.run(pause_s):
            if isinstance(event, Respond | SendUnsegmented) and event.payload[0] != 0x7D:
                assert b"\xc0\xff\xee" not in event.payload or b"\xc0\xff\xee" in request


@settings(max_examples=100, deadline=None)
@given(
    definitions=st.lists(
        st.builds(
            lambda did, parts: b"\x2c\x01" + did + b"".join(parts),
            st.sampled_from([b"\xf3\x00", b"\xf3\x01", b"\xf3\x02", b"\xf2\x10"]),
            st.lists(
                st.builds(
                    lambda did, position, size: did + bytes([position, size]),
                    _DIDS,
                    st.integers(0, 20),
                    st.integers(0, 20),
                ),
                min_size=1,
                max_size=6,
            ),
        ),
        max_size=30,
    )
)
def test_definitions_stay_within_their_limits(definitions: list[bytes]) -> None:
    rules = DATA.dynamic
    assert rules is not None
    bench = DataBench()
    bench.ask("1003")
    for definition in definitions:
        bench.tell(definition)
    records = [
        bench.ask(b"\x22" + did) for did in (b"\xf3\x00", b"\xf3\x01", b"\xf3\x02", b"\xf2\x10")
    ]
    defined = [record for record in records if record.startswith("62")]
    assert len(defined) <= rules.limit
    assert all(len(record) // 2 - 3 <= rules.max_record for record in defined)
