"""Byte streams and datagrams as Ethernet frames: what RFC 9293 and RFC 768 say of each."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.ip_frames import Host, broadcast, udp_frame
from protocols.tcp_frames import (
    DELAYED_ACKNOWLEDGE_NS,
    HANDSHAKE,
    StampedFrame,
    TcpConversation,
    line_bytes,
)

CLIENT = Host(mac=bytes.fromhex("020000000001"), ip=bytes((198, 51, 100, 1)), port=50000)
SERVER = Host(mac=bytes.fromhex("020000000002"), ip=bytes((198, 51, 100, 2)), port=13400)
FIN, SYN, PSH, ACK = 0x01, 0x02, 0x08, 0x10
#: 100 Mbit/s.
NS_PER_BYTE = 80
BARE_NS = 84 * NS_PER_BYTE
FULL_NS = 1538 * NS_PER_BYTE
FOREVER = 1 << 60


@dataclass(frozen=True)
class Segment:
    """A frame of a conversation, read again."""

    end_ns: int
    from_client: bool
    number: int
    acknowledged: int
    flags: int
    data: bytes

    @property
    def next_number(self) -> int:
        return (self.number + len(self.data) + bool(self.flags & (SYN | FIN))) % (1 << 32)


def internet_sum(data: bytes) -> int:
    """The sum of a checksummed header: all ones where the checksum is right (RFC 1071)."""
    words = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def packet(frame: bytes, protocol: int) -> tuple[bytes, bytes]:
    """IPv4 header and what it carries, lengths, padding and sums checked."""
    assert frame[12:14] == b"\x08\x00"
    assert len(frame) >= 60
    ip = frame[14:34]
    end = 14 + int.from_bytes(ip[2:4])
    assert not any(frame[end:])
    assert internet_sum(ip) == 0xFFFF
    assert ip[9] == protocol
    body = frame[34:end]
    pseudo = ip[12:20] + bytes((0, protocol)) + len(body).to_bytes(2)
    assert internet_sum(pseudo + body) == 0xFFFF
    return ip, body


def read(frame: StampedFrame) -> Segment:
    ip, body = packet(frame[1], 6)
    source, target, number, acknowledged = struct.unpack_from(">HHII", body)
    from_client = source == CLIENT.port
    ends = (CLIENT, SERVER) if from_client else (SERVER, CLIENT)
    assert (ip[12:16], source) == (ends[0].ip, ends[0].port)
    assert (ip[16:20], target) == (ends[1].ip, ends[1].port)
    assert frame[1][:12] == ends[1].mac + ends[0].mac
    return Segment(frame[0], from_client, number, acknowledged, body[13], body[body[12] // 4 :])


class Talk:
    def __init__(self, initial: tuple[int, int] = (100, 900)) -> None:
        self.core = TcpConversation(CLIENT, SERVER, ns_per_byte=NS_PER_BYTE, initial=initial)
        syn_ns = HANDSHAKE[0] * NS_PER_BYTE
        self.begin_ns = 2 * syn_ns + BARE_NS
        self.core.opened(syn_ns, 2 * syn_ns, self.begin_ns)

    def send(self, data: bytes, *, after_ns: int, from_client: bool = True) -> int:
        """The end of data that begin so long after the handshake."""
        full, rest = divmod(len(data), 1460)
        line = full * line_bytes(1460) + (line_bytes(rest) if rest else 0)
        end_ns = self.begin_ns + after_ns + line * NS_PER_BYTE
        self.core.carried(data, from_client=from_client, end_ns=end_ns)
        return end_ns

    def frames(self, until_ns: int = FOREVER) -> list[Segment]:
        return [read(frame) for frame in self.core.due(until_ns)]

    def after_handshake(self) -> list[tuple[int, bool, int, int, int]]:
        """End, direction, flags, bytes and acknowledged bytes of the other one."""
        first = {True: 101, False: 901}
        return [
            (
                its.end_ns - self.begin_ns,
                its.from_client,
                its.flags,
                len(its.data),
                its.acknowledged - first[not its.from_client],
            )
            for its in self.frames()[3:]
        ]


def test_a_connection_begins_with_the_three_frames_of_the_handshake() -> None:
    talk = Talk()
    frames = talk.frames()
    assert [(its.from_client, its.flags, its.number, its.acknowledged) for its in frames] == [
        (True, SYN, 100, 0),
        (False, SYN | ACK, 900, 101),
        (True, ACK, 101, 901),
    ]
    assert [its.end_ns for its in frames] == [86 * 80, 172 * 80, 256 * 80]


def test_every_second_segment_is_acknowledged_at_once_and_the_last_one_later() -> None:
    talk = Talk()
    end_ns = talk.send(bytes(5 * 1460), after_ns=0) - talk.begin_ns
    assert end_ns == 5 * FULL_NS
    found = talk.after_handshake()
    assert [row for row in found if not row[1]] == [
        (2 * FULL_NS + BARE_NS, False, ACK, 0, 2 * 1460),
        (4 * FULL_NS + BARE_NS, False, ACK, 0, 4 * 1460),
        (5 * FULL_NS + DELAYED_ACKNOWLEDGE_NS + BARE_NS, False, ACK, 0, 5 * 1460),
    ]
    assert [row[2] for row in found if row[1]] == [ACK] * 4 + [ACK | PSH]


@pytest.mark.parametrize(
    ("after_ns", "rides"), [(0, True), (DELAYED_ACKNOWLEDGE_NS, True), (50_000_000, False)]
)
def test_an_acknowledgement_rides_on_data_that_begin_before_it_is_out(
    after_ns: int,
    rides: bool,  # noqa: FBT001 a column of the table
) -> None:
    talk = Talk()
    asked_ns = talk.send(b"question", after_ns=0) - talk.begin_ns
    talk.send(b"answer", after_ns=asked_ns + after_ns, from_client=False)
    found = [row for row in talk.after_handshake() if not row[1]]
    assert [row[3:] for row in found] == ([(6, 8)] if rides else [(0, 8), (6, 8)])


def test_what_comes_while_a_frame_is_on_its_way_is_acknowledged_by_the_next_one() -> None:
    talk = Talk()
    talk.send(bytes(1460), after_ns=0, from_client=False)
    talk.send(b"two", after_ns=FULL_NS // 2)
    found = [row for row in talk.after_handshake() if not row[1]]
    assert [row[3:] for row in found] == [(1460, 0), (0, 3)]


def test_each_end_is_told_and_acknowledged() -> None:
    talk = Talk()
    talk.core.ended(from_client=True, end_ns=talk.begin_ns + BARE_NS)
    talk.core.ended(from_client=False, end_ns=talk.begin_ns + 1_000_000)
    assert talk.after_handshake() == [
        (BARE_NS, True, FIN | ACK, 0, 0),
        (2 * BARE_NS, False, ACK, 0, 1),
        (1_000_000, False, FIN | ACK, 0, 1),
        (1_000_000 + BARE_NS, True, ACK, 0, 1),
    ]


def test_nothing_is_told_before_its_last_bit() -> None:
    talk = Talk()
    end_ns = talk.send(b"question", after_ns=0)
    talk.frames(talk.begin_ns)
    assert talk.core.next_deadline() == end_ns
    assert talk.frames(end_ns - 1) == []
    assert [its.data for its in talk.frames(end_ns)] == [b"question"]
    due_ns = end_ns + DELAYED_ACKNOWLEDGE_NS + BARE_NS
    assert talk.core.next_deadline() == due_ns
    assert talk.frames(due_ns - 1) == []
    assert len(talk.frames(due_ns)) == 1
    assert talk.core.next_deadline() is None


def test_sequence_numbers_go_on_from_zero() -> None:
    talk = Talk(initial=(0xFFFF_FFF0, 0xFFFF_FFFF))
    talk.send(bytes(100), after_ns=0)
    frames = talk.frames()
    assert [its.number for its in frames if its.data] == [0xFFFF_FFF1]
    assert frames[-1].acknowledged == 0xFFFF_FFF1 + 100 - (1 << 32)
    assert [its.number for its in frames if not its.from_client] == [0xFFFF_FFFF, 0]


def test_initial_numbers_follow_from_the_ends() -> None:
    def first(port: int) -> int:
        client = Host(mac=CLIENT.mac, ip=CLIENT.ip, port=port)
        core = TcpConversation(client, SERVER, ns_per_byte=NS_PER_BYTE)
        core.opened(6880, 13760, 20480)
        return int.from_bytes(core.due(FOREVER)[0][1][38:42])

    assert first(50000) == first(50000)
    assert len({first(port) for port in range(50000, 50100)}) == 100


@given(
    st.lists(
        st.tuples(st.booleans(), st.binary(min_size=1, max_size=4000), st.integers(0, 60_000_000)),
        max_size=12,
    ),
    st.integers(0, (1 << 32) - 1),
)
def test_whatever_is_sent_both_streams_come_out_again(
    sends: Sequence[tuple[bool, bytes, int]], initial: int
) -> None:
    """As a receiver of each side sees it: no gap, nothing acknowledged that had not come."""
    talk = Talk(initial=(initial, (initial * 7) % (1 << 32)))
    free = {True: 0, False: 0}
    for from_client, data, wait_ns in sends:
        begin = free[from_client] + wait_ns
        free[from_client] = talk.send(data, after_ns=begin, from_client=from_client) - talk.begin_ns
    for from_client in (True, False):
        end_ns = talk.begin_ns + free[from_client] + BARE_NS
        talk.core.ended(from_client=from_client, end_ns=end_ns)
    frames = talk.frames()
    assert [its.end_ns for its in frames] == sorted(its.end_ns for its in frames)
    assert talk.core.next_deadline() is None
    expected: dict[bool, int] = {}
    told: dict[bool, int] = {}
    streams = {True: b"", False: b""}
    for its in frames:
        me, other = its.from_client, not its.from_client
        assert its.number == expected.setdefault(me, its.number)
        expected[me] = its.next_number
        streams[me] += its.data
        assert its.flags & ACK or not told
        if its.flags & ACK:
            ahead = (expected[other] - its.acknowledged) % (1 << 32)
            behind = (its.acknowledged - told.get(me, its.acknowledged)) % (1 << 32)
            assert ahead < 1 << 20
            assert behind < 1 << 20
            told[me] = its.acknowledged
    assert told == {me: expected[not me] for me in (True, False)}
    for me, stream in streams.items():
        assert stream == b"".join(data for from_client, data, _ in sends if from_client == me)


# UDP


@pytest.mark.parametrize("payload", [b"", b"\x03\xfc\x00\x01\x00\x00\x00\x00", bytes(300)])
def test_a_datagram_has_its_lengths_and_its_sum(payload: bytes) -> None:
    ip, body = packet(udp_frame(CLIENT, SERVER, payload), 17)
    assert ip[12:20] == CLIENT.ip + SERVER.ip
    assert struct.unpack_from(">HHH", body) == (50000, 13400, 8 + len(payload))
    assert body[8:] == payload


def test_a_sum_of_zero_is_not_written_as_none() -> None:
    """RFC 768: a transmitted zero says that there is no checksum."""
    _, body = packet(udp_frame(CLIENT, SERVER, bytes(2)), 17)
    opposite = int.from_bytes(body[6:8])
    _, body = packet(udp_frame(CLIENT, SERVER, opposite.to_bytes(2)), 17)
    assert body[6:8] == b"\xff\xff"


def test_a_broadcast_reaches_all_on_both_layers() -> None:
    frame = udp_frame(SERVER, broadcast(13400), b"here")
    assert frame[:6] == b"\xff" * 6
    assert packet(frame, 17)[0][16:20] == b"\xff" * 4
