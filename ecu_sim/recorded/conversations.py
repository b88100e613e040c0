"""From the frames of a log to the conversations in it: ISO-TP, and who answers whom.

Only what was said is looked at: no flow control is missed, and a message with a lost frame is
left out. Addresses are given, or found: two identifiers are a pair where one carries UDS requests
and the other their answers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ecu_sim.recorded import Answer, Exchange, RecordedEcu, RecordedError
from protocols.can.bits import NS_PER_S
from protocols.isotp import codec
from protocols.isotp.errors import FrameFormatError
from protocols.uds import ServiceId
from protocols.uds.enums import NEGATIVE_RESPONSE, POSITIVE_RESPONSE
from recording import CanFrame, Channel, Record

#: What of a log is kept, at most.
_MAX_MESSAGES: Final = 200_000
_MAX_BYTES: Final = 64 << 20
_MAX_LENGTH: Final = 1 << 20
_MAX_IDENTIFIERS: Final = 4096
#: An answer belongs to one of the last requests, not longer ago than this.
_PATIENCE_NS: Final = 30 * NS_PER_S
_OPEN: Final = 16
#: Share of an identifier's frames that have to be UDS on ISO-TP: cyclic signals are not.
_FITTING: Final = 0.5
#: Functional requests of ISO 15765-4.
FUNCTIONAL_11: Final = 0x7DF
_FUNCTIONAL_29: Final = 0x18DB
FUNCTIONAL_29: Final = 0x18DB33F1

_REQUESTS: Final = frozenset(int(service) for service in ServiceId)
_ANSWERS: Final = frozenset(service + POSITIVE_RESPONSE for service in _REQUESTS)


class _Message(NamedTuple):
    #: Last bits of its first and of its last frame, ns.
    begun_ns: int
    ended_ns: int
    payload: bytes


class _Key(NamedTuple):
    channel: int
    identifier: int
    extended: bool


@dataclass(slots=True)
class _Talk:
    """What one identifier carries."""

    frames: int = 0
    fitting: int = 0
    fd: bool = False
    messages: list[_Message] = field(default_factory=list)
    #: The message that is coming in.
    begun_ns: int = 0
    length: int = 0
    sequence: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    pieces: int = 0


class _Listener:
    """Puts messages together as they go by."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.talks: dict[_Key, _Talk] = {}
        self._messages = self._bytes = 0

    def hear(self, frame: CanFrame) -> None:
        key = _Key(frame.channel, frame.header.identifier, frame.header.extended)
        talk = self.talks.get(key)
        if talk is None:
            if len(self.talks) >= _MAX_IDENTIFIERS:
                return
            talk = self.talks[key] = _Talk()
        talk.frames += 1
        talk.fd |= frame.header.fd
        try:
            decoded = codec.decode(frame.data)
        except FrameFormatError:
            return
        match decoded:
            case codec.SingleFrame(message):
                talk.length = 0
                self._add(talk, _Message(frame.at_ns, frame.at_ns, bytes(message)), frames=1)
            case codec.FirstFrame(length, data) if length <= _MAX_LENGTH:
                talk.begun_ns, talk.length, talk.sequence = frame.at_ns, length, 1
                talk.buffer, talk.pieces = bytearray(data), 1
            case codec.ConsecutiveFrame(number, data) if talk.length:
                self._continue(talk, number, data, frame.at_ns)
            case codec.FlowControl(status=0 | 1 | 2):
                talk.fitting += 1
            case _:
                talk.length = 0

    def _continue(self, talk: _Talk, number: int, data: bytes, at_ns: int) -> None:
        if number != talk.sequence:
            talk.length = 0
            return
        talk.sequence = (talk.sequence + 1) & 0xF
        talk.pieces += 1
        talk.buffer += data
        if len(talk.buffer) >= talk.length:
            payload = bytes(talk.buffer[: talk.length])
            talk.length = 0
            talk.buffer = bytearray()
            self._add(talk, _Message(talk.begun_ns, at_ns, payload), frames=talk.pieces)

    def _add(self, talk: _Talk, message: _Message, *, frames: int) -> None:
        if not (_is_request(message.payload) or _is_answer(message.payload)):
            return
        talk.fitting += frames
        self._messages += 1
        self._bytes += len(message.payload)
        if self._messages > _MAX_MESSAGES or self._bytes > _MAX_BYTES:
            raise RecordedError(
                f"{self._name}: more than {_MAX_MESSAGES} messages or {_MAX_BYTES} bytes;"
                " take a part of it: canota log convert"
            )
        talk.messages.append(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Identifiers that are given and not looked for; above 7FF they have 29 bits."""

    request_id: int
    response_id: int
    functional_id: int | None = None


def recorded_ecus(
    records: Iterable[Record],
    channels: Sequence[Channel],
    *,
    name: str,
    addresses: Addresses | None = None,
) -> list[RecordedEcu]:
    """Every ECU that answers in the log, or the one with these addresses.

    `channels` is looked at when all records are read. `RecordedError` for a log without any.
    """
    listener = _Listener(name)
    for record in records:
        if isinstance(record, CanFrame) and record.remote is None:
            listener.hear(record)
    talks = listener.talks
    pairs = _pairs(talks) if addresses is None else _given(talks, addresses, name)
    functional = None if addresses is None else addresses.functional_id
    ecus = [_ecu(talks, request, response, channels, functional) for request, response in pairs]
    found = [ecu for ecu in ecus if any(one.answers for one in ecu.exchanges)]
    if not found:
        raise RecordedError(f"{name}: nobody in it answers a UDS request over ISO-TP")
    return _named(found)


def _is_request(payload: bytes) -> bool:
    return payload[:1] != b"" and payload[0] in _REQUESTS


def _is_answer(payload: bytes) -> bool:
    if payload[:1] == bytes((NEGATIVE_RESPONSE,)):
        return len(payload) == 3 and payload[1] in _REQUESTS
    return payload[:1] != b"" and payload[0] in _ANSWERS


def _service_of(answer: bytes) -> int:
    return answer[1] if answer[0] == NEGATIVE_RESPONSE else answer[0] - POSITIVE_RESPONSE


def _is_functional(key: _Key) -> bool:
    if key.extended:
        return key.identifier >> 16 == _FUNCTIONAL_29
    return key.identifier == FUNCTIONAL_11


def _pairs(talks: dict[_Key, _Talk]) -> list[tuple[_Key, _Key]]:
    """Who answers whom: for every identifier with answers the one whose requests they fit."""
    speaking = {
        key: talk
        for key, talk in talks.items()
        if talk.messages and talk.fitting >= _FITTING * talk.frames
    }
    asking = {key: talk for key, talk in speaking.items() if not _is_functional(key)}
    best: list[tuple[_Key, _Key]] = []
    for response, talk in speaking.items():
        answers = [one for one in talk.messages if _is_answer(one.payload)]
        scores = {
            request: _score(other.messages, answers)
            for request, other in asking.items()
            if request != response and request.channel == response.channel
        }
        request = max(scores, key=lambda key: scores[key], default=None)
        if request is not None and scores[request] * 2 >= len(answers):
            best.append((request, response))
    return best


def _score(requests: Sequence[_Message], answers: Sequence[_Message]) -> int:
    """How many answers come after one of the newest requests of their service."""
    return sum(
        _asked(requests, at, answer) is not None for answer, at in _placed(requests, answers)
    )


def _placed(
    requests: Sequence[_Message], answers: Sequence[_Message]
) -> Iterator[tuple[_Message, int]]:
    """Each answer, and how many requests had ended before it began."""
    at = 0
    for answer in answers:
        while at < len(requests) and requests[at].ended_ns <= answer.begun_ns:
            at += 1
        yield answer, at


def _asked(requests: Sequence[_Message], at: int, answer: _Message) -> int | None:
    """The newest of the first `at` requests that this answers."""
    service = _service_of(answer.payload)
    for number in range(at - 1, max(at - 1 - _OPEN, -1), -1):
        asked = requests[number]
        if asked.payload[0] == service and answer.begun_ns - asked.ended_ns <= _PATIENCE_NS:
            return number
    return None


def _given(talks: dict[_Key, _Talk], addresses: Addresses, name: str) -> list[tuple[_Key, _Key]]:
    extended = max(addresses.request_id, addresses.response_id) > 0x7FF
    channels = sorted({key.channel for key in talks})
    for channel in channels:
        request = _Key(channel, addresses.request_id, extended)
        response = _Key(channel, addresses.response_id, extended)
        if request in talks and response in talks:
            return [(request, response)]
    raise RecordedError(
        f"{name}: no frames of {addresses.request_id:X} and {addresses.response_id:X} on one wire"
    )


def _ecu(
    talks: dict[_Key, _Talk],
    request: _Key,
    response: _Key,
    channels: Sequence[Channel],
    functional_id: int | None,
) -> RecordedEcu:
    asked = list(talks[request].messages)
    if functional_id is None:
        functional_id = FUNCTIONAL_29 if request.extended else FUNCTIONAL_11
        heard = [
            key.identifier
            for key in talks
            if key.channel == request.channel
            and key.extended == request.extended
            and _is_functional(key)
        ]
        functional_id = heard[0] if heard else functional_id
    to_all = talks.get(_Key(request.channel, functional_id, request.extended))
    if to_all is not None:
        asked += to_all.messages
    asked = [one for one in asked if _is_request(one.payload)]
    exchanges, unasked = _exchanges(asked, talks[response].messages)
    return RecordedEcu(
        name=f"ecu_{request.identifier:X}",
        request_id=request.identifier,
        response_id=response.identifier,
        functional_id=functional_id,
        extended=request.extended,
        fd=talks[request].fd or talks[response].fd,
        exchanges=tuple(exchanges),
        channel=channels[request.channel].name if request.channel < len(channels) else "",
        unasked=unasked,
    )


def _exchanges(
    asked: Sequence[_Message], answers: Sequence[_Message]
) -> tuple[list[Exchange], int]:
    """Each answer goes to the newest request of its service before it."""
    requests = sorted(asked, key=lambda one: one.ended_ns)
    found: list[list[Answer]] = [[] for _ in requests]
    unasked = 0
    for answer, at in _placed(requests, [one for one in answers if _is_answer(one.payload)]):
        number = _asked(requests, at, answer)
        if number is None:
            unasked += 1
            continue
        after_ns = answer.begun_ns - requests[number].ended_ns
        found[number].append(Answer(answer.payload, after_ns / NS_PER_S))
    pairs = zip(requests, found, strict=True)
    return [Exchange(asked.payload, tuple(its)) for asked, its in pairs], unasked


def _named(ecus: list[RecordedEcu]) -> list[RecordedEcu]:
    """One ECU for each name: of several wires the one with the most to say."""
    found: dict[str, RecordedEcu] = {}
    for ecu in ecus:
        other = found.get(ecu.name)
        if other is None or len(ecu.exchanges) > len(other.exchanges):
            found[ecu.name] = ecu
    return list(found.values())
