"""Preconditions of an update: a small, total language over the vehicle's signals.

    Speed == 0 km/h and Gear == P and (Terminal15 == On or Charging == Yes)

`parse` reads an expression, `check` compares it with the signals that a vehicle has, `evaluate`
says whether it is met and from what. Whatever is not known (never received, too old, not
available, out of range) makes a comparison *unknown*; `not` leaves it unknown, and an expression
that is unknown is not met. There are no loops, no arithmetic and no calls: every expression ends.
"""

from protocols.preconditions.evaluation import (
    Evaluation,
    Finding,
    Reading,
    SignalDefinition,
    Verdict,
    check,
    evaluate,
)
from protocols.preconditions.syntax import (
    MAX_COMPARISONS,
    MAX_DEPTH,
    MAX_LENGTH,
    AllOf,
    AnyOf,
    Comparison,
    Expression,
    Negation,
    Operator,
    PreconditionError,
    comparisons,
    parse,
)

__all__ = [
    "MAX_COMPARISONS",
    "MAX_DEPTH",
    "MAX_LENGTH",
    "AllOf",
    "AnyOf",
    "Comparison",
    "Evaluation",
    "Expression",
    "Finding",
    "Negation",
    "Operator",
    "PreconditionError",
    "Reading",
    "SignalDefinition",
    "Verdict",
    "check",
    "comparisons",
    "evaluate",
    "parse",
]
