"""odxtools reads what was said on the wires, from the package that the ECU's tables gave."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from clock import run
from ecu_sim.ecus import ecu_names
from tests.support.flashing import NONCE, Bench, job
from tests.support.odx import base_variant, read_answer, read_request
from tests.support.recording import Recording, recorded
from vehicle_gateway.diagnostics.reader import read_ecu


def record(state: Path, ecu: str, main: Callable[[Bench], Awaitable[None]]) -> Recording:
    async def whole() -> Recording:
        async with recorded(state, ecu) as (on, recording):
            await main(on)
            return recording

    return run(whole(), virtual=True)


def check(ecu: str, recording: Recording) -> None:
    layer = base_variant(ecu)
    assert recording.unasked == []
    for exchange in recording.exchanges:
        said = exchange.request[:8].hex(" ")
        assert read_request(layer, exchange.request), said
        for answer in exchange.answers:
            assert read_answer(layer, exchange.request, answer), f"{said}: {answer[:8].hex(' ')}"


@pytest.mark.parametrize("ecu", ecu_names())
def test_every_message_of_an_update_is_read_from_the_package(tmp_path: Path, ecu: str) -> None:
    async def main(on: Bench) -> None:
        updater, update = on.updaters[ecu], job(ecu)
        await updater.inventory(NONCE)
        await updater.stage(update, resume_from=0, progress=on.progress)
        await updater.activate(update, resume_from=0, progress=on.progress)
        assert (await updater.inventory(NONCE)).software_version == "2.0.0"
        await updater.confirm(update)

    recording = record(tmp_path, ecu, main)
    assert {0x10, 0x11, 0x22, 0x27, 0x2E, 0x31, 0x34, 0x36, 0x37} <= recording.services
    blocks = [one for one in recording.exchanges if one.request[0] == 0x36]
    assert sum(len(one.request) - 2 for one in blocks) >= len(job(ecu).image)
    assert any(answer[2:3] == b"\x78" for one in recording.exchanges for answer in one.answers)
    check(ecu, recording)


@pytest.mark.parametrize("ecu", ecu_names())
def test_every_message_of_a_diagnostics_session_is_read(tmp_path: Path, ecu: str) -> None:
    async def main(on: Bench) -> None:
        await read_ecu(on.testers, ecu)

    check(ecu, record(tmp_path, ecu, main))
