"""Any text is an expression that evaluates in the bounds of the language, or an error with a place.

An expression of which nothing is known is never met, however it is negated.
"""

from typing import Final

from fuzz import Harness
from protocols.preconditions import (
    MAX_COMPARISONS,
    MAX_LENGTH,
    PreconditionError,
    Verdict,
    comparisons,
    evaluate,
    parse,
)


def prove(data: bytes) -> None:
    text = data.decode("utf-8", errors="replace")
    try:
        expression = parse(text)
    except PreconditionError as error:
        if not 1 <= error.position <= MAX_LENGTH + 1:
            raise AssertionError(f"{error}: no place in {len(text)} characters") from error
        return
    found = evaluate(expression, lambda _: None)
    if found.verdict is not Verdict.UNKNOWN or found.met:
        raise AssertionError(f"{text}: {found.verdict} with nothing known")
    written = list(comparisons(expression))
    if len(written) > MAX_COMPARISONS or len(found.findings) != len(written):
        raise AssertionError(f"{text}: {len(found.findings)} of {len(written)} comparisons judged")
    for one in written:
        if text[one.position - 1 :][: len(one.text)] != one.text:
            raise AssertionError(f"{one.text!r} does not stand at {one.position}")
    if parse(" ".join(text.split())) is None:
        raise AssertionError("white space means something")


_TEXTS: Final = (
    "Speed == 0 km/h and Gear == P and (Terminal15 == On or not Charging == Yes)",
    "VEH_Power.BatteryVoltage >= 12.0 V within 500 ms",
    "Ambient > -10.5 °C within 2 s",
    "not not Doors",
    "((Speed))",
    "Speed = 0",
    "Speed == ",
)
HARNESS: Final = Harness(prove=prove, seeds=tuple(text.encode() for text in _TEXTS))
