"""Bad applications on real (simulated) ECUs: each ends where the table of `firmware.faulty` says.

Virtual time; the gateway's own flow, journal and flash sequences, on the ECU that gets the bad
image and another one that gets a good one.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
import wasmtime

import clock
from dbc import describe_vehicle
from ecu_sim.ecus import ecu_names, ecu_type
from ecu_sim.node import Mode
from ecu_sim.vehicle import Vehicle
from firmware import dev_keys, faulty
from firmware.faulty import FAULTS, End
from protocols.firmware.containers import declared
from protocols.firmware.formats import detect
from protocols.fleet.v1 import reports_pb2, reports_pb2_grpc
from protocols.uds.dtc import StatusBit
from tests.support.ecu import DIAGNOSTICS_MASTER, small_image
from tests.support.flashing import START, SimLinks
from tests.support.gateway import NONCE, VIN, Files, QuietDiagnostics, SimulatedClearance, published
from tests.support.gateway_fleet import car, cloud_in
from tests.support.vehicle import back_in, open_tester, running
from vehicle_gateway.app import Gateway
from vehicle_gateway.flashing import updaters
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.begin import begin, inventories
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.journal import Journal
from vehicle_gateway.update.offer import Offer, OfferedImage
from vehicle_gateway.update.vehicle import VehicleUpdate
from vehicle_gateway.wires import testers as gateway

DESCRIPTION = describe_vehicle()
#: The first ECU of each boot profile.
BY_PROFILE: Final = {ecu_type(ecu).boot_profile: ecu for ecu in reversed(ecu_names())}
OBSERVE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    report: UpdateReport
    #: ECU -> F189 of what runs, empty in a boot loader.
    versions: dict[str, str]
    vehicle: Vehicle
    #: Watchdog resets that the bad ECU has had, by the boots beyond those that were asked for.
    boots: int


def faulty_image(ecu: str, fault: str) -> bytes:
    path = faulty.image_path(ecu, fault)
    content = path.read_bytes()
    return detect(path.name, content).decode(content).data


def end_of(ecu: str, fault: str) -> End:
    found = FAULTS[fault]
    return found.one_slot if ecu_type(ecu).single_slot else found.two_slots


def updated(folder: Path, bad: str, fault: str, check: Callable[[Ended], Awaitable[None]]) -> None:
    """A release with a bad image for one ECU and a good one for another; what became of it."""
    good = next(ecu for ecu in ("ccu", "ecomp") if ecu != bad)
    versions = {bad: FAULTS[fault].version, good: "2.0.0"}
    new = {
        bad: faulty_image(bad, fault),
        good: small_image(good, version=(2, 0, 0), security_counter=2),
    }
    old = {ecu: small_image(ecu) for ecu in new}
    files = Files({sha256(one).digest(): one for one in (*new.values(), *old.values())})
    offer = Offer(
        campaign="campaigns/bad",
        release="releases/bad",
        version="2.0.0",
        nonce=NONCE,
        images=tuple(
            OfferedImage(
                ecu=ecu,
                image=published(DESCRIPTION.ecus[ecu], versions[ecu], new[ecu]),
                present=published(DESCRIPTION.ecus[ecu], "1.0.0", old[ecu])
                if ecu_type(ecu).single_slot
                else None,
            )
            for ecu in new
        ),
    )

    async def walk() -> None:
        loop = asyncio.get_running_loop()

        def now_us() -> int:
            return round(loop.time() * 1e6)

        async with (
            running(folder / "car", *new, images=old) as vehicle,
            gateway.Testers(DESCRIPTION, SimLinks(vehicle)) as testers,
        ):
            found = updaters(testers, diagnostics_master=DIAGNOSTICS_MASTER, start_date=START)
            fitted = {ecu: found[ecu] for ecu in new}
            with Journal(folder / "journal.jsonl") as journal:
                begin(
                    journal,
                    vin=VIN,
                    offer=offer,
                    before=await inventories(fitted.values(), NONCE),
                    vehicle=DESCRIPTION,
                    now_us=now_us(),
                )
                update = VehicleUpdate(
                    journal=journal,
                    vehicle=DESCRIPTION,
                    updaters=fitted,
                    images=files,
                    diagnostics=QuietDiagnostics(),
                    clearance=SimulatedClearance(),
                    now_us=now_us,
                    observe_s=OBSERVE_S,
                    on_phase=lambda _phase: None,
                    on_progress=lambda _note: None,
                )
                report = await update.run()
                update.finish(report)
            said = await inventories(fitted.values(), NONCE)
            await check(
                Ended(
                    report=report,
                    versions={one.ecu: one.software_version for one in said},
                    vehicle=vehicle,
                    boots=vehicle.nodes[bad].boots,
                )
            )

    clock.run(walk(), virtual=True)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("profile", BY_PROFILE)
def test_a_bad_application_ends_where_its_profile_says(
    tmp_path: Path, profile: str, fault: str
) -> None:
    bad, end = BY_PROFILE[profile], end_of(BY_PROFILE[profile], fault)

    async def check(ended: Ended) -> None:
        report = ended.report
        assert report.outcome.value == end.outcome, report.reason
        if end.outcome == "updated":
            assert ended.versions[bad] == FAULTS[fault].version
            assert report.reason == ""
            return
        # All old, and the reason says which ECU and what.
        assert set(ended.versions.values()) == {"1.0.0"}
        assert report.reason.startswith(f"{bad}: ")
        assert end.reason in report.reason
        assert all(node.mode is Mode.APPLICATION for node in ended.vehicle.nodes.values())

    updated(tmp_path, bad, fault, check)


@pytest.mark.parametrize("profile", BY_PROFILE)
def test_an_actuator_is_held_to_its_range_whatever_the_application_asks(
    tmp_path: Path, profile: str
) -> None:
    ecu = ecu_type(BY_PROFILE[profile])
    output, record = ecu.outputs[0], next(iter(ecu.output_records))
    seen: list[int] = []

    async def walk() -> None:
        images = {ecu.name: faulty_image(ecu.name, "wild_actuator")}
        async with running(tmp_path, ecu.name, images=images) as vehicle:
            node = vehicle.nodes[ecu.name]
            for _ in range(20):
                await asyncio.sleep(0.1)
                assert node.program is not None
                seen.append(node.program.device.read_data(record)[0])
                if output.actuator:
                    assert (
                        output.minimum <= getattr(vehicle.cabin, output.actuator) <= output.maximum
                    )
            assert node.program is not None
            confirmed = node.program.dtcs.matching(StatusBit.CONFIRMED_DTC)
            assert ecu.output_monitor in {code for code, _ in confirmed}

    clock.run(walk(), virtual=True)
    assert len(set(seen)) == 2


@pytest.mark.parametrize("ecu", ecu_names())
@pytest.mark.parametrize("fault", FAULTS)
def test_every_ecu_has_every_fault_small_and_correctly_signed(ecu: str, fault: str) -> None:
    image = faulty_image(ecu, fault)
    assert len(image) < 2048
    said = declared(image)
    assert said is not None
    assert said.software_version == FAULTS[fault].version
    assert said.hardware_id == ecu_type(ecu).hardware_identifier
    assert said.supplier_version == faulty.SUPPLIER_VERSION
    assert dev_keys().image_public_key


def test_there_is_a_source_for_every_fault_and_no_image_besides() -> None:
    assert {path.stem for path in faulty.SOURCES.iterdir()} == set(FAULTS)
    images = {faulty.image_path(ecu, fault) for ecu in ecu_names() for fault in FAULTS}
    assert images == set(faulty.IMAGES.iterdir())


@pytest.mark.parametrize("ecu", ecu_names())
def test_every_ecu_of_a_vehicle_watches_its_outputs(ecu: str) -> None:
    kind = ecu_type(ecu)
    assert kind.output_monitor in kind.dtcs
    assert kind.output_monitor not in kind.application_dtcs


def test_a_trouble_code_that_comes_with_an_update_is_new_in_its_report(tmp_path: Path) -> None:
    path = faulty.image_path("ptc", "late_trouble_code")

    async def walk() -> dict[str, Any]:
        with cloud_in(tmp_path) as cloud:
            old = {"ptc": small_image("ptc")}
            async with (
                car(tmp_path, ("ptc",), cloud, images=old) as fleet,
                Gateway(fleet.options(observe_s=OBSERVE_S), fleet.links()) as gateway,
            ):
                fleet.register()
                fleet.publish("9.0.6", [("PTC-1", path.name, path.read_bytes())])
                assert await gateway.run_once() is None
                campaign = fleet.start_campaign("9.0.6")
                assert await gateway.run_once() is Outcome.UPDATED
                request = reports_pb2.ExportReportRequest(
                    campaign=campaign, format=reports_pb2.REPORT_FORMAT_JSON
                )
                reports = reports_pb2_grpc.ReportServiceStub(fleet.channel)
                parts = [part.chunk for part in reports.ExportReport(request)]
                report: dict[str, Any] = json.loads(b"".join(parts))
                return report

    report = clock.run(walk(), virtual=True)
    (vehicle,) = report["vehicles"]
    assert [(one["ecu"], one["code"]) for one in vehicle["dtcs"]["new"]] == [("ptc", "9A504B")]
    assert "1 trouble code new" in report["campaign"]["verdict"]


def test_an_application_that_hangs_in_its_own_test_is_reset_by_the_watchdog(
    tmp_path: Path,
) -> None:
    hanging = bytes(
        wasmtime.wat2wasm(
            """(module
              (import "io" "kick" (func $kick))
              (memory (export "memory") 1 1)
              (func (export "init"))
              (func (export "step") (param f64) (call $kick))
              (func (export "self_test") (result i32) (loop (br 0)) (i32.const 0)))"""
        )
    )

    async def walk() -> None:
        images = {"ptc": small_image("ptc", hanging)}
        async with running(tmp_path, "ptc", images=images) as vehicle:
            node, tester = vehicle.nodes["ptc"], open_tester(vehicle, "ptc")
            await tester.ask(bytes.fromhex("10 03"))
            tester.send(bytes.fromhex("31 01 02 13"))
            await asyncio.sleep(1.0)
            assert node.watchdog_resets == 1
            await back_in(node, Mode.APPLICATION)
            tester.close()

    clock.run(walk(), virtual=True)
