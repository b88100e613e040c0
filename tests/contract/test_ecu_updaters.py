"""`vehicle_gateway.update.EcuUpdater`: the tests' own ECUs and the real ones over simulated UDS.

Every method brings the ECU from wherever it is to the state that the method's name promises.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import pytest

from clock import run
from dbc import describe_vehicle
from ecu_sim.ecus import ecu_names
from tests.support import flashing
from tests.support.gateway import (
    PowerSwitch,
    SimulatedEcu,
    SimulatedUpdater,
    image_of,
)
from vehicle_gateway.update import EcuUpdater, Inventory, Progress, UpdateError, UpdateJob

NONCE = bytes(range(32))
OLD, NEW = "1.0.0", "2.0.0"
VEHICLE = describe_vehicle()
CALLS = ("stage", "activate", "self_test", "confirm", "revert", "inventory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """One ECU behind its updater, running the old image, and the job for the new one."""

    updater: EcuUpdater
    job: UpdateJob
    #: From here on the ECU does nothing that it is asked.
    fail: Callable[[], None]
    notes: list[Progress] = field(default_factory=list)
    _noted: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, note: Progress) -> None:
        self.notes.append(note)
        self._noted.set()

    async def stage(self, *, resume_from: int = 0) -> None:
        await self.updater.stage(self.job, resume_from=resume_from, progress=self.note)

    async def activate(self, *, resume_from: int = 0) -> None:
        await self.updater.activate(self.job, resume_from=resume_from, progress=self.note)

    async def self_test(self) -> None:
        await self.updater.self_test(self.job)

    async def confirm(self) -> None:
        await self.updater.confirm(self.job)

    async def revert(self) -> None:
        await self.updater.revert(self.job, progress=self.note)

    async def inventory(self) -> Inventory:
        return await self.updater.inventory(NONCE)

    async def write(self, *, resume_from: int = 0) -> None:
        """The call that writes the image: it depends on the slots."""
        call = self.stage if stages(self.updater) else self.activate
        await call(resume_from=resume_from)

    async def break_off(self) -> int:
        """Begin to write and stop in mid-image; how many bytes are there for certain."""
        writing = asyncio.create_task(self.write())
        writing.add_done_callback(lambda _: self._noted.set())
        while not any(note.verified for note in self.notes):
            assert not writing.done(), "it was written before there was anything to break off"
            self._noted.clear()
            await self._noted.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        return self.notes[-1].verified

    async def runs(self) -> str:
        """The version that runs, proved by the digest."""
        found = await self.inventory()
        digests = {self.job.before_sha256: OLD, self.job.image_sha256: NEW}
        assert found.read_back is not None
        assert digests[found.read_back.image_sha256] == found.software_version
        return found.software_version


@asynccontextmanager
async def simulated(ecu: str, _state: Path) -> AsyncIterator[Fitted]:
    description = VEHICLE.ecus[ecu]
    old, new = image_of(ecu, OLD, 64), image_of(ecu, NEW, 64)
    memory = SimulatedEcu(description=description, running=old)
    yield Fitted(
        updater=SimulatedUpdater(memory, PowerSwitch()),
        fail=lambda: memory.refuses.update(CALLS),
        job=UpdateJob(
            ecu=ecu,
            image=new,
            address=description.application_base,
            image_sha256=sha256(new).digest(),
            version=NEW,
            nonce=NONCE,
            before_sha256=sha256(old).digest(),
            present=old if description.single_slot else None,
            present_address=description.application_base,
        ),
    )


@asynccontextmanager
async def over_uds(ecu: str, state: Path) -> AsyncIterator[Fitted]:
    # Plain, so that every ECU takes blocks enough to be broken off in the middle of them.
    plain = flashing.plainly_flashed()
    async with flashing.bench(state, ecu, description=plain) as bench:
        yield Fitted(
            updater=bench.updaters[ecu],
            job=flashing.job(ecu),
            fail=bench.vehicle.nodes[ecu].power_off,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    ecu: str
    fitted: Callable[[str, Path], AbstractAsyncContextManager[Fitted]]

    @property
    def single_slot(self) -> bool:
        return VEHICLE.ecus[self.ecu].single_slot

    @property
    def staging_area(self) -> bool:
        return VEHICLE.ecus[self.ecu].staging_area


def stages(of: "EcuUpdater | Kind") -> bool:
    """Whether the image is written beside the one that runs."""
    return of.staging_area or not of.single_slot


KINDS = {
    f"{ecu}, {name}": Kind(ecu=ecu, fitted=fitted)
    for name, fitted in (("simulated", simulated), ("over UDS", over_uds))
    for ecu in ecu_names()
}
SINGLE_SLOT = [name for name, kind in KINDS.items() if kind.single_slot]
STAGED = [name for name, kind in KINDS.items() if stages(kind)]
IN_PLACE = [name for name, kind in KINDS.items() if not stages(kind)]


@dataclass(frozen=True, slots=True)
class Bench:
    state: Path

    def __call__(self, name: str, use: Callable[[Fitted], Awaitable[None]]) -> None:
        kind = KINDS[name]

        async def main() -> None:
            async with kind.fitted(kind.ecu, self.state) as fitted:
                await use(fitted)

        run(main(), virtual=True)


@pytest.fixture
def on(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_an_updater_says_whose_it_is(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        assert fitted.updater.ecu == KINDS[name].ecu
        assert fitted.updater.single_slot is KINDS[name].single_slot
        assert fitted.updater.staging_area is KINDS[name].staging_area

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_the_inventory_says_what_runs_and_proves_it_over_the_nonce(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        found = await fitted.inventory()
        assert (found.ecu, found.error) == (KINDS[name].ecu, "")
        assert found.hardware_id == VEHICLE.ecus[found.ecu].hardware_id
        assert found.application_runs
        assert found.software_version == OLD
        assert found.read_back is not None
        assert found.read_back.nonce == NONCE
        assert found.read_back.image_sha256 == fitted.job.before_sha256
        assert found.read_back.signature

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_staging_leaves_the_running_image_alone(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.stage()
        assert await fitted.runs() == OLD

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_an_application_in_order_passes_its_self_test(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.self_test()
        await fitted.self_test()
        assert await fitted.runs() == OLD

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_a_staged_activated_and_confirmed_image_runs(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.stage()
        await fitted.activate()
        assert await fitted.runs() == NEW
        await fitted.confirm()
        assert await fitted.runs() == NEW

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_an_activated_image_is_reverted_and_the_old_one_runs(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.stage()
        await fitted.activate()
        await fitted.revert()
        assert await fitted.runs() == OLD

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_a_staged_image_is_reverted_and_the_old_one_runs(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.stage()
        await fitted.revert()
        assert await fitted.runs() == OLD

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_an_image_is_installed_after_it_was_reverted(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.stage()
        await fitted.activate()
        await fitted.revert()
        await fitted.stage()
        await fitted.activate()
        await fitted.confirm()
        assert await fitted.runs() == NEW

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_every_call_may_be_repeated_on_the_way_forward(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        for _ in range(2):
            await fitted.stage()
        assert await fitted.runs() == OLD
        for _ in range(2):
            await fitted.activate()
            assert await fitted.runs() == NEW
        for _ in range(2):
            await fitted.confirm()
            assert await fitted.runs() == NEW
        assert await fitted.inventory() == await fitted.inventory()

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_every_call_may_be_repeated_on_the_way_back(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.revert()  # there is nothing to take back yet
        assert await fitted.runs() == OLD
        await fitted.stage()
        await fitted.activate()
        for _ in range(2):
            await fitted.revert()
            assert await fitted.runs() == OLD

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_activating_what_is_kept_already_changes_nothing(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.stage()
        await fitted.activate()
        await fitted.confirm()
        await fitted.activate()
        assert await fitted.runs() == NEW
        await fitted.confirm()
        assert await fitted.runs() == NEW

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_progress_grows_to_the_total_and_names_the_ecu(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.stage()
        await fitted.activate()
        size = len(fitted.job.image)
        assert {note.ecu for note in fitted.notes} == {KINDS[name].ecu}
        assert all(note.step for note in fitted.notes)
        moved = [note for note in fitted.notes if note.step == "transferring"]
        done = [note.bytes_done for note in moved]
        assert done == sorted(done)
        assert {note.bytes_total for note in moved} == {size}
        assert done[-1] == size
        assert all(0 <= note.bytes_done <= note.bytes_total for note in fitted.notes)
        verified = [note.verified for note in moved if note.verified]
        assert verified == sorted(verified)
        assert all(note.verified <= note.bytes_done for note in moved)

    on(name, use)


@pytest.mark.parametrize("name", STAGED)
def test_an_image_of_which_a_part_is_there_is_gone_on_with(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.stage()
        verified = [note.verified for note in fitted.notes if note.verified]
        assert verified
        del fitted.notes[:]
        await fitted.stage(resume_from=verified[-1])
        first = next(note for note in fitted.notes if note.step == "transferring")
        assert first.bytes_done >= verified[-1]
        await fitted.activate()
        assert await fitted.runs() == NEW

    on(name, use)


@pytest.mark.parametrize("name", STAGED)
def test_a_trial_that_was_taken_back_is_not_confirmed(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.stage()
        await fitted.activate()
        await fitted.revert()
        with pytest.raises(UpdateError) as caught:
            await fitted.confirm()
        assert caught.value.ecu == KINDS[name].ecu
        assert await fitted.runs() == OLD

    on(name, use)


@pytest.mark.parametrize("name", STAGED)
def test_an_image_that_was_never_staged_is_not_activated(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        with pytest.raises(UpdateError) as caught:
            await fitted.activate()
        assert caught.value.ecu == KINDS[name].ecu
        assert caught.value.step
        assert str(caught.value).startswith(f"{caught.value.ecu}: {caught.value.step}: ")
        assert await fitted.runs() == OLD

    on(name, use)


@pytest.mark.parametrize("name", SINGLE_SLOT)
def test_a_single_slot_without_its_present_image_is_not_staged(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        with pytest.raises(UpdateError) as caught:
            await replace(fitted, job=replace(fitted.job, present=None)).stage()
        assert caught.value.ecu == KINDS[name].ecu
        assert await fitted.runs() == OLD

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("afresh", [False, True], ids=["gone on with", "afresh"])
def test_writing_that_was_broken_off_is_brought_to_its_end(
    on: Bench,
    name: str,
    afresh: bool,  # noqa: FBT001 a parameter of the table
) -> None:
    async def use(fitted: Fitted) -> None:
        if not stages(fitted.updater):
            await fitted.stage()
        verified = await fitted.break_off()
        assert 0 < verified < len(fitted.job.image)
        await fitted.write(resume_from=0 if afresh else verified)
        await fitted.activate()
        assert await fitted.runs() == NEW
        await fitted.confirm()
        assert await fitted.runs() == NEW

    on(name, use)


@pytest.mark.parametrize("name", KINDS)
def test_writing_that_was_broken_off_is_taken_back(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.break_off()
        await fitted.revert()
        assert await fitted.runs() == OLD

    on(name, use)


@pytest.mark.parametrize("name", IN_PLACE)
def test_an_ecu_with_nothing_to_run_has_an_inventory_without_versions(on: Bench, name: str) -> None:
    async def use(fitted: Fitted) -> None:
        await fitted.break_off()
        found = await fitted.inventory()
        assert (found.ecu, found.error) == (KINDS[name].ecu, "")
        assert found.hardware_id == VEHICLE.ecus[found.ecu].hardware_id
        assert not found.application_runs
        assert found.supplier_version == ""

    on(name, use)


@pytest.mark.parametrize(
    ("name", "call"),
    # Nothing is asked of an ECU without a trial when it is to keep its image.
    [
        (name, call)
        for name, kind in KINDS.items()
        for call in CALLS
        if call != "confirm" or stages(kind)
    ],
)
def test_an_ecu_that_does_nothing_is_an_update_error_with_its_name(
    on: Bench, name: str, call: str
) -> None:
    async def use(fitted: Fitted) -> None:
        fitted.fail()
        with pytest.raises(UpdateError) as caught:
            await getattr(fitted, call)()
        assert caught.value.ecu == KINDS[name].ecu
        assert caught.value.step
        assert caught.value.cause

    on(name, use)
