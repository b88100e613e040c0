"""The ECU's diagnostic end: the UDS server, the DTC memory and the DoIP entity.

`Device` is what the server speaks for; an ECU's application and its boot loader each satisfy it.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from protocols.uds import (
    CommunicationControl,
    CommunicationType,
    Nrc,
    OutputControl,
    Refusal,
    ResetType,
    Session,
)
from protocols.uds.data_formats import Decoder
from protocols.uds.routine_status import Precondition

if TYPE_CHECKING:
    from ecu_sim.diagnostics.dtc import DtcMemory

#: Work on the ECU's memory: yields the seconds that each operation takes *before* that operation's
#: effect is there, returns the status record (empty where the service has none), and raises
#: `Refusal` when it fails. The server resumes it when those seconds have passed; a job that is
#: given up is closed. Other exceptions (the power failed) pass through the server untouched.
Job = Generator[float, None, bytes]


class MemoryAccess(Protocol):
    """Memory by address (23, 3D, 35, and 2C by address) of an ECU whose rules have regions.

    Every range lies in one region of the rules, and its access has been checked.
    """

    def read_memory(self, address: int, size: int) -> bytes: ...

    def write_memory(self, address: int, data: bytes) -> Job: ...

    def request_upload(self, address: int, size: int, data_format: int) -> int:
        """Accept an upload; returns maxNumberOfBlockLength, as `Device.request_download`."""
        ...


class InputOutput(Protocol):
    """Outputs that a tester takes from the application (2F), by data identifier."""

    def control_output(self, did: int, control: OutputControl, option: bytes) -> bytes:
        """Take, set or give back; `option` is control state and mask. Returns the state record."""
        ...

    def release_outputs(self, dids: Iterable[int]) -> None:
        """Give the outputs of these records back to the application: their session is over."""


class Scaling(Protocol):
    """How the records of data identifiers are to be read (24)."""

    def scaling_data(self, did: int, length: int) -> bytes:
        """Scaling bytes and their extensions for a record that has `length` bytes now.

        `Refusal(REQUEST_OUT_OF_RANGE)` if there are none.
        """
        ...


class BackgroundRoutine(Protocol):
    """One run of a routine that goes on after its 71 01, until it ends or is stopped."""

    def start(self) -> Job:
        """Begin; the job is what goes on. `Refusal` if it cannot begin now."""
        ...

    def status(self) -> bytes:
        """The routineStatusRecord now: while it runs, and what came of it afterwards."""
        ...

    def stop(self) -> None:
        """End it, and give back what it had taken; nothing happens if it has ended."""


class Files(Protocol):
    """A small file store (38); a path is absolute, in printable ASCII."""

    def paths(self) -> tuple[str, ...]: ...

    def read(self, path: str) -> bytes | None:
        """A file's content; `None` if there is none of that name."""
        ...

    def check_room(self, path: str, size: int) -> None:
        """`Refusal` for a path that is too long, or a file for which there is no room."""

    def store(self, path: str, data: bytes) -> Job: ...

    def remove(self, path: str) -> Job: ...


class Device(Protocol):
    """What one ECU program (application or boot loader) offers to its diagnostic server.

    The server has checked session, security, addressing and message format before it calls;
    the device raises `Refusal` for what only it can know.
    """

    @property
    def serial(self) -> str:
        """ECU serial number, as F18C reads: what a security access key is bound to."""
        ...

    @property
    def dtcs(self) -> "DtcMemory":
        """The DTC memory that 19 reads; an empty one in a boot loader."""
        ...

    @property
    def memory_access(self) -> MemoryAccess | None:
        """`None`: no memory by address, whatever the rules say."""
        ...

    @property
    def input_output(self) -> InputOutput | None: ...

    @property
    def scaling(self) -> Scaling | None: ...

    @property
    def files(self) -> Files | None: ...

    def read_data(self, did: int) -> bytes:
        """The data record of a DID; `Refusal(REQUEST_OUT_OF_RANGE)` if there is none.

        F186 (active session) is answered by the server itself.
        """
        ...

    def write_data(self, did: int, record: bytes) -> Job:
        """Store a data record; only DIDs that the server's table lets be written arrive here."""
        ...

    def routine(self, rid: int, option: bytes) -> Job:
        """Start a routine; the job returns its routineStatusRecord (what follows 71 01 rid)."""
        ...

    def background_routine(self, rid: int, option: bytes) -> BackgroundRoutine:
        """A new run of a routine whose row says that it runs on."""
        ...

    def decoder(self, data_format: int, size: int) -> Decoder:
        """What turns a download of `size` bytes, as it is transferred, into the data itself.

        `data_format` is compression nibble | encryption nibble. `Refusal(REQUEST_OUT_OF_RANGE)`
        for a format that is not the ECU's.
        """
        ...

    def request_download(self, address: int, size: int) -> int:
        """Accept a download into the application area; returns maxNumberOfBlockLength.

        `Refusal(REQUEST_OUT_OF_RANGE)` for an area that is not the ECU's,
        `UPLOAD_DOWNLOAD_NOT_ACCEPTED` if it cannot take one now.
        """
        ...

    def transfer(self, data: bytes) -> Job:
        """Program the next bytes of the download. Never called for one block while another runs.

        The server answers 36 on receipt: a failure here is told with the next 36 or 37.
        """
        ...

    def transfer_exit(self) -> Job:
        """End the download; all announced bytes have been programmed. Returns 77's record."""
        ...

    def transfer_abort(self) -> None:
        """The download was given up (session over, or programming failed)."""

    def clear_dtcs(self, group: int, *, selection: int | None = None) -> Job:
        """Clear a group (0xFFFFFF: all) or one DTC, for good, in the primary memory or another.

        The server has checked that group and memory exist.
        """
        ...

    def communication_control(
        self,
        control: CommunicationControl,
        communication: CommunicationType,
        *,
        node: int | None = None,
    ) -> None:
        """Silence or resume messages, or those for one node of the rules' `nodes`.

        Back in the default session the server enables all.
        """

    def set_dtc_logging(self, *, on: bool, groups: Iterable[int]) -> None:
        """Stop or resume the updating of DTC status bits; on again in the default session."""

    def check_session(self, session: Session) -> None:
        """Called before a session is entered; `Refusal(CONDITIONS_NOT_CORRECT)` to prevent it."""

    def check_conditions(self, conditions: frozenset[Precondition]) -> None:
        """Called before a routine that needs them; `Refusal` with the code of what is not met."""

    def check_reset(self, reset: ResetType) -> None:
        """Called before a reset; `Refusal(CONDITIONS_NOT_CORRECT)` to prevent it."""

    def new_seed(self) -> bytes:
        """16 fresh random bytes, never all zero."""
        ...

    def security_key(self, level: int) -> bytes:
        """The 16-byte key of a security level (its odd seed sub-function)."""
        ...

    def nvm_read(self, key: str) -> bytes | None:
        """A non-volatile record of the server's own, `None` if never written."""
        ...

    def nvm_write(self, key: str, value: bytes) -> Job:
        """Store a non-volatile record; at most 16 bytes. Survives resets and power cycles."""
        ...


@dataclass(frozen=True, slots=True)
class Respond:
    """Send this to the tester `source`, after what was to be sent before it."""

    payload: bytes
    source: int


@dataclass(frozen=True, slots=True)
class SendUnsegmented:
    """Send this to the tester `source` as one frame without transport protocol (2A, type 2)."""

    payload: bytes
    source: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Reset the ECU once everything answered so far is on the wire."""

    reset: ResetType


@dataclass(frozen=True, slots=True)
class EnterBootloader:
    """Restart into the boot loader, which answers 50 02 to `source` in this program's place.

    The node keeps `source` over the restart and calls `UdsServer.resume_programming` there.
    """

    source: int


@dataclass(frozen=True, slots=True)
class SetBitRate:
    """Change the wire's bit rate once everything answered so far is on the wire (87).

    `None`: back to the wire's own.
    """

    bit_rate: int | None


ServerEvent = Respond | SendUnsegmented | Restart | EnterBootloader | SetBitRate

__all__ = [
    "BackgroundRoutine",
    "Device",
    "EnterBootloader",
    "Files",
    "InputOutput",
    "Job",
    "MemoryAccess",
    "Nrc",
    "Refusal",
    "Respond",
    "Restart",
    "Scaling",
    "SendUnsegmented",
    "ServerEvent",
    "SetBitRate",
]
