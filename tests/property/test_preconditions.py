from functools import partial
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from protocols.preconditions import (
    MAX_COMPARISONS,
    AllOf,
    AnyOf,
    Expression,
    Negation,
    PreconditionError,
    Reading,
    SignalDefinition,
    Verdict,
    comparisons,
    evaluate,
    parse,
)

NAMES: Final = ("A", "B", "C")
OPERATORS: Final = ("==", "!=", "<", "<=", ">", ">=")
LEAVES = st.builds(
    lambda name, operator, number: f"{name} {operator} {number}",
    st.sampled_from(NAMES),
    st.sampled_from(OPERATORS),
    st.integers(-2, 2),
)
TEXTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("not ({})".format, inner),
        st.builds("({}) and ({})".format, inner, inner),
        st.builds("({}) or ({})".format, inner, inner),
    ),
    max_leaves=8,
)
VALUES = st.dictionaries(st.sampled_from(NAMES), st.integers(-2, 2).map(float))


def read(values: dict[str, float], name: str) -> Reading:
    definition = SignalDefinition(name=name)
    if name not in values:
        return Reading(definition=definition)
    return Reading(definition=definition, value=values[name], age_s=0.0)


@given(TEXTS, VALUES)
def test_a_verdict_stays_whatever_the_unknown_values_turn_out_to_be(
    text: str, values: dict[str, float]
) -> None:
    expression = parse(text)
    found = evaluate(expression, lambda name: read(values, name))
    for missing in (-2.0, 0.0, 2.0):
        full = {**dict.fromkeys(NAMES, missing), **values}
        known = evaluate(expression, partial(read, full))
        assert known.verdict is not Verdict.UNKNOWN
        if found.verdict is not Verdict.UNKNOWN:
            assert known.verdict is found.verdict


@given(TEXTS, VALUES)
def test_it_is_met_exactly_if_nothing_is_blamed(text: str, values: dict[str, float]) -> None:
    found = evaluate(parse(text), lambda name: read(values, name))
    assert found.met is (found.unmet == ())
    assert set(found.unmet) <= set(found.findings)


@given(TEXTS, VALUES)
def test_it_means_what_python_makes_of_it(text: str, values: dict[str, float]) -> None:
    full = {**dict.fromkeys(NAMES, 0.0), **values}
    found = evaluate(parse(text), lambda name: read(full, name))
    assert found.met is bool(eval(text, {}, full))  # noqa: S307 our own text, to compare with


@given(st.text(alphabet="ABC()=<>! .andotrwihs0129-\n", max_size=60))
def test_any_text_is_read_or_refused_at_a_place(text: str) -> None:
    expression, position = parsed(text)
    assert 1 <= position <= len(text) + 1
    if expression is None:
        return
    assert depth(expression) <= len(text)
    assert 1 <= len(list(comparisons(expression))) <= MAX_COMPARISONS


def parsed(text: str) -> tuple[Expression | None, int]:
    """The expression, or where it is refused."""
    try:
        return parse(text), 1
    except PreconditionError as error:
        return None, error.position


def depth(expression: Expression) -> int:
    match expression:
        case Negation(part):
            return 1 + depth(part)
        case AllOf(parts) | AnyOf(parts):
            return 1 + max(depth(part) for part in parts)
        case _:
            return 0
