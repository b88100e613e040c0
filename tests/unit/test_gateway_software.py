"""The gateway's own software: the record's table, slots that are whole or not there, packages."""

import hashlib
import io
import itertools
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import clock
from protocols.firmware.containers import mcuboot
from protocols.uds import slot_digest
from tests.support.ecu import FOREIGN_KEY, IMAGE_KEY, signed_image
from vehicle_gateway.software import HARDWARE_ID, SoftwareError
from vehicle_gateway.software.launcher import Launcher
from vehicle_gateway.software.record import (
    MAX_TRIAL_STARTS,
    TRANSITIONS,
    SlotRecord,
    State,
    Trigger,
)
from vehicle_gateway.software.running import RunningSoftware, SoftwareIdentity
from vehicle_gateway.software.slots import Package, SoftwareSlots
from vehicle_gateway.software.unpack import unpack
from vehicle_gateway.software.updater import SoftwareUpdater
from vehicle_gateway.update import GATEWAY, Progress, UpdateError, UpdateJob

KEYS = {mcuboot.key_hash(IMAGE_KEY.public_key()): IMAGE_KEY.public_key()}
NONCE = bytes(range(16))


def archive(files: dict[str, bytes] | None = None) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, content in (files or {"gateway.py": b"print(1)\n"}).items():
            opened.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


def package(
    version: int, *, counter: int | None = None, key: Ed25519PrivateKey = IMAGE_KEY
) -> bytes:
    return signed_image(
        archive(),
        version=(version, 0, 0),
        hardware_id=HARDWARE_ID,
        security_counter=version if counter is None else counter,
        key=key,
    )


OLD, NEW = package(1), package(2)


def provisioned(folder: Path) -> SoftwareSlots:
    slots = SoftwareSlots(folder, KEYS)
    slots.provision(OLD)
    return slots


def version_started(folder: Path) -> str:
    """What a launcher starts now, from what is on disk alone."""
    return SoftwareSlots(folder, KEYS).start().declared.software_version


def test_every_state_and_trigger_is_decided() -> None:
    assert TRANSITIONS.keys() == set(itertools.product(State, Trigger))


@pytest.mark.parametrize("state", State)
def test_a_record_comes_back_as_it_was_written(state: State) -> None:
    record = SlotRecord(slot=1, state=state, starts=2, security_counter=7)
    assert SlotRecord.decode(record.encode()) == record


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"slot": 2}', b"\xff", b'{"slot":true,"state":"trial"}']
)
def test_a_damaged_record_is_told_with_its_file(tmp_path: Path, content: bytes) -> None:
    slots = provisioned(tmp_path)
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(SoftwareError, match=r"record\.json"):
        slots.start()


def test_a_trial_is_kept_by_its_confirmation_which_raises_the_security_counter(
    tmp_path: Path,
) -> None:
    slots = provisioned(tmp_path)
    slots.stage(NEW)
    assert version_started(tmp_path) == "1.0.0"
    slots.activate()
    running = SoftwareSlots(tmp_path, KEYS).start()
    assert running.declared.software_version == "2.0.0"
    assert slots.record.security_counter == 1
    slots.confirm(running.slot)
    assert slots.record.security_counter == 2
    assert version_started(tmp_path) == "2.0.0"
    with pytest.raises(SoftwareError, match="security counter 1 is below 2"):
        slots.stage(OLD)


def test_a_trial_that_nobody_confirms_goes_back_after_its_starts(tmp_path: Path) -> None:
    slots = provisioned(tmp_path)
    slots.stage(NEW)
    slots.activate()
    started = [version_started(tmp_path) for _ in range(MAX_TRIAL_STARTS + 2)]
    assert started == ["2.0.0"] * MAX_TRIAL_STARTS + ["1.0.0"] * 2
    with pytest.raises(SoftwareError, match="ACTIVATE in state reverted"):
        slots.activate()
    slots.stage(NEW)
    slots.activate()
    assert version_started(tmp_path) == "2.0.0"


def test_a_trial_whose_package_has_changed_is_not_started(tmp_path: Path) -> None:
    slots = provisioned(tmp_path)
    slots.stage(NEW)
    slots.activate()
    slots.path(1).write_bytes(NEW[:-1] + bytes([NEW[-1] ^ 1]))
    assert version_started(tmp_path) == "1.0.0"
    assert slots.record.state is State.REVERTED


@pytest.mark.parametrize(
    ("image", "cause"),
    [
        (package(2, key=FOREIGN_KEY), "unknown key"),
        (signed_image(archive(), hardware_id="CCU-2"), "is for CCU-2"),
        (package(2, counter=0), "security counter 0 is below 1"),
        (NEW[:-1], "MCUboot"),
        (b"PK\3\4", "MCUboot"),
    ],
)
def test_a_package_that_may_not_run_is_not_staged(tmp_path: Path, image: bytes, cause: str) -> None:
    slots = provisioned(tmp_path)
    with pytest.raises(SoftwareError, match=cause):
        slots.stage(image)
    assert version_started(tmp_path) == "1.0.0"


class CutError(Exception):
    """The power went."""


def test_power_loss_at_any_file_operation_leaves_a_gateway_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename and every write of an update, lost before and after."""

    def update(folder: Path) -> None:
        slots = SoftwareSlots(folder, KEYS)
        slots.start()
        slots.stage(NEW)
        slots.activate()
        running = slots.start()
        slots.confirm(running.slot)

    replace = Path.replace
    seen = 0
    budget = (10_000, False)

    def counted(path: Path, target: Path) -> Path:
        nonlocal seen
        seen += 1
        operations, after = budget
        if seen > operations:
            if after:
                replace(path, target)
            raise CutError
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", counted)
    provisioned(tmp_path / "whole")
    before = seen
    update(tmp_path / "whole")
    writes = seen - before
    assert writes == 4  # package, request, trial, confirm
    for cut, after in itertools.product(range(writes), (False, True)):
        folder = tmp_path / f"{cut}-{after}"
        budget = (10_000, False)
        provisioned(folder)
        seen, budget = 0, (cut, after)
        with pytest.raises(CutError):
            update(folder)
        budget = (10_000, False)
        seen = 0
        assert version_started(folder) in {"1.0.0", "2.0.0"}


@pytest.mark.parametrize(
    "name", ["../x.py", "/etc/x", "a/../../x", "a\\b.py", "", "a//b.py", "./a.py", "folder/"]
)
def test_a_package_cannot_write_outside_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(SoftwareError, match="package"):
        unpack(archive({name: b"x"} if name else {"a.py": b"", "": b"x"}), tmp_path / "slot")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_package_that_unpacks_without_end_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vehicle_gateway.software.unpack.UNPACKED_LIMIT", 1000)
    with pytest.raises(SoftwareError, match="1001 bytes"):
        unpack(archive({"a.py": bytes(1001)}), tmp_path / "slot")
    assert not (tmp_path / "slot").exists()


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_package_that_is_damaged_anywhere_is_refused_as_one(
    tmp_path: Path, compression: int
) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as opened:
        opened.writestr(zipfile.ZipInfo("a.py"), b"print(1)\n" * 9, compress_type=compression)
    whole = made.getvalue()
    refused = 0
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        try:
            unpack(damaged, tmp_path / "slot")
        except SoftwareError:
            refused += 1
    assert refused > len(whole) / 2


def test_a_gateway_that_gets_the_date_while_it_runs_does_not_hang(tmp_path: Path) -> None:
    starts: list[Package] = []

    def command(package: Package) -> list[str]:
        assert not starts, "it was killed"
        starts.append(package)
        sign_of_life = f"os.utime({str(tmp_path / 'alive')!r}, (1, 1))"  # of 1970
        return ["-c", f"import os, sys, time; {sign_of_life}; time.sleep(1); sys.exit(3)"]

    assert Launcher(provisioned(tmp_path), command, watchdog_s=60.0).run() == 3


def test_what_was_unpacked_before_is_gone(tmp_path: Path) -> None:
    unpack(archive({"old.py": b"1"}), tmp_path / "slot")
    unpack(archive({"package/new.py": b"2"}), tmp_path / "slot")
    found = sorted(path.name for path in (tmp_path / "slot").rglob("*") if path.is_file())
    assert found == ["new.py"]


class OneGateway:
    """A gateway's software as its launcher would start it again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = SoftwareIdentity(
            serial_number="TGW-0001", key=Ed25519PrivateKey.from_private_bytes(bytes(32))
        )
        self.identity.store(folder)
        provisioned(folder)
        self.restarts = 0
        self.cloud_answers = True
        self.check_ins = 0

    def started(self) -> SoftwareUpdater:
        slot = SoftwareSlots(self.folder, KEYS).start().slot
        software = RunningSoftware.of(self.folder, slot, KEYS)

        def restart() -> None:
            self.restarts += 1
            raise CutError

        async def check_in() -> None:
            self.check_ins += 1
            if not self.cloud_answers:
                raise UpdateError(ecu=GATEWAY, step="checking in", cause="unreachable")

        return SoftwareUpdater(software, restart=restart, check_in=check_in)


def job(updater: SoftwareUpdater) -> UpdateJob:
    before = clock.run(updater.inventory(NONCE), virtual=True).read_back
    assert before is not None
    return UpdateJob(
        ecu=GATEWAY,
        image=NEW,
        address=0,
        image_sha256=hashlib.sha256(NEW).digest(),
        version="2.0.0",
        nonce=NONCE,
        before_sha256=before.image_sha256,
    )


def unseen(_progress: Progress) -> None:
    """Nobody watches."""


def on_trial(gateway: OneGateway) -> tuple[SoftwareUpdater, UpdateJob]:
    first = gateway.started()
    wanted = job(first)
    clock.run(first.stage(wanted, resume_from=0, progress=unseen), virtual=True)
    with pytest.raises(CutError):
        clock.run(first.activate(wanted, resume_from=0, progress=unseen), virtual=True)
    return gateway.started(), wanted


def test_the_new_software_says_so_itself_and_is_kept_after_its_own_check_in(tmp_path: Path) -> None:
    gateway = OneGateway(tmp_path)
    second, wanted = on_trial(gateway)
    found = clock.run(second.inventory(NONCE), virtual=True)
    assert found.read_back is not None
    assert (found.software_version, found.read_back.image_sha256) == ("2.0.0", wanted.image_sha256)
    assert slot_digest.verify(
        bytes.fromhex(gateway.identity.registration()["public_key"]),
        found.read_back.signature,
        hardware_id=HARDWARE_ID,
        serial="TGW-0001",
        nonce=NONCE,
        sha256=wanted.image_sha256,
    )
    # Asked again after a restart: nothing is to be done, and no restart is asked for.
    clock.run(second.activate(wanted, resume_from=0, progress=unseen), virtual=True)
    clock.run(second.confirm(wanted), virtual=True)
    assert (gateway.check_ins, gateway.restarts) == (1, 1)
    clock.run(gateway.started().confirm(wanted), virtual=True)


def test_software_that_cannot_check_in_is_not_kept(tmp_path: Path) -> None:
    gateway = OneGateway(tmp_path)
    second, wanted = on_trial(gateway)
    gateway.cloud_answers = False
    with pytest.raises(UpdateError, match="unreachable"):
        clock.run(second.self_test(wanted), virtual=True)
    with pytest.raises(UpdateError, match="unreachable"):
        clock.run(second.confirm(wanted), virtual=True)
    with pytest.raises(CutError):
        clock.run(second.revert(wanted, progress=unseen), virtual=True)
    first = gateway.started()
    clock.run(first.revert(wanted, progress=unseen), virtual=True)
    assert (clock.run(first.inventory(NONCE), virtual=True)).software_version == "1.0.0"
    with pytest.raises(UpdateError, match="does not run"):
        clock.run(first.confirm(wanted), virtual=True)


def test_a_trial_that_went_back_by_itself_is_told_and_not_tried_for_ever(tmp_path: Path) -> None:
    gateway = OneGateway(tmp_path)
    _, wanted = on_trial(gateway)
    for _ in range(MAX_TRIAL_STARTS):
        last = gateway.started()
    with pytest.raises(UpdateError, match="the trial of the new software failed"):
        clock.run(last.activate(wanted, resume_from=0, progress=unseen), virtual=True)
    assert gateway.restarts == 1
