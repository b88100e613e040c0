"""A diagnostics session that uses every service an ECU has, each granted, read by odxtools."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from odxtools.diaglayers.hierarchyelement import HierarchyElement

from clock import run
from ecu_sim.descriptions.operations import operations
from ecu_sim.ecus import EcuType, ecu_names, ecu_type
from ecu_sim.node import EcuNode
from ecu_sim.vehicle import Vehicle
from protocols.uds.secured_data import KEY_LEVEL, Administrative, Keys, SecuredMessage
from protocols.uds.security_access import derive_key
from tests.support import bench, programming
from tests.support.ecu import RawTester
from tests.support.odx import base_variant, read_answer, read_request, values, variant
from tests.support.recording import Exchange, Recording, listen, recorded, unlock

#: One request per report of 19, with a trouble code at {dtc} and a memory at {memory}.
_REPORTS: Final[Mapping[int, str]] = {
    **dict.fromkeys((0x01, 0x02, 0x0F, 0x11, 0x12, 0x13), "FF"),
    **dict.fromkeys((0x03, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x14, 0x15), ""),
    **dict.fromkeys((0x04, 0x06, 0x10), "{dtc} FF"),
    **dict.fromkeys((0x05, 0x16, 0x1A), "01"),
    **dict.fromkeys((0x07, 0x08), "FF FF"),
    0x09: "{dtc}",
    0x17: "FF {memory}",
    **dict.fromkeys((0x18, 0x19), "{dtc} FF {memory}"),
    0x42: "33 FF FF",
    0x55: "33",
    0x56: "33 01",
}
_DYNAMIC: Final = "F3 05"


def _session(ecu: EcuType) -> Iterator[str]:
    """Requests of the extended session at the programming level, each to be granted."""
    live = next(iter(ecu.live_values))
    yield from (f"22 {did:04X}" for did in (ecu.data_identifiers | ecu.engineering_identifiers))
    yield f"22 {live:04X} F1 90"
    if ecu.stages:
        yield "2E F1 5A 20 26 05 01"
    if ecu.data.scaling:
        scaled = ecu.data_identifiers | ecu.engineering_identifiers
        yield from (f"24 {did:04X}" for did in scaled)
    if ecu.data.dynamic is not None:
        yield f"2C 01 {_DYNAMIC} {live:04X} 01 01 {live:04X} 02 01"
        yield f"22 {_DYNAMIC}"
        yield f"22 {_DYNAMIC} F1 90"
    if ecu.data.dynamic is not None and ecu.data.dynamic.by_address is not None:
        ram = next(one for one in ecu.data.memory if one.start == 0x2000_0000)
        yield f"2C 02 F2 77 14 {ram.start:08X} 02 {ram.start + 4:08X} 01"
        yield "2A 03 77"
    if ecu.data.periodic is not None:
        low = next(iter(ecu.data.periodic.identifiers)) & 0xFF
        yield f"2A 03 {low:02X}"
        yield "wait"
        yield "2A 04"
    if ecu.data.dynamic is not None:
        yield f"2C 03 {_DYNAMIC}"
        yield "2C 03"
    yield from _trouble_codes(ecu)
    for did, record in ecu.output_records.items():
        states = "01" * len(record.outputs)
        several = len(record.outputs) > 1
        yield f"2F {did:04X} 03 {states}"
        yield f"2F {did:04X} 03 {states} {'80' if several else ''}"
        yield f"2F {did:04X} 02 {'C0' if several else ''}"
        yield f"2F {did:04X} 01"
        yield f"2F {did:04X} 00"
    for region in ecu.data.memory:
        if region.read is not None:
            yield f"23 14 {region.start:08X} 04"
        if region.upload is not None:
            yield f"35 00 44 {region.start:08X} 00000040"
            yield "36 01"
            yield "37"
    yield from ("28 01 01", "28 00 03", "3E 00", "31 01 02 03", "31 01 02 13")
    if ecu.nodes:
        yield f"28 04 01 {min(ecu.nodes):04X}"
        yield f"28 05 01 {min(ecu.nodes):04X}"
    yield f"31 01 02 14 {'5A' * 16}"
    yield "11 03"


def _trouble_codes(ecu: EcuType) -> Iterator[str]:
    # The last one is what an ECU finds that is alone on its wire.
    fill = {"dtc": f"{ecu.application_dtcs[-1]:06X}", "memory": "10"}
    for one in operations(ecu):
        if one.service == 0x19:
            assert one.sub_function is not None
            yield f"19 {one.sub_function:02X} {_REPORTS[one.sub_function].format(**fill)}"
    yield f"85 02 {fill['dtc']}"
    yield "85 01"
    yield f"14 {fill['dtc']}"
    if ecu.dtc_rules.memories and ecu.editions.uds >= 2020:
        yield "14 FF FF FF 10"
    yield "14 FF FF FF"


def _written(ecu: EcuType) -> Iterator[str]:
    """What the engineering level is for."""
    yield from (f"2E {did:04X} 00 05" for did in ecu.calibrations)
    for region in ecu.data.memory:
        if region.write is not None:
            yield f"3D 14 {region.start:08X} 02 00 05"


def check(recording: Recording, *layers: HierarchyElement) -> None:
    """Every message has one meaning, names all of its bytes, and gives them again."""
    assert recording.unasked == []
    for layer in layers:
        for exchange in recording.exchanges:
            said = exchange.request[:12].hex(" ")
            assert read_request(layer, exchange.request), said
            for answer in exchange.answers:
                assert read_answer(layer, exchange.request, answer), f"{said}: {answer.hex(' ')}"


def granted(recording: Recording) -> set[int]:
    return {one.request[0] for one in recording.exchanges if any(a[0] != 0x7F for a in one.answers)}


def services(ecu: EcuType, program: str) -> set[int]:
    return {one.service for one in operations(ecu) if program in one.access}


@pytest.mark.parametrize("name", ecu_names())
def test_a_session_with_every_service_of_an_ecu_is_read_from_its_package(
    tmp_path: Path, name: str
) -> None:
    ecu = ecu_type(name)
    #: Whether outputs are the engineering level's.
    engineered = any(access.level in ecu.more_levels for access in ecu.data.outputs.values())

    async def whole() -> Recording:
        async with recorded(tmp_path, name) as (on, recording):
            # Long enough for a fault of a lonely ECU.
            await asyncio.sleep(30)
            tester = on.testers.tester(name)
            await tester.request(bytes.fromhex("10 03"))
            for level in (*ecu.more_levels, ecu.security_level):
                await unlock(on, name, level=level)
                engineer = level != ecu.security_level
                for request in _written(ecu) if engineer else _session(ecu):
                    if request == "wait":
                        await asyncio.sleep(0.2)
                    elif not (request.startswith("2F") and engineered):
                        await tester.request(bytes.fromhex(request))
                if engineer and engineered:
                    for did in ecu.output_records:
                        await tester.request(bytes.fromhex(f"2F {did:04X} 00"))
            return recording

    recording = run(whole(), virtual=True)
    check(recording, base_variant(name), variant(name, "application"))
    # Programming is recorded elsewhere.
    uploads = any(region.upload is not None for region in ecu.data.memory)
    programming = {0x34} if uploads else {0x34, 0x36, 0x37}
    assert services(ecu, "application") - granted(recording) <= programming


def _file(operation: int, path: bytes, rest: bytes = b"") -> bytes:
    return bytes([0x38, operation]) + len(path).to_bytes(2) + path + rest


async def _files(tester: RawTester) -> None:
    content, format_and_sizes = b"0123456789", bytes.fromhex("00 01 0A 0A")
    for operation in (1, 3):
        await _expected(tester, _file(operation, b"/log/a", format_and_sizes))
        await _expected(tester, b"\x36\x01" + content)
        await _expected(tester, b"\x37")
    await _expected(tester, _file(4, b"/log/a", b"\x00"))
    await _expected(tester, b"\x36\x01")
    await _expected(tester, b"\x37")
    await _expected(tester, _file(5, b"/log"))
    await _expected(tester, b"\x36\x01")
    await _expected(tester, b"\x37")
    await _expected(tester, _file(1, b"/log/b", format_and_sizes))
    await _expected(tester, b"\x36\x01" + content[:4])
    await tester.ask(bytes.fromhex("10 03"))


async def _expected(tester: RawTester, request: bytes | str) -> bytes:
    sent = bytes.fromhex(request) if isinstance(request, str) else request
    answer = await tester.ask(sent)
    assert answer[0] == sent[0] + 0x40, f"{sent.hex(' ')}: {answer.hex(' ')}"
    return answer


#: What a recorded event service says, by the number of events that are active.
_EVENTS: Final = (
    "86 04 02",
    "86 01 02 01 19 02 01",
    "86 05 02",
    "86 04 02",
    "86 03 03 02 C1 22 02 C1 01 C1",
    "86 07 02 01 C1 02 00 00 00 05 0A C0 00 22 01 C1",
    "86 05 02",
    "86 04 02",
    "86 00 02",
    "86 06 02",
    "86 08 02 0D",
    "86 09 02 08 06 01",
    "86 06 02",
)


def test_a_session_with_every_service_of_the_bench_ecu_is_read_from_its_package(
    tmp_path: Path,
) -> None:
    ecu, recording = bench.ECU, Recording()

    async def test(vehicle: Vehicle, node: EcuNode, tester: RawTester) -> None:
        listen(vehicle, "bench", recording)
        await _expected(tester, "10 03")
        await programming.unlock(tester, node)
        for request in _session(ecu):
            if request != "11 03":
                await _expected(tester, request)
        await _expected(tester, "2E 02 C1 00 05")
        await _files(tester)
        await programming.unlock(tester, node)
        await _expected(tester, _file(6, b"/log/b", bytes.fromhex("00 01 0A 0A")))
        await _expected(tester, b"\x36\x01456789")
        await _expected(tester, b"\x37")
        await _expected(tester, _file(2, b"/log/a"))
        for request in _EVENTS:
            await _expected(tester, request)
        await _secured(tester, node)
        await _expected(tester, "87 01 11")
        await _expected(tester, "87 03")
        await _expected(tester, "10 01")
        # What is to be stored is the default session's.
        for request in ("86 09 02 08 06 01", "86 45 02", "86 40 02", "86 06 02"):
            await _expected(tester, request)
        await _expected(tester, "11 03")

    bench.on_bench(tmp_path, bench.with_application(test))
    check(recording, base_variant("bench"))
    assert services(ecu, "application") <= granted(recording)
    said = {one.request[:2]: one for one in recording.exchanges}
    _file_is_told(said[b"\x38\x04"])
    active = [one for one in recording.exchanges if one.request[:2] == b"\x86\x04"]
    none, one, several = (
        values(read_answer(base_variant("bench"), it.request, it.answers[0])[0])["activated_events"]
        for it in active
    )
    assert none == ("none", {})
    assert one[1]["event"][0] == "on_DTC_status_change"
    assert one[1]["event"][1]["service_to_respond_to"][1]["report"][0] == "by_status_mask"
    assert several[0].startswith("several")


def _file_is_told(exchange: Exchange) -> None:
    layer = base_variant("bench")
    request = values(read_request(layer, exchange.request)[0])
    assert request["file_path_and_name"] == "/log/a"
    answer = values(read_answer(layer, exchange.request, exchange.answers[0])[0])
    assert answer["file_size_uncompressed"] == answer["file_size_compressed"] == 10
    assert answer["max_number_of_block_length"] > 100


async def _secured(tester: RawTester, node: EcuNode) -> None:
    identity = node.hardware.identity
    keys = Keys.derive(derive_key(identity.diagnostics_master, identity.serial, KEY_LEVEL))
    signed = Administrative.REQUEST | Administrative.SIGNED
    for counter, bits in enumerate(
        (signed, signed | Administrative.SIGN_RESPONSE, signed | Administrative.ENCRYPTED), start=1
    ):
        inner = bytes.fromhex("22 F1 90")
        asked = SecuredMessage(administrative=bits, counter=counter, inner=inner)
        await _expected(tester, asked.encode(keys))


def test_scaling_formula_and_unit_are_told_in_words() -> None:
    layer = base_variant("ccu")
    (reading,) = read_answer(
        layer, bytes.fromhex("24 01 01"), bytes.fromhex("64 01 01 12 93 07 10 01 A1 17")
    )
    size, formula, unit = (one["scaling_byte"] for one in values(reading)["scaling"])
    assert size[0] == "signed_of_2_bytes"
    assert formula[1] == {"formula": "y = x / C0", "exponent": 1, "mantissa": 1}
    assert unit[1] == {"unit_identifier": "°C"}


def test_a_dynamically_defined_identifier_is_told_by_its_number() -> None:
    (reading,) = read_answer(
        base_variant("ccu"), bytes.fromhex("22 F3 05"), bytes.fromhex("62 F3 05 01 02")
    )
    ((name, record),) = (one["data_record"] for one in values(reading)["data_records"])
    assert name == "dynamically_defined_F305"
    assert record["record"] == b"\x01\x02"


@pytest.mark.parametrize(
    ("answer", "dtcs"),
    [
        ("59 05 01", []),
        ("59 05 01 D14087 2F 00", [0xD14087]),
        ("59 05 01 D14087 2F 00 01 9A0100 2F 00 01 9A0211 2F 00", [0xD14087, 0x9A0100, 0x9A0211]),
    ],
)
def test_stored_data_are_told_code_by_code(answer: str, dtcs: list[int]) -> None:
    (reading,) = read_answer(base_variant("ccu"), b"\x19\x05\x01", bytes.fromhex(answer))
    told = values(reading)["stored_data"]
    found = [one for first in told for one in (first, *first["further_stored_data"])]
    assert [one["dtc"].trouble_code for one in found] == dtcs
