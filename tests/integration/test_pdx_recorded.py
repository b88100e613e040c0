"""odxtools reads what was said on the wires, from the package that the ECU's tables gave."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from odxtools.diaglayers.basevariant import BaseVariant
from odxtools.diaglayers.ecuvariant import EcuVariant
from odxtools.diaglayers.hierarchyelement import HierarchyElement
from odxtools.variantmatcher import VariantMatcher

from clock import run
from ecu_sim.descriptions.operations import operations
from ecu_sim.ecus import EcuType, ecu_names, ecu_type
from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle
from firmware import dev_keys
from protocols.uds import DataIdentifier, RoutineId, requests
from protocols.uds.data_formats import Decoder, derive_data_key
from tests.support import bench, programming
from tests.support.ecu import RawTester, application
from tests.support.flashing import NONCE, Bench, job
from tests.support.odx import (
    Download,
    base_variant,
    database,
    downloads,
    read_answer,
    read_request,
    sample,
    values,
    variant,
)
from tests.support.recording import Recording, listen, recorded, unlock
from tests.support.vehicle import new_vehicle
from vehicle_gateway.diagnostics.reader import read_ecu
from vehicle_gateway.wires.tester import NegativeResponseError, UdsTester


def record(state: Path, ecu: str, main: Callable[[Bench], Awaitable[None]]) -> Recording:
    async def whole() -> Recording:
        async with recorded(state, ecu) as (on, recording):
            await main(on)
            return recording

    return run(whole(), virtual=True)


def check(ecu: str, recording: Recording, *programs: HierarchyElement) -> None:
    """Of each program given, its own layer must do too."""
    for layer in (base_variant(ecu), *programs):
        _check(layer, recording)


def _check(layer: HierarchyElement, recording: Recording) -> None:
    assert recording.unasked == []
    for exchange in recording.exchanges:
        said = exchange.request[:8].hex(" ")
        assert read_request(layer, exchange.request), said
        for answer in exchange.answers:
            assert read_answer(layer, exchange.request, answer), f"{said}: {answer[:8].hex(' ')}"


def decoded(kind: EcuType, download: Download, recording: Recording) -> bytes:
    """What comes out of the data format that the package reads in 34."""
    if not download.data_format:
        assert download.size == len(download.data)
        return bytes(download.data)
    said = next(one.answers[-1] for one in recording.exchanges if one.request.hex() == "22f18c")
    key = derive_data_key(dev_keys().diagnostics_master, said[3:].decode("ascii").rstrip("\0 "))
    decoder = Decoder(kind.data_formats[download.data_format], size=download.size, key=key)
    data = decoder.decode(bytes(download.data))
    assert decoder.complete
    return data


def check_flash(ecu: str, recording: Recording, images: Mapping[int, bytes]) -> None:
    """The package says of a flash what was flashed: by its address, the image that went there."""
    layer, kind = base_variant(ecu), ecu_type(ecu)
    found = downloads(layer, recording.exchanges)
    assert {one.address: decoded(kind, one, recording) for one in found} == images
    for one in found:
        assert one.complete
        assert one.counters == [(number + 1) % 256 for number in range(len(one.counters))]
        assert one.max_block_length == kind.max_block_length
    erased: set[int] = set()
    checked: set[int] = set()
    for exchange in recording.exchanges:
        asked = values(read_request(layer, exchange.request)[0])
        told = [values(read_answer(layer, exchange.request, one)[0]) for one in exchange.answers]
        for refusal in told[:-1]:
            assert refusal["negative_response_code"] == "response pending"
        match exchange.request[:1].hex():
            case "10" if told:
                assert told[-1]["p2_server_max"] == round(kind.p2_s * 1000)
                assert told[-1]["p2_star_server_max"] == round(kind.p2_star_s * 1000)
            case "27" if "seed" in told[-1]:
                assert told[-1]["seed"] == exchange.answers[-1][2:]
            case "31":
                assert told[-1]["status"] in {"done", "correct", "fulfilled"}, asked
                if asked["routine_identifier"] == RoutineId.ERASE_MEMORY:
                    erased.add(asked["memory_address"])
                if asked["routine_identifier"] == RoutineId.CHECK_MEMORY and kind.single_slot:
                    checked.add(asked["crc32"])
    in_flash = {
        address: image
        for address, image in images.items()
        if kind.secondary_loader is None or address != kind.secondary_loader.start
    }
    assert erased == set(in_flash)
    if kind.single_slot:
        assert checked == {zlib.crc32(image) for image in in_flash.values()}


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
    assert blocks
    assert any(answer[2:3] == b"\x78" for one in recording.exchanges for answer in one.answers)
    check(ecu, recording)
    check_flash(ecu, recording, {ecu_type(ecu).application_base: job(ecu).image})
    asked = requests.read_data(DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_VERSION)
    versions = [
        values(reading)["text"]
        for one in recording.exchanges
        if one.request == asked
        for reading in read_answer(base_variant(ecu), asked, one.answers[-1])
        if "text" in values(reading)
    ]
    assert (versions[0], versions[-1]) == ("1.0.0", "2.0.0")


@pytest.mark.parametrize("ecu", ecu_names())
def test_every_message_of_a_diagnostics_session_is_read(tmp_path: Path, ecu: str) -> None:
    async def main(on: Bench) -> None:
        await read_ecu(on.testers, ecu)

    check(ecu, record(tmp_path, ecu, main))


#: Resets, changes of the wire, and what the walk itself does at its beginning and end.
_APART = {0x10, 0x11, 0x27, 0x87}


async def _ask(tester: UdsTester, request: bytes) -> bool:
    """Whether the answer was positive."""
    try:
        await tester.request(request)
    except NegativeResponseError:
        return False
    return True


async def _walk(tester: UdsTester, ecu: str, program: str) -> int:
    """Ask for every operation of a program once; how many were granted."""
    kind = ecu_type(ecu)
    asked = [one for one in operations(kind) if program in one.access and one.service not in _APART]
    assert len(asked) > 20
    granted = [await _ask(tester, sample(kind, one.request)) for one in asked]
    return sum(granted)


@pytest.mark.parametrize("ecu", ecu_names())
def test_every_operation_of_the_application_is_answered_in_words_of_the_package(
    tmp_path: Path, ecu: str
) -> None:
    async def main(on: Bench) -> None:
        tester = on.testers.tester(ecu)
        assert await _ask(tester, bytes.fromhex("10 03"))
        await unlock(on, ecu, level=ecu_type(ecu).security_level)
        assert await _walk(tester, ecu, "application") > 20
        assert await _ask(tester, bytes.fromhex("10 01"))

    recording = record(tmp_path, ecu, main)
    check(ecu, recording, variant(ecu, "application"))


def test_every_operation_of_a_boot_loader_is_answered_in_words_of_the_package(
    tmp_path: Path,
) -> None:
    async def main(on: Bench) -> None:
        tester = on.testers.tester("blower")
        assert await _ask(tester, bytes.fromhex("10 03"))
        assert await _ask(tester, bytes.fromhex("10 02"))
        await unlock(on, "blower", level=1)
        assert await _walk(tester, "blower", "boot loader") > 10

    recording = record(tmp_path, "blower", main)
    check("blower", recording, variant("blower", "boot loader"))


def test_a_fault_is_read_with_its_text_status_and_stored_values(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        # Nobody sends what the climate control unit expects of its blower.
        await asyncio.sleep(30)
        tester = on.testers.tester("ccu")
        assert await _ask(tester, bytes.fromhex("19 02 08"))
        assert await _ask(tester, bytes.fromhex("19 04 D1 40 87 FF"))
        assert await _ask(tester, bytes.fromhex("19 06 D1 40 87 FF"))

    recording = record(tmp_path, "ccu", main)
    check("ccu", recording)
    listed, stored, counted = (
        values(read_answer(base_variant("ccu"), one.request, one.answers[-1])[0])
        for one in recording.exchanges
    )
    (fault,) = listed["dtcs"]
    assert fault["dtc"].trouble_code == 0xD14087
    assert str(fault["dtc"].text) == "No communication with blower module"
    assert fault["dtc"].display_trouble_code == "U1140-87"
    assert fault["confirmed_dtc"] == 1
    snapshot = dict(one["data_record"] for one in stored["snapshot_records"][0]["data_records"])
    assert 15 < snapshot["Cabin_temperature"]["value"] < 40
    records = dict(one["extended_data_record"] for one in counted["extended_data_records"])
    assert records["occurrence_counter"]["value"] == 1


async def identified(
    tester: UdsTester, candidates: list[BaseVariant] | list[EcuVariant]
) -> str | None:
    """The layer that the packages' own patterns find for the ECU at the other end."""
    # Its cache cannot hold the byte arrays that it asks with.
    matcher = VariantMatcher(candidates, use_cache=False)
    for _, request in matcher.request_loop():
        try:
            matcher.evaluate(await tester.request(request))
        except NegativeResponseError as error:
            matcher.evaluate(bytes([0x7F, request[0], error.code]))
    return matcher.matching_variant.short_name if matcher.matching_variant else None


@pytest.mark.parametrize("ecu", ecu_names())
def test_an_ecu_is_known_by_its_hardware_and_its_program(tmp_path: Path, ecu: str) -> None:
    known = [database(name).base_variants[name] for name in ecu_names()]

    async def main(on: Bench) -> None:
        tester, variants = on.testers.tester(ecu), list(database(ecu).ecu_variants)
        assert await identified(tester, known) == ecu
        assert await identified(tester, variants) == f"{ecu}_application"
        assert await identified(tester, variants[::-1]) == f"{ecu}_application"

    record(tmp_path, ecu, main)


def test_a_boot_loader_is_known_as_such(tmp_path: Path) -> None:
    async def main(on: Bench) -> None:
        tester, variants = on.testers.tester("blower"), list(database("blower").ecu_variants)
        await tester.request(bytes.fromhex("10 03"))
        await tester.request(bytes.fromhex("10 02"))
        assert await identified(tester, variants) == "blower_boot_loader"
        assert await identified(tester, variants[::-1]) == "blower_boot_loader"

    record(tmp_path, "blower", main)


def on_the_bench(tmp_path: Path, test: bench.Test) -> Recording:
    recording = Recording()

    async def listened(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        listen(vehicle, "bench", recording)
        await test(vehicle, node, tester)

    bench.on_bench(tmp_path, listened)
    return recording


def test_blocks_programmed_by_a_secondary_loader_are_read_from_the_package(tmp_path: Path) -> None:
    async def nothing_else(_vehicle: Vehicle, _node: EcuNode, _tester: RawTester) -> None: ...

    recording = on_the_bench(tmp_path, bench.with_application(nothing_else))
    assert {0x27, 0x31, 0x34, 0x36, 0x37} <= recording.services
    check("bench", recording)
    check_flash("bench", recording, {bench.LOADER: bench.loader_image(), **bench.blocks()})


def test_every_operation_of_a_bench_ecu_is_answered_in_words_of_the_package(tmp_path: Path) -> None:
    kind = ecu_type("bench")
    asked = [
        one for one in operations(kind) if "application" in one.access and one.service not in _APART
    ]

    async def walk(_vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        await tester.ask(bytes.fromhex("10 03"))
        await programming.unlock(tester, node)
        answers = [await tester.ask(sample(kind, one.request)) for one in asked]
        assert sum(answer[0] != 0x7F for answer in answers) > 20

    recording = on_the_bench(tmp_path, bench.with_application(walk))
    check("bench", recording)
    assert {0x38, 0x84, 0x86} <= recording.services


def test_a_flash_of_the_edition_of_2013_is_read_from_the_package(tmp_path: Path) -> None:
    ecu = "bench_2013"
    kind, recording = ecu_type(ecu), Recording()
    address = kind.can_addresses[0]
    image = bench.image(application(), hardware_id=kind.hardware_identifier)

    async def flash() -> None:
        vehicle = new_vehicle(tmp_path, ecu)
        try:
            vehicle.provision(ecu, image)
            await vehicle.start()
            listen(vehicle, ecu, recording)
            port = vehicle.can_port(kind.wire, "tester")
            tester = RawTester.can(port, address.request_id, address.response_id)
            await programming.program_single_slot(tester, vehicle.nodes[ecu], image)
            tester.close()
        finally:
            await vehicle.stop()

    run(flash(), virtual=True)
    check(ecu, recording)
    check_flash(ecu, recording, {kind.application_base: image})


def test_every_operation_of_the_edition_of_2013_is_read_from_the_package(tmp_path: Path) -> None:
    ecu = "bench_2013"
    kind, recording = ecu_type(ecu), Recording()
    address = kind.can_addresses[0]

    async def walk() -> None:
        vehicle = new_vehicle(tmp_path, ecu)
        try:
            image = bench.image(application(), hardware_id=kind.hardware_identifier)
            vehicle.provision(ecu, image)
            await vehicle.start()
            listen(vehicle, ecu, recording)
            port = vehicle.can_port(kind.wire, "tester")
            tester = RawTester.can(port, address.request_id, address.response_id)
            await tester.ask(bytes.fromhex("10 03"))
            for one in operations(kind):
                if "application" in one.access and one.service not in _APART:
                    await tester.ask(sample(kind, one.request))
            tester.close()
        finally:
            await vehicle.stop()

    run(walk(), virtual=True)
    check(ecu, recording)
    granted = {one.request[:2] for one in recording.exchanges if one.answers[-1][0] != 0x7F}
    only_2013 = ("19 0F", "19 11", "19 12", "19 13", "83 01", "83 03")
    assert {bytes.fromhex(one) for one in only_2013} <= granted
