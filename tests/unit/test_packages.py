"""A package's own names are not those of its modules: importing one would replace the other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = (
    "benchmarks",
    "canota",
    "clock",
    "cloud",
    "dbc",
    "ecu_sim",
    "firmware",
    "fuzz",
    "protocols",
    "recording",
    "vehicle_gateway",
)
PACKAGES = [init for room in ROOMS for init in sorted((ROOT / room).rglob("__init__.py"))]


@pytest.mark.parametrize("init", PACKAGES, ids=lambda init: str(init.parent.relative_to(ROOT)))
def test_what_a_package_defines_is_no_module_of_it(init: Path) -> None:
    defined = {
        node.name
        for node in ast.parse(init.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    modules = {path.stem for path in init.parent.iterdir() if path.suffix == ".py"}
    modules |= {path.parent.name for path in init.parent.glob("*/__init__.py")}
    assert not defined & modules
