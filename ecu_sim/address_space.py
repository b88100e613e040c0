"""What a tester finds at an address of an ECU: RAM, calibration values, the image that runs."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from ecu_sim.boot import Boot, BootMemory
from ecu_sim.calibration import Calibrations
from ecu_sim.diagnostics import Job
from ecu_sim.ecus import EcuType
from protocols.uds import Nrc, Refusal
from protocols.uds.rules import MemoryRegion, Storage, region_of


class Ram(Protocol):
    """The working memory of the application; `IndexError` beyond its end."""

    def read_memory(self, offset: int, size: int) -> bytes: ...
    def write_memory(self, offset: int, data: bytes) -> None: ...


class AddressSpace:
    """`ecu_sim.diagnostics.MemoryAccess` of an application.

    Keys are in no storage that this reads, whatever the rules of an ECU type say.
    """

    def __init__(
        self,
        ecu: EcuType,
        *,
        memory: BootMemory,
        boot: Boot,
        calibrations: Calibrations,
        ram: Callable[[], Ram | None],
    ) -> None:
        self._ecu = ecu
        self._memory = memory
        self._boot = boot
        self._calibrations = calibrations
        self._ram = ram

    def read_memory(self, address: int, size: int) -> bytes:
        region = self._region(address, size)
        offset = address - region.start
        match region.storage:
            case Storage.RAM:
                return _in_range(lambda: self._running_ram().read_memory(offset, size))
            case Storage.CALIBRATION:
                # The rest of the region holds nothing yet.
                content = self._calibrations.content.ljust(region.size, b"\xff")
                return content[offset : offset + size]
            case Storage.APPLICATION:
                slot = self._boot.running
                if slot is None:
                    raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "no application runs")
                return self._memory.flash.read(slot * self._memory.slot_size + offset, size)
            case Storage.KEYS:
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "keys are never read")

    def write_memory(self, address: int, data: bytes) -> Job:
        region = self._region(address, len(data))
        offset = address - region.start
        match region.storage:
            case Storage.RAM:
                return self._write_ram(offset, data)
            case Storage.CALIBRATION:
                return self._calibrations.writing(offset, data)
            case _:
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"{region.storage.value}: read only")

    def request_upload(self, address: int, size: int, data_format: int) -> int:
        self._region(address, size)
        if data_format:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "neither compressed nor encrypted data")
        return self._ecu.max_block_length

    def _write_ram(self, offset: int, data: bytes) -> Job:
        yield from ()
        _in_range(lambda: self._running_ram().write_memory(offset, data))
        return b""

    def _region(self, address: int, size: int) -> MemoryRegion:
        region = region_of(self._ecu.data.memory, address, size)
        if region is None:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"nothing at 0x{address:08X} + 0x{size:X}")
        return region

    def _running_ram(self) -> Ram:
        ram = self._ram()
        if ram is None:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "no application runs")
        return ram


_T = TypeVar("_T")


def _in_range(access: Callable[[], _T]) -> _T:
    try:
        return access()
    except IndexError as error:
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, str(error)) from error
