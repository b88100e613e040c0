import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clock import run
from dbc import describe_vehicle
from ecu_sim.ecus import ecu_names
from protocols.uds.dtc import StatusBit
from tests.support.flashing import VIN, Bench, Line, bench
from vehicle_gateway.diagnostics.reader import clear_dtcs, read_ecu
from vehicle_gateway.diagnostics.signals import SignalRecorder


def on_bench(
    state: Path,
    main: Callable[[Bench], Awaitable[None]],
    *ecus: str,
    line: Line | None = None,
) -> None:
    async def whole() -> None:
        wire = line or Line()
        async with bench(state, *ecus, outgoing=wire.outgoing, incoming=wire.incoming) as found:
            await main(found)

    run(whole(), virtual=True)


@pytest.mark.parametrize("ecu", ecu_names())
def test_every_ecu_says_who_it_is(tmp_path: Path, ecu: str) -> None:
    async def main(on: Bench) -> None:
        said = await read_ecu(on.testers, ecu)
        values = {one.data_identifier: one.value for one in said.data_identifiers}
        description = describe_vehicle().ecus[ecu]
        assert said.error == ""
        never_programmed = {0xF15A} - values.keys()
        assert values.keys() == description.data_identifiers.keys() - never_programmed
        assert values[0xF189] == "1.0.0"
        assert values[0xF190] == VIN
        assert values[0xF191] == description.hardware_id

    on_bench(tmp_path, main, ecu)


def test_a_trouble_code_comes_with_text_status_snapshot_and_counters(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        await asyncio.sleep(200)  # version 1 misses its set temperature, and no blower is heard
        said = await read_ecu(on.testers, "ccu")
        codes = {one.display: one for one in said.dtcs}
        lost = codes["U1140-87"]
        assert lost.code == 0xD14087
        assert lost.text == "No communication with blower module"
        assert lost.status & StatusBit.CONFIRMED_DTC
        (snapshot,) = lost.snapshots
        assert re.fullmatch(r"Cabin temperature \d\d\.\d °C, Blower level \d+ %", snapshot.value)
        assert [one.record_number for one in lost.extended_data] == [1, 2, 3]

        await clear_dtcs(on.testers.tester("ccu"))
        cleared = await read_ecu(on.testers, "ccu")
        assert not [one for one in cleared.dtcs if one.status & StatusBit.CONFIRMED_DTC]

    on_bench(tmp_path, main, "ccu")


def test_an_ecu_that_does_not_answer_says_why_and_raises_nothing(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        on.vehicle.nodes["ccu"].kill()
        said = await read_ecu(on.testers, "ccu")
        assert said.error.startswith("ccu: no answer to READ_DATA_BY_IDENTIFIER")
        assert said.dtcs == ()

    on_bench(tmp_path, main, "ccu")


def test_a_lost_answer_is_asked_for_again(tmp_path: Path) -> None:
    line = Line()
    lost: list[bytes] = []

    def lose_answer(_identifier: int, frame: bytes) -> bool:
        if lost or frame[2:4] != b"\x62\xf1":
            return False
        lost.append(frame)
        return True

    line.lose_answer = lose_answer

    async def main(on: Bench) -> None:
        assert (await read_ecu(on.testers, "ccu")).error == ""

    on_bench(tmp_path, main, "ccu", line=line)
    assert lost


def test_signals_are_recorded_thinned_out_and_cut_to_a_window(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        port = on.vehicle.can_port("comfort", "recorder")
        recorder = SignalRecorder(
            "comfort", port, ["hvac_comfort", "vehicle"], period_s=1.0, capacity=20
        )
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        await asyncio.sleep(60)
        series = {(one.message, one.signal): one for one in recorder.window(start_s, loop.time())}
        cabin = series["CCU_Status", "CabinTemperature"]
        assert cabin.unit == "degC"
        assert len(cabin.values) == len(cabin.times_s) == 20  # the newest, once a second
        assert cabin.times_s[-1] - cabin.times_s[0] == pytest.approx(19, abs=0.2)
        assert 10 < cabin.values[-1] < 60
        assert ("VEH_Motion", "Speed") in series
        newest = recorder.latest("VEH_Motion", "Speed")
        assert newest is not None
        assert newest[0] == pytest.approx(loop.time(), abs=1.2)
        assert newest[1] == 0.0

        few = recorder.window(loop.time() - 5, loop.time())
        assert all(4 <= len(one.values) <= 6 for one in few)
        assert recorder.undecodable == 0

        recorder.stop()
        before = recorder.latest("CCU_Status", "CabinTemperature")
        await asyncio.sleep(5)
        assert recorder.latest("CCU_Status", "CabinTemperature") == before

    on_bench(tmp_path, main, "ccu", "blower")


def test_a_code_that_the_description_does_not_know_is_still_told(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        known = on.testers.vehicle.ecus["ccu"]
        blank = replace(known, dtcs={})
        vehicle = replace(on.testers.vehicle, ecus={"ccu": blank})
        on.testers.vehicle = vehicle
        said = await read_ecu(on.testers, "ccu")
        assert {one.text for one in said.dtcs} <= {"unknown trouble code"}
        assert said.dtcs

    on_bench(tmp_path, main, "ccu")
