"""What the bench of a test is to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from canota.bench import ECUS, VIRTUAL_START, BenchOptions

VIN: Final = "WCANTEST000000001"


class SetupError(Exception):
    """A marker that says what there is not; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The arguments of `@pytest.mark.canota`; a nearer marker goes before one further out."""

    #: The ECUs in the vehicle, by type; bench ECUs (`bench_29bit` and its like) count.
    ecus: tuple[str, ...] = ECUS
    #: The one that the fixture `ecu` is; by default the first of `ecus`.
    ecu: str = ""
    #: ECU -> bytes of the image that it leaves its factory with, in place of release 1.0.0.
    images: Mapping[str, bytes] = field(default_factory=dict)
    #: DER public keys that secure boot trusts beside the published development key.
    image_public_keys: tuple[bytes, ...] = ()
    vin: str = VIN
    #: Repeats every random draw.
    seed: int = 1
    #: Share of the time for which the rest of the car keeps each CAN wire busy, besides the
    #: messages of `vehicle.dbc`.
    traffic: float = 0.0
    #: Seconds for which the gateway watches the vehicle after an update.
    observe_s: float = 5.0
    #: The date when the bench begins.
    start_date: datetime = VIRTUAL_START
    #: A log of the wires to be written; its ending names the format.
    capture: Path | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Setup":
        """From a marker's arguments; `SetupError` names one that there is not."""
        known = {one.name for one in fields(cls)}
        for name in arguments:
            if name not in known:
                raise SetupError(
                    f"@pytest.mark.canota has no {name!r}, but {', '.join(sorted(known))}"
                )
        given = dict(arguments)
        if "ecu" in given and "ecus" not in given:
            given["ecus"] = (given["ecu"],)
        for name in ("ecus", "image_public_keys"):
            if name in given:
                given[name] = tuple(given[name])
        setup = cls(**given)
        if setup.ecu and setup.ecu not in setup.ecus:
            raise SetupError(f"ecu={setup.ecu!r} is not among ecus={setup.ecus!r}")
        return setup

    @property
    def one_ecu(self) -> str:
        return self.ecu or self.ecus[0]

    def options(self, directory: Path) -> BenchOptions:
        return BenchOptions(
            vin=self.vin,
            directory=directory,
            seed=self.seed,
            observe_s=self.observe_s,
            ecus=self.ecus,
            factory_images=self.images,
            image_public_keys=self.image_public_keys,
            start_date=self.start_date,
            traffic=self.traffic,
            capture=self.capture,
        )
