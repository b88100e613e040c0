"""A scenario from its TOML file; the guide lists every key."""

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final  # Any: what TOML holds, until it has been looked at

from ecu_sim.faults import FaultError
from ecu_sim.faults.readings import read_requests, read_time
from ecu_sim.faults.table import parse_ecu_fault
from ecu_sim.scenario import (
    Action,
    AtTime,
    BeginFault,
    Event,
    OnBlocks,
    OnMode,
    OnRequest,
    OnSession,
    OnStep,
    PowerOff,
    PowerOn,
    ResetEcu,
    Scenario,
    ScenarioError,
    SetSignals,
    Sleep,
    Step,
    Trigger,
)
from protocols.uds import Session

_LONGEST: Final = 1 << 16
_MAX_STEPS: Final = 256
_MAX_COUNT: Final = 1_000_000
_MODES: Final = ("off", "booting", "application", "boot loader", "asleep")
EVENT_KEYS: Final = ("request", "blocks", "session", "mode", "step")
_ACTIONS: Final = ("fault", "reset", "power_off", "power_on", "sleep", "signals")
STEP_KEYS: Final = ("name", "at", "every", "on", "after", "repeat", "for", "until", *_ACTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Whom and what a scenario can be about."""

    ecus: Sequence[str]
    #: Signal -> lowest and highest physical value.
    signals: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Place:
    text: str

    def of(self, key: str) -> "_Place":
        return _Place(f"{self.text}.{key}")

    def refuse(self, expected: str) -> ScenarioError:
        return ScenarioError(f"{self.text}: {expected} expected")


def read_scenario(text: str, *, name: str, cast: Cast) -> Scenario:
    """The scenario of a file's text; `ScenarioError` names file, step and key."""
    if len(text) > _LONGEST:
        raise ScenarioError(f"{name}: longer than {_LONGEST} characters")
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ScenarioError(f"{name}: {error}") from error
    _known(_Place(name), content, ("name", "step"))
    title = _text(_Place(f"{name}: name"), content.get("name", "scenario"))
    written = content.get("step")
    if not isinstance(written, list) or not 0 < len(written) <= _MAX_STEPS:
        raise _Place(name).refuse(f"1 to {_MAX_STEPS} tables [[step]]")
    steps: list[Step] = []
    for number, one in enumerate(written, start=1):
        step = _step(_Place(f"{name}: step {number}"), one, cast, str(number))
        if any(step.name == other.name for other in steps):
            raise _Place(f"{name}: step {number}.name").refuse("a name that no other step has")
        steps.append(step)
    _check_chains(name, steps)
    return Scenario(name=title, steps=tuple(steps))


def _step(place: _Place, content: object, cast: Cast, number: str) -> Step:
    table = _known(place, content, STEP_KEYS)
    found = [key for key in _ACTIONS if key in table]
    if len(found) != 1:
        raise place.refuse(f"one of {', '.join(_ACTIONS)}")
    action = _ACTION_READERS[found[0]](place.of(found[0]), table[found[0]], cast)
    trigger = _trigger(place, table, cast)
    if "for" in table and "until" in table:
        raise place.refuse("for or until, not both,")
    if not isinstance(action, BeginFault | PowerOff | SetSignals):
        for key in ("for", "until"):
            if key in table:
                raise ScenarioError(f"{place.text}.{key}: {found[0]} is not taken back")
    repeat = table.get("repeat", False)
    if not isinstance(repeat, bool):
        raise place.of("repeat").refuse("true or false")
    if repeat and isinstance(trigger, AtTime):
        raise place.of("repeat").refuse("an event (on), or every in place of it,")
    until = table.get("until")
    return Step(
        name=_text(place.of("name"), table.get("name", number)),
        trigger=trigger,
        after_s=_time(place.of("after"), table["after"]) if "after" in table else 0.0,
        repeat=repeat,
        action=action,
        for_s=_time(place.of("for"), table["for"]) if "for" in table else None,
        until=None if until is None else _event(place.of("until"), until, cast),
    )


def _trigger(place: _Place, table: Mapping[str, Any], cast: Cast) -> Trigger:
    if "on" in table:
        if "at" in table or "every" in table:
            raise place.refuse("at or on, not both,")
        return _event(place.of("on"), table["on"], cast)
    every_s = _time(place.of("every"), table["every"]) if "every" in table else None
    if every_s is not None and every_s < _SHORTEST_CYCLE_S:
        raise place.of("every").refuse(f"at least {round(1000 * _SHORTEST_CYCLE_S)}ms")
    at_s = _time(place.of("at"), table["at"]) if "at" in table else 0.0
    return AtTime(at_s=at_s, every_s=every_s)


def _event(place: _Place, content: object, cast: Cast) -> Event:
    table = _known(place, content, ("ecu", "count", *EVENT_KEYS))
    found = [key for key in EVENT_KEYS if key in table]
    if len(found) != 1:
        raise place.refuse(f"one of {', '.join(EVENT_KEYS)}")
    (key,) = found
    if "count" in table and key != "request":
        raise place.of("count").refuse("a request, which is counted,")
    if key == "step":
        if "ecu" in table:
            raise place.of("ecu").refuse("a step alone")
        return OnStep(step=_text(place.of(key), table[key]))
    ecu = _ecu(place.of("ecu"), table.get("ecu"), cast)
    return _EVENT_READERS[key](place, table, ecu)


def _on_request(place: _Place, table: Mapping[str, Any], ecu: str) -> Event:
    text = _text(place.of("request"), table["request"])
    try:
        start = read_requests(text)
    except ValueError as error:
        raise place.of("request").refuse("the first bytes of a request in hex") from error
    if start.number:
        raise place.of("request").refuse("count = N in place of :N")
    return OnRequest(
        ecu=ecu, start=start.start, count=_whole(place.of("count"), table.get("count", 1))
    )


def _on_blocks(place: _Place, table: Mapping[str, Any], ecu: str) -> Event:
    return OnBlocks(ecu=ecu, count=_whole(place.of("blocks"), table["blocks"]))


def _on_session(place: _Place, table: Mapping[str, Any], ecu: str) -> Event:
    text = str(table["session"])
    known = {one.name.lower(): int(one) for one in Session}
    try:
        session = known[text] if text in known else int(text, 16)
    except ValueError:
        session = 0
    if not 0 < session < 0x80 or len(text) > 32:
        raise place.of("session").refuse(f"one of {', '.join(known)}, or a number in hex,")
    return OnSession(ecu=ecu, session=session)


def _on_mode(place: _Place, table: Mapping[str, Any], ecu: str) -> Event:
    mode = _text(place.of("mode"), table["mode"])
    if mode not in _MODES:
        raise place.of("mode").refuse(f"one of {', '.join(_MODES)}")
    return OnMode(ecu=ecu, mode=mode)


def _fault(place: _Place, content: object, cast: Cast) -> Action:
    text = _text(place, content)
    try:
        return BeginFault(faults=tuple(parse_ecu_fault(text, cast.ecus)), text=text)
    except FaultError as error:
        raise ScenarioError(f"{place.text}: {error}") from error


def _ecus(place: _Place, content: object, cast: Cast) -> tuple[str, ...]:
    if content == "*":
        return tuple(cast.ecus)
    return (_ecu(place, content, cast),)


def _signals(place: _Place, content: object, cast: Cast) -> Action:
    if not isinstance(content, dict) or not content:
        raise place.refuse("a table of signals and their values")
    for signal, value in content.items():
        if signal not in cast.signals:
            raise place.of(str(signal)[:64]).refuse(f"one of {', '.join(cast.signals)}")
        low, high = cast.signals[signal]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise place.of(signal).refuse(f"a number from {low:g} to {high:g}")
    return SetSignals(values={signal: float(value) for signal, value in content.items()})


def _check_chains(name: str, steps: Sequence[Step]) -> None:
    """Every step that is waited for is there, and none waits for itself, around corners too."""
    known = {step.name for step in steps}
    after: dict[str, str] = {}
    for number, step in enumerate(steps, start=1):
        for key, event in (("on", step.trigger), ("until", step.until)):
            if not isinstance(event, OnStep):
                continue
            if event.step not in known or event.step == step.name:
                place = _Place(f"{name}: step {number}.{key}.step")
                raise place.refuse("the name of another step")
            if key == "on":
                after[step.name] = event.step
    for start, waited_for in after.items():
        seen, at = {start}, waited_for
        while at in after and at not in seen:
            seen.add(at)
            at = after[at]
        if at in seen:
            raise ScenarioError(f"{name}: step {start!r} waits for itself")


def _known(place: _Place, content: object, keys: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise place.refuse("a table")
    for key in content:
        if key not in keys:
            raise place.of(str(key)[:64]).refuse(f"one of {', '.join(keys)}")
    return content


def _text(place: _Place, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise place.refuse("a text")
    return value


def _time(place: _Place, value: object) -> float:
    try:
        return read_time(value if isinstance(value, str) else "")
    except ValueError as error:
        raise place.refuse('a time such as "300ms", "2s" or "1min"') from error


def _whole(place: _Place, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_COUNT:
        raise place.refuse(f"a whole number from 1 to {_MAX_COUNT}")
    return value


def _ecu(place: _Place, value: object, cast: Cast) -> str:
    if not isinstance(value, str) or value not in cast.ecus:
        raise place.refuse(f"one of {', '.join(cast.ecus)}")
    return value


_LONGEST_TEXT: Final = 256
_SHORTEST_CYCLE_S: Final = 0.01
_EVENT_READERS: Final[Mapping[str, Callable[[_Place, Mapping[str, Any], str], Event]]] = {
    "request": _on_request,
    "blocks": _on_blocks,
    "session": _on_session,
    "mode": _on_mode,
}
_ACTION_READERS: Final[Mapping[str, Callable[[_Place, object, Cast], Action]]] = {
    "fault": _fault,
    "reset": lambda place, content, cast: ResetEcu(ecus=_ecus(place, content, cast)),
    "power_off": lambda place, content, cast: PowerOff(ecus=_ecus(place, content, cast)),
    "power_on": lambda place, content, cast: PowerOn(ecus=_ecus(place, content, cast)),
    "sleep": lambda place, content, cast: Sleep(ecus=_ecus(place, content, cast)),
    "signals": _signals,
}
