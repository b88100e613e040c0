"""A simulated wire whose bit rate changes while it is in use."""

import pytest

from ecu_sim.bus.can_core import CanWireCore
from ecu_sim.bus.errors import WireError
from protocols.can import FrameHeader
from protocols.can.bits import NS_PER_S, frame_ns

HEADER = FrameHeader(0x123)
DATA = bytes(8)
SLOW, FAST = 125_000, 500_000


def _length(bit_rate: int) -> int:
    return frame_ns(HEADER, DATA, bit_rate=bit_rate, data_bit_rate=0)


def _run(core: CanWireCore) -> None:
    while core.next_event() is not None:
        core.handle()


def _intermission(bit_rate: int) -> int:
    return 3 * NS_PER_S // bit_rate


def test_the_frame_on_the_wire_ends_as_it_began_and_the_next_are_slower() -> None:
    core = CanWireCore("comfort", bit_rate=FAST)
    ends: list[float] = []
    core.listen("other", lambda _h, _d, at: ends.append(at), [], None, now_ns=0)
    core.send("one", HEADER, [DATA] * 3, None, now_ns=0)
    assert core.next_event() is not None
    core.set_bit_rate(SLOW, now_ns=_length(FAST) // 2)
    assert core.bit_rate == FAST
    _run(core)
    assert core.bit_rate == SLOW
    first, slow = _length(FAST), _length(SLOW)
    expected = [first - _intermission(FAST)]
    expected += [first + count * slow - _intermission(SLOW) for count in (1, 2)]
    assert [round(at * NS_PER_S) for at in ends] == expected
    assert core.load(now_ns=first + 2 * slow).busy_ns == first + 2 * slow


def test_an_idle_wire_changes_at_once() -> None:
    core = CanWireCore("comfort", bit_rate=SLOW)
    ends: list[float] = []
    core.listen("other", lambda _h, _d, at: ends.append(at), [], None, now_ns=0)
    core.set_bit_rate(FAST, now_ns=1000)
    assert core.bit_rate == FAST
    core.send("one", HEADER, [DATA], None, now_ns=1000)
    _run(core)
    assert [round(at * NS_PER_S) for at in ends] == [1000 + _length(FAST) - _intermission(FAST)]


def test_a_run_that_is_told_at_once_keeps_the_times_of_its_own_bit_rate() -> None:
    core = CanWireCore("comfort", bit_rate=FAST)
    times: list[float] = []
    core.listen(
        "other",
        lambda _h, _d, at: times.append(at),
        [],
        lambda _h, _d, ats: times.extend(ats),
        now_ns=0,
    )
    core.send("one", HEADER, [DATA] * 4, lambda _at: core.set_bit_rate(SLOW, now_ns=0), now_ns=0)
    _run(core)
    expected = [count * _length(FAST) - _intermission(FAST) for count in (1, 2, 3, 4)]
    assert [round(at * NS_PER_S) for at in times] == expected
    assert core.bit_rate == SLOW


def test_no_wire_works_without_a_bit_rate() -> None:
    core = CanWireCore("comfort", bit_rate=FAST)
    with pytest.raises(WireError, match="comfort: bit rate 0"):
        core.set_bit_rate(0, now_ns=0)
