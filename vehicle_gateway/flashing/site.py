"""Where an ECU is programmed: what its updater needs to know and to hold."""

from dataclasses import dataclass
from datetime import datetime

from dbc import EcuDescription, RoutineIdentifiers
from protocols.uds import DataIdentifier
from vehicle_gateway.flashing.bound import wire_time
from vehicle_gateway.flashing.dialogue import Dialogue
from vehicle_gateway.flashing.write import Writer, read_back
from vehicle_gateway.update import Inventory, ProgressSink, UpdateError
from vehicle_gateway.wires import WireError
from vehicle_gateway.wires.tester import FunctionalTester
from vehicle_gateway.wires.testers import Testers


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One ECU, the testers of its vehicle, and what proves that we may program it."""

    ecu: EcuDescription
    testers: Testers
    #: Master secret of the security access keys.
    diagnostics_master: bytes
    #: The date at loop time 0.
    start_date: datetime

    @property
    def routines(self) -> RoutineIdentifiers:
        return self.testers.vehicle.routines

    def dialogue(self) -> Dialogue:
        """A fresh dialogue; `UpdateError` if there is no link to the ECU."""
        try:
            tester = self.testers.tester(self.ecu.name)
        except WireError as error:
            raise UpdateError(ecu=self.ecu.name, step="connecting", cause=str(error)) from error
        return Dialogue(tester, self.ecu, master=self.diagnostics_master)

    def functional(self) -> FunctionalTester:
        """All ECUs on this one's wire; `UpdateError` if there is no link."""
        try:
            return self.testers.functional(self.ecu.wire)
        except WireError as error:
            raise UpdateError(ecu=self.ecu.name, step="connecting", cause=str(error)) from error

    def writer(self, dialogue: Dialogue, progress: ProgressSink) -> Writer:
        wire = self.testers.vehicle.wires[self.ecu.wire]
        return Writer(
            dialogue,
            wire=wire_time(wire, self.ecu),
            routines=self.routines,
            start_date=self.start_date,
            progress=progress,
        )

    async def inventory(self, nonce: bytes) -> Inventory:
        """What the ECU says of itself; in its boot loader it has no software versions."""
        dialogue = self.dialogue()
        step = "reading back"
        await dialogue.wait_for(step)
        return Inventory(
            ecu=self.ecu.name,
            hardware_id=await dialogue.read_text(
                step, DataIdentifier.VEHICLE_MANUFACTURER_ECU_HARDWARE_NUMBER
            ),
            serial_number=await dialogue.serial(),
            software_number=await dialogue.read_if_known(
                step, DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_NUMBER
            ),
            software_version=await dialogue.read_if_known(
                step, DataIdentifier.VEHICLE_MANUFACTURER_ECU_SOFTWARE_VERSION
            ),
            supplier_version=await dialogue.read_if_known(
                step, DataIdentifier.SYSTEM_SUPPLIER_ECU_SOFTWARE_VERSION
            ),
            read_back=await read_back(dialogue, step, self.routines, nonce),
        )
