"""The rest of the car, to a load of one's choice."""

import asyncio
from collections import defaultdict

import pytest

from clock import run
from dbc import load
from ecu_sim.bus import CanWire
from ecu_sim.traffic import CyclicFrame, Traffic, TrafficError, plan
from protocols.can import FrameHeader

RATES = {"classic": (500_000, 0), "fd": (500_000, 2_000_000)}


def carried(
    frames: tuple[CyclicFrame, ...], rates: tuple[int, int], *, may_send: bool = True
) -> tuple[float, dict[int, list[float]]]:
    """Load over ten seconds, and when each identifier was heard."""

    async def main() -> tuple[float, dict[int, list[float]]]:
        loop = asyncio.get_running_loop()
        wire = CanWire("bench", bit_rate=rates[0], data_bit_rate=rates[1], loop=loop)
        heard: dict[int, list[float]] = defaultdict(list)

        def hear(header: FrameHeader, _data: bytes, at_s: float) -> None:
            heard[header.identifier].append(at_s)

        wire.port("listener").listen(hear)
        traffic = Traffic(loop, wire.port("VEH"), frames, may_send=lambda: may_send)
        traffic.start()
        before = wire.load()
        await asyncio.sleep(10.0)
        share = wire.load().since(before)
        traffic.stop()
        wire.close()
        return share, heard

    return run(main(), virtual=True)


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize("wanted", [0.1, 0.4, 0.8])
def test_the_wire_is_as_busy_as_asked(kind: str, wanted: float) -> None:
    rates = RATES[kind]
    share, _ = carried(plan(wanted, bit_rate=rates[0], data_bit_rate=rates[1]), rates)
    assert share == pytest.approx(wanted, abs=0.004 + 0.01 * wanted)


@pytest.mark.parametrize("kind", RATES)
def test_every_frame_keeps_its_cycle(kind: str) -> None:
    rates = RATES[kind]
    frames = plan(0.4, bit_rate=rates[0], data_bit_rate=rates[1])
    _, heard = carried(frames, rates)
    assert heard.keys() == {frame.header.identifier for frame in frames}
    for frame in frames:
        times = heard[frame.header.identifier]
        assert len(times) == pytest.approx(10.0 / frame.period_s, abs=1)
        assert times[-1] - times[0] == pytest.approx((len(times) - 1) * frame.period_s, abs=0.001)


def test_no_load_is_no_frame() -> None:
    assert plan(0.0, bit_rate=500_000) == ()


def test_silent_while_the_network_does_not_communicate() -> None:
    _, heard = carried(plan(0.4, bit_rate=500_000), RATES["classic"], may_send=False)
    assert heard == {}


@pytest.mark.parametrize("wanted", [-0.1, 0.81, float("nan")])
def test_a_load_that_no_car_has_is_refused(wanted: float) -> None:
    with pytest.raises(TrafficError, match="load"):
        plan(wanted, bit_rate=500_000)


def test_no_identifier_is_a_databases_or_a_testers() -> None:
    ours = {frame.header.identifier for frame in plan(0.8, bit_rate=125_000)}
    ours |= {frame.header.identifier for frame in plan(0.8, bit_rate=1_000_000)}
    for database in ("vehicle", "hvac_comfort", "hvac_thermal"):
        assert ours.isdisjoint(message.frame_id for message in load(database).messages)
    assert max(ours) < 0x500
