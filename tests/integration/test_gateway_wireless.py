"""Wireless diagnostics over real gRPC: the operator's wish, the gateway, and simulated ECUs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

import clock
from ecu_sim.node import Mode
from protocols.can import FrameHeader
from protocols.fleet.v1 import (
    campaigns_pb2,
    diagnostic_jobs_pb2,
    diagnostic_plans_pb2,
    diagnostics_pb2,
    diagnostics_pb2_grpc,
)
from protocols.uds import ServiceId
from protocols.uds.dtc import StatusBit
from tests.support.gateway_fleet import VIN, Fleet, car, cloud_in
from vehicle_gateway.app import Gateway
from vehicle_gateway.update import EcuUpdater, Inventory
from vehicle_gateway.update.begin import inventories
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.vehicle import Phase

VEHICLE = f"vehicles/{VIN}"
State = diagnostic_jobs_pb2.DiagnosticJobState
Job = diagnostic_jobs_pb2.DiagnosticJob
#: The gateway asks for work so often in these tests, by the cloud's word.
POLL_S = 30.0


class Desk:
    """An operator's calls; they block, so that no virtual time passes."""

    def __init__(self, fleet: Fleet) -> None:
        self.stub = diagnostics_pb2_grpc.DiagnosticsServiceStub(fleet.channel)

    def plan(self, **changes: object) -> None:
        plan = diagnostic_plans_pb2.DiagnosticPlan(
            name=f"{VEHICLE}/diagnosticPlan",
            **changes,  # type: ignore[arg-type]  # any of its fields
        )
        self.stub.UpdateDiagnosticPlan(
            diagnostics_pb2.UpdateDiagnosticPlanRequest(diagnostic_plan=plan)
        )

    def create(self, job: Job) -> str:
        request = diagnostics_pb2.CreateDiagnosticJobRequest(parent=VEHICLE, diagnostic_job=job)
        return self.stub.CreateDiagnosticJob(request).name

    def job(self, name: str) -> Job:
        return self.stub.GetDiagnosticJob(diagnostics_pb2.GetDiagnosticJobRequest(name=name))

    def follow(self, *signals: str, period_s: float, duration_s: float) -> str:
        wanted = diagnostic_plans_pb2.SignalSubscription(
            signals=signals, period=seconds(period_s), duration=seconds(duration_s)
        )
        request = diagnostics_pb2.CreateSignalSubscriptionRequest(
            parent=VEHICLE, signal_subscription=wanted
        )
        return self.stub.CreateSignalSubscription(request).name

    def batches(self, name: str) -> list[diagnostics_pb2.SignalBatch]:
        """All of a subscription that has ended."""
        request = diagnostics_pb2.WatchSignalsRequest(name=name)
        return list(self.stub.WatchSignals(request, timeout=10))


def seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=round(value % 1 * 1e9))


@asynccontextmanager
async def at_work(fleet: Fleet, **options: object) -> AsyncIterator[Gateway]:
    """The car's gateway, checking in every `POLL_S` seconds."""
    gateway = Gateway(fleet.options(**options), fleet.links())
    async with gateway:
        running = asyncio.create_task(gateway.run(), name="gateway")
        try:
            yield gateway
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def drive(
    folder: Path, main: Callable[[Fleet, Desk], Awaitable[None]], *ecus: str, settle_s: float = 5.0
) -> None:
    async def walk() -> None:
        with cloud_in(folder) as cloud:
            async with car(folder, ecus, cloud) as fleet:
                fleet.register()
                await asyncio.sleep(settle_s)
                await main(fleet, Desk(fleet))

    clock.run(walk(), virtual=True)


SWEEP = Job(
    routine=Job.Routine(ecu="ccu", routine_identifier=0x0220, run_time=Duration(seconds=120))
)


def hold(hold_s: float) -> Job:
    control = Job.OutputControl(
        ecu="blower", data_identifier=0x0191, control_state=b"\x50", hold_time=seconds(hold_s)
    )
    return Job(output_control=control)


def test_a_fault_in_the_car_arrives_with_its_freeze_frame_soon_after_it_is_confirmed(
    tmp_path: Path,
) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        desk.plan(change_interval=seconds(10))
        async with at_work(fleet):
            await asyncio.sleep(60)
            # The cabin is not at its temperature yet: what stands there anyway is read once.
            before = len(fleet.snapshots())
            with fleet.vehicle.begin_fault("blower", "silent"):
                await asyncio.sleep(30)
            newest = fleet.snapshots()[0]
            assert len(fleet.snapshots()) > before
            assert newest.occasion == "on_change"
            codes = {
                (ecu.ecu, dtc.display): dtc
                for one in fleet.snapshots()
                for ecu in one.ecus
                for dtc in ecu.dtcs
            }
            lost = codes["ccu", "U1140-87"]
            assert lost.status & StatusBit.CONFIRMED_DTC
            (frame,) = lost.snapshots
            assert frame.value.startswith("Cabin temperature")
            assert [one.record_number for one in lost.extended_data] == [1, 2, 3]
            assert any(one.signal == "CabinTemperature" for one in newest.signals)
            # Nothing changes any more: nothing is sent.
            await asyncio.sleep(30)
            count = len(fleet.snapshots())
            await asyncio.sleep(120)
            assert len(fleet.snapshots()) == count

    drive(tmp_path, main, "ccu", "blower")


def test_readings_come_by_schedule_of_the_ecus_asked_for_and_a_restart_keeps_to_it(
    tmp_path: Path,
) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        desk.plan(period=seconds(120), ecus=["blower"])
        async with at_work(fleet):
            await asyncio.sleep(140)
        async with at_work(fleet):
            await asyncio.sleep(140)
        found = [one for one in fleet.snapshots() if one.occasion == "on_schedule"]
        times = sorted(one.time.ToMicroseconds() / 1e6 for one in found)
        assert [[ecu.ecu for ecu in one.ecus] for one in found] == [["blower"]] * 3
        assert [round(later - times[0]) for later in times] == [0, 120, 240]

    drive(tmp_path, main, "ccu", "blower")


def test_a_parked_car_is_not_woken_and_not_kept_awake_unless_the_plan_says_so(
    tmp_path: Path,
) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        desk.plan(change_interval=seconds(5), period=seconds(60))
        gateway = Gateway(fleet.options(), fleet.links())
        async with gateway:
            await gateway.run_once()
            fleet.vehicle.rest_bus.set("Terminal15", 0)
            await asyncio.sleep(60)
            assert {node.mode for node in fleet.vehicle.nodes.values()} == {Mode.ASLEEP}
            taken = len(fleet.snapshots())
            await asyncio.sleep(600)
            assert {node.mode for node in fleet.vehicle.nodes.values()} == {Mode.ASLEEP}
            desk.plan(period=seconds(60), wake=True)
            await gateway.run_once()
            await asyncio.sleep(150)
            await gateway.run_once()
            assert len(fleet.snapshots()) >= taken + 2

    drive(tmp_path, main, "ccu", "blower")


def test_check_ins_let_a_parked_car_sleep_and_see_what_it_runs_when_it_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vehicle_gateway.app._PARKED_READ_S", 20 * POLL_S)  # instead of a day

    async def main(fleet: Fleet, _: Desk) -> None:
        asked: list[FrameHeader] = []
        fleet.vehicle.can_port("comfort", "logger").listen(
            lambda header, *_: asked.append(header), FrameHeader(0x7A0), FrameHeader(0x500)
        )
        async with at_work(fleet):
            await asyncio.sleep(2 * POLL_S)
            fleet.vehicle.rest_bus.set("Terminal15", 0)
            await asyncio.sleep(2 * POLL_S)
            assert {node.mode for node in fleet.vehicle.nodes.values()} == {Mode.ASLEEP}
            asked.clear()
            seen = fleet.last_seen_us()
            await asyncio.sleep(10 * POLL_S)
            assert fleet.last_seen_us() > seen
            assert asked == []
            await asyncio.sleep(10 * POLL_S)
            assert asked
            await asyncio.sleep(POLL_S)
            asked.clear()
            fleet.vehicle.rest_bus.set("Terminal15", 1)
            await asyncio.sleep(2 * POLL_S)
            assert asked

    drive(tmp_path, main, "ccu", "blower")


def test_a_drive_between_two_check_ins_has_the_next_one_tell_what_the_ecus_run(
    tmp_path: Path,
) -> None:
    async def main(fleet: Fleet, _: Desk) -> None:
        asked: list[FrameHeader] = []
        fleet.vehicle.can_port("comfort", "logger").listen(
            lambda header, *_: asked.append(header), FrameHeader(0x7A0)
        )
        async with at_work(fleet):
            await asyncio.sleep(2 * POLL_S)
            fleet.vehicle.rest_bus.set("Terminal15", 0)
            await asyncio.sleep(3 * POLL_S)
            asked.clear()
            # A moment behind a check-in, and off again well before the next one.
            seen = fleet.last_seen_us()
            while fleet.last_seen_us() == seen:  # noqa: ASYNC110 the cloud has no event of ours
                await asyncio.sleep(1)
            fleet.vehicle.rest_bus.set("Terminal15", 1)
            await asyncio.sleep(5)
            fleet.vehicle.rest_bus.set("Terminal15", 0)
            await asyncio.sleep(10)
            assert not asked
            await asyncio.sleep(POLL_S)
            assert asked

    drive(tmp_path, main, "ccu", "blower")


def test_an_offer_to_a_parked_car_is_made_by_what_it_runs_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[str] = []

    async def read(updaters: Iterable[EcuUpdater], nonce: bytes) -> tuple[Inventory, ...]:
        """As the ECUs say, with the serial number of the part that a workshop has put in."""
        return tuple(
            replace(one, serial_number=parts[0]) if parts and one.ecu == "ccu" else one
            for one in await inventories(updaters, nonce)
        )

    monkeypatch.setattr("vehicle_gateway.app.inventories", read)

    async def main(fleet: Fleet, _: Desk) -> None:
        fleet.publish("1.0.0")
        fleet.publish("2.0.0")
        async with at_work(fleet):
            await asyncio.sleep(2 * POLL_S)
            fleet.vehicle.rest_bus.set("Terminal15", 0)
            await asyncio.sleep(3 * POLL_S)
            parts.append("ANOTHER-PART")
            campaign = fleet.start_campaign("2.0.0")
            await asyncio.sleep(2 * POLL_S)
        assignment = fleet.assignment(campaign)
        assert assignment.outcome == campaigns_pb2.OUTCOME_REFUSED
        assert "ccu: reports serial number 'ANOTHER-PART'" in assignment.reason
        assert (fleet.folder / "gateway" / "journal.jsonl").read_bytes() == b""

    drive(tmp_path, main, "ccu", "blower")


def test_an_ecu_that_stays_away_has_a_parked_car_woken_less_and_less(tmp_path: Path) -> None:
    async def main(fleet: Fleet, _: Desk) -> None:
        asked: list[float] = []
        fleet.vehicle.can_port("comfort", "logger").listen(
            lambda _header, _data, at_s: asked.append(at_s), FrameHeader(0x500)
        )
        fleet.vehicle.nodes["ccu"].power_off()
        fleet.vehicle.rest_bus.set("Terminal15", 0)
        async with at_work(fleet):
            await asyncio.sleep(5000)
        woken = [asked[0], *(later for sooner, later in pairwise(asked) if later - sooner > 60)]
        pauses = [later - sooner for sooner, later in pairwise(woken)]
        assert pauses == pytest.approx([600, 1200, 2400], abs=3 * POLL_S)

    drive(tmp_path, main, "ccu", "blower")


def test_a_parked_car_is_kept_awake_while_a_job_goes_on_over_another_wire(tmp_path: Path) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        async with at_work(fleet):
            await asyncio.sleep(POLL_S)
            fleet.vehicle.rest_bus.set("Terminal15", 0)
            await asyncio.sleep(2 * POLL_S)
            control = Job.OutputControl(
                ecu="rear", data_identifier=0x01B1, control_state=b"\x32\x32",
                control_mask=b"\xc0", hold_time=seconds(30.0),
            )  # fmt: skip
            name = desk.create(Job(output_control=control))
            await asyncio.sleep(4 * POLL_S)
            job = desk.job(name)
            assert job.state == State.DIAGNOSTIC_JOB_STATE_SUCCEEDED, job.result.detail

    drive(tmp_path, main, "ccu", "rear")


def test_a_parked_car_is_woken_for_a_job_and_tells_whether_it_may_be_done(tmp_path: Path) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        async with at_work(fleet):
            await asyncio.sleep(POLL_S)
            fleet.vehicle.rest_bus.set("Terminal15", 0)
            await asyncio.sleep(2 * POLL_S)
            assert {node.mode for node in fleet.vehicle.nodes.values()} == {Mode.ASLEEP}
            name = desk.create(hold(2.0))
            await asyncio.sleep(3 * POLL_S)
            job = desk.job(name)
            assert job.state == State.DIAGNOSTIC_JOB_STATE_SUCCEEDED, job.result.detail
            assert [one.met for one in job.result.conditions] == [True, True]

    drive(tmp_path, main, "ccu", "blower")


def test_no_ecu_is_asked_for_anything_by_the_plan_while_an_update_activates(
    tmp_path: Path,
) -> None:
    phases: list[Phase] = [Phase.DOWNLOADING]
    asked: list[Phase] = []

    def hear(_: FrameHeader, data: bytes, __: float) -> None:
        # 19 02 08: the look for changes is the only one that asks with this mask.
        if data[1:4] == bytes((ServiceId.READ_DTC_INFORMATION, 0x02, 0x08)):
            asked.append(phases[-1])

    async def main(fleet: Fleet, desk: Desk) -> None:
        fleet.publish("1.0.0")
        fleet.publish("2.0.0")
        desk.plan(change_interval=seconds(5))
        gateway = Gateway(fleet.options(), fleet.links(), on_phase=phases.append)
        fleet.vehicle.can_port("comfort", "logger").listen(hear, FrameHeader(0x7A0))
        async with gateway:
            await gateway.run_once()
            await asyncio.sleep(30)
            fleet.start_campaign("2.0.0")
            assert await gateway.run_once() is Outcome.UPDATED
            ended = len(asked)
            await asyncio.sleep(30)
        assert len(asked) > ended
        assert Phase.DOWNLOADING in asked[:ended]
        assert not {Phase.ACTIVATING, Phase.CONFIRMING} & set(asked[:ended])

    drive(tmp_path, main, "ccu", "blower")


@pytest.mark.parametrize(
    ("ecu", "least", "greatest"), [("ccu", 0, 100), ("flap", 0, 100), ("blower", 0, 3000)]
)
def test_an_output_is_swept_from_afar_and_its_travel_comes_back(
    tmp_path: Path, ecu: str, least: int, greatest: int
) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        routine = Job.Routine(ecu=ecu, routine_identifier=0x0220, run_time=Duration(seconds=120))
        name = desk.create(Job(routine=routine))
        async with at_work(fleet):
            await asyncio.sleep(POLL_S + 60)
        job = desk.job(name)
        assert job.state == State.DIAGNOSTIC_JOB_STATE_SUCCEEDED, job
        requests = [one.request[:2] for one in job.result.exchanges]
        assert requests[:2] == [b"\x10\x03", b"\x31\x01"]
        assert requests.count(b"\x31\x01") == 1
        assert requests[-1] == b"\x10\x01"
        record = [one.response for one in job.result.exchanges if one.request[:2] == b"\x31\x03"][
            -1
        ]
        assert record[4] == 0x00  # finished
        assert int.from_bytes(record[6:8]) == pytest.approx(least, abs=greatest / 10)
        assert int.from_bytes(record[8:10]) == pytest.approx(greatest, rel=0.4)
        assert [one.met for one in job.result.conditions] == [True, True]

    drive(tmp_path, main, ecu)


@pytest.mark.parametrize(
    ("signal", "value", "words"),
    [("Speed", 50.0, "Speed == 0 km/h: is 50 km/h"), ("Gear", 3.0, "Gear == P: is D")],
)
def test_nothing_is_moved_or_cleared_in_a_car_that_does_not_stand_in_park(
    tmp_path: Path, signal: str, value: float, words: str
) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        fleet.vehicle.rest_bus.set(signal, value)
        names = [desk.create(job) for job in (SWEEP, hold(5), Job(clear_dtcs=Job.ClearDtcs()))]
        reading = desk.create(Job(take_snapshot=Job.TakeSnapshot(ecus=["ccu"])))
        async with at_work(fleet):
            await asyncio.sleep(60)
        for name in names:
            job = desk.job(name)
            assert job.state == State.DIAGNOSTIC_JOB_STATE_REFUSED
            assert words in job.result.detail
            assert not job.result.exchanges
        taken = desk.job(reading)
        assert taken.state == State.DIAGNOSTIC_JOB_STATE_SUCCEEDED
        assert taken.result.snapshot in {one.name for one in fleet.snapshots()}

    drive(tmp_path, main, "ccu", "blower")


def test_an_output_is_held_for_its_time_and_given_back(tmp_path: Path) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        name = desk.create(hold(20))
        async with at_work(fleet):
            await asyncio.sleep(15)
            assert fleet.vehicle.cabin.blower_drive == pytest.approx(0.8)
            await asyncio.sleep(POLL_S)
            job = desk.job(name)
            assert job.state == State.DIAGNOSTIC_JOB_STATE_SUCCEEDED, job
            assert [one.request.hex() for one in job.result.exchanges] == [
                "1003",
                "2f01910350",
                "2f019100",
                "1001",
            ]
            assert fleet.vehicle.cabin.blower_drive != pytest.approx(0.8)

    drive(tmp_path, main, "blower")


def test_a_job_is_broken_off_when_the_car_begins_to_move_and_the_output_goes_back(
    tmp_path: Path,
) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        name = desk.create(hold(300))
        async with at_work(fleet):
            await asyncio.sleep(15)
            fleet.vehicle.rest_bus.set("Speed", 8.0)
            await asyncio.sleep(POLL_S)
        job = desk.job(name)
        assert job.state == State.DIAGNOSTIC_JOB_STATE_ABORTED
        assert "Speed == 0 km/h: is 8 km/h" in job.result.detail
        assert [one.request.hex() for one in job.result.exchanges][-2:] == ["2f019100", "1001"]

    drive(tmp_path, main, "blower")


@pytest.mark.parametrize("job", [SWEEP, hold(300)], ids=["sweep", "output"])
def test_a_gateway_that_was_cut_off_within_a_job_does_not_repeat_it(
    tmp_path: Path, job: Job
) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        name = desk.create(job)
        async with at_work(fleet):
            await asyncio.sleep(2)
        assert desk.job(name).state == State.DIAGNOSTIC_JOB_STATE_FETCHED
        async with at_work(fleet):
            await asyncio.sleep(POLL_S * 3)
        ended = desk.job(name)
        assert ended.state == State.DIAGNOSTIC_JOB_STATE_UNKNOWN
        assert "not repeated" in ended.result.detail
        sent = [one.request[:2].hex() for one in ended.result.exchanges]
        assert sent[0] == "1003"
        assert sent[-1] == "1001"
        assert "3101" not in sent
        assert fleet.vehicle.cabin.blower_drive != pytest.approx(0.8)

    drive(tmp_path, main, "ccu", "blower")


def test_wherever_a_gateway_is_cut_off_a_routine_is_started_at_most_once(tmp_path: Path) -> None:
    starts: list[float] = []

    def hear(_: FrameHeader, data: bytes, at_s: float) -> None:
        if data[1:5] == bytes((ServiceId.ROUTINE_CONTROL, 0x01, 0x02, 0x20)):
            starts.append(at_s)

    async def main(fleet: Fleet, desk: Desk) -> None:
        fleet.vehicle.can_port("comfort", "logger").listen(hear, FrameHeader(0x7A0))
        ends = set()
        for cut_s in (0.05, 0.1, 0.15, 0.2, 0.3, 1.0, 15.0):
            starts.clear()
            name = desk.create(SWEEP)
            async with at_work(fleet):
                await asyncio.sleep(cut_s)
            async with at_work(fleet):
                await asyncio.sleep(POLL_S)
            job = desk.job(name)
            ends.add(job.state)
            assert len(starts) <= 1
            assert (job.state == State.DIAGNOSTIC_JOB_STATE_SUCCEEDED) <= (len(starts) == 1)
        assert ends == {
            State.DIAGNOSTIC_JOB_STATE_SUCCEEDED,
            State.DIAGNOSTIC_JOB_STATE_UNKNOWN,
        }

    drive(tmp_path, main, "ccu")


def test_a_start_whose_answer_is_lost_is_not_repeated(tmp_path: Path) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        name = desk.create(SWEEP)
        with fleet.vehicle.begin_fault("ccu", "no-answer@3101"):
            async with at_work(fleet):
                await asyncio.sleep(60)
        job = desk.job(name)
        assert job.state == State.DIAGNOSTIC_JOB_STATE_UNKNOWN
        sent = [one.request[:2].hex() for one in job.result.exchanges]
        assert sent == ["1003", "3101", "3102", "1001"]

    drive(tmp_path, main, "ccu")


@pytest.mark.parametrize(
    ("job", "state", "words"),
    [
        (
            Job(routine=Job.Routine(ecu="ccu", routine_identifier=0x0999)),
            State.DIAGNOSTIC_JOB_STATE_FAILED,
            "REQUEST_OUT_OF_RANGE",
        ),
        (
            Job(routine=Job.Routine(ecu="abs", routine_identifier=0x0220)),
            State.DIAGNOSTIC_JOB_STATE_REFUSED,
            "no ECU abs in this vehicle: ccu",
        ),
        (
            Job(routine=Job.Routine(ecu="ccu", routine_identifier=0x0213)),
            State.DIAGNOSTIC_JOB_STATE_SUCCEEDED,
            "routine 0213 finished: 00 00",
        ),
    ],
)
def test_a_job_says_how_it_ended(
    tmp_path: Path, job: Job, state: State.ValueType, words: str
) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        name = desk.create(job)
        async with at_work(fleet):
            await asyncio.sleep(5)
        found = desk.job(name)
        assert words in found.result.detail
        assert found.state == state

    drive(tmp_path, main, "ccu")


def test_trouble_codes_are_cleared_from_afar(tmp_path: Path) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        with fleet.vehicle.begin_fault("blower", "silent"):
            await asyncio.sleep(30)
        names = [
            desk.create(Job(take_snapshot=Job.TakeSnapshot())),
            desk.create(Job(clear_dtcs=Job.ClearDtcs())),
            desk.create(Job(take_snapshot=Job.TakeSnapshot())),
        ]
        async with at_work(fleet):
            await asyncio.sleep(30)
        for name in names:
            assert desk.job(name).state == State.DIAGNOSTIC_JOB_STATE_SUCCEEDED
        assert desk.job(names[1]).result.detail == "all trouble codes cleared: ccu, blower"
        readings = {one.name: one for one in fleet.snapshots()}

        def confirmed(name: str) -> set[str]:
            reading = readings[desk.job(name).result.snapshot]
            return {
                dtc.display
                for ecu in reading.ecus
                for dtc in ecu.dtcs
                if dtc.status & StatusBit.CONFIRMED_DTC
            }

        assert "U1140-87" in confirmed(names[0])
        assert "U1140-87" not in confirmed(names[2])

    drive(tmp_path, main, "ccu", "blower")


def test_signals_come_in_batches_as_long_as_they_are_followed(tmp_path: Path) -> None:
    async def main(fleet: Fleet, desk: Desk) -> None:
        name = desk.follow(
            "CabinTemperature", "VEH_Motion.Speed", "blower:0111", "Sped", period_s=1, duration_s=20
        )
        async with at_work(fleet):
            await asyncio.sleep(POLL_S)
        batches = desk.batches(name)
        assert [one.last for one in batches] == [False, False, False, True]
        values = {
            one.signal: [value for batch in batches for value in _values(batch, one.signal)]
            for one in batches[0].series
        }
        assert values.keys() == {"CabinTemperature", "Speed", "Blower speed"}
        for signal, found in values.items():
            assert 18 <= len(found) <= 22, signal
        assert set(values["Speed"]) == {0.0}
        assert 10 < values["CabinTemperature"][-1] < 60
        assert dict(batches[0].errors) == {
            "Sped": "no such signal in this vehicle; did you mean Speed?"
        }
        times = [one.time.ToMicroseconds() for one in batches]
        assert times == sorted(times)

    drive(tmp_path, main, "ccu", "blower")


def _values(batch: diagnostics_pb2.SignalBatch, signal: str) -> list[float]:
    return [value for one in batch.series if one.signal == signal for value in one.values]


def test_what_was_read_while_the_cloud_was_away_arrives_later_each_once(tmp_path: Path) -> None:
    async def walk() -> None:
        cloud = cloud_in(tmp_path)
        cloud.start()
        async with car(tmp_path, ("blower",), cloud) as fleet:
            fleet.register()
            Desk(fleet).plan(period=seconds(60))
            gateway = Gateway(fleet.options(), fleet.links())
            async with gateway:
                await gateway.run_once()
                cloud.stop()
                await asyncio.sleep(290)
            # On another port: gRPC comes back to the old one by the wall clock only.
            with cloud_in(tmp_path) as again:
                back = Fleet(again, fleet.vehicle, fleet.folder, fleet.ecus)
                assert await Gateway(back.options(), back.links()).run_once() is None
                found = sorted(one.time.ToMicroseconds() for one in back.snapshots())
                back.channel.close()
        assert len(found) == len(set(found)) == 5
        pauses = [round((later - one) / 1e6) for one, later in pairwise(found)]
        assert pauses == [60] * 4

    clock.run(walk(), virtual=True)
