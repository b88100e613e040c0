"""Rows of the services on data and memory (22 23 24 2A 2C 2E 2F 35 3D), from what an ECU has."""

from collections.abc import Iterable
from typing import Final

from protocols.uds.enums import DynamicDefinition, ServiceId, Session
from protocols.uds.rules.access import Access
from protocols.uds.rules.model import (
    DataRules,
    DynamicRules,
    MemoryRegion,
    ServiceRule,
    SubFunctionRule,
)

#: 22: any length that holds whole identifiers is the service's own to judge.
READ_DATA: Final = ServiceRule(min_length=3, shared=True)


def data_services(data: DataRules, writable: Iterable[Access]) -> dict[int, ServiceRule]:
    """The services that `data` and the identifiers that may be written make necessary.

    Where identifiers or regions differ, the service is there in every session, and on a functional
    address, that one of them has; its own `Access` decides the rest (NRC 31 or 33).
    """
    services: dict[int, ServiceRule] = {ServiceId.READ_DATA_BY_IDENTIFIER: READ_DATA}
    if data.scaling:
        services[ServiceId.READ_SCALING_DATA_BY_IDENTIFIER] = ServiceRule(
            min_length=3, max_length=3, shared=True
        )
    if data.periodic is not None:
        services[ServiceId.READ_DATA_BY_PERIODIC_IDENTIFIER] = ServiceRule(
            sessions=data.periodic.sessions,
            secured=data.periodic.secured,
            level=data.periodic.level,
            functional=data.periodic.functional,
            min_length=2,
        )
    if data.dynamic is not None:
        services[ServiceId.DYNAMICALLY_DEFINE_DATA_IDENTIFIER] = _dynamic(data.dynamic)
    accesses: dict[ServiceId, tuple[Access | None, ...]] = {
        ServiceId.WRITE_DATA_BY_IDENTIFIER: tuple(writable),
        ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER: tuple(data.outputs.values()),
        ServiceId.READ_MEMORY_BY_ADDRESS: tuple(region.read for region in data.memory),
        ServiceId.WRITE_MEMORY_BY_ADDRESS: tuple(region.write for region in data.memory),
        ServiceId.REQUEST_UPLOAD: tuple(region.upload for region in data.memory),
        ServiceId.TRANSFER_DATA: tuple(region.upload for region in data.memory),
        ServiceId.REQUEST_TRANSFER_EXIT: tuple(region.upload for region in data.memory),
    }
    for service_id, rows in accesses.items():
        sessions = _sessions(rows)
        if sessions:
            shortest, longest = _LENGTHS[service_id]
            services[service_id] = ServiceRule(
                sessions=sessions,
                # A transfer's own services have no range of their own to be judged by.
                secured=service_id in _TRANSFER and all(row.secured for row in rows if row),
                functional=any(row.functional for row in rows if row),
                min_length=shortest,
                max_length=longest,
            )
    return services


def region_of(regions: Iterable[MemoryRegion], address: int, size: int) -> MemoryRegion | None:
    """The region that holds the whole range; `None` also for one that spans two."""
    for region in regions:
        if region.start <= address and address + size <= region.start + region.size:
            return region
    return None


#: Lengths of whole requests; addresses and sizes have one byte at least and four at most.
_LENGTHS: Final[dict[ServiceId, tuple[int, int | None]]] = {
    ServiceId.WRITE_DATA_BY_IDENTIFIER: (4, None),
    ServiceId.INPUT_OUTPUT_CONTROL_BY_IDENTIFIER: (4, None),
    ServiceId.READ_MEMORY_BY_ADDRESS: (4, 10),
    ServiceId.WRITE_MEMORY_BY_ADDRESS: (5, None),
    ServiceId.REQUEST_UPLOAD: (5, 11),
    ServiceId.TRANSFER_DATA: (2, None),
    ServiceId.REQUEST_TRANSFER_EXIT: (1, 1),
}


_TRANSFER: Final = frozenset({ServiceId.TRANSFER_DATA, ServiceId.REQUEST_TRANSFER_EXIT})


def _dynamic(rules: DynamicRules) -> ServiceRule:
    sub_functions: dict[int, SubFunctionRule] = {
        DynamicDefinition.BY_IDENTIFIER: SubFunctionRule(min_length=8, max_length=None),
        DynamicDefinition.CLEAR: SubFunctionRule(min_length=2, max_length=4),
    }
    by_address = rules.by_address
    if by_address is not None:
        sub_functions[DynamicDefinition.BY_MEMORY_ADDRESS] = SubFunctionRule(
            sessions=by_address.sessions,
            secured=by_address.secured,
            level=by_address.level,
            functional=by_address.functional,
            min_length=7,
            max_length=None,
        )
    return ServiceRule(
        sessions=rules.sessions,
        secured=rules.secured,
        level=rules.level,
        functional=rules.functional,
        sub_functions=sub_functions,
    )


def _sessions(rows: Iterable[Access | None]) -> frozenset[Session]:
    found: frozenset[Session] = frozenset()
    return found.union(*(row.sessions for row in rows if row is not None))
