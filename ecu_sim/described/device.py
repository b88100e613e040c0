"""What a described ECU does for its diagnostic server: data, routines, and memory to program."""

import zlib
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field

from ecu_sim.described import DescribedEcu, Region, Role, Routine
from ecu_sim.diagnostics import (
    BackgroundRoutine,
    Files,
    InputOutput,
    Job,
    MemoryAccess,
    Nrc,
    Refusal,
    Scaling,
)
from ecu_sim.diagnostics.dtc import DtcDefinition, DtcMemory
from ecu_sim.diagnostics.work import done
from ecu_sim.memory import Flash, FlashGeometry, MemoryFaultError, Nvm
from protocols.uds import CommunicationControl, CommunicationType, ResetType, Session
from protocols.uds.data_formats import PLAIN, Decoder
from protocols.uds.routine_status import Precondition

_ALL_DTCS = 0xFFFFFF
_CRC_LENGTH = 4


def chip_of(ecu: DescribedEcu, region: Region) -> FlashGeometry:
    """The flash behind a region."""
    return FlashGeometry(
        size=region.size,
        sector_size=region.sector,
        page_size=ecu.page_size,
        erase_s=ecu.erase_s,
        program_s=ecu.program_s,
    )


@dataclass(slots=True)
class _Download:
    region: Region
    start: int
    size: int
    data: bytearray = field(default_factory=bytearray)
    programmed: int = 0


class DescribedDevice:
    """Between two resets: RAM and the started loader are gone with it, flash and NVM are not."""

    def __init__(
        self,
        ecu: DescribedEcu,
        *,
        flash: Mapping[str, Flash],
        nvm: Nvm,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.ecu = ecu
        self._flash = flash
        self._nvm = nvm
        self._random_bytes = random_bytes
        self._dtcs = DtcMemory(
            DtcDefinition(
                code=code,
                confirm_cycles=1,
                aging_cycles=40,
            )
            for code in ecu.dtcs
        )
        self._download: _Download | None = None
        self._complete: _Download | None = None
        self._loader_runs = False

    @property
    def serial(self) -> str:
        return self.ecu.serial

    @property
    def dtcs(self) -> DtcMemory:
        return self._dtcs

    @property
    def memory_access(self) -> MemoryAccess | None:
        return None

    @property
    def input_output(self) -> InputOutput | None:
        return None

    @property
    def scaling(self) -> Scaling | None:
        return None

    @property
    def files(self) -> Files | None:
        return None

    def stock_answer(self, request: bytes) -> bytes | None:
        """The described answer to what this device cannot act on; the longest start decides."""
        starts = [start for start in self.ecu.stock if request.startswith(start)]
        if starts:
            return self.ecu.stock[max(starts, key=len)]
        if request[0] == _ROUTINE and request[1] & 0x7F != _START:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "the description has no such request")
        if any(start[0] == request[0] for start in self.ecu.stock) and request[0] not in _ACTED:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "the description has no such request")
        return None

    # Data

    def read_data(self, did: int) -> bytes:
        datum = self.ecu.data.get(did)
        if datum is None:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no data identifier {did:04X}")
        written = self._nvm.read(_key(did))
        return datum.record if written is None else written

    def write_data(self, did: int, record: bytes) -> Job:
        length = self.ecu.data[did].length
        if length is not None and len(record) != length:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, f"{length} bytes")
        if len(record) > _LONGEST_RECORD:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "no room for so long a record")
        return _then_empty(self._nvm.writing(_key(did), record))

    # Routines

    def routine(self, rid: int, option: bytes) -> Job:
        routine = self.ecu.routines[rid]
        match routine.role:
            case Role.ERASE:
                return self._erase(routine, option)
            case Role.START_LOADER:
                return self._start_loader(routine)
            case Role.CHECK:
                return self._check(routine, option)
            case Role.PLAIN:
                return done(routine.status)

    def background_routine(self, rid: int, option: bytes) -> BackgroundRoutine:  # noqa: ARG002 the port's arguments
        raise Refusal(Nrc.SUB_FUNCTION_NOT_SUPPORTED, f"{rid:04X} does not run on")

    def _erase(self, routine: Routine, option: bytes) -> Job:
        self._require_loader()
        if len(option) == 1:
            regions = [one for one in self.ecu.memory if not one.ram]
            if option[0] >= len(regions):
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no logical block {option[0]}")
            ranges = [(regions[option[0]], 0, regions[option[0]].size)]
        elif option:
            address, size = erase_range(option)
            region = self._region(address, size)
            ranges = [(region, address - region.start, size)]
        else:
            ranges = [(one, 0, one.size) for one in self.ecu.memory if not one.ram]
        if any(region.ram for region, _, _ in ranges):
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "RAM is not erased")
        self._complete = None
        for region, offset, size in ranges:
            try:
                yield from self._flash[region.name].erase(
                    offset, -(-size // region.sector) * region.sector
                )
            except MemoryFaultError as error:
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, str(error)) from error
        return routine.status

    def _start_loader(self, routine: Routine) -> Job:
        if self._complete is None or not self._complete.region.ram:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "no secondary boot loader in RAM")
        self._loader_runs = True
        return done(routine.status)

    def _check(self, routine: Routine, option: bytes) -> Job:
        """Positive for a whole download; a CRC-32 in the request has to be that of its bytes."""
        found = self._complete
        wrong = found is None or (
            len(option) == _CRC_LENGTH and zlib.crc32(found.data) != int.from_bytes(option)
        )
        if not wrong:
            return done(routine.status)
        if not routine.status:
            raise Refusal(Nrc.GENERAL_PROGRAMMING_FAILURE, "the check failed")
        return done(b"\x01" + routine.status[1:])

    # Downloads

    def decoder(self, data_format: int, size: int) -> Decoder:
        if data_format != 0:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no data format {data_format:02X}")
        return Decoder(PLAIN, size=size, key=bytes(16))

    def request_download(self, address: int, size: int) -> int:
        region = self._region(address, size)
        if not region.ram:
            self._require_loader()
            if (address - region.start) % self.ecu.page_size:
                raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "not on a page")
        self._complete = None
        self._download = _Download(region, address - region.start, size)
        return self.ecu.max_block_length

    def transfer(self, data: bytes) -> Job:
        download = self._running()
        download.data += data
        whole = len(download.data) - len(download.data) % self.ecu.page_size
        yield from self._program(download, whole)
        return b""

    def transfer_exit(self) -> Job:
        download = self._running()
        yield from self._program(download, len(download.data))
        self._download, self._complete = None, download
        return b""

    def transfer_abort(self) -> None:
        self._download = None

    def _program(self, download: _Download, upto: int) -> Generator[float, None, None]:
        piece = bytes(download.data[download.programmed : upto])
        if download.region.ram or not piece:
            return
        start = download.start + download.programmed
        try:
            yield from self._flash[download.region.name].program(start, piece)
        except MemoryFaultError as error:
            raise Refusal(Nrc.GENERAL_PROGRAMMING_FAILURE, str(error)) from error
        download.programmed = upto

    def _running(self) -> _Download:
        if self._download is None:
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, "no download in progress")
        return self._download

    def _region(self, address: int, size: int) -> Region:
        for region in self.ecu.memory:
            end = region.start + region.size
            if region.start <= address and address + size <= end and size > 0:
                return region
        raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no memory at {address:08X} + {size:X}")

    def _require_loader(self) -> None:
        if self.ecu.has_loader and not self._loader_runs:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "the secondary boot loader does not run")

    # The rest of what a server asks

    def clear_dtcs(self, group: int, *, selection: int | None = None) -> Job:
        self._dtcs.clear(group, selection=selection)
        return done()

    def communication_control(
        self,
        control: CommunicationControl,
        communication: CommunicationType,
        *,
        node: int | None = None,
    ) -> None:
        """A described ECU sends no messages by itself."""

    def set_dtc_logging(self, *, on: bool, groups: Iterable[int]) -> None:
        for group in groups:
            self._dtcs.set_logging(group, on=on)

    def check_session(self, session: Session) -> None:
        """Any session that the rules let through."""

    def check_conditions(self, conditions: frozenset[Precondition]) -> None:
        """A described ECU hears nothing of the car."""

    def check_reset(self, reset: ResetType) -> None:
        """Any reset that the rules let through."""

    def new_seed(self) -> bytes:
        while not any(seed := self._random_bytes(self.ecu.seed_length)):
            pass
        return seed

    def security_key(self, level: int) -> bytes:
        raise NotImplementedError(f"{self.ecu.name}: keys come from its scheme (level {level})")

    def nvm_read(self, key: str) -> bytes | None:
        return self._nvm.read(f"server {key}")

    def nvm_write(self, key: str, value: bytes) -> Job:
        return _then_empty(self._nvm.writing(f"server {key}", value))


def erase_range(option: bytes) -> tuple[int, int]:
    """Address and size of an erase routine's option record.

    With a format byte before them, as 34 has one, or as four and four bytes without.
    """
    sizes, addresses = option[0] >> 4, option[0] & 0x0F
    if sizes and addresses and len(option) == 1 + sizes + addresses:
        split = 1 + addresses
        return int.from_bytes(option[1:split]), int.from_bytes(option[split:])
    if len(option) == 8:
        return int.from_bytes(option[:4]), int.from_bytes(option[4:])
    raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "address and size expected")


_ROUTINE = 0x31
_START = 0x01
#: Services that have stock answers for a part of their requests only.
_ACTED = frozenset({0x10, 0x11, 0x19, 0x22, 0x27, 0x2E, 0x31, 0x3E})
#: Of one data identifier, in the NVM.
_LONGEST_RECORD = 255


def _key(did: int) -> str:
    return f"{did:04X}"


def _then_empty(operations: Generator[float, None, None]) -> Job:
    yield from operations
    return b""
