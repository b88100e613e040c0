"""Applications that are bad, correctly signed: the software is at fault, and nothing around it.

One C source per fault in `src/`, built by `firmware.build` and wrapped for each ECU in `images/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

_FOLDER: Final = Path(__file__).parent
SOURCES: Final = _FOLDER / "src"
IMAGES: Final = _FOLDER / "images"
#: F195 of all of them.
SUPPLIER_VERSION: Final = "FAULTY"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where an update to a bad image ends, on one kind of ECU."""

    #: What the ECU does by itself.
    ecu: str
    #: `vehicle_gateway.update.coordinator.Outcome`, by its value.
    outcome: str
    #: Words of the report's reason behind the ECU's name; for an update that is kept, empty.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    #: F189.
    version: str
    #: What the application does, for people.
    what: str
    two_slots: End
    one_slot: End


_ENDS_IN_LOADER: Final = (
    "the watchdog bites three times in a row; its boot loader stays, and takes the old image"
)


def _crash(version: str, what: str) -> Fault:
    """The watchdog bites before anybody can ask."""
    return Fault(
        version=version,
        what=what,
        two_slots=End(
            ecu="the watchdog ends the trial, and the old image runs again",
            outcome="rolled_back",
            reason="not the new image",
        ),
        one_slot=End(
            ecu=_ENDS_IN_LOADER, outcome="rolled_back", reason="it stays in its boot loader"
        ),
    )


def _failing(version: str, what: str, reason: str) -> Fault:
    """It runs, and 0213 says what is wrong with it."""
    end = End(ecu="it runs until the gateway takes it back", outcome="rolled_back", reason=reason)
    return Fault(version=version, what=what, two_slots=end, one_slot=end)


def _late(version: str, what: str) -> Fault:
    end = End(ecu="it runs, and sets a trouble code", outcome="updated")
    return Fault(version=version, what=what, two_slots=end, one_slot=end)


#: Name of the fault -> what it is and where it ends; the source is `src/<name>.c`.
FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "endless_loop": _crash("9.0.1", "its first step never ends"),
        "trap": _crash("9.0.2", "an assertion stops it in its third step"),
        "out_of_bounds": _crash("9.0.3", "it writes beyond its memory in its second step"),
        "wild_actuator": _failing(
            "9.0.4",
            "it throws its first output far beyond its range, to and fro",
            "the application drives an output out of its range",
        ),
        "failing_self_test": _failing(
            "9.0.5", "its own test (0213) fails", "the application's own test failed"
        ),
        "late_trouble_code": _late(
            "9.0.6", "its first monitor fails for good 20 s after the start"
        ),
    }
)


def image_path(ecu: str, fault: str) -> Path:
    """The built image file; `FileNotFoundError` if there is none."""
    for path in IMAGES.glob(f"{ecu}-{fault}.*"):
        return path
    raise FileNotFoundError(f"no faulty image {ecu}-{fault}")
