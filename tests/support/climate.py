"""The applications of the ECUs and one cabin, joined without wires: 10 Hz, plain Python."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Final

import firmware
from ecu_sim.plant import MAX_BLOWER_RPM, Cabin, Surroundings
from ecu_sim.runtime import Application
from firmware.applications import APPLICATIONS
from protocols.firmware.containers import cmac, crc32, mcuboot, sha512
from protocols.firmware.formats import detect

DT_S: Final = 0.1
#: Container -> the application in an image.
PAYLOADS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "cmac": lambda image: cmac.decode(image).payload,
    "crc32": lambda image: crc32.decode(image).payload,
    "sha512": lambda image: sha512.decode(image).payload,
    "mcuboot": lambda image: mcuboot.decode(image).payload,
}


@cache
def flashed_bytes(ecu: str, version: str) -> bytes:
    """What a built image file puts into the ECU's memory."""
    path = firmware.image_path(ecu, version)
    data = path.read_bytes()
    return detect(path.name, data).decode(data).data


@cache
def application_module(ecu: str, version: str) -> bytes:
    image = flashed_bytes(ecu, version)
    return PAYLOADS[APPLICATIONS[ecu].container](image)


class ClosedLoop:
    """Steps every application and the cabin; inputs can be overridden as a test needs it."""

    def __init__(self, versions: dict[str, str], surroundings: Surroundings | None = None) -> None:
        self.cabin = Cabin(surroundings)
        self.setpoint_c = 22.0
        self.cooling_request = 1.0
        self.heating_request = 1.0
        self.high_voltage = 398.0
        self.blower_silent_s = 0.0
        self.control_silent_s = 0.0
        self.blower_request = 0.0
        #: Openings that the climate control unit asks for: defrost, face, foot, in %.
        self.flap_requests = [0.0, 0.0, 0.0]
        self.now_s = 0.0
        self._blower_jammed = False
        #: Outlet -> what the sensor of its stuck lever reads.
        self._jammed: dict[str, float] = {}
        #: (ECU, DTC index) -> last test result, and when it first failed.
        self.results: dict[tuple[str, int], bool] = {}
        self.first_failures: dict[tuple[str, int], float] = {}
        self.applications = {ecu: self._start(ecu, version) for ecu, version in versions.items()}

    def run(self, seconds: float) -> list[tuple[float, float]]:
        """Let time pass; the cabin temperature at every step."""
        trace = []
        for _ in range(round(seconds / DT_S)):
            for application in self.applications.values():
                application.step(DT_S)
            self.cabin.step(DT_S)
            self.now_s += DT_S
            trace.append((self.now_s, self.cabin.cabin_temperature_c))
        return trace

    def stop(self, ecu: str) -> None:
        """Take an ECU's application away; its outputs stay as they are."""
        del self.applications[ecu]

    def replace(self, ecu: str, version: str) -> None:
        """Start another version of an ECU's application."""
        self.applications[ecu] = self._start(ecu, version)

    def jam_blower(self) -> None:
        """From here on the blower reads a motor that does not turn."""
        self._blower_jammed = True

    def jam_lever(self, outlet: str) -> None:
        """From here on the sensor of a flap's lever reads what it reads now."""
        self._jammed[outlet] = getattr(self.cabin, f"{outlet}_travel")

    def _travel(self, outlet: str) -> float:
        travel: float = getattr(self.cabin, f"{outlet}_travel")
        return self._jammed.get(outlet, travel)

    def _start(self, ecu: str, version: str) -> Application:
        inputs, outputs = self._inputs()[ecu], self._outputs()[ecu]

        def report_dtc(index: int, failed: bool) -> None:  # noqa: FBT001 the runtime's interface
            self.results[ecu, index] = failed
            if failed:
                self.first_failures.setdefault((ecu, index), self.now_s)

        return Application(
            application_module(ecu, version),
            read=lambda channel: inputs[channel](),
            write=lambda channel, value: outputs[channel](value),
            report_dtc=report_dtc,
        )

    def _inputs(self) -> dict[str, list[Callable[[], float]]]:
        cabin = self.cabin
        return {
            "ccu": [
                lambda: cabin.cabin_temperature_c,
                lambda: cabin.ambient_c,
                lambda: self.setpoint_c,
                lambda: cabin.evaporator_c,
                lambda: 100.0 * cabin.blower_rpm / MAX_BLOWER_RPM,
                lambda: cabin.sun_w,
                lambda: self.blower_silent_s,
            ],
            "blower": [
                lambda: self.blower_request,
                lambda: cabin.supply_v,
                lambda: self.control_silent_s,
                lambda: 0.0 if self._blower_jammed else cabin.blower_rpm,
            ],
            "flap": [
                *(partial(self.flap_requests.__getitem__, flap) for flap in range(3)),
                lambda: cabin.supply_v,
                lambda: self.control_silent_s,
                *(partial(self._travel, outlet) for outlet in ("defrost", "face", "foot")),
            ],
            "ecomp": [
                lambda: cabin.evaporator_c,
                lambda: cabin.ambient_c,
                lambda: self.cooling_request,
                lambda: self.high_voltage,
            ],
            "ptc": [
                lambda: cabin.heated_air_c,
                lambda: cabin.heater_element_c,
                lambda: cabin.ambient_c,
                lambda: self.heating_request,
                lambda: self.high_voltage,
            ],
            "rear": [
                lambda: cabin.rear_c,
                lambda: self.setpoint_c,
                lambda: cabin.cabin_temperature_c,
            ],
        }

    def _outputs(self) -> dict[str, list[Callable[[float], None]]]:
        def setter(name: str) -> Callable[[float], None]:
            return lambda value: setattr(self.cabin, name, value)

        def request(value: float) -> None:
            self.blower_request = value

        return {
            "ccu": [
                request,
                setter("blend"),
                setter("recirculation"),
                *(partial(self.flap_requests.__setitem__, flap) for flap in range(3)),
            ],
            "blower": [setter("blower_drive")],
            "flap": [setter(f"{flap}_lever") for flap in ("defrost", "face", "foot")],
            "ecomp": [setter("compressor_rpm")],
            "ptc": [setter("heater_w")],
            "rear": [setter("rear_blower"), setter("rear_blend")],
        }
