"""Where an ECU is programmed: what its sequence needs to know and to hold."""

from dataclasses import dataclass
from datetime import datetime

from dbc import EcuDescription, RoutineIdentifiers
from vehicle_gateway.flashing.bound import WireTime, wire_time
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.flashing.encoding import DownloadCipher
from vehicle_gateway.flashing.keys import Keys
from vehicle_gateway.flashing.pace import Pace
from vehicle_gateway.flashing.read_back import read_back
from vehicle_gateway.flashing.sequence import ACTIVATE, IDENTIFICATION, PROGRAM, Sequence
from vehicle_gateway.update import Inventory, ReadBack, UpdateError
from vehicle_gateway.wires import WireError
from vehicle_gateway.wires.tester import FunctionalTester
from vehicle_gateway.wires.testers import Testers

_READING: str = "reading back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One ECU with its sequence, the testers of its vehicle, and what opens it to us."""

    ecu: EcuDescription
    sequence: Sequence
    testers: Testers
    keys: Keys
    #: The date at loop time 0.
    start_date: datetime
    #: For encrypted downloads; None: only plain and compressed ones.
    cipher: DownloadCipher | None = None
    #: Who may hold downloads between two blocks.
    pace: Pace | None = None

    @property
    def routines(self) -> RoutineIdentifiers:
        return self.testers.vehicle.routines

    def dialogue(self) -> Dialogue:
        """A fresh dialogue; `UpdateError` if there is no link to the ECU."""
        try:
            tester = self.testers.tester(self.ecu.name)
        except WireError as error:
            raise UpdateError(
                ecu=self.ecu.name, step="connecting", cause=str(error), absent=True
            ) from error
        return Dialogue(
            tester,
            self.ecu,
            keys=self.keys,
            patience=self.sequence.patience,
            serial_did=self._did("serial_number"),
        )

    def functional(self) -> FunctionalTester:
        """All ECUs on this one's wire; `UpdateError` if there is no link."""
        try:
            return self.testers.functional(self.ecu.wire)
        except WireError as error:
            raise UpdateError(ecu=self.ecu.name, step="connecting", cause=str(error)) from error

    def wire_time(self) -> WireTime:
        return wire_time(self.testers.vehicle.wires[self.ecu.wire], self.ecu)

    async def application_runs(self, dialogue: Dialogue) -> bool:
        """In its boot loader an ECU has no software number."""
        return await dialogue.read_if_known(_READING, self._did("software_number")) != ""

    async def writing_phase(self) -> str:
        """The phase that has this ECU run what is staged, or programs it."""
        if not self.sequence.single_slot:
            return ACTIVATE
        if not self.sequence.staging_area:
            return PROGRAM
        dialogue = self.dialogue()
        await dialogue.wait_for(_READING)
        return ACTIVATE if await self.application_runs(dialogue) else PROGRAM

    async def runs(self, dialogue: Dialogue, sha256: bytes, nonce: bytes) -> bool:
        """Whether the ECU says, and an application can only say it, that this image runs."""
        found = await self._read_back(dialogue, nonce)
        if found is None or found.image_sha256 != sha256:
            return False
        return not self.sequence.single_slot or await self.application_runs(dialogue)

    async def inventory(self, nonce: bytes) -> Inventory:
        """What the ECU says of itself; in its boot loader it has no software versions."""
        dialogue = self.dialogue()
        await dialogue.wait_for(_READING)
        return Inventory(
            ecu=self.ecu.name,
            hardware_id=await dialogue.read_text(_READING, self._did("hardware_number")),
            serial_number=await dialogue.serial(),
            software_number=await dialogue.read_if_known(_READING, self._did("software_number")),
            software_version=await dialogue.read_if_known(_READING, self._did("software_version")),
            supplier_version=await dialogue.read_if_known(_READING, self._did("supplier_version")),
            read_back=await self._read_back(dialogue, nonce),
        )

    async def _read_back(self, dialogue: Dialogue, nonce: bytes) -> ReadBack | None:
        if self.sequence.digest is None:
            return None
        rid = self.sequence.digest.number(self.routines)
        return await read_back(dialogue, _READING, rid, nonce)

    def _did(self, name: str) -> int:
        return self.sequence.identification.get(name, IDENTIFICATION[name])
