"""Downloads in an ECU's data formats, held between two blocks, and how long they say they take."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import clock
from dbc import describe_vehicle
from ecu_sim.vehicle import Vehicle
from firmware import dev_keys
from protocols.uds.data_formats import PLAIN, ZLIB, ZLIB_AES_CTR, DataFormat
from tests.support.flashing import START, Line, SimLinks, bench, image, job
from vehicle_gateway.flashing import updaters
from vehicle_gateway.flashing.encoding import DownloadCipher, Encoded, best, encoded
from vehicle_gateway.flashing.pace import Pace
from vehicle_gateway.update import EcuUpdater, Progress, TransferFigures
from vehicle_gateway.wires import testers


@dataclass(slots=True)
class Staged:
    """The staging of ccu, seen from outside."""

    vehicle: Vehicle
    updater: EcuUpdater
    line: Line
    pace: Pace
    notes: list[Progress]

    async def run(self) -> TransferFigures:
        return await self.updater.stage(job("ccu"), resume_from=0, progress=self.notes.append)

    @property
    def written(self) -> bytes:
        memory = self.vehicle.nodes["ccu"].hardware.memory
        return memory.flash.read(memory.slot_size, len(image("ccu", "2.0.0")))

    @property
    def announced(self) -> list[int]:
        """dataFormatIdentifier of each 34."""
        return [begun[1] for _, begun in self.line.requests if begun[0] == 0x34]


def _on_ccu(
    folder: Path, formats: dict[int, str] | None, use: Callable[[Staged], Awaitable[None]]
) -> None:
    """`formats` are what the gateway believes ccu to offer; None: what it does offer."""
    known = describe_vehicle()
    ccu = known.ecus["ccu"]
    if formats is not None:
        known = replace(known, ecus={"ccu": replace(ccu, data_formats=formats)})

    async def main() -> None:
        line, pace = Line(), Pace()
        async with bench(folder, "ccu") as on:
            links = SimLinks(on.vehicle, line.outgoing, line.incoming)
            async with testers.Testers(known, links) as opened:
                master = dev_keys().diagnostics_master
                made = updaters(opened, diagnostics_master=master, start_date=START, pace=pace)
                await use(Staged(on.vehicle, made["ccu"], line, pace, []))

    clock.run(main(), virtual=True)


@pytest.mark.parametrize(
    ("formats", "identifier"),
    [({}, 0x00), ({0x10: "zlib"}, 0x10), (None, 0x11)],
    ids=["plain", "compressed", "all that ccu offers"],
)
def test_the_image_arrives_in_the_best_format_that_is_offered(
    tmp_path: Path, formats: dict[int, str] | None, identifier: int
) -> None:
    async def use(staged: Staged) -> None:
        figures = await staged.run()
        assert staged.announced == [identifier]
        assert staged.written == image("ccu", "2.0.0")
        done = [note.bytes_done for note in staged.notes]
        assert done == sorted(done)
        assert done[-1] == len(staged.written)
        assert 0.97 < figures.bound_s / figures.transfer_s <= 1.0

    _on_ccu(tmp_path, formats, use)


def test_what_is_compressed_is_there_sooner(tmp_path: Path) -> None:
    passed_s: list[float] = []

    async def use(staged: Staged) -> None:
        passed_s.append((await staged.run()).transfer_s)

    _on_ccu(tmp_path / "plain", {}, use)
    _on_ccu(tmp_path / "zlib", {0x10: "zlib"}, use)
    plain_s, compressed_s = passed_s
    assert compressed_s < 0.7 * plain_s


def test_two_downloads_never_begin_with_the_same_counter(tmp_path: Path) -> None:
    async def use(staged: Staged) -> None:
        await staged.run()
        await staged.run()
        first_blocks = [
            begun for _, begun in staged.line.requests if begun[0] == 0x36 and begun[1] == 1
        ]
        assert staged.announced == [0x11, 0x11]
        assert len(set(first_blocks)) == len(first_blocks) >= 2

    _on_ccu(tmp_path, None, use)


def test_a_download_is_held_between_two_blocks_and_goes_on(tmp_path: Path) -> None:
    async def use(staged: Staged) -> None:
        staging = asyncio.create_task(staged.run())
        await asyncio.sleep(5.0)  # in the middle of it
        assert 0 < staged.notes[-1].bytes_done < staged.notes[-1].bytes_total
        staged.pace.hold()
        await asyncio.sleep(1.0)
        blocks = len(staged.line.requests)
        await asyncio.sleep(120.0)  # many times S3
        while_held = [begun[:2] for _, begun in staged.line.requests[blocks:]]
        assert set(while_held) == {b"\x3e\x80"}
        assert len(while_held) >= 120 / 5
        assert staged.notes[-1].step == "held"
        assert 0 < staged.notes[-1].bytes_done < staged.notes[-1].bytes_total
        staged.pace.go_on()
        figures = await staging
        assert staged.announced == [0x00]  # one download, not a second one
        assert staged.written == image("ccu", "2.0.0")
        assert figures.transfer_s < 60
        assert figures.staging_s > 120

    _on_ccu(tmp_path, {}, use)


def test_the_remaining_time_follows_the_pace_that_there_is(tmp_path: Path) -> None:
    """An ECU ten times as slow as the bound has it is not said to be ready any moment."""

    async def use(staged: Staged) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        told: list[tuple[float, float]] = []
        staged.notes = _Timed(told)
        with staged.vehicle.begin_fault("ccu", "late=300ms@36"):
            await staged.run()
        passed_s = told[-1][0] - began_s
        for at_s, remaining_s in told[len(told) // 4 :]:
            assert remaining_s == pytest.approx(began_s + passed_s - at_s, rel=0.25, abs=1.0)

    _on_ccu(tmp_path, {}, use)


class _Timed(list[Progress]):
    """Notes of the transfer alone: when each came, and what it said remains."""

    def __init__(self, told: list[tuple[float, float]]) -> None:
        self._told = told

    def append(self, note: Progress) -> None:
        if note.step == "transferring":
            self._told.append((asyncio.get_running_loop().time(), note.remaining_s))


_CIPHER = DownloadCipher(bytes(32), bytes)
_OFFERED = {0x10: ZLIB, 0x11: ZLIB_AES_CTR}


def test_without_the_key_nothing_is_encrypted() -> None:
    found = encoded(bytes(1000), _OFFERED, cipher=None, serial="")
    assert [one.identifier for one in found] == [0x00, 0x10]


def test_every_encoding_gives_back_the_data() -> None:
    data = bytes(range(256)) * 20
    for one in encoded(data, _OFFERED, cipher=_CIPHER, serial="CCU-2-1"):
        assert one.decoder().decode(one.data) == data


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ((10.0, 5.0, 5.01), 2),  # encrypted costs next to nothing
        ((10.0, 5.0, 6.0), 1),
        ((4.0, 5.0, 5.0), 0),  # random data grows
    ],
)
def test_the_least_bound_wins_and_encryption_where_it_costs_nothing(
    seconds: tuple[float, ...], chosen: int
) -> None:
    formats: tuple[DataFormat, ...] = (PLAIN, ZLIB, ZLIB_AES_CTR)
    candidates = [
        Encoded(identifier=number, data_format=one, data=b"", size=0)
        for number, one in enumerate(formats)
    ]
    assert best(list(zip(candidates, seconds, strict=True))).identifier == chosen
