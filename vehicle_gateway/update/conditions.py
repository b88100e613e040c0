"""The clearance of an update: preconditions by the vehicle's signals, consent, interlock.

Conditions are waited for in two steps. First what only the driver can bring about (the car stands,
is in park, ...) and the driver's consent. Then the interlock is engaged, which holds the car and
asks for high voltage off, and everything is judged together once more: what the release says, what
each ECU type wants, and that the vehicle says it is held.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dbc.vehicle import VehicleDescription
from protocols.preconditions import (
    AllOf,
    Evaluation,
    Expression,
    Finding,
    PreconditionError,
    Reading,
    SignalDefinition,
    Verdict,
    check,
    evaluate,
    parse,
)
from protocols.preconditions.energy import ENERGY_RESERVE, Supply, energy_reserve
from vehicle_gateway.update import UpdateError
from vehicle_gateway.update.clearance import ConditionsError, Note
from vehicle_gateway.update.consent import Choice, Consent, Question, question_id
from vehicle_gateway.update.energy import out_of_use_s
from vehicle_gateway.update.journal import Entry, Kind
from vehicle_gateway.update.offer import Offer, release_sha256

_LOG = logging.getLogger(__name__)

#: Seconds for the vehicle to obey the interlock, and to switch high voltage off.
SETTLE_S: Final = 30.0
#: Seconds until the interlock is tried again after the vehicle did not obey, if nothing changes.
TRY_AGAIN_S: Final = 60.0
#: Seconds for which a value may be missing while an update is watched: a gateway is held up at
#: times. A value that is there and does not meet its condition counts at once.
GRACE_S: Final = 2.0
#: Seconds that staging waits for the supply, and going back for a safe state.
STAGING_WAIT_S: Final = 86_400.0
SAFE_WAIT_S: Final = 600.0
#: Seconds between two times that a parked car is woken for values: its battery is to last.
WAKE_S: Final = 60.0
#: Values are judged at every change, and at least so often, for their age.
_LOOK_S: Final = 0.25
#: Entries of kind `WAITING` that one wait writes at most.
_MAX_WAITING: Final = 20
_STEP: Final = "preconditions"
_US: Final = 1_000_000


class Readings(Protocol):
    """The newest values of the vehicle's signals."""

    @property
    def signals(self) -> Mapping[str, SignalDefinition]:
        """By name, and by message and name with a point between."""

    def read(self, name: str) -> Reading | None:
        """None for a signal that there is not."""

    async def changed(self) -> None:
        """Return when any value has changed since the last call."""


class Interlock(Protocol):
    """Keeps the vehicle from being driven."""

    def hold(self, *, engaged: bool) -> None:
        """From now on until told otherwise."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One expression and whose it is."""

    #: `release`, `vehicle`, `interlock` or an ECU's name.
    origin: str
    text: str
    expression: Expression


class VehicleClearance:
    """`Clearance` of a vehicle by its signals, its driver and its interlock."""

    def __init__(
        self,
        *,
        vehicle: VehicleDescription,
        readings: Readings,
        interlock: Interlock,
        consent: Consent,
        now_us: Callable[[], int],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`wake` has sleeping wires speak for some seconds: asleep, nobody says any value."""
        self._wake = wake
        #: Loop time before which wires that may sleep are not woken for their values.
        self._wake_again_s = -math.inf
        self._vehicle = vehicle
        self._readings = readings
        self._interlock = interlock
        self._consent = consent
        self._now_us = now_us
        self._watched: tuple[Rule, ...] = ()
        self._out_of_use_s = 0.0
        #: Loop time since which something is not known; None: all is.
        self._unknown_since: float | None = None

    # The port

    async def staging(self, offer: Offer) -> None:
        """The supply, and nothing else: the car stays in use."""
        self._expect(offer)
        rules = self._rules(("vehicle", self._vehicle.conditions.staging))
        try:
            async with asyncio.timeout(STAGING_WAIT_S):
                await self._until_met(rules, awake=False)
        except TimeoutError:
            cause = f"not within {STAGING_WAIT_S:.0f} s: {_words(self._evaluate(rules).unmet)}"
            raise UpdateError(ecu="", step="waiting to stage", cause=cause) from None

    async def obtain(
        self, offer: Offer, *, entries: Sequence[Entry], begun: bool, note: Note
    ) -> Mapping[str, Any]:
        """See `Clearance`; what is answered has `conditions` and `consent`."""
        self._expect(offer)
        drivers = self._rules(*self._drivers(offer))
        every = self._every(offer)
        if begun:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    await self._until_met(every)
            return self._found(offer, every)
        waiting = _Waiting(note, self._records)
        answered = not offer.consent_required
        try:
            async with asyncio.timeout(self._left_s(offer, entries)):
                if not answered:
                    await self._consented(offer, entries, note, waiting)
                    answered = True
                while not await self._held(every, drivers, waiting):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(TRY_AGAIN_S):
                            await self._readings.changed()
        except TimeoutError:
            self._interlock.hold(engaged=False)
            raise self._late(offer, every, answered=answered) from None
        except asyncio.CancelledError:
            self._interlock.hold(engaged=False)
            raise
        return self._found(offer, every)

    async def violation(self) -> UpdateError:
        """See `Clearance`: what is not met counts at once, what is not known after `GRACE_S`."""
        while True:
            self._wake()
            try:
                self.check()
            except UpdateError as error:
                return error
            await self._change()

    def check(self) -> None:
        """See `Clearance`."""
        evaluation = self._evaluate(self._watched)
        now = asyncio.get_running_loop().time()
        if evaluation.verdict is not Verdict.UNKNOWN:
            self._unknown_since = None
        elif self._unknown_since is None:
            self._unknown_since = now
        if evaluation.met:
            return
        if self._unknown_since is not None and now - self._unknown_since < GRACE_S:
            return
        raise self._unmet(self._watched, _words(evaluation.unmet))

    async def safe(self, offer: Offer) -> None:
        """See `Clearance`: what the vehicle calls safe, and what the ECUs concerned want."""
        self._out_of_use_s = out_of_use_s(offer, self._vehicle)
        rules = self._rules(("vehicle", self._vehicle.conditions.safe), *self._own_of_ecus(offer))
        try:
            async with asyncio.timeout(SAFE_WAIT_S):
                await self._until_met(rules)
        except TimeoutError:
            _LOG.warning("not_safe conditions=%s", _words(self._evaluate(rules).unmet))

    def hold(self, *, engaged: bool) -> None:
        """See `Clearance`."""
        self._interlock.hold(engaged=engaged)

    # Rules

    def _expect(self, offer: Offer) -> None:
        self._out_of_use_s = out_of_use_s(offer, self._vehicle)
        self._watched = self._every(offer)

    def _drivers(self, offer: Offer) -> Iterable[tuple[str, str]]:
        if offer.preconditions:
            return [("release", offer.preconditions)]
        return [("vehicle", self._vehicle.conditions.default)]

    def _every(self, offer: Offer) -> tuple[Rule, ...]:
        return self._rules(
            *self._drivers(offer),
            *self._own_of_ecus(offer),
            ("interlock", self._vehicle.conditions.held),
        )

    def _own_of_ecus(self, offer: Offer) -> list[tuple[str, str]]:
        concerned = [self._vehicle.ecus.get(one.ecu) for one in offer.images]
        return [(ecu.name, ecu.preconditions) for ecu in concerned if ecu is not None]

    def _rules(self, *texts: tuple[str, str]) -> tuple[Rule, ...]:
        rules = []
        signals = {**self._readings.signals, ENERGY_RESERVE.name: ENERGY_RESERVE}
        for origin, text in texts:
            if not text:
                continue
            try:
                expression = parse(text)
                if self._readings.signals:
                    check(expression, signals)
            except PreconditionError as error:
                raise UpdateError(ecu="", step=_STEP, cause=f"of {origin}: {error}") from error
            rules.append(Rule(origin, text, expression))
        return tuple(rules)

    # Values

    def _evaluate(self, rules: Sequence[Rule]) -> Evaluation:
        if not rules:
            return Evaluation(verdict=Verdict.MET, findings=(), unmet=())
        return evaluate(AllOf(tuple(rule.expression for rule in rules)), self._read)

    def _read(self, name: str) -> Reading | None:
        if name != ENERGY_RESERVE.name:
            return self._readings.read(name)
        conditions = self._vehicle.conditions
        return energy_reserve(
            Supply(
                battery_ah=conditions.battery_ah,
                update_current_a=conditions.update_current_a,
                drive_battery_kwh=conditions.drive_battery_kwh,
            ),
            out_of_use_s=self._out_of_use_s,
            battery=self._readings.read("BatteryVoltage"),
            charge=self._readings.read("StateOfCharge"),
            high_voltage=self._readings.read("HighVoltage"),
        )

    async def _until_met(self, rules: Sequence[Rule], *, awake: bool = True) -> None:
        """Wait for it; `awake`: the wires do not sleep meanwhile."""
        while not (evaluation := self._evaluate(rules)).met:
            if awake:
                self._wake()
            else:
                self._ask(evaluation)
            await self._change()

    def _ask(self, evaluation: Evaluation) -> None:
        """Wake the wires for what is not known, and not more often than every now and then."""
        now = asyncio.get_running_loop().time()
        if evaluation.verdict is Verdict.UNKNOWN and now >= self._wake_again_s:
            self._wake_again_s = now + WAKE_S
            self._wake()

    async def _change(self) -> None:
        """A change of a value, or the time after which ages are looked at again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._readings.changed()

    async def _held(
        self, every: Sequence[Rule], drivers: Sequence[Rule], waiting: "_Waiting"
    ) -> bool:
        """Wait for the driver's part, then for the vehicle's under the interlock."""
        evaluation = self._evaluate(drivers)
        while not evaluation.met:
            waiting.for_conditions(drivers, evaluation)
            self._ask(evaluation)
            await self._change()
            evaluation = self._evaluate(drivers)
        self._interlock.hold(engaged=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._until_met(every)
                return True
        waiting.for_conditions(every, self._evaluate(every))
        self._interlock.hold(engaged=False)
        return False

    # Consent

    async def _consented(
        self, offer: Offer, entries: Sequence[Entry], note: Note, waiting: "_Waiting"
    ) -> None:
        digest = release_sha256(offer)
        last = _last_answer(entries, digest)
        if last is not None and last[0] is Choice.ACCEPTED:
            return
        # The entry comes first: power may have gone before it was remembered for good.
        denied = last is not None and last[0] is Choice.DENIED
        if denied or self._consent.denied(digest):
            if denied:
                self._consent.deny(digest)
            note(Kind.CONSENT, self._answer_fields(offer, Choice.DENIED, again=True))
            raise UpdateError(ecu="", step="consent", cause="this release was denied before")
        ask_at_us = last[1] if last is not None else 0
        question = Question(
            id=question_id(offer),
            release=offer.release,
            version=offer.version,
            release_sha256=digest,
            notice=offer.notice,
            conditions=tuple(rule.text for rule in self._every(offer)),
            out_of_use_s=self._out_of_use_s,
        )
        try:
            while True:
                await asyncio.sleep(max(0.0, (ask_at_us - self._now_us()) / _US))
                waiting.for_driver()
                answer = await self._consent.ask(question)
                until_us = answer.defer_until_us
                note(Kind.CONSENT, self._answer_fields(offer, answer.choice, until_us=until_us))
                if answer.choice is Choice.ACCEPTED:
                    return
                if answer.choice is Choice.DENIED:
                    self._consent.deny(digest)
                    raise UpdateError(ecu="", step="consent", cause="denied by the driver")
                ask_at_us = until_us
        finally:
            self._consent.close()

    def _answer_fields(
        self, offer: Offer, choice: Choice, *, until_us: int = 0, again: bool = False
    ) -> dict[str, Any]:
        return {
            "answer": choice.value,
            "release_sha256": release_sha256(offer),
            "notice": offer.notice,
            **({"defer_until_us": until_us} if choice is Choice.DEFERRED else {}),
            **({"cause": "this release was denied before"} if again else {}),
        }

    # What is told

    def _left_s(self, offer: Offer, entries: Sequence[Entry]) -> float:
        """Of the release's time to wait, which runs from the last that was staged."""
        staged = [entry.time_us for entry in entries if entry.kind is Kind.STAGED]
        since_us = max(staged, default=self._now_us())
        passed_s = max(0.0, (self._now_us() - since_us) / _US)
        # Values need a moment to come, also where the time is over.
        return max(offer.wait_s - passed_s, SETTLE_S)

    def _late(self, offer: Offer, rules: Sequence[Rule], *, answered: bool) -> UpdateError:
        if not answered:
            cause = f"the driver did not answer within {offer.wait_s:g} s"
            return UpdateError(ecu="", step="consent", cause=cause)
        unmet = _words(self._evaluate(rules).unmet)
        return self._unmet(rules, f"not met within {offer.wait_s:g} s: {unmet}")

    def _unmet(self, rules: Sequence[Rule], cause: str) -> ConditionsError:
        return ConditionsError(step=_STEP, cause=cause, conditions=self._records(rules))

    def _found(self, offer: Offer, rules: Sequence[Rule]) -> Mapping[str, Any]:
        """What the clearance stands on; `UpdateError` if it does not stand."""
        evaluation = self._evaluate(rules)
        if not evaluation.met:
            raise self._unmet(rules, _words(evaluation.unmet))
        self._unknown_since = None
        return {
            "conditions": self._records(rules),
            "release_sha256": release_sha256(offer),
            "consent_required": offer.consent_required,
        }

    def _records(self, rules: Sequence[Rule]) -> list[dict[str, Any]]:
        """Every comparison for the journal, with value, source and time."""
        return [
            record(one, origin=rule.origin, now_us=self._now_us())
            for rule in rules
            for one in self._evaluate([rule]).findings
        ]


class _Waiting:
    """Writes why it is waited, when that changes, and not without end."""

    def __init__(
        self, note: Note, records: Callable[[Sequence[Rule]], list[dict[str, Any]]]
    ) -> None:
        self._note = note
        self._records = records
        self._last: tuple[str, ...] | None = None
        self._left = _MAX_WAITING

    def for_driver(self) -> None:
        self._write(("consent",), [], "the driver is asked")

    def for_conditions(self, rules: Sequence[Rule], evaluation: Evaluation) -> None:
        conditions = tuple(one.condition for one in evaluation.unmet)
        self._write(conditions, self._records(rules), _words(evaluation.unmet))

    def _write(self, why: tuple[str, ...], conditions: list[dict[str, Any]], cause: str) -> None:
        if why == self._last or not self._left:
            return
        self._last = why
        self._left -= 1
        self._note(Kind.WAITING, {"cause": cause, "conditions": conditions})


def record(one: Finding, *, origin: str, now_us: int) -> dict[str, Any]:
    """A finding as JSON values; `time_us` is when its value was received, 0 if never."""
    return {
        "origin": origin,
        "condition": one.condition,
        "verdict": one.verdict.value,
        "signal": one.signal,
        "message": one.message,
        "source": one.source,
        "value": one.shown,
        "problem": one.problem,
        "time_us": 0 if one.age_s is None else now_us - round(one.age_s * _US),
    }


def _last_answer(entries: Sequence[Entry], digest: bytes) -> tuple[Choice, int] | None:
    """The driver's newest answer to this very release, and until when it was deferred."""
    for entry in reversed(entries):
        if entry.kind is Kind.CONSENT and entry.fields.get("release_sha256") == digest.hex():
            return Choice(entry.fields["answer"]), int(entry.fields.get("defer_until_us", 0))
    return None


def _words(findings: Iterable[Finding]) -> str:
    return "; ".join(one.words for one in findings)
