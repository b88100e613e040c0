"""What one ECU program, application or boot loader, does for its diagnostic server.

One class serves both: what differs is whether an application runs, and which slot may be written.
The routines' records are laid out in `protocols.uds.routine_status`.
"""

import hashlib
import struct
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ecu_sim.address_space import AddressSpace, Ram
from ecu_sim.boot import Application, Boot, BootMemory, NotNowError, OptionError, RangeError
from ecu_sim.calibration import Calibrations
from ecu_sim.diagnostics import (
    BackgroundRoutine,
    Files,
    InputOutput,
    Job,
    MemoryAccess,
    Scaling,
)
from ecu_sim.diagnostics.dtc import DtcMemory
from ecu_sim.ecus import CALIBRATION_LENGTH, EcuType, LiveValue, Source
from ecu_sim.file_store import FileStore
from ecu_sim.logical_blocks import LogicalBlocks, Sink
from ecu_sim.memory import MemoryFaultError, Nvm
from ecu_sim.outputs import OutputChannels, Outputs
from ecu_sim.scaling import Scalings
from ecu_sim.sweeps import Channels, OutputSweep, sweep_of
from protocols.firmware.containers import Declared
from protocols.uds import (
    CommunicationControl,
    CommunicationType,
    DataIdentifier,
    Nrc,
    Refusal,
    ResetType,
    RoutineId,
    Session,
    slot_digest,
)
from protocols.uds.data_formats import PLAIN, Decoder, derive_data_key
from protocols.uds.dtc import StatusBit
from protocols.uds.routine_status import (
    ALFID,
    ALL_CONDITIONS,
    PRECONDITION_NRCS,
    CheckStatus,
    Precondition,
    SelfTestStatus,
)
from protocols.uds.security_access import SEED_LENGTH, derive_key

#: Seconds that the self-test watches the application before it speaks for it.
SELF_TEST_S: Final = 0.5
_NONCE_LENGTHS: Final = range(16, 33)
_MAX_FINGERPRINT: Final = 32
_NEVER_WRITTEN: Final = b"\xff"
_RANGE: Final = struct.Struct(">BII")
_DONE: Final = b"\x00"
_FAILED: Final = b"\x01"

#: NVM keys.
DTC_KEY: Final = "dtc"
_FINGERPRINT_KEY: Final = "fingerprint"
_SERVER_PREFIX: Final = "uds."


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What one ECU got at the end of its line."""

    vin: str
    serial: str
    #: Master secret of the diagnostic keys; the ECU's own are derived by its serial number.
    diagnostics_master: bytes = field(repr=False)
    signing_key: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a program reads from its node."""

    #: A live value from plant, wire or application.
    value_of: Callable[[Source], float]
    #: What stands in the way of programming now.
    hindrances: Callable[[], tuple[Precondition, ...]]
    random_bytes: Callable[[int], bytes]
    outputs: OutputChannels
    #: What the application that runs, and the base software around it, find wrong with it.
    self_test: Callable[[], SelfTestStatus]
    #: The working memory of the application that runs.
    ram: Callable[[], Ram | None]


@dataclass(slots=True)
class _Download:
    """A download in progress: addresses in the flash, and bytes short of a page."""

    start: int
    #: Offset of `start` in its slot.
    offset: int
    size: int
    programmed: int = 0
    rest: bytes = b""


class EcuDevice:
    """`ecu_sim.diagnostics.Device` over one ECU's memory."""

    def __init__(
        self,
        ecu: EcuType,
        *,
        identity: Identity,
        boot: Boot,
        application: Application | None,
        memory: BootMemory,
        nvm: Nvm,
        dtcs: DtcMemory,
        surroundings: Surroundings,
    ) -> None:
        self._ecu = ecu
        self._identity = identity
        self._boot = boot
        self._application = application
        self._memory = memory
        self._flash = memory.flash
        self._nvm = nvm
        self._dtcs = dtcs
        self._surroundings = surroundings
        self._data_key = derive_data_key(identity.diagnostics_master, identity.serial)
        self._download: _Download | None = None
        self._blocks = LogicalBlocks(ecu, memory, nvm)
        #: A download that does not go to the application area.
        self._elsewhere: Sink | None = None
        self.calibrations = Calibrations(ecu, nvm)
        self._outputs = Outputs(ecu, surroundings.outputs)
        self._sweep_channels = Channels(
            outputs=self._outputs,
            output_channels=surroundings.outputs,
            value_of=surroundings.value_of,
        )
        self._scalings = Scalings(ecu)
        rules = ecu.special.files
        self._files = None if rules is None else FileStore(rules, nvm)
        self._address_space = AddressSpace(
            ecu, memory=memory, boot=boot, calibrations=self.calibrations, ram=surroundings.ram
        )
        #: 28: whether cyclic messages may be sent, and received ones are looked at.
        self.transmission_enabled = True
        self.reception_enabled = True
        self.network_management_enabled = True
        #: 28 with enhanced address information: nodes that get no messages of their own.
        self.silent_nodes: frozenset[int] = frozenset()

    @property
    def serial(self) -> str:
        return self._identity.serial

    @property
    def dtcs(self) -> DtcMemory:
        return self._dtcs

    @property
    def memory_access(self) -> MemoryAccess | None:
        return self._address_space

    @property
    def input_output(self) -> InputOutput | None:
        return self._outputs

    @property
    def scaling(self) -> Scaling | None:
        return self._scalings

    @property
    def files(self) -> Files | None:
        return self._files

    # Data identifiers

    def read_data(self, did: int) -> bytes:
        if did in _SOFTWARE:
            return _SOFTWARE[did](self._declared()).encode()
        match did:
            case DataIdentifier.ECU_SERIAL_NUMBER:
                return self.serial.encode()
            case DataIdentifier.VIN:
                return self._identity.vin.encode()
            case DataIdentifier.VEHICLE_MANUFACTURER_ECU_HARDWARE_NUMBER:
                return self._ecu.hardware_identifier.encode()
            case DataIdentifier.PROGRAMMING_FINGERPRINT:
                return self._nvm.read(_FINGERPRINT_KEY) or _NEVER_WRITTEN
        if self._application is None:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no data identifier {did:04X} in boot loader")
        live = self._ecu.live_values.get(did)
        if live is not None:
            return encode_live(live, self._surroundings.value_of(live.source))
        position = self.calibrations.position(did)
        if position is not None:
            return self.calibrations.content[position : position + CALIBRATION_LENGTH]
        return self._outputs.state(did)

    def write_data(self, did: int, record: bytes) -> Job:
        position = self.calibrations.position(did)
        if position is not None and self._application is not None:
            if len(record) != CALIBRATION_LENGTH:
                raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "two bytes")
            return self.calibrations.writing(position, record)
        if did != DataIdentifier.PROGRAMMING_FINGERPRINT:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"{did:04X} cannot be written")
        if not 0 < len(record) <= _MAX_FINGERPRINT:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "fingerprint length")
        return _empty_record(self._nvm.writing(_FINGERPRINT_KEY, record))

    # Routines

    def routine(self, rid: int, option: bytes) -> Job:
        start = _ROUTINES.get(rid)
        if start is None:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no routine {rid:04X}")
        return _refusing(start(self, option))

    def background_routine(self, rid: int, option: bytes) -> BackgroundRoutine:
        return sweep_of(self._ecu, rid, option, self._sweep_channels)

    def _erase(self, option: bytes) -> Job:
        if len(option) != _RANGE.size or option[0] != ALFID:
            raise OptionError("the option record is 44, address u32, size u32")
        _, address, size = _RANGE.unpack(option)
        self._blocks.require_loader()
        erasing = self._blocks.erasing(address, size)
        if erasing is not None:
            yield from erasing
            return _DONE
        sector = self._flash.geometry.sector_size
        offset = self._memory.locate(address, size, boundary=sector)
        slot = self._boot.begin_download()
        self._download = None
        yield from self._boot.preparing()
        start = slot * self._ecu.slot.size + offset
        yield from self._flash.erase(start, -(-size // sector) * sector)
        return _DONE

    def _start_secondary_loader(self, option: bytes) -> Job:
        return self._blocks.start_loader(option)

    def _check_memory(self, option: bytes) -> Job:
        of_a_block = self._blocks.check(option) if self._ecu.blocks else None
        if of_a_block is not None:
            return bytes((of_a_block,))
        yield self._hashing_s(self._boot.check_size())
        status = yield from self._boot.check(option)
        return bytes((status,))

    def _check_dependencies(self, option: bytes) -> Job:
        yield from _no_option(option)
        status = self._boot.check_dependencies()
        if self._ecu.blocks and status is CheckStatus.CORRECT:
            status = self._blocks.check_dependencies(self._boot.active_image())
        return bytes((status,))

    def _check_preconditions(self, option: bytes) -> Job:
        yield from _no_option(option)
        found = self._surroundings.hindrances()
        return (_FAILED if found else _DONE) + bytes((len(found), *found))

    def _activate(self, option: bytes) -> Job:
        yield from _no_option(option)
        yield self._hashing_s(self._boot.check_size())
        yield from self._boot.activate()
        return _DONE

    def _confirm(self, option: bytes) -> Job:
        yield from _no_option(option)
        yield from self._boot.confirm()
        return _DONE

    def _revert(self, option: bytes) -> Job:
        yield from _no_option(option)
        yield from self._boot.revert()
        return _DONE

    def _self_test(self, option: bytes) -> Job:
        """Watches the application for a while, then has it test itself.

        An ECU that has something to move moves it, and looks whether it followed. A watchdog reset
        ends this without an answer.
        """
        yield from _no_option(option)
        if self._application is None:
            raise NotNowError("no application runs")
        yield SELF_TEST_S
        status = self._surroundings.self_test()
        for sweep in self._ecu.self_test:
            run = OutputSweep(sweep, self._sweep_channels)
            try:
                yield from run.start()
            finally:
                run.stop()
            if not run.followed:
                status = status or SelfTestStatus.OUTPUT_NOT_FOLLOWED
        confirmed = self._dtcs.matching(StatusBit.CONFIRMED_DTC)
        return bytes((status, min(len(confirmed), 0xFF)))

    def _slot_digest(self, option: bytes) -> Job:
        if len(option) not in _NONCE_LENGTHS:
            raise OptionError("the option record is a nonce of 16 to 32 bytes")
        if self._application is None:
            # The statement says what *runs*: a slot whose content does not start is not active.
            raise NotNowError("no application runs")
        image = self._boot.active_image()
        yield self._hashing_s(len(image))
        sha256 = hashlib.sha256(image).digest()
        return (
            _DONE
            + sha256
            + slot_digest.sign(
                self._identity.signing_key,
                hardware_id=self._ecu.hardware_identifier,
                serial=self.serial,
                nonce=option,
                sha256=sha256,
            )
        )

    # Download

    def decoder(self, data_format: int, size: int) -> Decoder:
        found = PLAIN if data_format == 0 else self._ecu.data_formats.get(data_format)
        if found is None:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no data format {data_format:02X}")
        return Decoder(found, size=size, key=self._data_key)

    def request_download(self, address: int, size: int) -> int:
        try:
            self._elsewhere = self._blocks.download(address, size)
            if self._elsewhere is not None:
                return self._ecu.max_block_length
            offset = self._memory.locate(address, size, boundary=self._flash.geometry.page_size)
            slot = self._boot.begin_download()
        except RangeError as error:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, str(error)) from error
        except NotNowError as error:
            raise Refusal(Nrc.UPLOAD_DOWNLOAD_NOT_ACCEPTED, str(error)) from error
        start = slot * self._ecu.slot.size + offset
        self._download = _Download(start=start, offset=offset, size=size)
        return self._ecu.max_block_length

    def transfer(self, data: bytes) -> Job:
        elsewhere = self._elsewhere
        return _refusing(elsewhere.transfer(data) if elsewhere else self._transfer(data))

    def transfer_exit(self) -> Job:
        elsewhere, self._elsewhere = self._elsewhere, None
        return _refusing(elsewhere.transfer_exit() if elsewhere else self._transfer_exit())

    def transfer_abort(self) -> None:
        self._download = self._elsewhere = None

    def _transfer(self, data: bytes) -> Job:
        download = self._running_download()
        # A trial that was asked for must not start with what is about to change.
        yield from self._boot.preparing()
        pending = download.rest + data
        if download.programmed + len(pending) > download.size:
            raise Refusal(Nrc.TRANSFER_DATA_SUSPENDED, "more data than announced")
        whole = len(pending) - len(pending) % self._flash.geometry.page_size
        yield from self._flash.program(download.start + download.programmed, pending[:whole])
        download.programmed += whole
        download.rest = pending[whole:]
        return b""

    def _transfer_exit(self) -> Job:
        download = self._running_download()
        yield from self._flash.program(download.start + download.programmed, download.rest)
        self._download = None
        yield from self._boot.finish_download(
            download.offset + download.programmed + len(download.rest)
        )
        return b""

    # Fault memory, communication, access

    def clear_dtcs(self, group: int, *, selection: int | None = None) -> Job:
        self._dtcs.clear(group, selection=selection)
        return _empty_record(self._nvm.writing(DTC_KEY, self._dtcs.to_bytes()))

    def communication_control(
        self,
        control: CommunicationControl,
        communication: CommunicationType,
        *,
        node: int | None = None,
    ) -> None:
        if communication & CommunicationType.NETWORK_MANAGEMENT and node is None:
            self.network_management_enabled = control in _TRANSMITTING
        if not communication & CommunicationType.NORMAL:
            return
        if node is not None:
            silent = control == CommunicationControl.ENABLE_RX_DISABLE_TX_OF_NODE
            self.silent_nodes = self.silent_nodes | {node} if silent else self.silent_nodes - {node}
            return
        if control == CommunicationControl.ENABLE_RX_AND_TX:
            self.silent_nodes = frozenset()
        self.transmission_enabled = control in _TRANSMITTING
        self.reception_enabled = control in _RECEIVING

    def set_dtc_logging(self, *, on: bool, groups: Iterable[int]) -> None:
        for group in groups:
            self._dtcs.set_logging(group, on=on)

    def check_session(self, session: Session) -> None:
        if session is Session.PROGRAMMING:
            self.check_conditions(ALL_CONDITIONS)

    def check_conditions(self, conditions: frozenset[Precondition]) -> None:
        found = self._surroundings.hindrances()
        for one, nrc in PRECONDITION_NRCS.items():
            if one in found and one in conditions:
                raise Refusal(nrc, one.name.lower().replace("_", " "))

    def check_reset(self, reset: ResetType) -> None:
        """Any reset is allowed: what is half written is not what the next boot starts."""

    def new_seed(self) -> bytes:
        while not any(seed := self._surroundings.random_bytes(SEED_LENGTH)):
            pass
        return seed

    def security_key(self, level: int) -> bytes:
        return derive_key(self._identity.diagnostics_master, self.serial, level)

    def nvm_read(self, key: str) -> bytes | None:
        return self._nvm.read(_SERVER_PREFIX + key)

    def nvm_write(self, key: str, value: bytes) -> Job:
        return _empty_record(self._nvm.writing(_SERVER_PREFIX + key, value))

    def _declared(self) -> Declared:
        if self._application is None:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "no application runs")
        return self._application.declared

    def _running_download(self) -> _Download:
        if self._download is None:
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR, "no download in progress")
        return self._download

    def _hashing_s(self, size: int) -> float:
        return size / self._ecu.hash_bytes_per_s


_TRANSMITTING: Final = frozenset(
    (CommunicationControl.ENABLE_RX_AND_TX, CommunicationControl.DISABLE_RX_ENABLE_TX)
)
_RECEIVING: Final = frozenset(
    (CommunicationControl.ENABLE_RX_AND_TX, CommunicationControl.ENABLE_RX_DISABLE_TX)
)

#: Answered from the header and entries of the image that runs, never from a table.
_SOFTWARE: Final = MappingProxyType[int, Callable[[Declared], str]](
    {
        DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_NUMBER: lambda d: d.software_number,
        DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_VERSION: lambda d: d.software_version,
        DataIdentifier.SYSTEM_SUPPLIER_ECU_SOFTWARE_VERSION: lambda d: d.supplier_version,
    }
)

_ROUTINES: Final = MappingProxyType[int, Callable[[EcuDevice, bytes], Job]](
    {
        # The methods are this module's own: the table is the class's, not a caller's.
        RoutineId.ERASE_MEMORY: EcuDevice._erase,  # noqa: SLF001 see above
        RoutineId.CHECK_MEMORY: EcuDevice._check_memory,  # noqa: SLF001 see above
        RoutineId.CHECK_DEPENDENCIES: EcuDevice._check_dependencies,  # noqa: SLF001 see above
        RoutineId.CHECK_PRECONDITIONS: EcuDevice._check_preconditions,  # noqa: SLF001 see above
        RoutineId.ACTIVATE: EcuDevice._activate,  # noqa: SLF001 see above
        RoutineId.CONFIRM: EcuDevice._confirm,  # noqa: SLF001 see above
        RoutineId.REVERT: EcuDevice._revert,  # noqa: SLF001 see above
        RoutineId.SELF_TEST: EcuDevice._self_test,  # noqa: SLF001 see above
        RoutineId.SLOT_DIGEST: EcuDevice._slot_digest,  # noqa: SLF001 see above
        RoutineId.START_SECONDARY_LOADER: EcuDevice._start_secondary_loader,  # noqa: SLF001 see above
    }
)

#: What a device's own errors are to a tester.
_REFUSALS: Final = MappingProxyType[type[Exception], Nrc](
    {
        RangeError: Nrc.REQUEST_OUT_OF_RANGE,
        NotNowError: Nrc.CONDITIONS_NOT_CORRECT,
        OptionError: Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT,
        MemoryFaultError: Nrc.GENERAL_PROGRAMMING_FAILURE,
    }
)


def encode_live(live: LiveValue, value: float) -> bytes:
    """The record of a live data identifier, limited to what its bytes hold."""
    raw = round(value / live.scale)
    bits = 8 * live.length
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if live.signed else (0, (1 << bits) - 1)
    return min(max(raw, low), high).to_bytes(live.length, "big", signed=live.signed)


def _refusing(job: Job) -> Job:
    """The same job, its errors as negative responses."""
    try:
        return (yield from job)
    except tuple(_REFUSALS) as error:
        raise Refusal(_REFUSALS[type(error)], str(error)) from error


def _empty_record(operations: Generator[float, None, None]) -> Job:
    yield from operations
    return b""


def _no_option(option: bytes) -> Generator[float, None, None]:
    """Nothing to wait for, and nothing but the routine identifier in the request."""
    if option:
        raise OptionError(f"no option record expected, got {len(option)} bytes")
    yield from ()
