"""Both ends of each wire carry one name, and what they say stands in `protocols`."""

import inspect
import pkgutil
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Final

import pytest

from vehicle_gateway.management import Management
from vehicle_gateway.update.images import Images

#: Room of the cloud -> the gateway's, and the port that the gateway's members satisfy.
ROOMS: Final[dict[str, type]] = {"management": Management, "transfer": Images}
#: Members whose codec and rules have a name of their own; all others are `protocols.<member>`.
CODECS: Final = {"grpc": "protocols.fleet.v1"}


def members_of(package: str) -> set[str]:
    """The members of a family: its modules and sub-packages."""
    found = pkgutil.iter_modules(import_module(package).__path__)
    return {module.name for module in found if not module.name.startswith("_")}


MEMBERS = sorted(
    (room, member)
    for room in ROOMS
    for member in members_of(f"cloud.{room}") | members_of(f"vehicle_gateway.{room}")
)


def classes_of(module: ModuleType) -> list[type]:
    return [found for found in vars(module).values() if inspect.isclass(found)]


def methods_of(port: type) -> dict[str, list[str]]:
    """Method -> names of its parameters."""
    return {
        name: list(inspect.signature(method).parameters)
        for name, method in vars(port).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def satisfies(candidate: type, port: type) -> bool:
    for name, parameters in methods_of(port).items():
        method = getattr(candidate, name, None)
        if not callable(method) or list(inspect.signature(method).parameters) != parameters:
            return False
    return True


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_has_members(room: str) -> None:
    assert members_of(f"cloud.{room}")
    assert members_of(f"vehicle_gateway.{room}")


@pytest.mark.parametrize(("room", "member"), MEMBERS)
def test_both_ends_of_a_wire_exist(room: str, member: str) -> None:
    for program in ("cloud", "vehicle_gateway"):
        assert find_spec(f"{program}.{room}.{member}"), f"{program}/{room} has no {member}"


@pytest.mark.parametrize(("room", "member"), MEMBERS)
def test_what_is_said_on_a_wire_stands_in_protocols(room: str, member: str) -> None:
    codec = CODECS.get(member, f"protocols.{member}")
    assert find_spec(codec), f"{room}/{member} speaks {codec}, which is not there"


@pytest.mark.parametrize(("room", "member"), MEMBERS)
def test_the_gateway_s_end_satisfies_the_port_of_its_room(room: str, member: str) -> None:
    module = import_module(f"vehicle_gateway.{room}.{member}")
    own = [found for found in classes_of(module) if found.__module__.startswith(module.__name__)]
    assert [found for found in own if satisfies(found, ROOMS[room])]
