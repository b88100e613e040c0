"""A DoIP entity under any bytes on any socket: what must hold whatever comes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.doip import messages as m
from protocols.doip.entity import Close, DoipEntity, EntityEvent, EntitySettings, Request, Transmit
from protocols.doip.messages import PayloadType, encode
from protocols.doip.settings import CLOSING_CODES, Acknowledge, ActivationRule, Confirmation, Peer
from protocols.editions import DoipEdition

ECU, TESTERS, CONNECTIONS, LONGEST = 0x1031, (0x0E80, 0x0E81, 0x0E82), 6, 64
RULES = {
    0x00: ActivationRule(),
    0x01: ActivationRule(confirmation=Confirmation(after_s=1.0)),
    0xE1: ActivationRule(key=b"open"),
    0xE2: ActivationRule(confirmation=Confirmation(after_s=None), tls_only=True),
}
_testers = st.sampled_from([*TESTERS, 0x0123])
_messages = st.one_of(
    st.builds(
        m.RoutingActivationRequest,
        source_address=_testers,
        activation_type=st.sampled_from([*RULES, 0x77]),
        oem=st.sampled_from([None, b"open", b"shut"]),
    ),
    st.builds(
        m.DiagnosticMessage,
        source_address=_testers,
        target_address=st.sampled_from([ECU, 0xE400, 0x1099]),
        user_data=st.binary(min_size=1, max_size=LONGEST + 2),
    ),
    st.builds(m.AliveCheckResponse, _testers),
    st.sampled_from([m.AliveCheckRequest(), m.EntityStatusRequest(), m.PowerModeRequest()]),
)
_bytes = st.binary(max_size=40) | st.builds(
    lambda message, version, cut: encode(message, version=version)[:cut],
    _messages,
    st.sampled_from([2, 3, 0xFF]),
    st.sampled_from([None, None, None, 5, 11]),
)
_steps = st.lists(
    st.tuples(
        st.integers(1, CONNECTIONS),
        st.sampled_from(["bytes", "bytes", "bytes", "open", "close", "wait", "confirm", "answer"]),
        _bytes,
        st.sampled_from([0.0, 0.3, 0.6, 2.0, 301.0]),
    ),
    max_size=60,
)
_settings = st.builds(
    EntitySettings,
    vin=st.just("WVWZZZ1KZAW000001"),
    logical_address=st.just(ECU),
    eid=st.just(bytes(6)),
    gid=st.just(bytes(6)),
    activations=st.just(RULES),
    edition=st.sampled_from(DoipEdition),
    max_testers=st.integers(1, 3),
    max_request=st.just(LONGEST),
    receive_memory=st.sampled_from([None, 80]),
    acknowledge=st.sampled_from(Acknowledge),
    closing_codes=st.sampled_from([frozenset[int](), CLOSING_CODES]),
)


class Shell:
    """Keeps the sockets as a shell would, and checks what each event says."""

    def __init__(self, chosen: EntitySettings) -> None:
        self.settings = chosen
        self.entity = DoipEntity(chosen)
        self.now = 0.0
        self.numbers = 0
        self.open: dict[int, int] = {}

    def step(self, place: int, verb: str, data: bytes, wait_s: float) -> None:
        number = self.open.get(place)
        match verb:
            case "open" if number is None:
                self.numbers += 1
                self.open[place] = self.numbers
                peer = Peer(secure=place % 2 == 0)
                self.take(self.entity.connected(self.numbers, peer=peer, now=self.now))
            case "close" if number is not None:
                del self.open[place]
                self.take(self.entity.disconnected(number, now=self.now))
            case "bytes" if number is not None:
                self.take(self.entity.receive(number, data, now=self.now))
                self.entity.receive_datagram(data, now=self.now)
            case "confirm":
                for tester in TESTERS:
                    granted = wait_s > 0
                    self.take(self.entity.confirm(tester, granted=granted, now=self.now))
            case "answer":
                for tester in TESTERS:
                    self.take(self.entity.send(b"\x7e\x00", tester=tester, now=self.now))
            case _:
                self.now += wait_s
        self.take(self.entity.handle_timeout(now=self.now))
        due = self.entity.next_deadline()
        assert due is None or due > self.now

    def take(self, events: list[EntityEvent]) -> None:
        acknowledged: set[int] = set()
        closed: set[int] = set()
        for event in events:
            match event:
                case Transmit(number, data):
                    assert number in self.open.values()
                    assert number not in closed, "nothing goes out after a close"
                    if data[2:4] == PayloadType.DIAGNOSTIC_ACKNOWLEDGE.to_bytes(2):
                        acknowledged.add(number)
                case Close(number):
                    closed.add(number)
                    self.open = {at: its for at, its in self.open.items() if its != number}
                case Request():
                    at_once = self.settings.acknowledge is Acknowledge.ON_ACCEPTANCE
                    assert (event.connection in acknowledged) == at_once
                    assert len(event.payload) <= LONGEST
                    assert event.source in TESTERS

    def check(self) -> None:
        sockets = self.entity._table.sockets  # noqa: SLF001 what the table holds
        assert set(sockets) == set(self.open.values())
        assert len(sockets) <= self.settings.max_testers + 1
        testers = [its.tester for its in sockets.values() if its.tester is not None]
        assert len(testers) == len(set(testers)), "one socket per source address"
        assert len(testers) <= self.settings.max_testers
        for its in sockets.values():
            assert its.decoder.held <= self.settings.payload_limit + 8
        room = self.settings.receive_memory
        assert room is None or sum(its.decoder.reserved for its in sockets.values()) <= room


@settings(deadline=None, max_examples=300)
@given(chosen=_settings, steps=_steps)
def test_an_entity_keeps_its_table_and_its_memory_whatever_comes(
    chosen: EntitySettings, steps: list[tuple[int, str, bytes, float]]
) -> None:
    shell = Shell(chosen)
    for place in range(1, CONNECTIONS + 1):
        shell.step(place, "open", b"", 0.0)
    for place, verb, data, wait_s in steps:
        shell.step(place, verb, data, wait_s)
        shell.check()
