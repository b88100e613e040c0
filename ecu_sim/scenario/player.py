"""Plays a scenario on the ECUs of a bench, in virtual time as in real time."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from ecu_sim.faults import FaultError
from ecu_sim.faults.ecu import Begun, EcuFaults
from ecu_sim.scenario import (
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
)
from protocols.uds import ServiceId


class Ecu(Protocol):
    """One ECU, as far as a scenario goes."""

    @property
    def faults(self) -> EcuFaults: ...

    @property
    def sleeps(self) -> bool:
        """Whether `fall_asleep` does anything."""
        ...

    def power_on(self) -> None: ...
    def kill(self) -> None: ...
    def reset_by_fault(self) -> None: ...
    def fall_asleep(self) -> None: ...

    def watch_mode(self, watch: Callable[[str], None]) -> Callable[[], None]:
        """Call back with each new mode; returns what ends that."""
        ...


class Signals(Protocol):
    """The signals of the rest of the car."""

    def set(self, signal: str, value: float) -> None: ...
    def value(self, signal: str) -> float: ...


#: Event and its words, for the log.
Tell = Callable[..., None]


class Player:
    """One run of a scenario, from `start` to `stop`, on the running loop."""

    def __init__(
        self, scenario: Scenario, ecus: Mapping[str, Ecu], signals: Signals, *, tell: Tell
    ) -> None:
        """`ScenarioError` for a fault that its ECU cannot have."""
        self._scenario, self._ecus, self._signals, self._tell = scenario, ecus, signals, tell
        self._loop = asyncio.get_running_loop()
        self._handles: set[asyncio.TimerHandle] = set()
        self._stops: list[Callable[[], None]] = []
        #: What steps have begun and not ended yet -> how to take it back.
        self._undo: dict[str, Callable[[], None]] = {}
        self._done: dict[str, list[Callable[[], None]]] = {}
        for step in scenario.steps:
            self._check(step)

    def start(self) -> None:
        """The time of the scenario begins."""
        self._tell("scenario_begins", scenario=self._scenario.name)
        for step in self._scenario.steps:
            match step.trigger:
                case AtTime(at_s=at_s, every_s=every_s):
                    self._later(at_s, partial(self._at_time, step, every_s))
                case _:
                    self._watch(step.trigger, partial(self._trigger, step), once=not step.repeat)

    def stop(self) -> None:
        """Nothing more happens; faults that the scenario began are ended."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
        for stop in self._stops:
            stop()
        self._stops.clear()
        self._done.clear()
        for step in self._scenario.steps:
            if isinstance(step.action, BeginFault) and step.name in self._undo:
                self._undo.pop(step.name)()

    def _check(self, step: Step) -> None:
        if isinstance(step.action, Sleep):
            for ecu in step.action.ecus:
                if not self._ecus[ecu].sleeps:
                    raise ScenarioError(
                        f"step {step.name}: {ecu} does not sleep: it has no network management"
                    )
        if isinstance(step.action, BeginFault):
            for ecu, fault in step.action.faults:
                try:
                    self._ecus[ecu].faults.check(fault)
                except FaultError as error:
                    raise ScenarioError(f"step {step.name}: {error}") from error

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        def due() -> None:
            self._handles.discard(handle)
            act()

        handle = self._loop.call_later(delay_s, due)
        self._handles.add(handle)

    def _at_time(self, step: Step, every_s: float | None) -> None:
        if every_s is not None:
            self._later(every_s, partial(self._at_time, step, every_s))
        self._trigger(step)

    def _trigger(self, step: Step) -> None:
        # Not within what an ECU is doing just now: a reset in the middle of a callback is none.
        self._later(step.after_s, partial(self._act, step))

    def _act(self, step: Step) -> None:
        if step.name in self._undo:
            return  # it has not been taken back since the last time
        undo = self._begin(step)
        for then in tuple(self._done.get(step.name, ())):
            then()
        if undo is None:
            return
        if step.for_s is not None or step.until is not None or isinstance(step.action, BeginFault):
            self._undo[step.name] = undo
        if step.for_s is not None:
            self._later(step.for_s, partial(self._take_back, step.name))
        elif step.until is not None:
            end = partial(self._later, 0.0, partial(self._take_back, step.name))
            self._watch(step.until, end, once=True)

    def _take_back(self, name: str) -> None:
        undo = self._undo.pop(name, None)
        if undo is not None:
            self._tell("step_ends", step=name)
            undo()

    def _begin(self, step: Step) -> Callable[[], None] | None:
        """Do what the step says; returns what takes it back."""
        self._tell("step", step=step.name, action=words_of(step))
        match step.action:
            case BeginFault(faults=faults):
                begun = [self._ecus[ecu].faults.begin(fault) for ecu, fault in faults]
                return partial(_end_all, begun)
            case ResetEcu(ecus=ecus):
                for ecu in ecus:
                    self._ecus[ecu].reset_by_fault()
            case PowerOff(ecus=ecus):
                for ecu in ecus:
                    self._ecus[ecu].kill()
                return partial(self._power_on, ecus)
            case PowerOn(ecus=ecus):
                self._power_on(ecus)
            case Sleep(ecus=ecus):
                for ecu in ecus:
                    self._ecus[ecu].fall_asleep()
            case SetSignals(values=values):
                before = {signal: self._signals.value(signal) for signal in values}
                self._set(values)
                return partial(self._set, before)
        return None

    def _power_on(self, ecus: tuple[str, ...]) -> None:
        for ecu in ecus:
            self._ecus[ecu].power_on()

    def _set(self, values: Mapping[str, float]) -> None:
        for signal, value in values.items():
            self._signals.set(signal, value)

    # Events

    def _watch(self, event: Event, act: Callable[[], None], *, once: bool) -> None:
        """Call `act` as the event comes."""

        def met() -> None:
            if once:
                self._stops.remove(stop)
                stop()
            act()

        stop = self._begin_watch(event, met)
        self._stops.append(stop)

    def _begin_watch(self, event: Event, met: Callable[[], None]) -> Callable[[], None]:
        match event:
            case OnStep(step=name):
                return _listed(self._done.setdefault(name, []), met)
            case OnMode(ecu=ecu, mode=mode):
                return self._ecus[ecu].watch_mode(lambda now: met() if now == mode else None)
            case OnSession(ecu=ecu, session=session):
                return _listed(
                    self._ecus[ecu].faults.dialogue.on_session,
                    lambda now: met() if now == session else None,
                )
            case OnRequest() | OnBlocks():
                count = _Counting(event, met)
                return _listed(self._ecus[event.ecu].faults.dialogue.on_request, count.request)


class _Counting:
    def __init__(self, event: OnRequest | OnBlocks, met: Callable[[], None]) -> None:
        self._event, self._met = event, met
        self._seen = 0

    def request(self, message: bytes) -> None:
        event = self._event
        if isinstance(event, OnBlocks):
            if message[:1] == bytes((ServiceId.REQUEST_DOWNLOAD,)):
                self._seen = 0
            if message[:1] != bytes((ServiceId.TRANSFER_DATA,)):
                return
        elif not message.startswith(event.start):
            return
        self._seen += 1
        if self._seen == event.count:
            if isinstance(event, OnRequest):
                self._seen = 0
            self._met()


def words_of(step: Step) -> str:
    """What a step does, in a line."""
    match step.action:
        case BeginFault(text=text):
            return f"fault {text}"
        case SetSignals(values=values):
            return " ".join(f"{signal}={value:g}" for signal, value in values.items())
        case action:
            return f"{_VERBS[type(action)]} {','.join(action.ecus)}"


_VERBS = {ResetEcu: "reset", PowerOff: "power_off", PowerOn: "power_on", Sleep: "sleep"}


def _end_all(begun: list[Begun]) -> None:
    for one in begun:
        one.end()


def _listed(members: list[Callable[..., None]], one: Callable[..., None]) -> Callable[[], None]:
    members.append(one)

    def stop() -> None:
        if one in members:
            members.remove(one)

    return stop
