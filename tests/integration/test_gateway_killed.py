"""The gateway is killed at every entry of its journal, against the ECUs' real protocols."""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import clock
import firmware
from dbc.vehicle import describe_vehicle
from protocols.firmware.formats import Image, intel_hex
from protocols.fleet.v1 import campaigns_pb2
from tests.support.ecu import application, crc_image, signed_image
from tests.support.gateway_fleet import Fleet, car, cloud_in
from tests.support.killing import Lifeline
from vehicle_gateway.app import Gateway
from vehicle_gateway.outbox import Outbox
from vehicle_gateway.update.journal import Journal, Kind
from vehicle_gateway.update.vehicle import Phase

ECUS = ("ccu", "blower")
#: Three sectors of `ccu`, two of `blower`: enough to resume in the middle.
_PADDING = {"ccu": 18_000, "blower": 5_000}
_HARDWARE = {name: ecu.hardware_id for name, ecu in describe_vehicle().ecus.items()}


def _padded(size: int) -> bytes:
    """An application with a custom section of random bytes."""
    name = b"\x03pad"
    content = name + random.Random(size).randbytes(size)  # noqa: S311 repeats
    length = len(content)
    leb128 = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])
    return application() + b"\x00" + leb128 + content


def _image(ecu: str, version: int) -> bytes:
    payload = _padded(_PADDING[ecu] + version)
    if ecu == "blower":
        return crc_image(payload, version=(version, 0, 0))
    pem = (firmware.KEYS / "image-signing.dev-only.pem").read_bytes()
    key = load_pem_private_key(pem, None)
    assert isinstance(key, Ed25519PrivateKey)
    return signed_image(
        payload,
        version=(version, 0, 0),
        hardware_id=_HARDWARE[ecu],
        security_counter=version,
        key=key,
    )


def _file(ecu: str, content: bytes, version: int) -> tuple[str, str, bytes]:
    image = Image(address=describe_vehicle().ecus[ecu].application_base, data=content)
    return _HARDWARE[ecu], f"{ecu}-{version}.hex", intel_hex.FORMAT.encode(image)


OLD = {ecu: _image(ecu, 1) for ecu in ECUS}
NEW = {ecu: _image(ecu, 2) for ecu in ECUS}
#: A sound container around something that does not run.
UNFIT = {**NEW, "blower": crc_image(b"no module", version=(2, 0, 0))}


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    outcome: int
    #: What runs, by the ECUs themselves, and by the cloud's record.
    runs: Mapping[str, str]
    recorded: Mapping[str, str]
    #: Entries of the finished journal.
    kinds: tuple[Kind, ...]
    duration_s: float


async def _end(fleet: Fleet, campaign: str, state: Path, began_s: float) -> End:
    runs = {}
    for ecu, node in fleet.vehicle.nodes.items():
        await node.booted()
        program = node.program
        declared = program.application.declared if program and program.application else None
        runs[ecu] = declared.software_version if declared else node.reason
    (finished,) = (state / "updates").iterdir()
    with Journal(finished) as journal:
        kinds = tuple(entry.kind for entry in journal.entries)
    assert (state / "journal.jsonl").read_bytes() == b""
    assert Outbox(state / "outbox").waiting() == ()
    return End(
        outcome=fleet.assignment(campaign).outcome,
        runs=runs,
        recorded=fleet.versions(),
        kinds=kinds,
        duration_s=asyncio.get_running_loop().time() - began_s,
    )


def _update(
    folder: Path, images: Mapping[str, bytes], *, entries: int = 10_000, entries_lost: int = 0
) -> End:
    """One update whose gateway is killed and started again; without `entries`, it is not."""

    async def walk() -> End:
        with cloud_in(folder) as cloud:
            async with car(folder, ECUS, cloud, images=OLD) as fleet:
                options = fleet.options(observe_s=1.0)
                lifeline = Lifeline(
                    links=fleet.links(),
                    state=options.state_directory,
                    remains=folder / "remains",
                    entries=entries,
                    entries_lost=entries_lost,
                )
                fleet.register()
                fleet.publish("1.0.0", [_file(ecu, OLD[ecu], 1) for ecu in ECUS])
                fleet.publish("2.0.0", [_file(ecu, images[ecu], 2) for ecu in ECUS])
                began_s = asyncio.get_running_loop().time()

                def look(_: Phase) -> None:
                    lifeline.look()  # No frame follows the last entries, but this phase does.

                async with Gateway(options, lifeline, on_phase=look) as gateway:
                    assert await gateway.run_once() is None
                    campaign = fleet.start_campaign("2.0.0")
                    updating = asyncio.create_task(gateway.run_once())
                    dying = asyncio.create_task(lifeline.died.wait())
                    await asyncio.wait({updating, dying}, return_when=asyncio.FIRST_COMPLETED)
                    killed = lifeline.died.is_set()
                    for task in (updating, dying) if killed else (dying,):
                        task.cancel()
                        with suppress(asyncio.CancelledError):
                            await task
                    if not killed:
                        await updating
                        return await _end(fleet, campaign, options.state_directory, began_s)
                again = fleet.options(observe_s=1.0, state_directory=lifeline.remains)
                async with Gateway(again, fleet.links()) as gateway:
                    await gateway.run_once()
                    assert await gateway.run_once() is None
                return await _end(fleet, campaign, lifeline.remains, began_s)

    return clock.run(walk(), virtual=True)


def _moments(first: int, last: int) -> list[tuple[int, int]]:
    """(entries, entries lost): before and after each entry's effect."""
    return [
        (entries, lost)
        for entries in range(first, last + 1)
        for lost in (0, 1)
        if entries > lost  # Without the first entry nothing has begun.
    ]


def test_a_gateway_killed_at_any_entry_of_its_journal_goes_on_to_the_same_end(
    tmp_path: Path,
) -> None:
    whole = _update(tmp_path / "whole", NEW)
    new = dict.fromkeys(ECUS, "2.0.0")
    assert (whole.outcome, whole.runs) == (campaigns_pb2.OUTCOME_UPDATED, new)
    assert {Kind.VERIFIED, Kind.COMMIT, Kind.FINISHED} <= set(whole.kinds)
    for entries, lost in _moments(1, len(whole.kinds)):
        kind = whole.kinds[entries - 1 - lost]
        end = _update(tmp_path / f"{entries}-{lost}", NEW, entries=entries, entries_lost=lost)
        assert end.outcome == campaigns_pb2.OUTCOME_UPDATED, (entries, lost, kind)
        assert end.runs == end.recorded == new, (entries, lost, kind)
        assert end.kinds.count(Kind.COMMIT) == 1, (entries, lost, kind)
        assert end.duration_s < 2 * whole.duration_s, (entries, lost, kind)
        if kind is Kind.VERIFIED:
            # What is verified is not sent again: nothing is begun anew.
            assert end.kinds.count(Kind.STAGING) == whole.kinds.count(Kind.STAGING), entries


def test_a_gateway_killed_on_its_way_back_brings_everything_back(tmp_path: Path) -> None:
    whole = _update(tmp_path / "whole", UNFIT)
    old = dict.fromkeys(ECUS, "1.0.0")
    assert (whole.outcome, whole.runs) == (campaigns_pb2.OUTCOME_ROLLED_BACK, old)
    for entries, lost in _moments(whole.kinds.index(Kind.FAILED) + 1, len(whole.kinds)):
        end = _update(tmp_path / f"{entries}-{lost}", UNFIT, entries=entries, entries_lost=lost)
        assert end.outcome == campaigns_pb2.OUTCOME_ROLLED_BACK, (entries, lost)
        assert end.runs == end.recorded == old, (entries, lost)
