"""`canota diag` against a real cloud on loopback, with a test as the vehicle's gateway."""

import asyncio
import csv
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from canota.cli.exits import Exit
from cloud.app import CloudOptions, CloudThread
from protocols.fleet.v1 import (
    diagnostic_jobs_pb2,
    diagnostic_plans_pb2,
    diagnostics_pb2,
    gateway_pb2,
    gateway_pb2_grpc,
    vehicles_pb2,
    vehicles_pb2_grpc,
)
from tests.support.cli import Ended, canota
from tests.support.cloud import VIN, connected, snapshot, updated, vehicle

State = diagnostic_jobs_pb2.DiagnosticJobState


@dataclass(frozen=True, slots=True)
class Car:
    """A registered vehicle whose gateway does what a test says."""

    target: str
    gateway: "gateway_pb2_grpc.GatewayServiceStub"

    def diag(self, *args: str) -> Ended:
        return canota("diag", *args, "--cloud", self.target)

    def check_in(self) -> gateway_pb2.CheckInResponse:
        return self.gateway.CheckIn(gateway_pb2.CheckInRequest(vin=VIN))

    def finish(self, job: str, state: State.ValueType, detail: str) -> None:
        result = diagnostic_jobs_pb2.DiagnosticJobResult(state=state, detail=detail)
        result.exchanges.add(ecu="ccu", request=b"\x31\x01\x02\x20", response=b"\x71\x01")
        result.conditions.add(condition="Gear == P", met=True, value="P", source="VEH_Motion")
        self.gateway.SubmitDiagnosticResult(
            gateway_pb2.SubmitDiagnosticResultRequest(vin=VIN, job=job, result=result)
        )

    def upload(self, snapshot_id: str, status: int, seconds: int, occasion: str) -> None:
        message = snapshot(snapshot_id, seconds=seconds)
        message.occasion = occasion
        message.ecus[0].dtcs[0].status = status
        message.ecus[0].dtcs[0].snapshots[0].value = "Cabin temperature 26.6 °C"
        self.gateway.UploadSnapshot(gateway_pb2.UploadSnapshotRequest(vin=VIN, snapshot=message))


@pytest.fixture
def car(tmp_path: Path) -> Iterator[Car]:
    with CloudThread(CloudOptions(state_directory=tmp_path / "cloud")) as cloud:
        channel = grpc.insecure_channel(cloud.target)
        vehicles_pb2_grpc.VehicleServiceStub(channel).CreateVehicle(
            vehicles_pb2.CreateVehicleRequest(vehicle=vehicle())
        )
        yield Car(cloud.target, gateway_pb2_grpc.GatewayServiceStub(channel))
        channel.close()


def test_a_job_is_queued_listed_shown_and_taken_back(car: Car) -> None:
    queued = car.diag("job", "run", VIN, "ccu", "output-sweep", "--no-wait", "--json")
    assert queued.code == Exit.OK
    assert queued.json["state"] == "queued"
    assert queued.json["routine"]["routine_identifier"] == 0x0220
    job_id = queued.json["name"].rpartition("/")[2]
    listed = car.diag("job", "list", VIN)
    assert job_id in listed.out
    assert "routine 0220 of ccu" in listed.out
    assert car.diag("job", "show", VIN, job_id).code == Exit.OK
    assert "cancelled" in car.diag("job", "cancel", VIN, job_id).out
    assert car.diag("job", "show", VIN, job_id).code == Exit.FAILED
    missing = car.diag("job", "show", VIN, "none")
    assert missing.code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (State.DIAGNOSTIC_JOB_STATE_SUCCEEDED, Exit.OK),
        (State.DIAGNOSTIC_JOB_STATE_REFUSED, Exit.REFUSED),
        (State.DIAGNOSTIC_JOB_STATE_UNKNOWN, Exit.FAILED),
    ],
)
def test_a_command_waits_for_the_result_and_ends_with_its_exit_code(
    car: Car, state: State.ValueType, code: Exit
) -> None:
    def serve() -> None:
        while not (jobs := car.check_in().diagnostic_jobs):
            pass
        car.finish(jobs[0].name, state, "that is how it ended")

    gateway = threading.Thread(target=serve)
    gateway.start()
    ended = car.diag("job", "output", VIN, "blower", "0x0191", "50", "--for", "5s")
    gateway.join()
    assert ended.code == code
    assert "that is how it ended" in ended.out
    assert "31 01 02 20" in ended.out
    assert "Gear == P: met (P; VEH_Motion)" in ended.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("job", "run", VIN, "ccu", "sweep"), "ROUTINE 'sweep': hex digits up to FFFF"),
        (("job", "output", VIN, "ccu", "0191", "5"), "HEX '5': bytes in hex"),
        (("clear", VIN, "--within", "soon"), "--within 'soon': a time like 30s"),
        (("schedule", VIN, "--every", "x"), "--every 'x': a time like"),
        (("export", VIN, "-o", "a.txt"), "a.txt: a name that ends in .json or .csv"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_asked(
    car: Car, args: tuple[str, ...], words: str
) -> None:
    ended = car.diag(*args)
    assert ended.code == Exit.USAGE
    assert words in ended.err


def test_a_schedule_is_set_field_by_field_and_shown(car: Car) -> None:
    assert "never" in car.diag("schedule", VIN).out
    car.diag("schedule", VIN, "--every", "1h", "--ecu", "ccu")
    found = car.diag("schedule", VIN, "--on-change", "30s", "--mask", "0C", "--json").json
    assert (found["period"], found["change_interval"]) == (3600.0, 30.0)
    assert (found["ecus"], found["status_mask"], found["revision"]) == (["ccu"], 12, 2)
    plan = car.check_in().diagnostic_orders.plan
    assert plan.revision == 2
    off = car.diag("schedule", VIN, "--every", "off", "--ecu", "all", "--json").json
    assert (off["period"], off["ecus"], off["change_interval"]) == (0.0, [], 30.0)
    refused = car.diag("schedule", VIN, "--every", "1s")
    assert refused.code == Exit.REFUSED
    assert "diagnostic_plan.period" in refused.err


def test_a_watch_prints_what_comes_until_the_last_batch(car: Car) -> None:
    def serve() -> None:
        while not (orders := car.check_in().diagnostic_orders.subscriptions):
            pass
        name = orders[0].subscription.name
        for number in (1, 2):
            batch = diagnostics_pb2.SignalBatch(
                subscription=name, time=Timestamp(seconds=100 + number), last=number == 2
            )
            batch.errors["Sped"] = "no such signal"
            batch.series.add(
                wire="comfort",
                message="CCU_Status",
                signal="CabinTemperature",
                unit="degC",
                offsets_seconds=[-0.5],
                values=[20.0 + number],
            )
            car.gateway.UploadSignals(gateway_pb2.UploadSignalsRequest(vin=VIN, batch=batch))

    gateway = threading.Thread(target=serve)
    gateway.start()
    ended = car.diag("watch", VIN, "CabinTemperature", "Sped", "--json")
    gateway.join()
    assert ended.code == Exit.OK
    batches = [json.loads(line) for line in ended.out.splitlines()]
    assert [one["series"][0]["values"] for one in batches] == [[21.0], [22.0]]
    assert batches[0]["errors"] == {"Sped": "no such signal"}


def test_changes_between_two_readings_have_verdicts_and_an_exit_code(car: Car) -> None:
    car.upload("a", 0x50, 0, "on_schedule")
    alone = car.diag("changes", VIN)
    assert alone.code == Exit.NOT_FOUND
    car.upload("b", 0x2F, 60, "on_change")
    changed = car.diag("changes", VIN, "--json")
    assert changed.code == Exit.FAILED
    assert [one["verdict"] for one in changed.json["changes"]] == ["new"]
    car.upload("c", 0x28, 120, "on_change")
    since = car.diag("changes", VIN)
    assert since.code == Exit.OK
    assert "still there" in since.out
    assert car.diag("changes", VIN, "--since", "a").code == Exit.FAILED


#: U1140-87, raised and now passed; nobody knew of it before.
LOST = diagnostics_pb2.Dtc(code=0xD14087, display="U1140-87", text="blower is silent", status=0x28)


def reading(
    name: str, seconds: int, *dtcs: diagnostics_pb2.Dtc, campaign: str = ""
) -> gateway_pb2.UploadSnapshotRequest:
    """What the car's ccu said at a time; no codes but these."""
    message = snapshot(name, seconds=seconds)
    message.campaign = campaign
    del message.ecus[0].dtcs[:]
    message.ecus[0].dtcs.extend(dtcs)
    return gateway_pb2.UploadSnapshotRequest(vin=VIN, snapshot=message)


def judged(folder: Path, *steps: tuple[str, str, int], before_s: int = 0) -> Ended:
    """`diag changes` between seconds 0 and 60 of a car, by the (step, ECU, second) of its update.

    `before_s` is when the update's own reading was taken; without steps it has not ended.
    """

    async def main() -> None:
        async with connected(cloud.target) as client:
            offer = await client.offered()
            await client.gateway.UploadSnapshot(reading("u", before_s, campaign=offer.campaign))
            await client.gateway.UploadSnapshot(reading("a", 0))
            await client.gateway.UploadSnapshot(reading("b", 60, LOST))
            report = updated(offer)
            for name, ecu, at_s in steps:
                step = report.steps.add(ecu=ecu, step=name)
                step.start_time.seconds = 1_780_000_000 + at_s
                step.duration.seconds = 2
            if steps:
                await client.submit(report)

    with CloudThread(CloudOptions(state_directory=folder / "cloud")) as cloud:
        asyncio.run(main())
        options = ("--since", "a", "--snapshot", "b", "--json", "--cloud", cloud.target)
        return canota("diag", "changes", VIN, *options)


@pytest.mark.parametrize(
    ("reset", "at_s", "verdict", "code"),
    [
        ("blower", 20, "own_reset", Exit.OK),
        # An ECU's own reset silences it to others, and not others to it.
        ("ccu", 20, "new", Exit.FAILED),
        ("blower", 90, "new", Exit.FAILED),
    ],
)
def test_what_an_update_between_two_readings_reset_itself_is_told_apart(
    reset: str, at_s: int, verdict: str, code: Exit, tmp_path: Path
) -> None:
    ended = judged(tmp_path, ("activate", reset, at_s))
    assert [one["verdict"] for one in ended.json["changes"]] == [verdict]
    assert ended.code == code


def test_an_update_that_began_before_the_earlier_reading_counts_too(tmp_path: Path) -> None:
    ended = judged(tmp_path, ("activate", "blower", 20), before_s=-600)
    assert [one["verdict"] for one in ended.json["changes"]] == ["own_reset"]


def test_codes_that_are_cleared_behind_the_later_reading_void_nothing(tmp_path: Path) -> None:
    ended = judged(tmp_path, ("activate", "blower", 20), ("clear DTCs", "", 90))
    assert [one["verdict"] for one in ended.json["changes"]] == ["own_reset"]
    ended = judged(tmp_path / "again", ("activate", "blower", 20), ("clear DTCs", "", 50))
    assert [one["verdict"] for one in ended.json["changes"]] == ["new"]


def test_changes_are_judged_while_an_update_is_under_way(tmp_path: Path) -> None:
    ended = judged(tmp_path)
    assert [one["verdict"] for one in ended.json["changes"]] == ["new"]
    assert "is under way: its resets are not known yet" in ended.err


def test_readings_are_exported_whole_as_json_and_their_codes_as_csv(
    car: Car, tmp_path: Path
) -> None:
    car.upload("a", 0x2F, 0, "on_schedule")
    car.upload("b", 0x28, 60, "on_change")
    for name in ("readings.json", "readings.csv"):
        assert car.diag("export", VIN, "-o", str(tmp_path / name)).code == Exit.OK
    whole = json.loads((tmp_path / "readings.json").read_text(encoding="utf-8"))
    assert [one["occasion"] for one in whole] == ["on_change", "on_schedule"]
    assert whole[0]["signals"][0]["values"] == [21.5, 22.0]
    with (tmp_path / "readings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["snapshot"], row["code"], row["status"]) for row in rows] == [
        ("b", "B1A01-00", "28"),
        ("a", "B1A01-00", "2F"),
    ]
    assert rows[0]["stored"] == "Cabin temperature 26.6 °C"


def test_gaps_are_listed(car: Car) -> None:
    assert "nothing was dropped" in car.diag("gaps", VIN).out
    gap = diagnostic_plans_pb2.DiagnosticGap(
        name=f"vehicles/{VIN}/diagnosticGaps/4", kind="live", count=3, bytes=2048
    )
    gap.ranges.add(first=1, last=3)
    car.gateway.ReportGap(gateway_pb2.ReportGapRequest(vin=VIN, gap=gap))
    shown = car.diag("gaps", VIN).out
    assert "live" in shown
    assert "1-3" in shown
