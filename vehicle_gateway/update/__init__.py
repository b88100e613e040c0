"""The update of one vehicle: journal, decisions, and the flow over all its ECUs.

This file is the port between the flow and whatever programs one ECU (`flashing/` over UDS). The
flow decides *what* happens next and has it on disk before it happens; an `EcuUpdater` knows *how*
on one ECU. Every method of an updater may be repeated and may follow an interruption at any
point: it brings the ECU from wherever it is to the state that the method's name promises.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

#: The gateway's own software among the parts of an update.
GATEWAY: Final = "gateway"


class UpdateError(Exception):
    """An ECU did not do what the update needs; says which ECU, in which step, and why."""

    def __init__(self, *, ecu: str, step: str, cause: str, absent: bool = False) -> None:
        super().__init__(f"{ecu}: {step}: {cause}")
        #: Nothing was refused: the ECU does not answer, or has been away meanwhile. It may be
        #: asleep, or without power for a while.
        self.absent = absent
        #: Empty for an error of the whole vehicle.
        self.ecu = ecu
        #: A word or two: `staging`, `transferring`, `activating`, `reading back` ...
        self.step = step
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateJob:
    """One image for one ECU."""

    ecu: str
    #: What the published file puts into the ECU, from `address` on.
    image: bytes
    address: int
    image_sha256: bytes
    #: For people: the release's version.
    version: str
    #: The cloud's nonce; the read-back is signed over it.
    nonce: bytes
    #: SHA-256 of the image that ran before the update, by the ECU's own digest (0214). Where no
    #: application ran: of the image that is given back, empty if there is none.
    before_sha256: bytes
    #: Single slot: the image that ran before, to be written back; None for two-slot ECUs.
    present: bytes | None = None
    present_address: int = 0
    #: The update has committed: nothing goes back any more, and `present` is gone.
    committed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one step on one ECU is."""

    ecu: str
    #: `erasing`, `transferring`, `verifying`, `staged`, `activating`, `trial`, `confirmed`,
    #: `reverting`, `reverted`, `failed`; `waiting` for an ECU that is away.
    step: str
    bytes_done: int = 0
    bytes_total: int = 0
    #: Seconds to the end of this step by the computed bound; 0 when unknown.
    remaining_s: float = 0.0
    #: Bytes from the image's start that are in the ECU's memory for certain (the ECU has answered
    #: a later request, so the block before it is programmed), rounded down to a whole sector: a
    #: restarted gateway resumes there. 0 says nothing new.
    verified: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """A boot loader's own statement of the image in its active slot (routine 0214)."""

    nonce: bytes
    #: SHA-256 of the image as it was transferred.
    image_sha256: bytes
    #: Ed25519, see `protocols.uds.slot_digest`; checked by the cloud, which knows the key.
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What one ECU says of itself and of the image that it runs."""

    ecu: str
    #: Why it could not be read; empty if it was.
    error: str = ""
    hardware_id: str = ""  # F191
    serial_number: str = ""  # F18C
    software_number: str = ""  # F188; empty while no application runs
    software_version: str = ""  # F189; empty while no application runs
    supplier_version: str = ""  # F195; empty while no application runs
    #: None where no application runs. (A foreign boot loader may digest one that does not.)
    read_back: ReadBack | None = None

    @property
    def application_runs(self) -> bool:
        """Whether an application answered: a boot loader has no software versions to tell."""
        return bool(self.software_number or self.software_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFigures:
    """What one programming took, in seconds by the loop's clock."""

    #: From the first 34 to the last 37's answer, and the least that wire and memory allow.
    transfer_s: float = 0.0
    bound_s: float = 0.0
    #: Seconds of staging while the ECU worked on.
    staging_s: float = 0.0
    #: Seconds in which the ECU did not do its work: single slot from 10 02 to the application's
    #: first answer; two-slot from 11 01 to the first answer.
    out_of_use_s: float = 0.0

    def __add__(self, other: "TransferFigures") -> "TransferFigures":
        return TransferFigures(
            transfer_s=self.transfer_s + other.transfer_s,
            bound_s=self.bound_s + other.bound_s,
            staging_s=self.staging_s + other.staging_s,
            out_of_use_s=self.out_of_use_s + other.out_of_use_s,
        )


#: Takes a progress note; returns at once and never raises.
ProgressSink = Callable[[Progress], None]


class EcuUpdater(Protocol):
    """One ECU's programming sequence. All methods raise `UpdateError` and nothing else."""

    @property
    def ecu(self) -> str:
        """The ECU's name in the vehicle description."""

    @property
    def single_slot(self) -> bool:
        """True: nothing in the ECU leads back to its old image, which `revert` writes again.

        It is programmed through its boot loader, by `activate`, and waits meanwhile, unless it
        has a staging area.
        """

    @property
    def staging_area(self) -> bool:
        """True: a single slot with a staging area, from which its boot loader copies."""

    async def stage(
        self, job: UpdateJob, *, resume_from: int, progress: ProgressSink
    ) -> TransferFigures:
        """Have the new image ready without touching the one that runs.

        Two slots: written into the inactive slot by the running application and checked there
        (length, hash, signature). The first `resume_from` bytes (whole sectors) are there
        already; 0 starts afresh. Single slot: the job's two images are checked against each
        other and the ECU's preconditions (0203) asked; nothing is written. With a staging area
        the images are checked like that, and the new one is written into the area and checked
        there like that of two slots.
        """

    async def activate(
        self, job: UpdateJob, *, resume_from: int, progress: ProgressSink
    ) -> TransferFigures:
        """Have the ECU run the new image on trial; returns when it answers again.

        Two slots: FF01, 0210, 11 01 (`resume_from` is 0). Single slot: the whole programming
        through the boot loader, whose first `resume_from` bytes are there already. Staging area:
        0210, 11 01, and the wait for the copy; an ECU whose application does not run is
        programmed through its boot loader. It does not
        look at what runs then: `inventory` does. Communication control and DTC setting are
        back to normal when it returns and also when it raises.
        """

    async def self_test(self, job: UpdateJob) -> None:
        """Have the application that runs test itself (0213); what it finds is an `UpdateError`.

        An ECU that has no such test passes.
        """

    async def confirm(self, job: UpdateJob) -> None:
        """Keep the new image. An ECU that has confirmed it already says yes again."""

    async def revert(self, job: UpdateJob, *, progress: ProgressSink) -> TransferFigures:
        """Have the ECU run the image from before (`before_sha256`); returns when it answers again.

        Two slots: 0212 and what it needs, also where an activation was cut off before its reset
        (a requested trial is taken back), where the trial runs, and where the ECU has gone back by
        itself (nothing to do then). Single slot: `job.present` is written, unless it runs already;
        with a staging area it is staged and copied like a new one.
        """

    async def inventory(self, nonce: bytes) -> Inventory:
        """Read F191, F18C, F188, F189, F195 and the digest over `nonce`.

        An ECU that stays in its boot loader is not an error: its versions are empty, and its
        read-back may be None. One that does not answer is an `UpdateError`.
        """
