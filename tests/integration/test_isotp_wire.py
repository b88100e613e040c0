"""ISO-TP on a simulated wire: addressings side by side, receivers that wait, frames that fail."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import clock
from ecu_sim.bus import CanWire, WireFaults
from ecu_sim.transport import Addresses, IsoTpBinding
from protocols.can import FrameHeader
from protocols.editions import IsoTpEdition
from protocols.isotp import (
    Address,
    Event,
    IsoTpParameters,
    MessageReceived,
    MessageSent,
    ReceptionFailed,
    SendFailed,
    addressing,
)
from protocols.isotp.errors import (
    ConsecutiveFrameTimeoutError,
    FlowControlTimeoutError,
    FrameNotSentError,
    SequenceNumberError,
)
from tests.support.isotp import PortEndpoint

_NARROW = (FrameHeader(0x7A0), FrameHeader(0x7A8))
_WIDE = (FrameHeader(0x18DAB0F1, extended=True), FrameHeader(0x18DAF1B0, extended=True))
MESSAGE = bytes(range(200))


def on_wire(main: Callable[[CanWire], Awaitable[None]]) -> None:
    async def whole() -> None:
        loop = asyncio.get_running_loop()
        wire = CanWire("wire", bit_rate=500_000, data_bit_rate=2_000_000, loop=loop)
        try:
            await main(wire)
        finally:
            wire.close()

    clock.run(whole(), virtual=True)


def joined(
    wire: CanWire,
    node: str,
    address: Address,
    log: list[Event],
    parameters: IsoTpParameters | None = None,
) -> PortEndpoint:
    return PortEndpoint(
        wire.port(node),
        tx=address.transmit,
        rx=address.receive,
        parameters=address.applied_to(parameters or IsoTpParameters()),
        notify=lambda event, _: log.append(event),
    )


ALL_AT_ONCE = (
    addressing.normal(*_NARROW),
    addressing.normal_fixed(source=0xF1, target=0x10),
    addressing.extended(FrameHeader(0x6F1), FrameHeader(0x612), source=0xF1, target=0x12),
    addressing.extended(FrameHeader(0x6F2), FrameHeader(0x613), source=0xF1, target=0x13),
    addressing.mixed_11(FrameHeader(0x7B0), FrameHeader(0x7B8), extension=0x44),
    addressing.mixed_29(source=0xF1, target=0x10, extension=0x99),
)


def test_connections_of_every_addressing_share_a_wire_in_both_directions() -> None:
    async def main(wire: CanWire) -> None:
        logs: list[list[Event]] = []
        for number, address in enumerate(ALL_AT_ONCE):
            ours: list[Event] = []
            theirs: list[Event] = []
            left = joined(wire, f"left {number}", address, ours)
            right = joined(wire, f"right {number}", address.swapped(), theirs)
            left.send(MESSAGE, 0.0)
            right.send(MESSAGE[::-1], 0.0)
            logs += [ours, theirs]
        await asyncio.sleep(1.0)
        for number, log in enumerate(logs):
            expected = MESSAGE[::-1] if number % 2 == 0 else MESSAGE
            assert MessageReceived(expected) in log
            assert MessageSent() in log
            assert not [event for event in log if isinstance(event, SendFailed | ReceptionFailed)]

    on_wire(main)


def test_ecus_behind_one_identifier_hear_only_what_their_address_extension_says() -> None:
    async def main(wire: CanWire) -> None:
        heard: dict[int, list[Event]] = {}
        request = FrameHeader(0x6F1)
        for target in (0x12, 0x13):
            address = addressing.extended(
                request, FrameHeader(0x600 | target), source=0xF1, target=target
            )
            joined(wire, f"ecu {target}", address.swapped(), heard.setdefault(target, []))
        tester = addressing.extended(request, FrameHeader(0x613), source=0xF1, target=0x13)
        joined(wire, "tester", tester, []).send(MESSAGE, 0.0)
        await asyncio.sleep(1.0)
        assert heard[0x12] == []
        assert heard[0x13][-1] == MessageReceived(MESSAGE)

    on_wire(main)


class Ecu:
    """An ECU's binding and a tester's, with what each has been told."""

    def __init__(
        self, wire: CanWire, parameters: IsoTpParameters, tester: IsoTpParameters | None = None
    ) -> None:
        address = addressing.normal(*_NARROW)
        self.received: list[bytes] = []
        self.answers: list[bytes] = []
        self.ecu = IsoTpBinding(
            wire.port("ecu"),
            Addresses(request=address.transmit, response=address.receive),
            parameters,
            self.received.append,
        )
        self.tester = IsoTpBinding(
            wire.port("tester"),
            Addresses(request=address.receive, response=address.transmit),
            tester or IsoTpParameters(),
            self.answers.append,
        )


def test_an_ecu_that_is_not_ready_holds_its_tester_and_then_takes_the_message() -> None:
    async def main(wire: CanWire) -> None:
        both = Ecu(wire, IsoTpParameters(n_br_s=0.3))
        both.ecu.hold()
        both.tester.send(MESSAGE)
        await asyncio.sleep(3.0)
        assert both.received == []
        both.ecu.release()
        await asyncio.sleep(0.1)
        assert both.received == [MESSAGE]

    on_wire(main)


@pytest.mark.parametrize(("own", "taken"), [(2, 16), (16, 2)])
def test_whoever_has_the_lower_limit_of_wait_frames_gives_up(own: int, taken: int) -> None:
    async def main(wire: CanWire) -> None:
        both = Ecu(
            wire,
            IsoTpParameters(n_br_s=0.3, max_own_wait_frames=own),
            IsoTpParameters(max_wait_frames=taken),
        )
        both.ecu.hold()
        both.tester.send(MESSAGE)
        await asyncio.sleep(10.0)
        both.ecu.release()
        await asyncio.sleep(0.1)
        assert both.received == []
        both.tester.send(MESSAGE[::-1])
        await asyncio.sleep(0.1)
        assert both.received == [MESSAGE[::-1]]

    on_wire(main)


def test_an_answer_that_the_edition_has_no_frames_for_does_not_stop_the_next_one() -> None:
    async def main(wire: CanWire) -> None:
        both = Ecu(wire, IsoTpParameters(edition=IsoTpEdition.E2004))
        both.ecu.send(bytes(4096))
        both.ecu.send(bytes(4095))
        await asyncio.sleep(1.0)
        assert both.answers == [bytes(4095)]

    on_wire(main)


#: Frames of a long message in order of their tries: first frame 0, flow control 1, then the rest.
LOSSES = {
    "first frame": (0, FlowControlTimeoutError, None),
    "flow control": (1, FlowControlTimeoutError, ConsecutiveFrameTimeoutError),
    "consecutive frame": (5, None, SequenceNumberError),
    "last frame": (29, None, ConsecutiveFrameTimeoutError),
}


@pytest.mark.parametrize("name", LOSSES)
def test_each_frame_of_a_message_that_is_lost_ends_it_as_the_standard_says(name: str) -> None:
    number, send_error, receive_error = LOSSES[name]

    async def main(wire: CanWire) -> None:
        address = addressing.normal(*_NARROW)
        ours: list[Event] = []
        theirs: list[Event] = []
        left = joined(wire, "left", address, ours)
        right = joined(wire, "right", address.swapped(), theirs)
        wire.begin_faults(WireFaults(lost=frozenset({number})))
        left.send(MESSAGE, 0.0)
        await asyncio.sleep(0.5)
        for end, log in ((left, ours), (right, theirs)):
            due = end.endpoint.next_deadline()
            if due is not None:
                assert end.endpoint.handle_timeout(now=due - 0.001) == []
                log.extend(end.endpoint.handle_timeout(now=due))
        errors = [
            next((type(event.error) for event in log if isinstance(event, kind)), None)
            for log, kind in ((ours, SendFailed), (theirs, ReceptionFailed))
        ]
        assert errors == [send_error, receive_error]
        assert not [event for event in theirs if isinstance(event, MessageReceived)]

    on_wire(main)


def test_a_corrupted_frame_is_repaired_by_the_wire_and_the_message_arrives() -> None:
    async def main(wire: CanWire) -> None:
        both = Ecu(wire, IsoTpParameters())
        wire.begin_faults(WireFaults(corrupted=frozenset({0, 3, 9, 10, 30})))
        both.tester.send(MESSAGE)
        await asyncio.sleep(0.5)
        assert both.received == [MESSAGE]
        assert wire.load().error_frames == 5

    on_wire(main)


def test_a_frame_without_anybody_to_acknowledge_it_fails_after_n_as() -> None:
    async def main(wire: CanWire) -> None:
        log: list[Event] = []
        alone = joined(wire, "alone", addressing.normal(*_NARROW), log)
        wire.begin_faults(WireFaults(acknowledgement=True))
        alone.send(b"\x3e\x00", 0.0)
        await asyncio.sleep(1.0)
        (failed,) = alone.endpoint.handle_timeout(now=1.0)
        assert isinstance(failed, SendFailed)
        assert isinstance(failed.error, FrameNotSentError)
        assert wire.error_counters("alone").transmit == 128

    on_wire(main)


def test_one_number_in_11_and_in_29_bits_is_two_addresses() -> None:
    async def main(wire: CanWire) -> None:
        narrow = addressing.normal(FrameHeader(0x7A0), FrameHeader(0x7A8))
        wide = addressing.normal(
            FrameHeader(0x7A0, extended=True), FrameHeader(0x7A8, extended=True)
        )
        heard: dict[str, list[Event]] = {"narrow": [], "wide": []}
        left = {}
        for name, address in (("narrow", narrow), ("wide", wide)):
            left[name] = joined(wire, f"left {name}", address, [])
            joined(wire, f"right {name}", address.swapped(), heard[name])
        left["narrow"].send(MESSAGE, 0.0)
        left["wide"].send(MESSAGE[::-1], 0.0)
        await asyncio.sleep(1.0)
        assert heard["narrow"][-1] == MessageReceived(MESSAGE)
        assert heard["wide"][-1] == MessageReceived(MESSAGE[::-1])
        assert [len(events) for events in heard.values()] == [2, 2]

    on_wire(main)
