"""VehicleService."""

from grpc import aio

from cloud.api.pages import page_request, page_token
from cloud.fleet.names import ecu_of, vin_of
from cloud.fleet.vehicles import check_vehicle
from cloud.messages.vehicles import from_vehicle, to_vehicle
from cloud.store import vehicles
from cloud.store.store import Store
from protocols.fleet.v1 import vehicles_pb2
from protocols.fleet.v1.vehicles_pb2_grpc import VehicleServiceServicer

_LISTING = "vehicles"


class VehicleService(VehicleServiceServicer):
    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateVehicle(  # noqa: N802 the service's word
        self,
        request: vehicles_pb2.CreateVehicleRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> vehicles_pb2.Vehicle:
        vehicle = check_vehicle(from_vehicle(request.vehicle, now=self._store.clock.now()))
        return to_vehicle(await self._store.database.write(vehicles.insert, vehicle))

    async def GetVehicle(  # noqa: N802 the service's word
        self,
        request: vehicles_pb2.GetVehicleRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> vehicles_pb2.Vehicle:
        vin = vin_of(request.name, field="name")
        return to_vehicle(await self._store.database.read(vehicles.get, vin))

    async def ReplaceEcu(  # noqa: N802 the service's word
        self,
        request: vehicles_pb2.ReplaceEcuRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> vehicles_pb2.Vehicle:
        vin, ecu = ecu_of(request.name, field="name")
        vehicle = await self._store.database.write(
            vehicles.replace_ecu,
            vin,
            ecu,
            serial_number=request.serial_number,
            public_key=request.public_key,
        )
        return to_vehicle(vehicle)

    async def ListVehicles(  # noqa: N802 the service's word
        self,
        request: vehicles_pb2.ListVehiclesRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> vehicles_pb2.ListVehiclesResponse:
        wanted = page_request(request.page_size, request.page_token, listing=_LISTING)
        page = await self._store.database.read(
            vehicles.list_page, after=wanted.after, size=wanted.size
        )
        return vehicles_pb2.ListVehiclesResponse(
            vehicles=[to_vehicle(vehicle) for vehicle in page.items],
            next_page_token=page_token(page.next_key, listing=_LISTING),
        )
