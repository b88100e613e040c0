"""What is known of the vehicle outside its ECUs: signal databases and `vehicle.toml`."""

from dbc.database import database_names, load
from dbc.vehicle import (
    Conditions,
    EcuDescription,
    RoutineIdentifiers,
    Scaling,
    VehicleDescription,
    WireDescription,
    describe_vehicle,
)

__all__ = [
    "Conditions",
    "EcuDescription",
    "RoutineIdentifiers",
    "Scaling",
    "VehicleDescription",
    "WireDescription",
    "database_names",
    "describe_vehicle",
    "load",
]
