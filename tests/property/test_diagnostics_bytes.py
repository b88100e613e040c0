"""Whatever bytes come, there is an answer or one of our own errors, and memory stays bounded."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecu_sim.diagnostics import Respond
from ecu_sim.diagnostics.dtc import DtcDefinition, DtcMemory, DtcMemoryError
from protocols.doip.decoder import DoipDecoder
from protocols.doip.entity import DoipEntity, EntitySettings
from protocols.doip.messages import AliveCheckRequest, RoutingActivationRequest, encode
from protocols.uds import UdsError, responses
from protocols.uds.rules import SERVERS, ServerRules
from tests.support.diagnostics import SIZE, Bench

_SERVICES = st.sampled_from(
    [0x10, 0x11, 0x14, 0x19, 0x22, 0x27, 0x28, 0x2E, 0x31, 0x34, 0x36, 0x37, 0x3E, 0x85]
)
#: Any bytes, and any bytes behind a service that exists (and a likely sub-function).
_REQUESTS = st.binary(max_size=80) | st.builds(
    lambda service, sub, rest: bytes([service, sub]) + rest,
    _SERVICES,
    st.integers(0, 0x12) | st.integers(0x80, 0x8A) | st.integers(0, 0xFF),
    st.binary(max_size=12),
)
_STEPS = st.lists(
    st.tuples(_REQUESTS, st.booleans(), st.sampled_from([0.0, 0.001, 0.1, 7.0]), st.booleans()),
    max_size=40,
)


@pytest.mark.parametrize("rules", SERVERS, ids=lambda rules: rules.name)
@settings(max_examples=60, deadline=None)
@given(steps=_STEPS)
def test_a_server_answers_anything_and_writes_nothing_while_locked(
    rules: ServerRules, steps: list[tuple[bytes, bool, float, bool]]
) -> None:
    bench = Bench(rules)
    for request, functional, pause_s, other in steps:
        source = 0x0E00 if other else 0x0F00
        events = bench.tell(request, source=source, functional=functional)
        events += [event for _, event in bench.run(pause_s)]
        for event in events:
            if isinstance(event, Respond):
                assert 0 < len(event.payload) <= 256
                assert event.payload[0] in {0x7F, *(sid + 0x40 for sid in rules.services)}
    assert bench.device.memory == b"\xff" * SIZE
    assert 0xF15A not in bench.device.data


@settings(max_examples=60, deadline=None)
@given(steps=_STEPS, seed=st.integers(0, 2**32))
def test_an_unlocked_server_stands_any_sequence_and_stays_in_its_area(
    steps: list[tuple[bytes, bool, float, bool]], seed: int
) -> None:
    bench = Bench(SERVERS[0])
    bench.ask("1003")
    bench.unlock()
    bench.ask("34004400001000000000c8")
    rng = random.Random(seed)  # noqa: S311 repeats with its seed
    for request, functional, pause_s, _ in steps:
        bench.tell(request, functional=functional)
        bench.tell(bytes([0x36, rng.randrange(6)]) + rng.randbytes(rng.randrange(70)))
        bench.run(min(pause_s, 0.1))
    assert len(bench.device.memory) == SIZE
    assert bench.device.memory[200:] == b"\xff" * (SIZE - 200)


_DECODERS: list[Callable[[bytes], object]] = [
    responses.decode_negative,
    responses.decode_session,
    responses.decode_download,
    responses.decode_dtcs,
    responses.decode_extended_data,
    lambda payload: responses.decode_snapshots(payload, {0x0101: 2, 0: 0}),
    lambda payload: responses.decode_routine(payload, 0xFF00),
    lambda payload: responses.decode_seed(payload, 1),
]


@given(
    payload=st.binary(max_size=40)
    | st.builds(
        lambda head, rest: bytes.fromhex(head) + rest,
        st.sampled_from(["50", "5902", "5904", "5906", "6701", "7101ff00", "74", "7f"]),
        st.binary(max_size=40),
    )
)
def test_a_response_is_read_or_refused_with_our_error(payload: bytes) -> None:
    for decode in _DECODERS:
        try:
            decode(payload)
        except UdsError:
            continue


@given(stored=st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\x02\x00" + rest))
def test_a_dtc_memory_takes_what_it_wrote_or_nothing(stored: bytes) -> None:
    memory = DtcMemory((DtcDefinition(code=0x9A0100),))
    try:
        memory.restore(stored)
    except DtcMemoryError:
        assert memory.status(0x9A0100) == 0x50


_STREAMS = st.lists(
    st.binary(max_size=40)
    | st.sampled_from(
        [
            encode(AliveCheckRequest()),
            encode(RoutingActivationRequest(source_address=0x0F00)),
            bytes.fromhex("02fd8001ffffffff"),
            bytes.fromhex("02fd8001000000060f0010313e00"),
        ]
    ),
    max_size=20,
)


@given(parts=_STREAMS, cuts=st.lists(st.integers(1, 30), min_size=1, max_size=10))
def test_a_doip_stream_gives_the_same_messages_in_any_pieces(
    parts: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(parts)
    whole = DoipDecoder(max_payload=100).receive(stream)
    decoder, found, at = DoipDecoder(max_payload=100), [], 0
    turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found += decoder.receive(stream[at : at + size])
        assert decoder.held <= 108
        at, turn = at + size, turn + 1
    assert found == whole


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 6), _STREAMS.map(b"".join), st.sampled_from([0.0, 0.3, 3.0])),
        max_size=30,
    )
)
def test_an_entity_stands_any_bytes_on_any_socket(
    steps: list[tuple[int, bytes, float]],
) -> None:
    settings_ = EntitySettings(
        vin="A" * 17, logical_address=0x1031, eid=bytes(6), gid=bytes(6), max_testers=2
    )
    entity, now = DoipEntity(settings_), 0.0
    for connection in range(4):
        entity.connected(connection, now=now)
    for connection, data, pause_s in steps:
        entity.receive(connection, data, now=now)
        entity.receive_datagram(data, now=now)
        now += pause_s
        entity.handle_timeout(now=now)
        due = entity.next_deadline()
        assert due is None or due > now
