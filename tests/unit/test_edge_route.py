"""The edge node's route to one ECU on virtual time: whose turn it is, and both sides of its timers.

The wire is ideal: what is sent is on it at once.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import pytest

import clock
from ecu_sim.edge_route import EdgeRoute, RouteSettings, RouteTuning
from ecu_sim.edge_subscriptions import Asker
from protocols.can import FrameHeader
from protocols.can.port import Receive, ReceiveRun, Sent
from protocols.doip.entity import Request
from protocols.doip.messages import DiagnosticNack
from protocols.isotp import IsoTpParameters

REQUEST, RESPONSE = FrameHeader(0x7A0), FrameHeader(0x7A8)
ONE, TWO = 0x0E80, 0x0E81
P2_S, P2_STAR_S, MARGIN_S, LINGER_S = 0.05, 5.0, 0.1, 5.0
A_LITTLE_S = 1e-6


class Wire:
    """A `CanPort` that notes what is sent, and the one who listens."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, str]] = []
        self.listener: Receive | None = None

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        assert header == REQUEST
        now = asyncio.get_running_loop().time()
        self.sent += [(now, frame.rstrip(b"\xcc").hex()) for frame in payloads]
        if sent is not None:
            asyncio.get_running_loop().call_soon(sent, now)

    def listen(
        self, receive: Receive, *headers: FrameHeader, receive_run: ReceiveRun | None = None
    ) -> Callable[[], None]:
        assert headers == (RESPONSE,)
        assert receive_run is not None
        self.listener = receive

        def end() -> None:
            self.listener = None

        return end

    def answer(self, frame: str) -> None:
        assert self.listener is not None, "nobody listens"
        self.listener(RESPONSE, bytes.fromhex(frame), asyncio.get_running_loop().time())


class Bench:
    def __init__(self, tuning: RouteTuning | None = None) -> None:
        self.wire = Wire()
        self.is_there = True
        self.answers: list[tuple[str, int]] = []
        self.delivered: list[DiagnosticNack | None] = []
        self.route = EdgeRoute(
            self.wire,
            RouteSettings(
                ecu="ccu",
                logical_address=0x1010,
                request=REQUEST,
                response=RESPONSE,
                parameters=IsoTpParameters(max_message_length=60),
                max_request=100,
                p2_s=P2_S,
                p2_star_s=P2_STAR_S,
                tuning=tuning or RouteTuning(margin_s=MARGIN_S, linger_s=LINGER_S),
            ),
            is_there=lambda: self.is_there,
            respond=self._respond,
            delivered=lambda _, nack: self.delivered.append(nack),
        )

    def put(self, data: str, tester: int = ONE) -> None:
        self.route.put(
            Request(
                payload=bytes.fromhex(data),
                source=tester,
                target=0x1010,
                functional=False,
                connection=tester,
            )
        )

    def _respond(self, answer: bytes, asker: Asker) -> None:
        assert asker.connection == asker.tester
        self.answers.append((answer.hex(), asker.tester))

    @property
    def frames(self) -> list[str]:
        return [frame for _, frame in self.wire.sent]


def drive(scenario: Callable[[Bench], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        bench = Bench()
        await scenario(bench)
        bench.route.close()
        assert bench.wire.listener is None

    clock.run(main(), virtual=True)


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        ([], P2_S + MARGIN_S),
        (["037f2278"], P2_STAR_S + MARGIN_S),
        (["037f2278", "037f2278"], P2_STAR_S + MARGIN_S),
    ],
    ids=["no answer", "78", "78 twice"],
)
def test_another_testers_turn_comes_when_the_ecu_has_been_silent_so_long(
    answers: list[str], seconds: float
) -> None:
    async def scenario(bench: Bench) -> None:
        bench.put("22f190")
        bench.put("22f189", TWO)
        await asyncio.sleep(0)
        for answer in answers:
            bench.wire.answer(answer)
        await asyncio.sleep(seconds - A_LITTLE_S)
        assert bench.frames == ["0322f190"]
        await asyncio.sleep(2 * A_LITTLE_S)
        assert bench.frames == ["0322f190", "0322f189"]

    drive(scenario)


def test_a_final_answer_gives_the_turn_at_once_and_goes_to_who_asked() -> None:
    async def scenario(bench: Bench) -> None:
        bench.put("22f190")
        bench.put("22f189", TWO)
        await asyncio.sleep(0.01)
        bench.wire.answer("0462f19041")
        assert bench.frames == ["0322f190", "0322f189"]
        bench.wire.answer("0462f18942")
        assert bench.answers == [("62f19041", ONE), ("62f18942", TWO)]

    drive(scenario)


def test_a_late_answer_still_goes_to_who_asked_last() -> None:
    async def scenario(bench: Bench) -> None:
        bench.put("22f190")
        await asyncio.sleep(1)
        bench.wire.answer("0462f19041")
        assert bench.answers == [("62f19041", ONE)]

    drive(scenario)


def test_who_has_the_turn_may_ask_again_and_the_other_waits() -> None:
    async def scenario(bench: Bench) -> None:
        bench.put("31010203")
        bench.put("22f189", TWO)
        await asyncio.sleep(0)
        bench.wire.answer("037f3178")
        bench.put("22f190")
        await asyncio.sleep(0)
        assert bench.frames == ["0431010203", "0322f190"]
        bench.wire.answer("037f2221")
        assert bench.frames == ["0431010203", "0322f190"]
        bench.wire.answer("0471010203")
        assert bench.frames == ["0431010203", "0322f190", "0322f189"]
        assert bench.answers == [("7f3178", ONE), ("7f2221", ONE), ("71010203", ONE)]

    drive(scenario)


def test_the_next_ones_turn_does_not_come_in_the_middle_of_an_answer() -> None:
    """Its consecutive frames may take longer than P2."""

    async def scenario(bench: Bench) -> None:
        bench.put("22f190")
        bench.put("22f189", TWO)
        await asyncio.sleep(0.1)
        bench.wire.answer("100a62f190414243")
        await asyncio.sleep(0.9)
        assert [frame[:2] for frame in bench.frames] == ["03", "30"]
        bench.wire.answer("2144454647")
        assert bench.answers == [("62f19041424344454647", ONE)]
        assert bench.frames[-1] == "0322f189"

    drive(scenario)


def test_an_answer_that_breaks_off_gives_the_turn_after_all() -> None:
    async def scenario(bench: Bench) -> None:
        bench.put("22f190")
        bench.put("22f189", TWO)
        await asyncio.sleep(0.1)
        bench.wire.answer("100a62f190414243")
        await asyncio.sleep(1.0 - A_LITTLE_S)
        assert "0322f189" not in bench.frames
        await asyncio.sleep(3 * A_LITTLE_S)
        assert bench.frames[-1] == "0322f189"
        assert bench.answers == []

    drive(scenario)


def test_without_flow_control_a_long_request_fails_after_n_bs() -> None:
    async def scenario(bench: Bench) -> None:
        bench.put("2ef15a" + "00" * 17)
        await asyncio.sleep(1.0 - A_LITTLE_S)
        assert bench.delivered == []
        await asyncio.sleep(2 * A_LITTLE_S)
        assert bench.delivered == [DiagnosticNack.TRANSPORT_PROTOCOL_ERROR]
        bench.put("22f189", TWO)
        assert bench.frames[-1] == "0322f189"

    drive(scenario)


def test_the_wire_is_listened_to_for_a_while_after_the_last_request() -> None:
    """An answer that is late by then goes to the tester that asked last."""

    async def scenario(bench: Bench) -> None:
        assert bench.wire.listener is None
        bench.put("22f190")
        await asyncio.sleep(0)
        bench.wire.answer("0462f19041")
        await asyncio.sleep(LINGER_S - A_LITTLE_S)
        bench.wire.answer("0462f18942")
        assert bench.answers == [("62f19041", ONE), ("62f18942", ONE)]
        await asyncio.sleep(2 * A_LITTLE_S)
        assert bench.wire.listener is None
        assert not bench.route.in_use

    drive(scenario)


def test_what_repeats_another_identifier_is_no_answer_to_the_open_request() -> None:
    """An event that names one data identifier comes while another is asked for."""

    async def scenario(bench: Bench) -> None:
        bench.put("86020201" + "220101", TWO)
        await asyncio.sleep(0)
        bench.wire.answer("04c6020002")
        bench.put("860502", TWO)
        await asyncio.sleep(0)
        bench.wire.answer("04c6050002")
        bench.answers.clear()
        bench.put("220102")
        await asyncio.sleep(0)
        bench.wire.answer("0462010133")
        bench.wire.answer("0462010244")
        assert bench.answers == [("62010133", TWO), ("62010244", ONE)]

    drive(scenario)


@pytest.mark.parametrize("told_by", ["the next answer", "P2"])
def test_a_session_that_is_changed_without_an_answer_ends_what_was_asked_for(told_by: str) -> None:
    """The ECU takes one request after the other: what it has answered later it has heard before."""

    async def scenario(bench: Bench) -> None:
        bench.put("2a0301")
        await asyncio.sleep(0)
        bench.wire.answer("016a")
        bench.wire.answer("036a012a")
        assert bench.answers.pop() == ("6a012a", ONE)
        bench.put("1083")
        if told_by == "P2":
            await asyncio.sleep(P2_S + MARGIN_S + A_LITTLE_S)
        else:
            bench.put("2a0302")
            await asyncio.sleep(0)
            bench.wire.answer("016a")
        bench.answers.clear()
        for frame in ("036a012a", "036a022a"):
            bench.wire.answer(frame)
        assert bench.answers == ([("6a022a", ONE)] if told_by == "the next answer" else [])

    drive(scenario)


def test_functional_answers_go_to_who_asked_and_leave_the_turn_alone() -> None:
    async def scenario(bench: Bench) -> None:
        bench.put("22f190")
        await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        bench.route.expect(Asker(TWO, TWO), bytes.fromhex("3e00"), sent_by=now)
        bench.wire.answer("027e00")
        bench.wire.answer("0462f19041")
        assert bench.answers == [("7e00", TWO), ("62f19041", ONE)]

    drive(scenario)


@pytest.mark.parametrize("after", [-A_LITTLE_S, A_LITTLE_S])
def test_a_functional_answer_is_awaited_for_p2(after: float) -> None:
    async def scenario(bench: Bench) -> None:
        bench.route.expect(Asker(TWO, TWO), bytes.fromhex("3e00"), sent_by=0.0)
        await asyncio.sleep(P2_S + MARGIN_S + after)
        assert (bench.wire.listener is None) == (after > 0)

    drive(scenario)


def test_a_route_objects_by_what_is_wrong() -> None:
    async def scenario(bench: Bench) -> None:
        route, nack = bench.route, DiagnosticNack
        assert route.objection(bytes(60)) is None
        assert route.objection(bytes(61)) is nack.TRANSPORT_PROTOCOL_ERROR
        assert route.objection(bytes(101)) is nack.MESSAGE_TOO_LARGE
        bench.is_there = False
        assert route.objection(b"\x3e\x00") is nack.TARGET_UNREACHABLE
        bench.is_there = True
        bench.put("3e80")
        for _ in range(16):
            assert route.objection(b"\x3e\x00") is None
            bench.put("3e00", TWO)
        assert route.objection(b"\x3e\x00") is nack.OUT_OF_MEMORY

    drive(scenario)


def test_while_its_ecu_is_woken_a_route_keeps_what_is_queued() -> None:
    async def scenario(bench: Bench) -> None:
        bench.route.hold()
        bench.put("22f190")
        await asyncio.sleep(10)
        assert bench.frames == []
        assert bench.route.in_use
        bench.route.release()
        assert bench.frames == ["0322f190"]

    drive(scenario)


@pytest.mark.parametrize("frame", ["00", "017f", "027f22", "0140", "03ffffff", "3000", "21ff", ""])
def test_whatever_an_ecu_sends_is_passed_on_or_dropped(frame: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.put("22f190")
        await asyncio.sleep(0)
        bench.wire.answer(frame)
        await asyncio.sleep(20)
        assert all(tester == ONE for _, tester in bench.answers)

    drive(scenario)
