import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from clock import run
from protocols.uds import Nrc
from vehicle_gateway.wires import (
    AnswerBroken,
    AnswerReceived,
    AnswerStarted,
    ChannelEvent,
    NoAnswerError,
)
from vehicle_gateway.wires.mailbox import Mailbox
from vehicle_gateway.wires.tester import NegativeResponseError, UdsTester, refers_to

T = TypeVar("T")
#: Seconds after the last bit of the request, and what arrives then.
Script = list[tuple[float, bytes | ChannelEvent]]


class ScriptedChannel:
    """An ECU that answers the n-th request by the n-th script; sending takes a second."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        #: When a 3E 80 came, loop time.
        self.keep_alives: list[float] = []
        self.mailbox = Mailbox()
        self.longest_request: int | None = None

    async def send(self, request: bytes) -> float:
        if request == b"\x3e\x80":
            self.keep_alives.append(asyncio.get_running_loop().time())
            return self.keep_alives[-1]
        await asyncio.sleep(1.0)
        self.requests.append(request)
        loop = asyncio.get_running_loop()
        for after_s, answer in self.scripts.pop(0) if self.scripts else []:
            at_s = loop.time() + after_s
            event = AnswerReceived(answer, at_s) if isinstance(answer, bytes) else answer
            loop.call_at(at_s, self.mailbox.put, event)
        return loop.time()

    async def receive(self) -> ChannelEvent:
        return await self.mailbox.get()

    def discard(self) -> None:
        self.mailbox.clear()


def in_virtual_time(main: Callable[[], Awaitable[T]]) -> T:
    async def wrapped() -> T:
        return await main()

    return run(wrapped(), virtual=True)


def ask(channel: ScriptedChannel, *requests: bytes) -> tuple[list[bytes], float]:
    async def main() -> tuple[list[bytes], float]:
        tester = UdsTester("ccu", channel)
        answers = [await tester.request(request) for request in requests]
        return answers, asyncio.get_running_loop().time()

    return in_virtual_time(main)


READ = bytes.fromhex("22 F1 89")
VERSION = bytes.fromhex("62 F1 89") + b"1.0.0"
PENDING = bytes.fromhex("7F 22 78")
BUSY = bytes.fromhex("7F 22 21")


def test_p2_runs_from_the_last_bit_of_the_request() -> None:
    answers, ended_s = ask(ScriptedChannel([(0.149, VERSION)]), READ)
    assert answers == [VERSION]
    assert ended_s == pytest.approx(1.149)


def test_a_silent_ecu_is_given_up_after_p2() -> None:
    with pytest.raises(NoAnswerError, match=r"ccu: no answer to READ_DATA_BY_IDENTIFIER .*P2$"):
        ask(ScriptedChannel([(0.151, VERSION)]), READ)


def test_a_78_opens_p2_star() -> None:
    answers, ended_s = ask(ScriptedChannel([(0.1, PENDING), (5.9, VERSION)]), READ)
    assert answers == [VERSION]
    assert ended_s == pytest.approx(6.9)


def test_the_session_is_kept_open_while_a_78_is_pending() -> None:
    channel = ScriptedChannel(
        [(0.1, PENDING), (5.0, PENDING), (8.0, AnswerStarted()), (11, VERSION)]
    )
    assert ask(channel, READ)[0] == [VERSION]
    assert channel.keep_alives == pytest.approx([3.1, 5.1, 7.1])


def test_an_ecu_that_dies_after_a_78_is_given_up_after_p2_star() -> None:
    with pytest.raises(NoAnswerError, match=r"P2\*"):
        ask(ScriptedChannel([(0.1, PENDING)]), READ)


def test_a_storm_of_78_ends_by_count() -> None:
    storm: Script = [(0.01 * number, PENDING) for number in range(1, 200)]
    with pytest.raises(NoAnswerError, match="still pending after 101 answers"):
        ask(ScriptedChannel(storm), READ)


def test_a_78_without_end_ends_by_time() -> None:
    storm: Script = [(4.0 * number, PENDING) for number in range(90)]
    with pytest.raises(NoAnswerError, match=r"still pending after 47 answers 78 in 184.0 s"):
        ask(ScriptedChannel(storm), READ)


def test_an_answer_that_has_started_stops_p2() -> None:
    answers, _ = ask(ScriptedChannel([(0.1, AnswerStarted()), (2.0, VERSION)]), READ)
    assert answers == [VERSION]


def test_an_answer_that_drips_in_for_ever_is_given_up() -> None:
    with pytest.raises(NoAnswerError, match="within 180 s, though it has begun"):
        ask(ScriptedChannel([(0.1, AnswerStarted()), (181.0, VERSION)]), READ)


def test_an_answer_that_breaks_off_is_no_answer() -> None:
    script: Script = [(0.1, AnswerStarted()), (1.1, AnswerBroken("N_Cr"))]
    with pytest.raises(NoAnswerError, match="broke off: N_Cr"):
        ask(ScriptedChannel(script), READ)


def test_after_the_long_answer_to_an_earlier_request_p2_starts_afresh() -> None:
    late: Script = [(0.1, AnswerStarted()), (1.0, bytes.fromhex("62 F1 8C 31"))]
    assert ask(ScriptedChannel([*late, (1.14, VERSION)]), READ)[0] == [VERSION]
    with pytest.raises(NoAnswerError, match="within P2"):
        ask(ScriptedChannel([*late, (1.16, VERSION)]), READ)


def test_a_busy_ecu_is_asked_again_with_growing_pauses() -> None:
    channel = ScriptedChannel([(0.0, BUSY)], [(0.0, BUSY)], [(0.0, VERSION)])
    answers, ended_s = ask(channel, READ)
    assert answers == [VERSION]
    assert channel.requests == [READ] * 3
    assert ended_s == pytest.approx(3 + 0.05 + 0.1)


def test_an_ecu_that_stays_busy_is_a_refusal() -> None:
    always: list[Script] = [[(0.0, BUSY)] for _ in range(20)]
    channel = ScriptedChannel(*always)
    with pytest.raises(NegativeResponseError, match="BUSY_REPEAT_REQUEST"):
        ask(channel, READ)
    assert len(channel.requests) == 8


def test_a_refusal_names_ecu_service_and_code() -> None:
    with pytest.raises(NegativeResponseError) as caught:
        ask(ScriptedChannel([(0.0, bytes.fromhex("7F 22 31"))]), READ)
    assert caught.value.code == Nrc.REQUEST_OUT_OF_RANGE
    assert str(caught.value) == (
        "ccu: READ_DATA_BY_IDENTIFIER (0x22) refused: REQUEST_OUT_OF_RANGE (0x31)"
    )


def test_a_late_answer_to_an_earlier_request_is_passed_over() -> None:
    late = bytes.fromhex("76 05")
    mine = bytes.fromhex("76 06")
    answers, _ = ask(ScriptedChannel([(0.01, late), (0.02, mine)]), bytes.fromhex("36 06 AA"))
    assert answers == [mine]


def test_what_arrived_before_the_request_is_forgotten() -> None:
    channel = ScriptedChannel([(0.5, VERSION)], [(0.1, VERSION[:-1] + b"9")])

    async def main() -> bytes:
        tester = UdsTester("ccu", channel)
        with pytest.raises(NoAnswerError):
            await tester.request(READ)
        await asyncio.sleep(1.0)
        return await tester.request(READ)

    assert in_virtual_time(main) == VERSION[:-1] + b"9"


def test_requests_to_one_ecu_wait_their_turn() -> None:
    channel = ScriptedChannel([(0.1, VERSION)], [(0.1, VERSION)])

    async def main() -> float:
        tester = UdsTester("ccu", channel)
        await asyncio.gather(tester.request(READ), tester.request(READ))
        return asyncio.get_running_loop().time()

    assert in_virtual_time(main) == pytest.approx(2.2)


@pytest.mark.parametrize(
    ("request_hex", "answer_hex", "belongs"),
    [
        ("10 03", "50 03 00 32 01 F4", True),
        ("10 83", "50 03 00 32 01 F4", True),
        ("10 03", "50 01 00 32 01 F4", False),
        ("27 01", "67 01 AA", True),
        ("27 02 AA", "67 01 AA", False),
        ("31 01 FF 00 44", "71 01 FF 00 00", True),
        ("31 01 02 02", "71 01 FF 00 00", False),
        ("36 00 AA", "76 00", True),
        ("36 00 AA", "76", False),
        ("34 00 44", "74 20 0F FF", True),
        ("37", "77", True),
        ("37", "76 01", False),
        ("22 F1 89", "", False),
    ],
)
def test_an_answer_is_known_by_what_it_repeats(
    request_hex: str, answer_hex: str, *, belongs: bool
) -> None:
    assert refers_to(bytes.fromhex(request_hex), bytes.fromhex(answer_hex)) is belongs
