"""The cabin: what the actuators do to temperatures on a hot summer day.

A lumped model of an electric car's air conditioning. Air is drawn from outside or from the cabin,
cooled at the evaporator, warmed again by the share that goes over the heater core, and blown into
the cabin and the rear zone. In the cabin's branch behind the heater core stands the element of the
electric (PTC) heater, which warms where the coolant does not; three flaps lead the cabin's air to
windscreen, face and feet. Sun and shell bring heat in, trim and seats store it. Figures are of the
right order for a compact car, not those of any model. Explicit Euler, in steps short enough to be
stable; no clock, no randomness.
"""

import math
from dataclasses import dataclass
from typing import Final

#: Longest integration step, seconds; the fastest mode (evaporator, full air) decays in about 3 s.
MAX_STEP_S: Final = 0.1
#: Longest single call, seconds: what is longer is a mistake of the caller.
MAX_CALL_S: Final = 3600.0

_AIR_J_PER_KG_K: Final = 1005.0
MAX_BLOWER_RPM: Final = 4200.0
MAX_COMPRESSOR_RPM: Final = 8000.0
MAX_HEATER_W: Final = 6000.0
#: Where the flaps lead the front's air.
_OUTLETS: Final = ("defrost", "face", "foot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The day: what the car does not control."""

    ambient_c: float = 33.0
    #: Heat through the windows, W.
    sun_w: float = 520.0
    #: 12 V supply with the DC/DC converter running.
    supply_v: float = 13.8
    #: Where cabin and trim start: parked in the sun.
    cabin_c: float = 35.0
    #: Heater core: the coolant's temperature, which the drive's waste heat holds.
    coolant_c: float = 58.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """Heat capacities (J/K), conductances (W/K) and limits of the car."""

    cabin_j_per_k: float = 10_000.0
    trim_j_per_k: float = 120_000.0
    rear_j_per_k: float = 7_000.0
    evaporator_j_per_k: float = 3_500.0
    trim_w_per_k: float = 22.0
    shell_w_per_k: float = 26.0
    rear_shell_w_per_k: float = 10.0
    #: Air that mixes between cabin and rear zone.
    rear_exchange_w_per_k: float = 22.0
    #: Air at full blower, kg/s.
    front_air_kg_s: float = 0.15
    rear_air_kg_s: float = 0.04
    #: Share of heat that air leaves at the evaporator or takes from the heater core.
    evaporator_effectiveness: float = 0.8
    heater_effectiveness: float = 0.75
    #: The PTC element: heat capacity, its share of heat given to the air, loss without air, and
    #: the span over which its resistance takes its power away.
    element_j_per_k: float = 1_800.0
    element_effectiveness: float = 0.85
    element_loss_w_per_k: float = 4.0
    element_fading_c: float = 190.0
    element_limit_c: float = 230.0
    #: Cabin air in what is drawn in, recirculation flap closed and open.
    fresh_share_of_cabin_air: float = 0.1
    recirculated_share_of_cabin_air: float = 0.85
    #: Cooling power at full compressor speed and warm evaporator, W; none at the freezing limit.
    cooling_w: float = 8_000.0
    freezing_c: float = -4.0
    full_cooling_c: float = 12.0
    rear_sun_share: float = 0.2
    blower_lag_s: float = 0.8
    compressor_lag_s: float = 2.0
    #: Travel of a flap's lever per second, of the whole.
    lever_per_s: float = 0.25
    #: Below this opening of all flaps together, as a share of one, they throttle the front's air.
    free_opening: float = 0.5
    windscreen_j_per_k: float = 6_000.0
    #: Windscreen to cabin, to the outside at rest, and to the air of its outlet at full blower.
    windscreen_cabin_w_per_k: float = 8.0
    windscreen_shell_w_per_k: float = 16.0
    windscreen_air_w_per_k: float = 40.0
    windscreen_sun_share: float = 0.1
    #: How far the air at head and feet follows what is blown at them at full blower.
    draught: float = 0.35
    #: Supply voltage at which a full drive gives full speed.
    nominal_supply_v: float = 13.5


class Cabin:
    """The thermal state of one car; actuators are set as attributes, sensors read as properties.

    Actuators are limited to their range, and a NaN counts as the lower end (a driver stage that
    gets no valid value switches off).
    """

    def __init__(self, surroundings: Surroundings | None = None) -> None:
        self.surroundings = surroundings if surroundings is not None else Surroundings()
        self._body = _Body()
        #: 0 (off) to 1 (full), as a duty cycle at the motor.
        self.blower_drive = 0.0
        #: 0 (all air past the heater) to 1 (all air over it).
        self.blend = 0.0
        #: 0 (fresh air) or 1 (cabin air).
        self.recirculation = 0.0
        #: Requested speed, 0 to 8000 rpm.
        self.compressor_rpm = 0.0
        self.rear_blower = 0.0
        self.rear_blend = 0.0
        #: Requested power of the electric heater, 0 to 6000 W.
        self.heater_w = 0.0
        #: Wanted travel of each flap's lever, 0 (closed) to 1 (open).
        self.defrost_lever = 0.0
        self.face_lever = 1.0
        self.foot_lever = 0.0
        #: Outlets whose flap is stuck: its motor turns in vain.
        self.stuck: frozenset[str] = frozenset()
        self._levers = {outlet: _limited(self._wanted(outlet), 1.0) for outlet in _OUTLETS}
        self._windscreen = self.surroundings.cabin_c
        self._outlet = self.surroundings.ambient_c
        self._cabin = self._trim = self._rear = self.surroundings.cabin_c
        self._evaporator = self._element = self.surroundings.ambient_c
        self._blower_speed = 0.0
        self._compressor_speed = 0.0

    @property
    def cabin_temperature_c(self) -> float:
        return self._cabin

    @property
    def rear_c(self) -> float:
        return self._rear

    @property
    def evaporator_c(self) -> float:
        return self._evaporator

    @property
    def ambient_c(self) -> float:
        return self.surroundings.ambient_c

    @property
    def sun_w(self) -> float:
        return self.surroundings.sun_w

    @property
    def supply_v(self) -> float:
        """12 V supply at the blower: the wiring loses up to 0.6 V at full load."""
        return self.surroundings.supply_v - 0.6 * self._blower_speed / MAX_BLOWER_RPM

    @property
    def blower_rpm(self) -> float:
        return self._blower_speed

    @property
    def compressor_speed_rpm(self) -> float:
        """Actual speed; `compressor_rpm` is the requested one."""
        return self._compressor_speed

    @property
    def heater_power_w(self) -> float:
        """Actual power; `heater_w` is the requested one. A hot PTC element takes less by itself."""
        body = self._body
        span = body.element_limit_c - body.element_fading_c
        carried = _limited((body.element_limit_c - self._element) / span, 1.0)
        return _limited(self.heater_w, MAX_HEATER_W) * carried

    @property
    def heater_element_c(self) -> float:
        return self._element

    @property
    def heated_air_c(self) -> float:
        """Air that leaves heater core and element on its way to the cabin."""
        return self._warmed(self._cold_c(self._intake_c()))

    @property
    def defrost_travel(self) -> float:
        """How far the lever of the flap to the windscreen has come, 0 to 1."""
        return self._levers["defrost"]

    @property
    def face_travel(self) -> float:
        return self._levers["face"]

    @property
    def foot_travel(self) -> float:
        return self._levers["foot"]

    @property
    def defrost_opening_percent(self) -> float:
        """How far the flap to the windscreen is open: the first half of the travel opens most."""
        return 100.0 * self._opening("defrost")

    @property
    def face_opening_percent(self) -> float:
        return 100.0 * self._opening("face")

    @property
    def foot_opening_percent(self) -> float:
        return 100.0 * self._opening("foot")

    @property
    def windscreen_c(self) -> float:
        return self._windscreen

    @property
    def head_c(self) -> float:
        """Air at the head: the cabin's, drawn towards what comes from the face outlets."""
        return self._draught("face")

    @property
    def feet_c(self) -> float:
        return self._draught("foot")

    def step(self, dt_s: float) -> None:
        """Let `dt_s` seconds pass with the actuators as they are; 0 to `MAX_CALL_S`."""
        if not 0.0 <= dt_s <= MAX_CALL_S:
            raise ValueError(f"a step of {dt_s} s is not within 0 to {MAX_CALL_S} s")
        count = math.ceil(dt_s / MAX_STEP_S)
        for _ in range(count):
            self._euler(dt_s / count)

    def _euler(self, dt_s: float) -> None:
        body, day = self._body, self.surroundings
        self._turn(dt_s)
        self._move_levers(dt_s)
        front = body.front_air_kg_s * self._front_flow() * _AIR_J_PER_KG_K
        rear = body.rear_air_kg_s * _limited(self.rear_blower, 1.0) * _AIR_J_PER_KG_K
        intake = self._intake_c()
        cold = self._cold_c(intake)
        share = _limited(self.blend, 1.0)
        core, warmed = self._behind_core(cold), self._warmed(cold)
        sun_rear = day.sun_w * body.rear_sun_share
        exchange = body.rear_exchange_w_per_k * (self._rear - self._cabin)
        to_trim = body.trim_w_per_k * (self._cabin - self._trim)

        self._outlet = cold + share * (warmed - cold)
        windscreen_w = (
            body.windscreen_air_w_per_k * self._flow("defrost") * (self._outlet - self._windscreen)
            + body.windscreen_cabin_w_per_k * (self._cabin - self._windscreen)
            + body.windscreen_shell_w_per_k * (day.ambient_c - self._windscreen)
            + body.windscreen_sun_share * day.sun_w
        )
        evaporator_w = (front + rear) * (intake - cold) - self._cooling_w()
        cabin_w = (
            front * (self._outlet - self._cabin)
            + body.shell_w_per_k * (day.ambient_c - self._cabin)
            + (day.sun_w - sun_rear)
            + exchange
            - to_trim
        )
        rear_w = (
            rear * (cold + _limited(self.rear_blend, 1.0) * (core - cold) - self._rear)
            + body.rear_shell_w_per_k * (day.ambient_c - self._rear)
            + sun_rear
            - exchange
        )
        element_w = (
            self.heater_power_w
            - front * share * (warmed - core)
            - body.element_loss_w_per_k * (self._element - day.ambient_c)
        )
        self._element += element_w / body.element_j_per_k * dt_s
        self._evaporator += evaporator_w / body.evaporator_j_per_k * dt_s
        self._cabin += cabin_w / body.cabin_j_per_k * dt_s
        self._rear += rear_w / body.rear_j_per_k * dt_s
        self._trim += to_trim / body.trim_j_per_k * dt_s
        self._windscreen += windscreen_w / body.windscreen_j_per_k * dt_s

    def _turn(self, dt_s: float) -> None:
        """Blower and compressor follow their drives with a first-order lag."""
        body = self._body
        voltage = _limited(self.supply_v / body.nominal_supply_v, 1.1)
        blower = min(_limited(self.blower_drive, 1.0) * voltage, 1.0) * MAX_BLOWER_RPM
        self._blower_speed += (blower - self._blower_speed) * dt_s / body.blower_lag_s
        compressor = _limited(self.compressor_rpm, MAX_COMPRESSOR_RPM)
        self._compressor_speed += (
            (compressor - self._compressor_speed) * dt_s / body.compressor_lag_s
        )

    def _move_levers(self, dt_s: float) -> None:
        """Each lever goes to where it is wanted, at the speed of its motor."""
        most = self._body.lever_per_s * dt_s
        for outlet, travel in self._levers.items():
            if outlet in self.stuck:
                continue
            left = _limited(self._wanted(outlet), 1.0) - travel
            self._levers[outlet] = travel + min(max(left, -most), most)

    def _wanted(self, outlet: str) -> float:
        wanted: float = getattr(self, f"{outlet}_lever")
        return wanted

    def _opening(self, outlet: str) -> float:
        travel = self._levers[outlet]
        return travel * (2.0 - travel)

    def _front_flow(self) -> float:
        """Air to the front as a share of full: the blower's, throttled where all is closed."""
        opening = sum(map(self._opening, _OUTLETS))
        free = min(opening / self._body.free_opening, 1.0)
        return self._blower_speed / MAX_BLOWER_RPM * free

    def _flow(self, outlet: str) -> float:
        """The part of that which goes through one flap."""
        opening = sum(map(self._opening, _OUTLETS))
        return self._front_flow() * self._opening(outlet) / opening if opening else 0.0

    def _draught(self, outlet: str) -> float:
        return self._cabin + self._body.draught * self._flow(outlet) * (self._outlet - self._cabin)

    def _intake_c(self) -> float:
        body = self._body
        closed = _limited(self.recirculation, 1.0)
        fresh, recirculated = body.fresh_share_of_cabin_air, body.recirculated_share_of_cabin_air
        of_cabin = fresh + (recirculated - fresh) * closed
        return of_cabin * self._cabin + (1.0 - of_cabin) * self.surroundings.ambient_c

    def _cooling_w(self) -> float:
        """What the refrigerant takes from the evaporator; it fades out towards freezing."""
        body = self._body
        span = body.full_cooling_c - body.freezing_c
        fill = _limited((self._evaporator - body.freezing_c) / span, 1.0)
        return body.cooling_w * self._compressor_speed / MAX_COMPRESSOR_RPM * fill

    def _cold_c(self, intake_c: float) -> float:
        """Air behind the evaporator."""
        return intake_c - self._body.evaporator_effectiveness * (intake_c - self._evaporator)

    def _behind_core(self, cold_c: float) -> float:
        warmer = max(self.surroundings.coolant_c - cold_c, 0.0)
        return cold_c + self._body.heater_effectiveness * warmer

    def _warmed(self, cold_c: float) -> float:
        """Behind the core stands the element, which warms and does not cool."""
        core = self._behind_core(cold_c)
        return core + self._body.element_effectiveness * max(self._element - core, 0.0)


def _limited(value: float, upper: float) -> float:
    """`value` within 0 to `upper`; NaN becomes 0."""
    return min(value, upper) if value > 0.0 else 0.0
