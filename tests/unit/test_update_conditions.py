"""The clearance by signals, driver and interlock, with values that a test sets by hand."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import clock
import dbc
from dbc.vehicle import VehicleDescription, describe_vehicle
from protocols.preconditions import Finding, Reading, SignalDefinition, Verdict
from protocols.preconditions.databases import definitions
from protocols.preconditions.energy import Supply, available_wh, needed_wh
from tests.support.gateway import SimulatedVehicle
from vehicle_gateway.driver import FolderConsent, give_answer, open_question
from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.account import UpdateReport
from vehicle_gateway.update.clearance import ConditionsError
from vehicle_gateway.update.conditions import (
    GRACE_S,
    SETTLE_S,
    VehicleClearance,
    record,
)
from vehicle_gateway.update.consent import Answer, Choice, Question, question_id
from vehicle_gateway.update.coordinator import Outcome
from vehicle_gateway.update.energy import out_of_use_s
from vehicle_gateway.update.journal import Entry, Kind
from vehicle_gateway.update.offer import (
    ImageFormat,
    Notice,
    Offer,
    OfferedImage,
    PublishedImage,
    release_sha256,
)

PARKED = {
    "Speed": 0.0,
    "Gear": 0.0,
    "Terminal15": 1.0,
    "Preconditioning": 0.0,
    "Charging": 0.0,
    "BatteryVoltage": 12.6,
    "StateOfCharge": 72.0,
    "HighVoltage": 398.0,
    "DriveInhibited": 0.0,
}
NOTICE = Notice(
    purpose="Better cooling",
    changes="The cabin cools sooner",
    expected_time="2 minutes",
    functions_lost="No climate control meanwhile",
    instructions="Stay parked",
)


class Car:
    """Readings that are always fresh, and an interlock that it obeys after a second."""

    def __init__(self, **values: float) -> None:
        self.values = {**PARKED, **values}
        self.signals: Mapping[str, SignalDefinition] = definitions(dbc.load("vehicle").messages)
        self.obeys = True
        #: Signals that nobody sends any more.
        self.silent: set[str] = set()
        self.engaged: list[bool] = []
        self.waiting: set[asyncio.Future[None]] = set()

    def read(self, name: str) -> Reading | None:
        if name not in self.signals:
            return None
        age_s = 100.0 if name in self.silent else 0.02
        return Reading(
            definition=self.signals[name], value=self.values[name], age_s=age_s, source="comfort"
        )

    async def changed(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.add(waiting)
        await waiting

    def set(self, **values: float) -> None:
        self.values |= values
        for waiting in self.waiting:
            if not waiting.done():
                waiting.set_result(None)
        self.waiting.clear()

    def hold(self, *, engaged: bool) -> None:
        if self.engaged and self.engaged[-1] is engaged:
            return
        self.engaged.append(engaged)
        if self.obeys:
            off = {"DriveInhibited": float(engaged)}
            if not self.values["Charging"]:
                off["HighVoltage"] = 0.0 if engaged else 398.0
            asyncio.get_running_loop().call_later(1.0, lambda: self.set(**off))


@dataclass
class Driver:
    """Answers in the order of a list; asked once more, says nothing for ever."""

    answers: list[Answer | Choice] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    refused: set[bytes] = field(default_factory=set)
    #: Whether a question stands on the driver's screen.
    shown: bool = False

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        self.shown = True
        self.times.append(asyncio.get_running_loop().time())
        if not self.answers:
            await asyncio.get_running_loop().create_future()
        answer = self.answers.pop(0)
        if isinstance(answer, Answer):
            return answer
        return Answer(question=question.id, release_sha256=question.release_sha256, choice=answer)

    def close(self) -> None:
        self.shown = False

    def denied(self, release_sha256: bytes) -> bool:
        return release_sha256 in self.refused

    def deny(self, release_sha256: bytes) -> None:
        self.refused.add(release_sha256)


@dataclass
class Bench:
    folder: Path
    car: Car
    driver: Driver = field(default_factory=Driver)
    notes: list[tuple[Kind, Mapping[str, Any]]] = field(default_factory=list)
    offer_changes: dict[str, Any] = field(default_factory=dict)
    vehicle: VehicleDescription = field(default_factory=describe_vehicle)
    #: Loop times at which sleeping wires were woken.
    woken: list[float] = field(default_factory=list)

    @property
    def offer(self) -> Offer:
        vehicle = SimulatedVehicle(self.folder, ecus=("ccu", "blower", "ecomp"))
        return replace(vehicle.offer, **self.offer_changes)

    def clearance(self) -> VehicleClearance:
        loop = asyncio.get_running_loop()
        return VehicleClearance(
            vehicle=self.vehicle,
            readings=self.car,
            interlock=self.car,
            consent=self.driver,
            now_us=lambda: round(loop.time() * 1e6),
            wake=lambda: self.woken.append(loop.time()),
        )

    async def obtain(
        self, clearance: VehicleClearance, *, begun: bool = False, entries: tuple[Entry, ...] = ()
    ) -> Mapping[str, Any]:
        return await clearance.obtain(
            self.offer,
            entries=entries,
            begun=begun,
            note=lambda kind, fields: self.notes.append((kind, fields)),
        )


def conditions_of(found: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["condition"]: (one["origin"], one["value"]) for one in found["conditions"]}


def test_a_parked_car_is_held_and_cleared_with_every_value(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car())

    async def run() -> Mapping[str, Any]:
        return await bench.obtain(bench.clearance())

    found = clock.run(run(), virtual=True)
    told = conditions_of(found)
    assert told["Speed == 0 km/h"] == ("vehicle", "0 km/h")
    assert told["Gear == P"] == ("vehicle", "P")
    assert told["HighVoltage < 60 V"] == ("ecomp", "0 V")
    assert told["DriveInhibited == Yes"] == ("interlock", "Yes")
    assert all(one["source"] and one["verdict"] == "met" for one in found["conditions"])
    assert {one["message"] for one in found["conditions"]} >= {"VEH_Motion", "VEH_Power"}
    assert bench.car.engaged == [True]
    assert bench.notes == []


def test_it_waits_until_the_car_is_parked_and_says_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Speed=50.0, Gear=3.0))

    async def run() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(100.0, lambda: bench.car.set(Speed=0.0))
        loop.call_later(200.0, lambda: bench.car.set(Gear=0.0))
        await bench.obtain(bench.clearance())
        return loop.time()

    assert clock.run(run(), virtual=True) == pytest.approx(201.0, abs=0.5)
    said = [fields["cause"] for kind, fields in bench.notes if kind is Kind.WAITING]
    assert len(said) == 2
    assert said[0].startswith("Speed == 0 km/h: is 50 km/h (VEH_Motion, comfort, 0.02 s old); Gear")
    assert said[1].startswith("Gear == P: is D")


def test_a_car_that_is_never_parked_is_refused_with_the_exact_reasons(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Speed=3.0), offer_changes={"wait_s": 600.0})

    async def run() -> float:
        with pytest.raises(UpdateError, match="not met within 600 s: Speed == 0 km/h: is 3 km/h"):
            await bench.obtain(bench.clearance())
        return asyncio.get_running_loop().time()

    assert clock.run(run(), virtual=True) == pytest.approx(600.0, abs=1.0)
    assert bench.car.engaged in ([], [False])


def test_a_car_that_does_not_obey_the_interlock_is_not_cleared(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(HighVoltage=0.0), offer_changes={"wait_s": 300.0})
    bench.car.obeys = False

    async def run() -> None:
        with pytest.raises(UpdateError, match="DriveInhibited == Yes: is No"):
            await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    assert bench.car.engaged[:3] == [True, False, True]
    assert bench.car.engaged[-1] is False


def test_high_voltage_that_stays_on_is_named_with_the_ecu_that_wants_it_off(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Charging=1.0), offer_changes={"wait_s": 300.0})

    async def run() -> None:
        with pytest.raises(UpdateError, match="HighVoltage < 60 V: is 398 V"):
            await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)


def test_a_releases_own_preconditions_take_the_place_of_the_vehicles_but_not_of_the_ecus(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, Car(Gear=3.0), offer_changes={"preconditions": "StateOfCharge > 20 %"})

    async def run() -> Mapping[str, Any]:
        return await bench.obtain(bench.clearance())

    told = conditions_of(clock.run(run(), virtual=True))
    assert set(told) == {"StateOfCharge > 20 %", "HighVoltage < 60 V", "DriveInhibited == Yes"}


def test_preconditions_that_the_vehicle_cannot_know_are_refused_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(), offer_changes={"preconditions": "Wings == 2"})

    async def run() -> float:
        with pytest.raises(UpdateError, match="of release: character 1: no signal 'Wings'"):
            await bench.obtain(bench.clearance())
        return asyncio.get_running_loop().time()

    assert clock.run(run(), virtual=True) == 0.0


def test_a_restarted_gateway_gives_the_car_a_moment_and_no_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Speed=3.0))

    async def run() -> float:
        with pytest.raises(UpdateError, match="Speed == 0 km/h: is 3 km/h"):
            await bench.obtain(bench.clearance(), begun=True)
        return asyncio.get_running_loop().time()

    assert clock.run(run(), virtual=True) == pytest.approx(SETTLE_S, abs=0.5)


async def _violated(bench: Bench, **values: float) -> tuple[float, str]:
    clearance = bench.clearance()
    await bench.obtain(clearance)
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    loop.call_later(5.0, lambda: bench.car.set(**values))
    error = await clearance.violation()
    return loop.time() - begun_s, error.cause


def test_a_violation_is_told_at_once_with_signal_value_and_age(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car())
    took_s, cause = clock.run(_violated(bench, BatteryVoltage=11.9), virtual=True)
    assert took_s == pytest.approx(5.0)
    assert "BatteryVoltage >= 12 V: is 11.9 V (VEH_Power, comfort, 0.02 s old)" in cause


@pytest.mark.parametrize(
    ("values", "signal"),
    [
        ({"Speed": 2.0}, "Speed"),
        ({"Gear": 1.0}, "Gear"),
        ({"Terminal15": 0.0}, "Terminal15"),
        ({"HighVoltage": 390.0}, "HighVoltage"),
        ({"DriveInhibited": 0.0}, "DriveInhibited"),
        ({"Preconditioning": 1.0}, "Preconditioning"),
    ],
)
def test_every_condition_is_watched(tmp_path: Path, values: dict[str, float], signal: str) -> None:
    _, cause = clock.run(_violated(Bench(tmp_path, Car()), **values), virtual=True)
    assert cause.startswith(signal)


def test_a_value_that_is_missing_is_given_a_moment_and_then_counts_as_not_met(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, Car())

    async def run() -> tuple[float, str]:
        clearance = bench.clearance()
        await bench.obtain(clearance)
        loop = asyncio.get_running_loop()
        bench.car.silent = {"Speed"}
        clearance.check()
        loop.call_later(GRACE_S - 0.5, bench.car.silent.clear)
        await asyncio.sleep(GRACE_S)
        clearance.check()  # it came back
        begun_s = loop.time()
        bench.car.silent = {"Speed"}
        error = await clearance.violation()
        return loop.time() - begun_s, error.cause

    took_s, cause = clock.run(run(), virtual=True)
    assert took_s == pytest.approx(GRACE_S, abs=0.01)
    assert cause == "Speed == 0 km/h: 100 s old, at most 0.5 s (VEH_Motion, comfort)"


def test_a_value_that_is_missing_after_a_new_clearance_is_given_its_moment_anew(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, Car())

    async def run() -> None:
        clearance = bench.clearance()
        await bench.obtain(clearance)
        bench.car.silent = {"Speed"}
        await clearance.violation()
        bench.car.silent = set()
        await bench.obtain(clearance, begun=True)
        bench.car.silent = {"Speed"}
        clearance.check()

    clock.run(run(), virtual=True)


def test_staging_needs_the_supply_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Speed=120.0, Gear=3.0, BatteryVoltage=11.5))

    async def run() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(30.0, lambda: bench.car.set(BatteryVoltage=12.0))
        await bench.clearance().staging(bench.offer)
        return loop.time()

    assert clock.run(run(), virtual=True) == pytest.approx(30.0)


def test_a_vehicle_that_wants_nothing_for_staging_is_staged_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(BatteryVoltage=11.5))
    any_time = replace(bench.vehicle.conditions, staging="")
    bench.vehicle = replace(bench.vehicle, conditions=any_time)

    async def run() -> float:
        await bench.clearance().staging(bench.offer)
        return asyncio.get_running_loop().time()

    assert clock.run(run(), virtual=True) == 0.0


def test_a_supply_that_would_not_last_for_the_way_back_is_not_enough(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(BatteryVoltage=12.0, StateOfCharge=5.0))
    bench.offer_changes = {"preconditions": "EnergyReserve >= 1000", "wait_s": 60.0}

    async def run() -> None:
        with pytest.raises(UpdateError, match=r"EnergyReserve >= 1000: is .* Wh needed there and"):
            await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)


def test_going_back_waits_for_a_safe_state_and_not_for_ever(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Speed=10.0, HighVoltage=0.0))

    async def run() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        clearance = bench.clearance()
        await clearance.safe(bench.offer)
        gave_up_s = loop.time()
        loop.call_later(7.0, lambda: bench.car.set(Speed=0.0))
        await clearance.safe(bench.offer)
        return gave_up_s, loop.time() - gave_up_s

    assert clock.run(run(), virtual=True) == pytest.approx((600.0, 7.0), abs=0.5)


# The driver


def asked(folder: Path, *answers: Answer | Choice) -> Bench:
    bench = Bench(folder, Car(), driver=Driver(list(answers)))
    bench.offer_changes = {"consent_required": True, "notice": NOTICE}
    return bench


def test_a_driver_is_asked_with_the_notice_and_the_answer_is_journalled(tmp_path: Path) -> None:
    bench = asked(tmp_path, Choice.ACCEPTED)

    async def run() -> None:
        await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    assert bench.driver.asked[0].notice == NOTICE
    assert bench.driver.asked[0].out_of_use_s > 5
    assert any("Gear == P" in one for one in bench.driver.asked[0].conditions)
    fields = next(fields for kind, fields in bench.notes if kind is Kind.CONSENT)
    assert fields["answer"] == "accepted"
    assert fields["release_sha256"] == release_sha256(bench.offer)


def test_a_denial_is_final_for_this_release_and_for_no_other(tmp_path: Path) -> None:
    bench = asked(tmp_path, Choice.DENIED)

    async def run() -> None:
        with pytest.raises(UpdateError, match="consent: denied by the driver"):
            await bench.obtain(bench.clearance())
        with pytest.raises(UpdateError, match="consent: this release was denied before"):
            await bench.obtain(bench.clearance())
        assert len(bench.driver.asked) == 1
        bench.offer_changes["version"] = "2.0.1"
        bench.driver.answers = [Choice.ACCEPTED]
        await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)


def test_a_driver_who_defers_is_asked_again_then_and_not_before(tmp_path: Path) -> None:
    bench = asked(tmp_path)
    digest = release_sha256(bench.offer)
    later = Answer(
        question="", release_sha256=digest, choice=Choice.DEFERRED, defer_until_us=3600 * 10**6
    )
    bench.driver.answers = [later, Choice.ACCEPTED]

    async def run() -> None:
        await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    assert bench.driver.times == [0.0, 3600.0]


def test_a_driver_who_never_answers_ends_it_when_the_release_has_waited_long_enough(
    tmp_path: Path,
) -> None:
    bench = asked(tmp_path)
    bench.offer_changes["wait_s"] = 1800.0

    async def run() -> float:
        with pytest.raises(UpdateError, match="consent: the driver did not answer within 1800 s"):
            await bench.obtain(bench.clearance())
        return asyncio.get_running_loop().time()

    assert clock.run(run(), virtual=True) == pytest.approx(1800.0)


def test_consent_in_the_journal_counts_for_the_same_release_and_for_no_other(
    tmp_path: Path,
) -> None:
    bench = asked(tmp_path)

    def entry(digest: bytes) -> Entry:
        fields = {"answer": "accepted", "release_sha256": digest.hex()}
        return Entry(kind=Kind.CONSENT, fields=fields)

    async def run() -> None:
        same = (entry(release_sha256(bench.offer)),)
        await bench.obtain(bench.clearance(), entries=same)
        assert bench.driver.asked == []
        other = (entry(release_sha256(replace(bench.offer, preconditions="Gear == P"))),)
        bench.driver.answers = [Choice.ACCEPTED]
        await bench.obtain(bench.clearance(), entries=other)
        assert len(bench.driver.asked) == 1

    clock.run(run(), virtual=True)


def test_a_denial_in_the_journal_is_final_though_power_went_before_it_was_remembered(
    tmp_path: Path,
) -> None:
    bench = asked(tmp_path, Choice.ACCEPTED)
    digest = release_sha256(bench.offer)
    denied = Entry(kind=Kind.CONSENT, fields={"answer": "denied", "release_sha256": digest.hex()})

    async def run() -> None:
        with pytest.raises(UpdateError, match="consent: this release was denied before"):
            await bench.obtain(bench.clearance(), entries=(denied,))

    clock.run(run(), virtual=True)
    assert bench.driver.asked == []
    assert bench.driver.refused == {digest}


def test_the_hash_of_a_release_is_over_all_that_a_driver_consents_to(tmp_path: Path) -> None:
    offer = asked(tmp_path).offer
    changed = [
        replace(offer, release="releases/three"),
        replace(offer, version="3"),
        replace(offer, images=offer.images[:1]),
        replace(offer, preconditions="Gear == P"),
        replace(offer, notice=replace(NOTICE, changes="Nothing")),
        replace(offer, wait_s=1.0),
    ]
    assert len({release_sha256(one) for one in [offer, *changed]}) == len(changed) + 1
    again = replace(offer, campaign="campaigns/autumn", nonce=bytes(16))
    assert release_sha256(again) == release_sha256(offer)


def test_a_release_keeps_its_hash_though_the_gateway_gets_new_software() -> None:
    """What a driver has denied for good is kept by it, on disk."""
    image = PublishedImage(
        hardware_id="CCU-2",
        file_name="ccu.bin",
        format=ImageFormat.RAW,
        file_size=1,
        file_sha256=bytes(32),
        address=0,
        image_size=1,
        image_sha256=bytes(range(32)),
    )
    offer = Offer(
        campaign="campaigns/spring",
        release="releases/two",
        version="2.0.0",
        nonce=bytes(16),
        images=(OfferedImage(ecu="ccu", image=image),),
        preconditions="Gear == P",
        notice=replace(NOTICE, functions_lost="K\u00fchlung"),
    )
    assert release_sha256(offer).hex() == (
        "2ed73e77d40f764c4cffaa3cb5ad1a3f1a2d5def8e182e69bbdb5e9f0267591a"
    )


def test_a_question_has_a_short_id_that_is_of_one_offer_of_one_release(tmp_path: Path) -> None:
    offer = asked(tmp_path).offer
    others = [replace(offer, nonce=bytes(16)), replace(offer, version="3")]
    ids = {question_id(one) for one in [offer, *others]}
    assert len(ids) == 3
    assert all(len(bytes.fromhex(one)) == 8 for one in ids)


def test_answers_come_by_a_file_and_a_replayed_one_is_none(tmp_path: Path) -> None:
    question = Question(
        id="0123456789abcdef",
        release="releases/two",
        version="2.0.0",
        release_sha256=bytes(32),
        notice=NOTICE,
        conditions=("Gear == P",),
        out_of_use_s=12.0,
    )

    async def run() -> tuple[Answer, float]:
        consent = FolderConsent(tmp_path)
        loop = asyncio.get_running_loop()

        def replay() -> None:
            shown = open_question(tmp_path)
            assert shown is not None
            assert shown["notice"]["purpose"] == "Better cooling"
            give_answer(tmp_path, {**shown, "id": "fedcba9876543210"}, Choice.ACCEPTED)

        def of_another_release() -> None:
            shown = open_question(tmp_path)
            assert shown is not None
            give_answer(tmp_path, {**shown, "release_sha256": "11" * 32}, Choice.ACCEPTED)

        def answer() -> None:
            shown = open_question(tmp_path)
            assert shown is not None
            give_answer(tmp_path, shown, Choice.DENIED)

        # What lies there from before the question was asked is no answer to it.
        give_answer(tmp_path, {"id": question.id, "release_sha256": "00" * 32}, Choice.ACCEPTED)
        loop.call_later(10.5, replay)
        loop.call_later(20.5, of_another_release)
        loop.call_later(30.5, answer)
        answered = await consent.ask(question)
        consent.close()
        return answered, loop.time()

    answered, at_s = clock.run(run(), virtual=True)
    assert answered.choice is Choice.DENIED
    assert at_s == pytest.approx(31.0)
    assert open_question(tmp_path) is None


def test_a_denial_is_remembered_by_a_gateway_that_starts_anew(tmp_path: Path) -> None:
    FolderConsent(tmp_path).deny(bytes(32))
    assert FolderConsent(tmp_path).denied(bytes(32))
    assert not FolderConsent(tmp_path).denied(bytes(31) + b"\x01")


def test_a_whole_update_under_real_conditions_turns_back_when_the_battery_drops(
    tmp_path: Path,
) -> None:
    vehicle = SimulatedVehicle(tmp_path, ecus=("ccu", "blower"))
    car = Car()

    async def run() -> UpdateReport:
        loop = asyncio.get_running_loop()
        vehicle.clearance = VehicleClearance(  # type: ignore[assignment]  # the real one
            vehicle=describe_vehicle(),
            readings=car,
            interlock=car,
            consent=Driver(),
            now_us=lambda: round(loop.time() * 1e6),
        )

        def drop(kind: Kind, ecu: str) -> None:
            if (kind, ecu) == (Kind.ACTIVATING, "blower"):
                car.set(BatteryVoltage=11.2)

        vehicle.on_note = drop
        return await vehicle.update()

    report = clock.run(run(), virtual=True)
    outcome, reason = report.outcome, report.reason
    assert outcome is Outcome.ROLLED_BACK
    violated = [one for one in report.conditions if one.occasion == "violated"]
    assert [(one.signal, one.value) for one in violated if one.verdict != "met"] == [
        ("BatteryVoltage", "11.2 V"),
        ("EnergyReserve", "0"),
    ]
    assert {one.occasion for one in report.conditions} == {"cleared", "violated"}
    assert all(one.value_us for one in violated)
    assert reason.startswith("preconditions: BatteryVoltage >= 12 V: is 11.2 V (VEH_Power, comfort")
    assert vehicle.versions() == {"ccu": "1.0.0", "blower": "1.0.0"}
    assert car.engaged[-2:] == [True, False]


# What is told, and for how long it is waited


def test_a_driver_who_said_yes_is_not_blamed_for_a_car_that_is_not_parked(tmp_path: Path) -> None:
    bench = asked(tmp_path, Choice.ACCEPTED)
    bench.car.values["Speed"] = 3.0
    bench.offer_changes["wait_s"] = 60.0

    async def run() -> None:
        with pytest.raises(UpdateError, match="preconditions: not met within 60 s: Speed"):
            await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)


def test_a_car_that_does_not_obey_is_let_go_for_a_while_before_it_is_tried_again(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, Car(HighVoltage=0.0), offer_changes={"wait_s": 300.0})
    bench.car.obeys = False

    async def run() -> None:
        with pytest.raises(UpdateError, match="not met within 300 s"):
            await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    # Held for 30 s, let go for 60 s.
    assert bench.car.engaged == [True, False] * 4


def test_a_wait_that_is_broken_off_lets_the_car_go(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Charging=1.0))

    async def run() -> None:
        obtaining = asyncio.create_task(bench.obtain(bench.clearance()))
        await asyncio.sleep(5.0)
        assert bench.car.engaged == [True]
        obtaining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await obtaining
        assert bench.car.engaged == [True, False]

    clock.run(run(), virtual=True)


@pytest.mark.parametrize(("staged_at_s", "ended_s"), [(100.0, 700.0), (0.0, 600.0), (None, 1100.0)])
def test_the_time_to_wait_runs_from_the_last_that_was_staged(
    tmp_path: Path, staged_at_s: float | None, ended_s: float
) -> None:
    bench = Bench(tmp_path, Car(Speed=3.0), offer_changes={"wait_s": 600.0})
    times = [] if staged_at_s is None else [0.0, staged_at_s]
    entries = [Entry(kind=Kind.STAGED, ecu="ccu", time_us=round(one * 1e6)) for one in times]
    later = Entry(kind=Kind.WAITING, time_us=round(400e6))

    async def run() -> float:
        await asyncio.sleep(500.0)
        with pytest.raises(UpdateError, match="not met within 600 s"):
            await bench.obtain(bench.clearance(), entries=(*entries, later))
        return asyncio.get_running_loop().time()

    assert clock.run(run(), virtual=True) == pytest.approx(ended_s, abs=0.01)


def test_where_the_time_is_over_values_still_have_a_moment_to_come(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Speed=3.0), offer_changes={"wait_s": 60.0})
    staged = Entry(kind=Kind.STAGED, ecu="ccu", time_us=0)

    async def run() -> float:
        await asyncio.sleep(1000.0)
        with pytest.raises(UpdateError, match="not met within 60 s"):
            await bench.obtain(bench.clearance(), entries=(staged,))
        return asyncio.get_running_loop().time()

    assert clock.run(run(), virtual=True) == pytest.approx(1000.0 + SETTLE_S, abs=0.01)


def test_each_value_is_told_with_the_time_at_which_it_came(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Speed=3.0))

    async def run() -> list[dict[str, Any]]:
        await asyncio.sleep(10.0)
        with pytest.raises(ConditionsError) as refused:
            await bench.obtain(bench.clearance(), begun=True)
        return [dict(one) for one in refused.value.conditions]

    told = {one["condition"]: one for one in clock.run(run(), virtual=True)}
    speed = told["Speed == 0 km/h"]
    assert speed == {
        "origin": "vehicle",
        "condition": "Speed == 0 km/h",
        "verdict": speed["verdict"],
        "signal": "Speed",
        "message": "VEH_Motion",
        "source": "comfort",
        "value": "3 km/h",
        "problem": "",
        "time_us": round((10.0 + SETTLE_S) * 1e6) - 20_000,
    }
    assert told["Gear == P"]["verdict"] == "met"
    assert speed["verdict"] != "met"


def test_a_value_that_never_came_has_no_time() -> None:
    finding = Finding(condition="Speed == 0", verdict=Verdict.UNKNOWN, signal="Speed")
    assert record(finding, origin="release", now_us=5)["time_us"] == 0


def test_a_wait_is_told_when_its_reason_changes_and_not_without_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Speed=3.0), offer_changes={"wait_s": 3600.0})

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in range(30):  # in and out of park, and faster, which is no new reason
            gear = float(number % 2)
            loop.call_later(1.0 * number, partial(bench.car.set, Gear=gear))
            loop.call_later(1.0 * number + 0.5, lambda: bench.car.set(Speed=4.0))
        loop.call_later(40.0, lambda: bench.car.set(Gear=0.0, Speed=0.0))
        await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    said = [fields["cause"] for kind, fields in bench.notes if kind is Kind.WAITING]
    assert len(said) == 20
    assert [("Gear" in one) for one in said] == [False, True] * 10


def test_that_the_driver_is_asked_is_told_too(tmp_path: Path) -> None:
    bench = asked(tmp_path, Choice.ACCEPTED)

    async def run() -> None:
        await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    first, second = bench.notes
    assert first == (Kind.WAITING, {"cause": "the driver is asked", "conditions": []})
    assert second[0] is Kind.CONSENT
    assert second[1] == {
        "answer": "accepted",
        "release_sha256": release_sha256(bench.offer),
        "notice": NOTICE,
    }


def test_a_deferral_in_the_journal_counts_after_a_restart(tmp_path: Path) -> None:
    bench = asked(tmp_path, Choice.ACCEPTED)
    deferred = Entry(
        kind=Kind.CONSENT,
        fields={
            "answer": "deferred",
            "release_sha256": release_sha256(bench.offer).hex(),
            "defer_until_us": 900 * 10**6,
        },
    )

    async def run() -> None:
        await asyncio.sleep(100.0)
        await bench.obtain(bench.clearance(), entries=(deferred,))

    clock.run(run(), virtual=True)
    assert bench.driver.times == [900.0]


def test_a_release_that_was_denied_before_is_told_as_such(tmp_path: Path) -> None:
    bench = asked(tmp_path)
    digest = release_sha256(bench.offer)
    bench.driver.refused.add(digest)

    async def run() -> None:
        with pytest.raises(UpdateError, match="consent: this release was denied before"):
            await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    (note,) = bench.notes
    assert note[1] == {
        "answer": "denied",
        "release_sha256": digest,
        "notice": NOTICE,
        "cause": "this release was denied before",
    }
    assert bench.car.engaged == []


def test_a_clearance_says_what_it_stands_on(tmp_path: Path) -> None:
    bench = asked(tmp_path, Choice.ACCEPTED)

    async def run() -> Mapping[str, Any]:
        return await bench.obtain(bench.clearance())

    found = clock.run(run(), virtual=True)
    assert found["release_sha256"] == release_sha256(bench.offer)
    assert found["consent_required"] is True


def test_a_restarted_gateway_watches_what_it_did_not_obtain(tmp_path: Path) -> None:
    """Staging or going back, the release's conditions are known before they are cleared."""
    bench = Bench(tmp_path, Car(Speed=3.0))

    async def run() -> None:
        clearance = bench.clearance()
        await clearance.staging(bench.offer)
        with pytest.raises(ConditionsError, match="Speed == 0 km/h: is 3 km/h"):
            clearance.check()

    clock.run(run(), virtual=True)


def test_the_interlock_is_handed_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car())

    async def run() -> None:
        clearance = bench.clearance()
        clearance.hold(engaged=True)
        clearance.hold(engaged=False)

    clock.run(run(), virtual=True)
    assert bench.car.engaged == [True, False]


# A car that sleeps


def _stays_awake(woken: list[float], since_s: float, until_s: float) -> bool:
    """Whether wires were woken again and again in this time, each time before they sleep."""
    times = [since_s, *(one for one in woken if since_s <= one <= until_s), until_s]
    return max(later - sooner for sooner, later in pairwise(times)) <= 1.0


def test_a_parked_car_is_woken_once_a_minute_for_a_value_that_is_missing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car())
    bench.car.silent = {"BatteryVoltage"}

    async def run() -> None:
        asyncio.get_running_loop().call_later(150.0, bench.car.silent.clear)
        await bench.clearance().staging(bench.offer)

    clock.run(run(), virtual=True)
    assert bench.woken == [0.0, 60.0, 120.0]


def test_a_parked_car_whose_values_are_known_is_left_asleep(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(BatteryVoltage=11.5))

    async def run() -> None:
        asyncio.get_running_loop().call_later(150.0, partial(bench.car.set, BatteryVoltage=12.5))
        await bench.clearance().staging(bench.offer)

    clock.run(run(), virtual=True)
    assert bench.woken == []


def test_a_car_that_the_driver_has_yet_to_park_is_woken_once_a_minute_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car())
    bench.car.silent = {"Gear"}

    async def run() -> None:
        asyncio.get_running_loop().call_later(90.0, bench.car.silent.clear)
        await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    assert [one for one in bench.woken if one < 90.0] == [0.0, 60.0]


def test_a_car_is_kept_awake_from_the_interlock_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car())

    async def run() -> None:
        clearance = bench.clearance()
        await bench.obtain(clearance)
        assert _stays_awake(bench.woken, 0.0, 1.0)
        asyncio.get_running_loop().call_later(20.0, partial(bench.car.set, Gear=1.0))
        await clearance.violation()

    clock.run(run(), virtual=True)
    assert _stays_awake(bench.woken, 1.0, 21.0)


def test_a_car_is_kept_awake_while_going_back_waits_for_a_safe_state(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(Speed=3.0, HighVoltage=0.0))

    async def run() -> None:
        asyncio.get_running_loop().call_later(20.0, partial(bench.car.set, Speed=0.0))
        await bench.clearance().safe(bench.offer)

    clock.run(run(), virtual=True)
    assert _stays_awake(bench.woken, 0.0, 20.0)


def test_going_back_reckons_the_energy_for_the_release_also_after_a_restart(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, Car(HighVoltage=0.0))
    car = bench.vehicle.conditions
    supply = Supply(battery_ah=car.battery_ah, update_current_a=car.update_current_a)
    half_s = out_of_use_s(bench.offer, bench.vehicle) / 2
    enough_for_half = available_wh(supply, battery_v=12.6) / needed_wh(supply, out_of_use_s=half_s)
    safe = replace(car, safe=f"EnergyReserve >= {enough_for_half:.2f}")
    bench.vehicle = replace(bench.vehicle, conditions=safe)

    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await bench.clearance().safe(bench.offer)

    clock.run(run(), virtual=True)


# What is left behind


@pytest.mark.parametrize("answer", [Choice.ACCEPTED, Choice.DENIED, None])
def test_a_question_is_taken_away_in_the_end(tmp_path: Path, answer: Choice | None) -> None:
    bench = asked(tmp_path, *([] if answer is None else [answer]))
    bench.offer_changes["wait_s"] = 60.0

    async def run() -> None:
        with suppress(UpdateError):
            await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    assert len(bench.driver.asked) == 1
    assert not bench.driver.shown


def test_a_car_that_does_not_obey_is_told_in_the_journal(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Car(HighVoltage=0.0), offer_changes={"wait_s": 300.0})
    bench.car.obeys = False

    async def run() -> None:
        with pytest.raises(UpdateError, match="not met within 300 s"):
            await bench.obtain(bench.clearance())

    clock.run(run(), virtual=True)
    ((kind, fields),) = bench.notes  # four times for the same reason
    assert kind is Kind.WAITING
    assert fields["cause"].startswith("DriveInhibited == Yes: is No")
    verdicts = {one["condition"]: one["verdict"] for one in fields["conditions"]}
    assert verdicts["Gear == P"] == "met"
    assert verdicts["DriveInhibited == Yes"] != "met"


def test_a_deferral_without_a_time_is_over(tmp_path: Path) -> None:
    bench = asked(tmp_path, Choice.ACCEPTED)
    digest = release_sha256(bench.offer).hex()
    deferred = Entry(kind=Kind.CONSENT, fields={"answer": "deferred", "release_sha256": digest})

    async def run() -> None:
        await bench.obtain(bench.clearance(), entries=(deferred,))

    clock.run(run(), virtual=True)
    assert bench.driver.times == [0.0]
