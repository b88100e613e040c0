"""A described ECU as a guest of a bench: its memory in the bench's files."""

from dataclasses import dataclass
from typing import Final

from ecu_sim.described import DescribedEcu
from ecu_sim.described.device import chip_of
from ecu_sim.described.node import DescribedNode, KeyHook, complement
from ecu_sim.guest import GuestNode, Site
from ecu_sim.memory import Flash, FlashGeometry, Nvm, TwoCopyRecord

_NVM_COPY: Final = 0x4000
_NVM: Final = FlashGeometry(
    size=2 * _NVM_COPY, sector_size=_NVM_COPY, page_size=0x10, erase_s=0.004, program_s=0.00005
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedGuest:
    """`ecu_sim.guest.Guest` of a description."""

    ecu: DescribedEcu
    wire: str
    key: KeyHook = complement

    @property
    def name(self) -> str:
        return self.ecu.name

    def build(self, site: Site) -> GuestNode:
        chips = {one.name: chip_of(self.ecu, one) for one in self.ecu.memory if not one.ram}
        flash = {
            name: Flash(site.cells(f"{name}.flash", chip.size), chip)
            for name, chip in chips.items()
        }
        record = TwoCopyRecord(
            Flash(site.cells("nvm", _NVM.size), _NVM), address=0, copy_size=_NVM_COPY
        )
        return DescribedNode(
            self.ecu,
            site.port,
            flash=flash,
            nvm=Nvm(record),
            random_bytes=site.random_bytes,
            fd=site.fd,
            key=self.key,
            corrupt=site.corrupt,
        )
