"""Optional ports of the diagnostic server: an ECU's own, and what tests put in their place."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from ecu_sim.address_space import AddressSpace
from ecu_sim.boot import ResetReason, boot_profile
from ecu_sim.calibration import Calibrations
from ecu_sim.diagnostics import MemoryAccess, Nrc, Refusal
from ecu_sim.ecus import ecu_type
from ecu_sim.memory import Flash, Nvm, TwoCopyRecord
from ecu_sim.memory.flash import finish, result_of
from ecu_sim.outputs import OutputChannels
from ecu_sim.plant import Cabin
from ecu_sim.values import Values
from tests.support import data
from tests.support.ecu import RECORDS, TRUST, Cells

CCU = ecu_type("ccu")
RAM = 0x2000_0000


@dataclass
class OnePage:
    """The working memory of an application."""

    cells: bytearray = field(default_factory=lambda: bytearray(0x1_0000))

    def read_memory(self, offset: int, size: int) -> bytes:
        return bytes(self.cells[offset : offset + size])

    def write_memory(self, offset: int, data: bytes) -> None:
        self.cells[offset : offset + len(data)] = data


def _of_an_ecu() -> MemoryAccess:
    memory = Cells().memory()
    boot = boot_profile(CCU.boot_profile).open(memory, TRUST)
    result_of(boot.boot(ResetReason.POWER_ON))
    flash = Flash(bytearray(b"\xff" * RECORDS.size), RECORDS)
    nvm = Nvm(TwoCopyRecord(flash, address=0, copy_size=RECORDS.sector_size))
    ram = OnePage()
    return AddressSpace(
        CCU, memory=memory, boot=boot, calibrations=Calibrations(CCU, nvm), ram=lambda: ram
    )


#: A memory, and where in it anything may be written.
Made = tuple[MemoryAccess, int]
_MEMORIES: dict[str, Callable[[], Made]] = {
    "fake": lambda: (data.BenchMemory(), data.RAM),
    "RAM of an ECU": lambda: (_of_an_ecu(), RAM),
}


@pytest.fixture(params=_MEMORIES.values(), ids=list(_MEMORIES))
def memory(request: pytest.FixtureRequest) -> Made:
    made: Made = request.param()
    return made


def test_a_memory_reads_as_many_bytes_as_it_is_asked_for(memory: Made) -> None:
    access, start = memory
    for size in (1, 3, 0x40):
        assert len(access.read_memory(start + 5, size)) == size


def test_a_memory_reads_back_what_was_written_once_the_job_is_done(memory: Made) -> None:
    access, start = memory
    before = access.read_memory(start, 8)
    job = access.write_memory(start + 2, b"\xca\xfe")
    finish(job)
    assert access.read_memory(start, 8) == before[:2] + b"\xca\xfe" + before[4:]


def test_a_memory_uploads_plain_data_in_blocks_that_hold_some(memory: Made) -> None:
    access, start = memory
    assert access.request_upload(start, 0x40, 0x00) >= 3
    for data_format in (0x01, 0x10, 0xFF):
        with pytest.raises(Refusal) as refused:
            access.request_upload(start, 0x40, data_format)
        assert refused.value.nrc == Nrc.REQUEST_OUT_OF_RANGE


def test_an_ecu_without_an_application_has_no_image_to_read() -> None:
    with pytest.raises(Refusal) as refused:
        _of_an_ecu().read_memory(CCU.application_base, 4)
    assert refused.value.nrc == Nrc.CONDITIONS_NOT_CORRECT


@pytest.mark.parametrize("address", [0x1FFF_0000, 0x1FFF_00FF, 0, 0x2000_FFFF])
def test_keys_and_what_is_nowhere_are_refused_by_the_memory_itself(address: int) -> None:
    with pytest.raises(Refusal) as refused:
        _of_an_ecu().read_memory(address, 2 if address == 0x2000_FFFF else 1)
    assert refused.value.nrc == Nrc.REQUEST_OUT_OF_RANGE


# Output channels


def _fake_channels() -> tuple[OutputChannels, Callable[[int, float], None]]:
    bench = data.BenchChannels()
    return bench.channels, bench.asked.__setitem__


def _channels_of_an_ecu() -> tuple[OutputChannels, Callable[[int, float], None]]:
    values = Values(CCU, Cabin(), None, lambda: 0.0)
    channels = OutputChannels(
        value=values.output, override=values.override, hindrances=values.hindrances
    )
    return channels, values.write


@pytest.mark.parametrize("make", [_fake_channels, _channels_of_an_ecu], ids=["fake", "ECU"])
def test_an_override_hides_what_the_application_writes_until_it_is_taken_away(
    make: Callable[[], tuple[OutputChannels, Callable[[int, float], None]]],
) -> None:
    channels, write = make()
    write(1, 0.2)
    assert channels.value(1) == 0.2
    channels.override(1, 0.9)
    write(1, 0.3)
    assert channels.value(1) == 0.9
    channels.override(1, None)
    channels.override(1, None)
    assert channels.value(1) == 0.3
    assert channels.hindrances() == ()


def test_an_overridden_flap_moves_in_the_cabin_and_moves_back() -> None:
    cabin = Cabin()
    values = Values(CCU, cabin, None, lambda: 0.0)
    values.write(1, 0.2)
    values.override(1, 0.9)
    values.write(1, 0.3)
    assert cabin.blend == 0.9
    values.override(1, None)
    assert cabin.blend == 0.3
