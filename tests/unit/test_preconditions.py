import math
from collections.abc import Callable, Mapping

import pytest

import dbc
from protocols.preconditions import (
    MAX_COMPARISONS,
    MAX_DEPTH,
    MAX_LENGTH,
    Evaluation,
    PreconditionError,
    Reading,
    SignalDefinition,
    Verdict,
    check,
    comparisons,
    evaluate,
    parse,
)
from protocols.preconditions.databases import definitions

SIGNALS = {
    "Speed": SignalDefinition(
        name="Speed",
        message="VEH_Motion",
        unit="km/h",
        minimum=0,
        maximum=300,
        not_available=frozenset({655.35}),
        max_age_s=0.5,
    ),
    "Gear": SignalDefinition(
        name="Gear",
        message="VEH_Motion",
        labels={"P": 0.0, "D": 3.0, "SNA": 15.0},
        not_available=frozenset({15.0}),
        maximum=3,
        max_age_s=0.5,
    ),
    "Doors": SignalDefinition(name="Doors", message="VEH_Body", max_age_s=2.5),
}


def reader(values: Mapping[str, float], *, age_s: float = 0.01) -> Callable[[str], Reading | None]:
    def read(name: str) -> Reading | None:
        if name not in SIGNALS:
            return None
        if name not in values:
            return Reading(definition=SIGNALS[name])
        return Reading(definition=SIGNALS[name], value=values[name], age_s=age_s, source="comfort")

    return read


def judge(text: str, values: Mapping[str, float], *, age_s: float = 0.01) -> Evaluation:
    return evaluate(parse(text), reader(values, age_s=age_s))


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("Speed == 0", True),
        ("Speed == 0 km/h and Gear == P", True),
        ("Speed > 0 or Gear == P", True),
        ("Speed != 0", False),
        ("Speed <= 0 and Speed >= 0", True),
        ("Speed < 0 or Speed > 0", False),
        ("not Speed", True),
        ("not not Speed", False),
        ("not (Speed > 0 and Gear == P)", True),
        # `and` binds closer than `or`, `not` closer than both.
        ("Gear == P or Gear == D and Speed > 0", True),
        ("(Gear == P or Gear == D) and Speed > 0", False),
        ("not Speed and Gear == D", False),
        ("not (Speed and Gear == D)", True),
    ],
)
def test_an_expression_means_what_it_says(text: str, *, met: bool) -> None:
    assert judge(text, {"Speed": 0.0, "Gear": 0.0}).met is met


@pytest.mark.parametrize("text", ["Speed == 0", "Speed != 0", "not Speed == 0", "not not Speed"])
@pytest.mark.parametrize(
    ("values", "age_s", "problem"),
    [
        ({}, 0.0, "never received"),
        ({"Speed": 0.0}, 0.6, "0.6 s old, at most 0.5 s"),
        ({"Speed": 655.35}, 0.0, "not available"),
        ({"Speed": 300.01}, 0.0, "300.01 is out of range"),
        ({"Speed": math.nan}, 0.0, "nan is out of range"),
    ],
)
def test_what_is_not_known_is_not_met_however_it_is_asked(
    text: str, values: dict[str, float], age_s: float, problem: str
) -> None:
    found = judge(text, values, age_s=age_s)
    assert found.verdict is Verdict.UNKNOWN
    assert not found.met
    assert [one.problem for one in found.unmet] == [problem]


def test_what_is_unknown_matters_only_where_the_rest_does_not_decide() -> None:
    known = {"Gear": 0.0}
    assert judge("Gear == P or Speed == 0", known).verdict is Verdict.MET
    assert judge("Gear == D or Speed == 0", known).verdict is Verdict.UNKNOWN
    assert judge("Gear == D and Speed == 0", known).verdict is Verdict.NOT_MET
    assert judge("Gear == P and Speed == 0", known).verdict is Verdict.UNKNOWN


def test_a_signal_that_the_vehicle_does_not_have_is_unknown() -> None:
    found = judge("not Wings", {})
    assert found.verdict is Verdict.UNKNOWN
    assert found.unmet[0].words == "Wings: no such signal in this vehicle"


def test_every_comparison_is_told_with_value_source_and_age() -> None:
    found = judge("Speed == 0 and Gear == P", {"Speed": 12.4, "Gear": 3.0}, age_s=0.02)
    assert [one.words for one in found.findings] == [
        "Speed == 0: is 12.4 km/h (VEH_Motion, comfort, 0.02 s old)",
        "Gear == P: is D (VEH_Motion, comfort, 0.02 s old)",
    ]
    assert [(one.value, one.message, one.source) for one in found.findings] == [
        (12.4, "VEH_Motion", "comfort"),
        (3.0, "VEH_Motion", "comfort"),
    ]


def test_only_those_comparisons_are_blamed_that_would_have_to_change() -> None:
    found = judge(
        "Speed == 0 and not (Gear == D or Doors == 1)", {"Speed": 0, "Gear": 3, "Doors": 0}
    )
    assert [one.condition for one in found.unmet] == ["Gear == D"]
    assert judge("Gear == P or Speed == 0", {"Speed": 5, "Gear": 0}).unmet == ()


def test_within_takes_the_place_of_the_signals_own_limit() -> None:
    assert judge("Speed == 0 within 2 s", {"Speed": 0}, age_s=1.9).met
    assert not judge("Speed == 0 within 100 ms", {"Speed": 0}, age_s=0.2).met


def test_a_scaled_value_is_compared_as_people_read_it() -> None:
    assert judge("Speed == 0.3", {"Speed": 0.1 * 3}).met
    assert judge("Speed <= 0.3", {"Speed": 0.1 * 3}).met
    assert not judge("Speed > 0.3", {"Speed": 0.1 * 3}).met


@pytest.mark.parametrize(
    ("text", "position", "cause"),
    [
        ("", 1, "the name of a signal expected, found the end"),
        ("Speed = 0", 7, "write '==' to compare"),
        ("Speed == ", 10, "a number or the name of a value expected, found the end"),
        ("Speed == 0 and", 15, "the name of a signal expected, found the end"),
        ("Speed == 0 Gear == P", 17, "'and', 'or' or the end expected, found '=='"),
        ("(Speed == 0", 12, "')' for the '(' at character 1 expected"),
        ("Speed == 0)", 11, "the end expected, found ')'"),
        ("0 == Speed", 1, "the name of a signal expected, found '0'"),
        ("Speed == 0 & Gear", 12, "'&' has no meaning here"),
        ("Speed == 0 within 2 h", 21, "'s' or 'ms' expected, found 'h'"),
        ("Speed within 0 s", 14, "more than 0 and up to 3600 s"),
        ("VEH.", 5, "behind its message"),
        ("and", 1, "the name of a signal expected, found 'and'"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, position: int, cause: str) -> None:
    with pytest.raises(PreconditionError) as raised:
        parse(text)
    assert raised.value.position == position
    assert cause in raised.value.cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Speed == 0 " + "and Speed == 0 " * MAX_COMPARISONS, "more than 32 comparisons"),
        ("(" * (MAX_DEPTH + 1) + "Speed" + ")" * (MAX_DEPTH + 1), "nested deeper than 16"),
        ("not " * (MAX_DEPTH + 1) + "Speed", "nested deeper than 16"),
        ("Speed".ljust(MAX_LENGTH + 1), "1001 characters"),
    ],
)
def test_an_expression_has_bounds(text: str, cause: str) -> None:
    with pytest.raises(PreconditionError, match=cause):
        parse(text)


def test_at_its_bounds_an_expression_is_read() -> None:
    text = "not " * MAX_DEPTH + "Speed"
    assert judge(text.ljust(MAX_LENGTH), {"Speed": 1.0}).met
    chain = " and ".join(["Speed == 0"] * MAX_COMPARISONS)
    assert len(list(comparisons(parse(chain)))) == MAX_COMPARISONS


@pytest.mark.parametrize(
    ("text", "position", "cause"),
    [
        ("Gear == P and Sped == 0", 15, "no signal 'Sped'; did you mean Speed"),
        ("Gear == X", 1, "Gear has no value 'X'; known: D, N, P, R"),
        ("Speed == 0 mph", 1, "Speed is in km/h, not in mph"),
        ("Gear < D", 1, "a named value is compared with"),
        ("Gear == 1 km/h", 1, "Gear has no unit, not in km/h"),
        ("Speed == P", 1, "Speed has no value 'P'"),
        ("Gear == SNA", 1, "says that there is no value"),
    ],
)
def test_an_expression_is_compared_with_the_vehicles_signals(
    text: str, position: int, cause: str
) -> None:
    signals = definitions(dbc.load("vehicle").messages)
    with pytest.raises(PreconditionError) as raised:
        check(parse(text), signals)
    assert raised.value.position == position
    assert cause in raised.value.cause


def test_the_vehicles_own_signals_are_defined_by_its_database() -> None:
    signals = definitions(dbc.load("vehicle").messages)
    check(parse("VEH_Motion.Speed == 0 km/h and Ambient > -10 °C and Gear != R"), signals)
    assert signals["Speed"] == signals["VEH_Motion.Speed"]
    assert signals["Speed"].max_age_s == 0.5  # five cycles of 20 ms, but no less than this
    assert signals["Doors"].max_age_s == 2.5  # five cycles of 500 ms
    assert signals["Gear"].not_available == {15.0}
    for name in ("Speed", "BatteryVoltage", "StateOfCharge", "HighVoltage", "Ambient"):
        assert len(signals[name].not_available) == 1, name
