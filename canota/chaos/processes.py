"""`kill -9` of real processes in real time: cloud, gateway and ECUs, in the midst of an update.

Three `canota` processes update a car over loopback. At random instants one of them is killed and
started again from its files. In the end the car must be all new or all old, by its flash files.
"""

import asyncio
import random
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import clock
from canota.bench import release_files
from canota.chaos.car import held_by
from canota.chaos.judge import Evidence, Held, Judgement, Recorded, judge
from canota.chaos.seams import Log
from canota.cli.client import Operator
from canota.cli.exits import CommandError
from canota.cli.output import plain
from canota.cli.vehicle import registration
from canota.identities import as_rows
from ecu_sim.vehicle import Vehicle, VehicleOptions
from firmware import dev_keys, image_path
from protocols.firmware.formats import detect

VIN: Final = "WCHAAS00000000000"
#: Which ECUs the release is for: three boot profiles, and quick enough for real time.
ECUS: Final = ("blower", "ptc", "rear")
RELEASES: Final = {1: "1.0.0", 2: "2.0.0"}
#: Seconds between two kills, and until a killed process is started again.
_BETWEEN_S: Final = (0.3, 4.0)
_DEAD_S: Final = (0.0, 1.0)
#: Seconds by the wall clock: for a process to say that it runs, for the update to end after the
#: last kill, and for a process to end when it is told.
_START_S: Final = 60.0
_END_S: Final = 240.0
_STOP_S: Final = 30.0
_ASK_S: Final = 0.5


class KillError(Exception):
    """The processes did not do what they do without any kill; the message says which one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """What was killed, and what was left."""

    #: Process -> how often.
    kills: Mapping[str, int]
    outcome: str
    reason: str
    judgement: Judgement

    @property
    def is_sound(self) -> bool:
        return self.judgement == Judgement()


class Program:
    """One `canota` process, started again as often as it is killed."""

    def __init__(self, name: str, ready: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.kills = 0
        self.lines: list[str] = []
        self._ready = ready
        self.log = log
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it says that it runs; `KillError` if it ends instead."""
        ready = asyncio.Event()
        self.lines = []
        with self.log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "canota", *self.arguments,
                stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._reading = asyncio.create_task(self._read(process, ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait(
            {waiting, self._reading}, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if not ready.is_set():
            await self._stop(signal.SIGKILL)
            raise KillError(f"{self.name} does not run: {self.log.read_text()[-500:]}")

    async def kill(self) -> None:
        """`kill -9`."""
        self.kills += 1
        await self._stop(signal.SIGKILL)

    async def end(self) -> None:
        """Tell it to end."""
        await self._stop(signal.SIGINT)

    def check(self) -> None:
        """`KillError` if it has ended without having been told to."""
        if self._process is not None and self._process.returncode is not None:
            raise KillError(f"{self.name} ended by itself: {self.log.read_text()[-500:]}")

    async def ended(self) -> None:
        """Returns when it has ended by itself; `KillError` if it never does."""
        if self._process is None or self._reading is None:
            return
        try:
            async with asyncio.timeout(_END_S):
                await self._process.wait()
                await self._reading
        except TimeoutError as error:
            await self.kill()
            raise KillError(f"{self.name}: does not come to an end") from error

    async def _stop(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading

    async def _read(self, process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            self.lines.append(text)
            if re.search(self._ready, text):
                ready.set()


def kill_processes(folder: Path, *, kills: int, seed: int, log: Log) -> Killed:
    """An update in real time, in which so many processes are killed. `KillError`."""
    folder.mkdir(parents=True, exist_ok=True)
    identities = clock.run(_identities(folder / "known"), virtual=True)
    rng = random.Random(seed)  # noqa: S311 repeatable, as far as real time is
    killed, outcome, reason, record = clock.run(
        _update(folder, kills, identities, rng, log), virtual=False
    )
    holds = clock.run(_holds(folder / "ecus"), virtual=True)
    evidence = Evidence(
        restless="" if outcome else "the campaign has no end",
        holds=holds,
        # What the boot loaders said, signed, when everything had been started once more.
        runs={ecu: record[ecu].version for ecu in holds},
        outcome=outcome,
        reason=reason,
        record=record,
    )
    return Killed(kills=killed, outcome=outcome, reason=reason, judgement=judge(evidence))


async def _update(
    folder: Path,
    kills: int,
    identities: Sequence[Mapping[str, object]],
    rng: random.Random,
    log: Log,
) -> tuple[dict[str, int], str, str, dict[str, Recorded]]:
    bench = await _Processes.started(folder)
    try:
        await bench.begin(identities)
        for number in range(1, kills + 1):
            bench.keep_busy()
            await asyncio.sleep(rng.uniform(*_BETWEEN_S))
            victim = rng.choice(bench.programs)
            bench.check()
            state = bench.state()
            await victim.kill()
            log(f"{number} of {kills}: {victim.name} killed, {state}")
            await asyncio.sleep(rng.uniform(*_DEAD_S))
            await victim.start()
        outcome, reason = await bench.outcome()
        await bench.once_more()
        record = bench.record()
    finally:
        await bench.end()
    return {one.name: one.kills for one in bench.programs}, outcome, reason, record


class _Processes:
    """Cloud, ECUs and gateway, and an operator's connection."""

    def __init__(self, cloud: Program, ecus: Program, gateway: Program, operator: Operator) -> None:
        self.cloud, self.ecus, self.gateway = cloud, ecus, gateway
        self.programs = (cloud, ecus, gateway)
        self.operator = operator
        self._campaigns = 0

    @classmethod
    async def started(cls, folder: Path) -> "_Processes":
        """All three, each on the ports that it got first."""
        cloud = Program(
            "cloud", "cloud listens on",
            ("cloud", "serve", "--state", str(folder / "cloud"), "--port", "0"),
            folder / "cloud.log",
        )  # fmt: skip
        ecus = Program(
            "ecus", r"\brun\b",
            ("ecus", "serve", VIN, "--state", str(folder / "ecus")),
            folder / "ecus.log",
        )  # fmt: skip
        await cloud.start()
        target = cloud.lines[-1].rpartition(" ")[2]
        cloud.arguments[-1] = target.rpartition(":")[2]
        try:
            await ecus.start()
        except BaseException:
            await cloud.end()
            raise
        wires = [line for line in ecus.lines if "=" in line]
        for wire in wires:
            port = re.findall(r":(\d+)", wire)[-1]
            ecus.arguments += ["--port", f"{wire.partition('=')[0]}={port}"]
        arguments = (
            "gateway", "run", VIN, "--state", str(folder / "gateway"), "--cloud", target,
            "--observe", "1", "--poll", "1",
            *(part for wire in wires for part in ("--wire", wire)),
        )  # fmt: skip
        gateway = Program("gateway", r"\bruns\b", arguments, folder / "gateway.log")
        return cls(cloud, ecus, gateway, Operator(target))

    async def begin(self, identities: Sequence[Mapping[str, object]]) -> None:
        """The cloud knows the car and what it runs; the campaign has started, the gateway too."""
        self.operator.create_vehicle(registration(VIN, "chaos", identities, source="vehicle"))
        for number, version in RELEASES.items():
            files = release_files(version, {}, ECUS)
            self.operator.create_release(f"v{number}", files, version=version)
        await self.check_in()
        self.keep_busy()
        await self.gateway.start()

    def keep_busy(self) -> None:
        """Begin a campaign where none is under way; an updated car has nothing more to do."""
        with suppress(CommandError):  # The cloud is being found again: there is a next time.
            if self._campaigns and self._ended()[0] in ("", "updated"):
                return
            name = f"kill-{self._campaigns + 1}"
            self.operator.create_campaign(name, "v2", [VIN])
            self._campaigns += 1
            self.operator.start_campaign(name)

    def check(self) -> None:
        """`KillError` if a process is gone that nobody killed: that is what a kill can uncover."""
        for program in self.programs:
            program.check()

    def state(self) -> str:
        """For people: whether an update is under way that a kill can hit."""
        try:
            ended = self._ended()[0]
        except CommandError:
            return "cloud not found again yet"
        return f"campaign {self._campaigns} had ended: {ended}" if ended else "update under way"

    def _ended(self) -> tuple[str, str]:
        """Outcome and reason of the newest campaign."""
        found = self.operator.campaign(f"kill-{self._campaigns}").assignments[0]
        return str(plain(found)["outcome"]), found.reason

    async def outcome(self) -> tuple[str, str]:
        """How the campaign ended, and why; empty if it did not, for all the time it got."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                while True:
                    self.check()
                    # A cloud that was killed is found again when its clients have noticed.
                    with suppress(CommandError):
                        if (found := self._ended())[0]:
                            return found
                    await asyncio.sleep(_ASK_S)
        return "", ""

    async def check_in(self) -> None:
        """The gateway tells the cloud once what its ECUs run."""
        once = Program(
            "gateway", r"\bruns\b", (*self.gateway.arguments, "--once"), self.gateway.log
        )
        await once.start()
        await once.ended()

    async def once_more(self) -> None:
        """Everything is started afresh, and the ECUs are asked what they run."""
        await self.gateway.end()
        await self.ecus.end()
        await self.ecus.start()
        await self.check_in()

    def record(self) -> dict[str, Recorded]:
        return {
            ecu.ecu: Recorded(version=ecu.software_version, sha256=ecu.image_sha256)
            for ecu in self.operator.vehicle(VIN).ecus
            if ecu.ecu in ECUS
        }

    async def end(self) -> None:
        self.operator.close()
        for one in (self.gateway, self.ecus, self.cloud):
            await one.end()


async def _holds(folder: Path) -> dict[str, Held]:
    vehicle = _vehicle(folder)
    try:
        return {ecu: held_by(vehicle.nodes[ecu], _images(ecu)) for ecu in ECUS}
    finally:
        await vehicle.stop()


async def _identities(folder: Path) -> list[dict[str, str | int | bool]]:
    vehicle = _vehicle(folder)
    try:
        return as_rows(vehicle.identities())
    finally:
        await vehicle.stop()


def _vehicle(folder: Path) -> Vehicle:
    """The car whose files lie there, for a look at it: it is never switched on."""
    keys = dev_keys()
    return Vehicle(
        VehicleOptions(
            vin=VIN,
            state_directory=folder,
            image_public_keys=(keys.image_public_key,),
            diagnostics_master=keys.diagnostics_master,
            boot_mac_master=keys.boot_mac_master,
        )
    )


def _images(ecu: str) -> dict[int, bytes]:
    paths = {number: image_path(ecu, version) for number, version in RELEASES.items()}
    return {
        number: detect(path.name, content).decode(content).data
        for number, path in paths.items()
        for content in [path.read_bytes()]
    }
