"""What a car has become after a fault: judged by its flash and by the cloud's record of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from canota.chaos.images import NEW, OLD

#: A fault that does not last must never end otherwise.
SOUND: frozenset[str] = frozenset({"updated", "rolled_back", "refused"})
#: Outcome -> the version that every ECU has then.
_VERSIONS: Mapping[str, int] = {"updated": NEW, "rolled_back": OLD, "refused": OLD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an ECU boots by its own flash."""

    #: Of the image that it boots; 0 if it stays in its boot loader, or boots neither image.
    version: int
    sha256: bytes = b""
    #: What is wrong with it; empty if nothing is.
    flaw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the cloud holds of one ECU."""

    version: str
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a judgement stands on."""

    #: Why the gateway never came to rest; empty if it did.
    restless: str
    #: By the flash contents, and by what ran after the battery had been gone.
    holds: Mapping[str, Held]
    runs: Mapping[str, str]
    #: The cloud's word.
    outcome: str
    reason: str
    record: Mapping[str, Recorded]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    #: Why the car is neither all new nor all old; empty if it is one of both.
    half_updated: str = ""
    #: Where the cloud's record differs from what the ECUs hold; empty where it does not.
    cloud_disagrees: str = ""


def judge(evidence: Evidence) -> Judgement:
    """Whether the car is all new or all old, and whether the cloud knows which."""
    return Judgement(
        half_updated=mixture(evidence.holds, evidence.runs), cloud_disagrees=_disagreement(evidence)
    )


def mixture(holds: Mapping[str, Held], runs: Mapping[str, str]) -> str:
    """Why the ECUs are not all of one version, by their flash and by what runs; empty if so."""
    flaws = [f"{ecu}: {held.flaw}" for ecu, held in holds.items() if held.flaw]
    flaws += [
        f"{ecu}: runs {runs[ecu] or 'nothing'}, its flash holds {held.version}.0.0"
        for ecu, held in holds.items()
        if not held.flaw and runs[ecu] != f"{held.version}.0.0"
    ]
    if flaws:
        return "; ".join(flaws)
    if len({held.version for held in holds.values()}) > 1:
        return ", ".join(f"{ecu} {held.version}.0.0" for ecu, held in holds.items())
    return ""


def difference(holds: Mapping[str, Held], record: Mapping[str, Recorded]) -> str:
    """Where the cloud's record is not what the ECUs hold."""
    return "; ".join(
        f"{ecu}: recorded are {found.version} and {found.sha256.hex()[:16]}"
        for ecu, held in holds.items()
        for found in [record[ecu]]
        if (found.version, found.sha256) != (f"{held.version}.0.0", held.sha256)
    )


def _disagreement(evidence: Evidence) -> str:
    if evidence.restless:
        return f"the gateway never came to rest: {evidence.restless}"
    if evidence.outcome not in SOUND:
        return f"{evidence.outcome or 'no outcome'}: {evidence.reason}"
    expected = _VERSIONS[evidence.outcome]
    wrong = [
        f"{ecu} holds {held.version}.0.0"
        for ecu, held in evidence.holds.items()
        if held.version != expected
    ]
    if wrong:
        return f"{evidence.outcome}, but {', '.join(wrong)}"
    return difference(evidence.holds, evidence.record)
