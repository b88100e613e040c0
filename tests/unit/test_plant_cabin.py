"""The cabin: physics that must hold whatever the figures are."""

import math

import pytest

from ecu_sim.plant import MAX_BLOWER_RPM, Cabin, Surroundings


def settled(
    seconds: float = 600.0, surroundings: Surroundings | None = None, **set_to: float
) -> Cabin:
    cabin = Cabin(surroundings)
    for name, value in set_to.items():
        setattr(cabin, name, value)
    cabin.step(seconds)
    return cabin


SHADE = Surroundings(ambient_c=10.0, sun_w=0.0, cabin_c=10.0)


def test_a_cabin_in_balance_with_its_surroundings_stays_there() -> None:
    cabin = settled(surroundings=SHADE)
    assert cabin.cabin_temperature_c == pytest.approx(10.0)
    assert cabin.rear_c == pytest.approx(10.0)
    assert cabin.evaporator_c == pytest.approx(10.0)


def test_the_sun_warms_a_parked_car() -> None:
    assert settled().cabin_temperature_c > 38.0


def test_cold_air_cools_and_warm_air_warms() -> None:
    still = settled(300.0)
    cooled = settled(300.0, blower_drive=0.8, compressor_rpm=5000.0, recirculation=1.0)
    heated = settled(300.0, blower_drive=0.8, blend=1.0)
    assert cooled.cabin_temperature_c < still.cabin_temperature_c < heated.cabin_temperature_c


def test_the_rear_zone_follows_its_own_blower() -> None:
    front_only = settled(300.0, blower_drive=0.8, compressor_rpm=5000.0)
    both = settled(300.0, blower_drive=0.8, compressor_rpm=5000.0, rear_blower=1.0)
    assert both.rear_c < front_only.rear_c - 2.0


def test_recirculated_air_needs_less_cooling_on_a_hot_day() -> None:
    fresh = settled(600.0, blower_drive=0.8, compressor_rpm=5000.0)
    closed = settled(600.0, blower_drive=0.8, compressor_rpm=5000.0, recirculation=1.0)
    assert closed.cabin_temperature_c < fresh.cabin_temperature_c


def test_the_evaporator_does_not_get_colder_than_its_freezing_limit() -> None:
    assert -4.0 <= settled(compressor_rpm=8000.0, surroundings=SHADE).evaporator_c < 0.0


def test_the_blower_turns_in_proportion_to_drive_and_supply() -> None:
    half = settled(30.0, blower_drive=0.5, surroundings=Surroundings(supply_v=13.5))
    low = settled(30.0, blower_drive=0.5, surroundings=Surroundings(supply_v=10.0))
    assert half.blower_rpm == pytest.approx(0.5 * MAX_BLOWER_RPM, rel=0.05)
    assert low.blower_rpm < half.blower_rpm
    assert half.supply_v < 13.5


@pytest.mark.parametrize(
    "name",
    ["blower_drive", "blend", "recirculation", "compressor_rpm", "rear_blower", "rear_blend"],
)
@pytest.mark.parametrize("value", [-1e9, 1e9, math.inf, -math.inf, math.nan])
def test_no_actuator_value_breaks_the_cabin(name: str, value: float) -> None:
    cabin = Cabin()
    cabin.blower_drive = 0.5
    setattr(cabin, name, value)
    cabin.step(60.0)
    for sensor in (cabin.cabin_temperature_c, cabin.rear_c, cabin.evaporator_c, cabin.blower_rpm):
        assert -60.0 < sensor < MAX_BLOWER_RPM + 1.0


def test_a_long_step_is_made_of_short_ones() -> None:
    one, many = Cabin(), Cabin()
    one.blower_drive = many.blower_drive = 1.0
    one.compressor_rpm = many.compressor_rpm = 6000.0
    one.step(20.0)
    for _ in range(200):
        many.step(0.1)
    assert one.cabin_temperature_c == pytest.approx(many.cabin_temperature_c, abs=1e-9)


def test_no_time_changes_nothing() -> None:
    cabin = Cabin()
    cabin.step(0.0)
    assert cabin.cabin_temperature_c == cabin.surroundings.cabin_c


@pytest.mark.parametrize("dt_s", [-0.1, 3601.0, math.nan, math.inf])
def test_a_step_out_of_range_is_a_mistake(dt_s: float) -> None:
    with pytest.raises(ValueError, match="is not within"):
        Cabin().step(dt_s)
