"""What is known of the vehicle outside its ECUs: signal databases and `vehicle.toml`."""

from dbc.database import load
from dbc.vehicle import EcuDescription, VehicleDescription, WireDescription, describe_vehicle

__all__ = [
    "EcuDescription",
    "VehicleDescription",
    "WireDescription",
    "describe_vehicle",
    "load",
]
