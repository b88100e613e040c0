"""What a journal's values are as JSON, and what comes back."""

from dataclasses import dataclass

import pytest

from vehicle_gateway.update.offer import ImageFormat
from vehicle_gateway.update.records import from_json, to_json


@dataclass(frozen=True)
class Leaf:
    number: float
    name: str = ""


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    best: Leaf | None
    format: ImageFormat
    digest: bytes
    count: int


TREE = Tree(
    leaves=(Leaf(1.5, "a"), Leaf(2.0)),
    best=Leaf(0.25),
    format=ImageFormat.VBF,
    digest=b"\x00\xff",
    count=3,
)
JSON = {
    "leaves": [{"number": 1.5, "name": "a"}, {"number": 2.0, "name": ""}],
    "best": {"number": 0.25, "name": ""},
    "format": "vbf",
    "digest": "00ff",
    "count": 3,
}


def test_a_dataclass_is_an_object_of_plain_values() -> None:
    assert to_json(TREE) == JSON
    assert to_json({"trees": [TREE, (b"\1",)]}) == {"trees": [JSON, ["01"]]}
    assert to_json(None) is None


def test_it_comes_back_as_it_was() -> None:
    assert from_json(Tree, JSON) == TREE
    assert from_json(Tree, {**JSON, "best": None}).best is None


def test_a_whole_number_does_for_a_fraction() -> None:
    number = from_json(Leaf, {"number": 2}).number
    assert (number, type(number)) == (2.0, float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("leaves", [None]),
        ("leaves", 5),
        ("leaves", [{"number": "1.5"}]),
        ("best", 5),
        ("format", "papyrus"),
        ("digest", "zz"),
        ("digest", 5),
        ("count", 2.5),
        ("count", "3"),
        ("count", None),
        ("size", 1),
    ],
)
def test_what_is_something_else_is_refused(name: str, value: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json(Tree, {**JSON, name: value})
