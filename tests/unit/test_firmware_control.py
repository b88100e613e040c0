"""The built applications in a closed loop with the cabin: what the versions do to people in it."""

import pytest

from ecu_sim.plant import Surroundings
from firmware.applications import APPLICATIONS
from tests.support.climate import DT_S, ClosedLoop

OLD = dict.fromkeys(APPLICATIONS, "1.0.0")
NEW = dict.fromkeys(APPLICATIONS, "2.0.0")
CABIN_DEVIATION = ("ccu", 0)
BLOWER_NOT_FOLLOWING = ("ccu", 1)
BLOWER_LOST = ("ccu", 2)


def test_version_1_settles_well_off_the_set_temperature_and_says_so() -> None:
    loop = ClosedLoop(OLD)
    trace = loop.run(240.0)
    assert all(temperature > 25.0 for _, temperature in trace)
    assert 25.0 < trace[-1][1] < 27.0
    assert loop.first_failures.keys() == {CABIN_DEVIATION}
    assert 60.0 < loop.first_failures[CABIN_DEVIATION] < 115.0


@pytest.mark.parametrize("others", ["1.0.0", "2.0.0"])
def test_version_2_settles_on_the_set_temperature_and_every_monitor_passes(others: str) -> None:
    loop = ClosedLoop({**dict.fromkeys(APPLICATIONS, others), "ccu": "2.0.0"})
    trace = loop.run(400.0)
    assert max(abs(t - 22.0) for now, t in trace if now > 180.0) < 0.5
    assert loop.first_failures == {}
    assert set(loop.results) == {
        ("ccu", 0), ("ccu", 1), ("ccu", 2), ("blower", 0), ("blower", 1), ("blower", 2),
        ("ecomp", 0), ("ecomp", 1), ("ptc", 0), ("ptc", 1), ("rear", 0),
        *(("flap", monitor) for monitor in range(5)),
    }  # fmt: skip


@pytest.mark.parametrize(
    "day",
    [
        Surroundings(ambient_c=35.0),
        Surroundings(ambient_c=38.0, sun_w=700.0, cabin_c=45.0),
        Surroundings(ambient_c=20.0, sun_w=200.0, cabin_c=20.0),
        Surroundings(ambient_c=-5.0, sun_w=0.0, cabin_c=-5.0),
    ],
    ids=["hot", "very hot", "mild", "frost"],
)
def test_version_2_settles_on_other_days_too(day: Surroundings) -> None:
    loop = ClosedLoop(NEW, day)
    trace = loop.run(400.0)
    assert trace[-1][1] == pytest.approx(22.0, abs=0.5)
    assert loop.first_failures == {}


WINTER = Surroundings(ambient_c=-10.0, sun_w=0.0, cabin_c=-10.0, coolant_c=10.0)


@pytest.mark.parametrize(
    ("heater", "coldest", "warmest"), [(None, 0.0, 1.0), ("1.0.0", 6.0, 8.0), ("2.0.0", 21.5, 22.5)]
)
def test_in_winter_the_electric_heater_makes_up_for_a_cold_heater_core(
    heater: str | None, coldest: float, warmest: float
) -> None:
    versions = NEW | {"ptc": heater} if heater else {e: v for e, v in NEW.items() if e != "ptc"}
    loop = ClosedLoop(versions, WINTER)
    loop.run(400.0)
    assert coldest < loop.cabin.cabin_temperature_c < warmest
    assert loop.cabin.heater_element_c < 60.0
    assert not loop.first_failures.keys() & {("ptc", 0), ("ptc", 1)}


@pytest.mark.parametrize(
    "hindrance", ["not asked", "high voltage off", "too high", "not available", "warm day"]
)
def test_the_heater_heats_only_when_it_may(hindrance: str) -> None:
    day = Surroundings(coolant_c=10.0) if hindrance == "warm day" else WINTER
    loop = ClosedLoop({"ptc": "2.0.0"}, day)
    loop.cabin.blower_drive, loop.cabin.blend = 0.5, 1.0
    if hindrance == "not asked":
        loop.heating_request = 0.0
    voltages = {"high voltage off": 0.0, "too high": 470.0, "not available": 1638.3}
    loop.high_voltage = voltages.get(hindrance, 398.0)
    loop.run(20.0)
    assert loop.cabin.heater_power_w == 0.0
    # A circuit that is switched off is no fault, and neither is a voltage that nobody knows.
    assert loop.first_failures.keys() == ({("ptc", 1)} if hindrance == "too high" else set())


def test_an_element_without_air_is_switched_off_and_says_so() -> None:
    loop = ClosedLoop({}, WINTER)
    loop.cabin.heater_w = 6000.0
    loop.run(120.0)
    # By itself it gets no hotter than its resistance lets it.
    assert 180.0 < loop.cabin.heater_element_c < 230.0
    loop.replace("ptc", "2.0.0")
    loop.run(5.0)
    assert loop.cabin.heater_power_w == 0.0
    assert loop.first_failures.keys() == {("ptc", 0)}


def test_an_update_in_the_running_car_cools_it_down_and_raises_nothing() -> None:
    loop = ClosedLoop(OLD)
    loop.run(240.0)
    loop.first_failures.clear()
    for ecu in NEW:
        loop.replace(ecu, "2.0.0")
    loop.run(180.0)
    assert loop.cabin.cabin_temperature_c == pytest.approx(22.0, abs=0.5)
    assert loop.results[CABIN_DEVIATION] is False
    assert loop.first_failures == {}


def test_while_the_blower_is_silent_that_alone_is_said() -> None:
    loop = ClosedLoop(NEW)
    loop.run(180.0)
    loop.stop("blower")
    loop.cabin.blower_drive = 0.0
    for _ in range(60):
        loop.blower_silent_s += 1.0
        loop.run(1.0)
    assert loop.first_failures.keys() == {BLOWER_LOST}
    loop.blower_silent_s = 0.0
    loop.replace("blower", "2.0.0")
    loop.run(120.0)
    assert loop.first_failures.keys() == {BLOWER_LOST}
    assert loop.results[BLOWER_LOST] is False


def test_a_blower_that_does_not_follow_is_noticed() -> None:
    loop = ClosedLoop(NEW)
    loop.stop("blower")
    loop.run(20.0)
    assert loop.first_failures.keys() == {BLOWER_NOT_FOLLOWING}


def test_a_low_supply_is_noticed_by_the_blower_and_not_taken_for_a_stuck_motor() -> None:
    loop = ClosedLoop(NEW, Surroundings(supply_v=9.0))
    loop.run(30.0)
    assert loop.results["blower", 0] is True
    assert ("blower", 1) not in loop.first_failures


def test_a_stuck_blower_motor_is_noticed_by_the_blower() -> None:
    loop = ClosedLoop(NEW)
    loop.jam_blower()
    loop.run(30.0)
    assert ("blower", 1) in loop.first_failures


@pytest.mark.parametrize(("version", "cooler"), [("1.0.0", "feet"), ("2.0.0", "head")])
def test_cool_air_goes_to_the_face_but_for_version_1_of_the_flaps(
    version: str, cooler: str
) -> None:
    loop = ClosedLoop({**NEW, "flap": version})
    loop.run(60.0)
    asked = dict(zip(("defrost", "face", "foot"), loop.flap_requests, strict=True))
    assert asked == {"defrost": 10.0, "face": 90.0, "foot": 5.0}
    cabin = loop.cabin
    openings = [cabin.face_opening_percent, cabin.foot_opening_percent]
    if version == "1.0.0":
        openings.reverse()
    assert openings == pytest.approx([90.0, 5.0], abs=2.0)
    assert cabin.defrost_opening_percent == pytest.approx(10.0, abs=0.5)
    temperatures = {"head": cabin.head_c, "feet": cabin.feet_c}
    assert min(temperatures, key=lambda place: temperatures[place]) == cooler
    # Each motor does what it is told: nothing sees the fault but the people in the car.
    assert not any(ecu == "flap" for ecu, _ in loop.first_failures)


def test_a_flap_that_does_not_get_where_it_should_is_noticed() -> None:
    loop = ClosedLoop(NEW)
    loop.run(20.0)
    loop.jam_lever("face")
    loop.flap_requests[:] = [0.0, 0.0, 0.0]
    loop.stop("ccu")
    loop.run(20.0)
    assert loop.first_failures.keys() == {("flap", 2)}


def test_without_requests_the_flaps_stay_and_say_so() -> None:
    loop = ClosedLoop({"flap": "2.0.0"})
    loop.flap_requests[:] = [100.0, 0.0, 0.0]
    loop.run(20.0)
    loop.control_silent_s = 3.0
    loop.flap_requests[:] = [0.0, 100.0, 0.0]
    loop.run(20.0)
    assert loop.cabin.defrost_opening_percent == pytest.approx(100.0, abs=0.1)
    assert loop.results["flap", 4] is True


def test_a_windscreen_is_warmed_by_the_air_that_is_led_to_it() -> None:
    temperatures = []
    for defrost, face in ((0.0, 100.0), (100.0, 0.0)):
        frost = Surroundings(ambient_c=-5.0, sun_w=0.0, cabin_c=-5.0)
        loop = ClosedLoop({name: "2.0.0" for name in NEW if name != "ccu"}, frost)
        loop.blower_request, loop.cabin.blend = 80.0, 1.0
        loop.flap_requests[:] = [defrost, face, 0.0]
        loop.run(120.0)
        temperatures.append(loop.cabin.windscreen_c)
    assert temperatures[1] > temperatures[0] + 10.0


@pytest.mark.parametrize(("version", "level"), [("1.0.0", 80.0), ("2.0.0", 30.0)])
def test_without_requests_only_version_2_of_the_blower_falls_back(
    version: str, level: float
) -> None:
    loop = ClosedLoop({"blower": version}, Surroundings(supply_v=13.5))
    loop.blower_request = 80.0
    loop.run(20.0)
    for _ in range(30):
        loop.control_silent_s += 1.0
        loop.run(1.0)
    assert 100.0 * loop.cabin.blower_drive == pytest.approx(level, abs=5.0)
    assert loop.results["blower", 2] is True


def test_a_supply_below_nominal_slows_only_version_1_of_the_blower() -> None:
    speeds = {}
    for version in ("1.0.0", "2.0.0"):
        loop = ClosedLoop({"blower": version}, Surroundings(supply_v=11.5))
        loop.blower_request = 60.0
        loop.run(20.0)
        speeds[version] = loop.cabin.blower_rpm
    assert speeds["1.0.0"] < 0.9 * 0.6 * 4200.0
    assert speeds["2.0.0"] == pytest.approx(0.6 * 4200.0, rel=0.03)


@pytest.mark.parametrize(("request_", "voltage"), [(0.0, 398.0), (1.0, 200.0)])
def test_the_compressor_runs_only_when_it_is_asked_and_supplied(
    request_: float, voltage: float
) -> None:
    loop = ClosedLoop({"ecomp": "2.0.0"})
    loop.run(10.0)
    assert loop.cabin.compressor_rpm > 1000.0
    loop.cooling_request, loop.high_voltage = request_, voltage
    loop.run(10.0)
    assert loop.cabin.compressor_rpm == 0.0


def test_version_2_of_the_compressor_is_gentle_through_its_resonance() -> None:
    times = {}
    for version in ("1.0.0", "2.0.0"):
        loop = ClosedLoop({"ecomp": version})
        while loop.cabin.compressor_rpm < 1500.0:
            loop.run(DT_S)
        times[version] = loop.now_s
    assert times["2.0.0"] > 2.0 * times["1.0.0"]


def test_the_same_run_twice_is_the_same_to_the_last_bit() -> None:
    first, second = ClosedLoop(NEW), ClosedLoop(NEW)
    assert first.run(60.0) == second.run(60.0)
