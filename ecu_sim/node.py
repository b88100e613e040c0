"""One ECU: powered or not, booting, in its application or in its boot loader.

The node is the hardware. Every reset throws the program away and makes a new one from flash and
NVM alone; in RAM that outlives a reset (and not the power) only the watchdog's count and the
tester that waits for the boot loader are kept.
"""

import asyncio
import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Final

from clock import Timer
from ecu_sim.boot import Application, Decision, ResetReason, StayInBootloader, boot_profile
from ecu_sim.diagnostics.doip import DoipNode
from ecu_sim.ecus import CanAddress
from ecu_sim.faults import boots
from ecu_sim.faults.cells import Area
from ecu_sim.faults.ecu import EcuFaults, Traits
from ecu_sim.logical_blocks import LogicalBlocks
from ecu_sim.memory import MemoryFaultError, Nvm, PowerLossError, TwoCopyRecord
from ecu_sim.memory.flash import finish
from ecu_sim.network import NetworkNode, WakeUp
from ecu_sim.program import Hardware, Hooks, Program
from ecu_sim.runtime import InvalidModule, WatchdogReset
from ecu_sim.transport import Addresses, IsoTpBinding
from protocols.can import CanPort, FrameHeader
from protocols.doip.entity import DoipEntity, EntitySettings, Request
from protocols.isotp.codec import pad
from protocols.network_management import node_of
from protocols.stream import ByteStream

#: Watchdog resets in a row after which a boot loader stops trying.
MAX_WATCHDOG_RESETS: Final = 3


class Mode(Enum):
    OFF = "off"
    BOOTING = "booting"
    APPLICATION = "application"
    BOOTLOADER = "boot loader"
    #: The wire sleeps, and the ECU with it: the next frame boots it.
    ASLEEP = "asleep"


class EcuNode:
    """One ECU on its wire."""

    def __init__(self, hardware: Hardware, *, nvm_address: int, nvm_size: int) -> None:
        self.ecu = hardware.ecu
        self.faults = EcuFaults(_traits(hardware), self)
        self.faults.boots.changed = self._look_at_boots
        self.hardware = replace(hardware, port=self.faults.port)
        self.mode = Mode.OFF
        #: Why the boot loader did not start an application; "" while one runs.
        self.reason = ""
        #: Boots since the node was made, and those that a watchdog reset caused.
        self.boots = 0
        self.watchdog_resets = 0
        #: The program that runs; None while off or booting.
        self.program: Program | None = None
        #: Called at each change of `mode`.
        self.on_mode: list[Callable[[Mode], None]] = []
        self._nvm_place = (nvm_address, nvm_size)
        self._loop = asyncio.get_running_loop()
        self._boot_timer: asyncio.TimerHandle | None = None
        self._watchdogs_in_a_row = 0
        #: A boot that a fault keeps from happening, and the watchdog that a fault lets bite.
        self._hanging: tuple[ResetReason, int | None] | None = None
        self._bite = Timer(self._loop, self._bitten)
        self._supply_back: asyncio.TimerHandle | None = None
        self._booted = asyncio.Event()
        #: The DoIP door of an ECU on Ethernet while it is awake; it listens to the vehicle's
        #: sockets and wires through `serve_stream` and `answer_datagram`.
        self._doip: DoipNode | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._network: NetworkNode | None = None
        self._wake_up: WakeUp | None = None
        #: What the program around changes in the settings of the DoIP entity, at every boot.
        self.adapt_entity: Callable[[EntitySettings], EntitySettings] = lambda settings: settings
        #: Where vehicle announcements go.
        self.announce: Callable[[bytes], None] | None = None

    def power_on(self) -> None:
        """Silent for the boot time, then application or boot loader."""
        if self.mode is not Mode.OFF:
            return
        self._watchdogs_in_a_row = 0
        self._begin_boot(ResetReason.POWER_ON, None)

    def power_off(self) -> None:
        """Key off: the ECU writes what it has to keep, and goes."""
        self._keep_dtcs()
        self.kill()

    def kill(self) -> None:
        """The supply is gone at once: only flash and NVM remain, as they are."""
        self._stop_program()
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        if self._boot_timer is not None:
            self._boot_timer.cancel()
            self._boot_timer = None
        if self._supply_back is not None:
            self._supply_back.cancel()
            self._supply_back = None
        self._hanging = None
        self._set_mode(Mode.OFF)

    def lose_power(self, off_s: float) -> None:
        """The supply is gone for so many seconds, from the end of what is under way on."""
        self._loop.call_soon(self._interrupt_power, off_s)

    def _interrupt_power(self, off_s: float) -> None:
        self.kill()
        self._supply_back = self._loop.call_later(off_s, self.power_on)

    def reset_by_fault(self) -> None:
        """Nobody has asked for it: nothing is written first."""
        self._restart(ResetReason.SOFTWARE, None)

    def hang_up(self) -> None:
        """Close every tester's connection (DoIP); who connects again is served."""
        if self._doip is not None:
            self._doip.hang_up()

    @property
    def sleeps(self) -> bool:
        """Whether it has network management, and sleeps with its wire."""
        return self.hardware.port is not None

    def watch_mode(self, watch: Callable[[str], None]) -> Callable[[], None]:
        """Call back with the name of each new mode; returns what ends that."""

        def changed(mode: Mode) -> None:
            watch(mode.value)

        self.on_mode.append(changed)
        return lambda: self.on_mode.remove(changed)

    def fall_asleep(self) -> None:
        """As if nobody needed the wire any more: off until the next frame on it."""
        self._fall_asleep()

    def reset(self, reason: ResetReason, tester: int | None = None) -> None:
        """Begin anew, as after 11 01, a watchdog, or 10 02 (`tester` awaits the boot loader)."""
        if reason is not ResetReason.WATCHDOG:
            self._keep_dtcs()  # a reset that is asked for is prepared; the watchdog just bites
        self._restart(reason, tester)

    def _restart(self, reason: ResetReason, tester: int | None) -> None:
        if self.mode in (Mode.OFF, Mode.ASLEEP):
            return
        if reason is ResetReason.WATCHDOG:
            self.watchdog_resets += 1
            self._watchdogs_in_a_row += 1
        else:
            # Somebody has a hand in it: what was programmed meanwhile gets its chance.
            self._watchdogs_in_a_row = 0
        self._stop_program()
        self._begin_boot(reason, tester)

    async def booted(self) -> None:
        """Wait until application or boot loader runs."""
        await self._booted.wait()

    def attach_stream(self, stream: ByteStream) -> None:
        """A new DoIP connection; `ConnectionRefusedError` while nobody listens."""
        if self._doip is None:
            raise ConnectionRefusedError(f"{self.ecu.name}: nobody listens ({self.mode.value})")
        self._doip.attach(stream)

    async def serve_stream(self, stream: ByteStream) -> None:
        """The same for a socket, until it is over; closed at once while nobody listens."""
        if self._doip is None:
            await stream.close()
        else:
            await self._doip.serve(stream)

    def announce_vehicle(self) -> None:
        """Begin the announcements of an awake DoIP ECU: it has booted, or its network is there."""
        if self._doip is not None:
            # ISO 13400-2 A_DoIP_Announce_Wait: 0 to 500 ms, at random.
            wait_s = int.from_bytes(self.hardware.random_bytes(2)) / 0xFFFF * 0.5
            self._doip.start(announce_wait_s=wait_s)

    def _send_announcement(self, data: bytes) -> None:
        if self.announce is not None:
            self.announce(data)

    def answer_datagram(self, data: bytes) -> list[bytes]:
        return [] if self._doip is None else self._doip.receive_datagram(data)

    async def closed(self) -> None:
        """Wait until connections of ended programs are closed."""
        await asyncio.gather(*self._closing)

    def provision(self, image: bytes) -> None:
        """Factory programming of slot 0 straight into the flash; the ECU must be off."""
        if self.mode is not Mode.OFF:
            raise RuntimeError(f"{self.ecu.name}: provisioning needs the ECU switched off")
        memory = self.hardware.memory
        if not 0 < len(image) <= memory.slot_size:
            raise ValueError(
                f"{self.ecu.name}: an image of {len(image)} bytes does not fit"
                f" a slot of {memory.slot_size} bytes"
            )
        sector = memory.flash.geometry.sector_size
        finish(memory.flash.erase(0, -(-len(image) // sector) * sector))
        finish(memory.flash.program(0, image))
        profile = boot_profile(self.ecu.boot_profile)
        finish(memory.record.write(profile.factory_record(image, self.hardware.trust)))

    def _begin_boot(self, reason: ResetReason, tester: int | None) -> None:
        self._set_mode(Mode.BOOTING)
        self.boots += 1
        if self._boot_timer is not None:
            self._boot_timer.cancel()
            self._boot_timer = None
        if self.faults.boots.hangs():
            self._hanging = (reason, tester)
            return
        self._hanging = None
        boot_s = self.ecu.boot_s + self.faults.boots.extra_s()
        self._boot_timer = self._loop.call_later(boot_s, self._boot, self._booting(reason), tester)

    def _look_at_boots(self) -> None:
        """A fault of boots has begun or ended."""
        if self._hanging is not None and self.mode is Mode.BOOTING:
            self._begin_boot(*self._hanging)
        self._arm_watchdog()

    def _arm_watchdog(self) -> None:
        after_s = self.faults.boots.watchdog_s
        if after_s is None or self.mode is not Mode.APPLICATION:
            self._bite.cancel()
        elif self._bite.deadline is None:
            self._bite.set(self._loop.time() + after_s)

    def _bitten(self) -> None:
        self.faults.boots.bitten()
        self.reset(ResetReason.WATCHDOG)

    def _boot(self, booting: Generator[float, None, Program], tester: int | None) -> None:
        """One memory operation of a boot after the other, each in its time."""
        self._boot_timer = None
        try:
            seconds = next(booting)
        except StopIteration as end:
            self._run(end.value, tester)
        except PowerLossError as error:
            self._power_lost(error)
        else:
            self._boot_timer = self._loop.call_later(seconds, self._boot, booting, tester)

    def _booting(self, reason: ResetReason) -> Generator[float, None, Program]:
        hardware = self.hardware
        profile = boot_profile(self.ecu.boot_profile)
        boot = profile.open(hardware.memory, hardware.trust)
        try:
            decision = yield from boot.boot(reason)
        except MemoryFaultError as error:
            boot = profile.open(hardware.memory, hardware.trust)
            decision = StayInBootloader(str(error))
        address, size = self._nvm_place
        nvm = Nvm(TwoCopyRecord(hardware.data_flash, address=address, copy_size=size))
        if hindrance := self._hindrance(decision, nvm):
            boot = profile.open(hardware.memory, hardware.trust)
            yield from boot.boot(ResetReason.PROGRAMMING)
            decision = StayInBootloader(hindrance)
        program = Program(
            hardware,
            boot,
            nvm,
            decision,
            Hooks(reset=self.reset, power_lost=self._power_lost, settled=self._settled),
            self.faults.dialogue,
        )
        if reason is ResetReason.POWER_ON:
            program.dtcs.start_operation_cycle()
        return program

    def _hindrance(self, decision: Decision, nvm: Nvm) -> str:
        """Why no application is started, whatever the profile has decided; "": nothing is."""
        if self._watchdogs_in_a_row >= MAX_WATCHDOG_RESETS:
            return f"the watchdog has bitten {self._watchdogs_in_a_row} times in a row"
        if not isinstance(decision, Application):
            return ""
        if self.faults.boots.keeps_application_out():
            return "a fault keeps the application out"
        return LogicalBlocks(self.ecu, self.hardware.memory, nvm).hindrance(decision.declared)

    def _run(self, program: Program, tester: int | None) -> None:
        self.program = program
        try:
            program.start()
        except (InvalidModule, WatchdogReset) as error:
            self.reason = f"the application does not start: {error}"
            self.reset(ResetReason.WATCHDOG)
            return
        if self.hardware.port is not None:
            self._bind(program, self.hardware.port)
            self._join_network(program, self.hardware.port)
        else:
            self._open_doip(program)
        runs = isinstance(program.decision, Application)
        if isinstance(program.decision, StayInBootloader):
            self.reason = program.decision.reason
        else:
            self.reason = ""
        self._set_mode(Mode.APPLICATION if runs else Mode.BOOTLOADER)
        self._arm_watchdog()
        if tester is not None:
            program.resume_programming(tester)

    def _bind(self, program: Program, port: CanPort) -> None:
        """ISO-TP on each physical address; functional requests are answered on the first."""
        for address in self.ecu.can_addresses:
            program.attach(address.request_id, self._binding(program, port, address))
            if address.periodic_id is not None:
                header = self._header(address.periodic_id, extended=address.extended)
                program.attach_unsegmented(address.request_id, partial(_send_frame, port, header))
        functional = self.hardware.functional
        if functional is not None and self.ecu.can_addresses:
            first = self.ecu.can_addresses[0]
            program.attach_listener(
                IsoTpBinding(
                    port,
                    Addresses(request=functional, response=self._response(first)),
                    replace(self.ecu.isotp, functional=True),
                    partial(program.request, source=first.request_id, functional=True),
                )
            )

    def _join_network(self, program: Program, port: CanPort) -> None:
        network = NetworkNode(
            port,
            node=node_of(self.ecu.logical_address),
            wanted=program.wants_network,
            may_speak=lambda: program.device.network_management_enabled,
            asleep=self._fall_asleep,
        )
        self._network = network
        program.may_communicate = lambda: network.communicating
        network.start()

    def _fall_asleep(self) -> None:
        """Nobody needs the wire: everything ends as if the key were off, until a frame comes."""
        self._keep_dtcs()
        if self.mode is Mode.OFF or self.hardware.port is None:
            return
        self._stop_program()
        self._set_mode(Mode.ASLEEP)
        self._wake_up = WakeUp(self.hardware.port, self._wake)

    def _wake(self) -> None:
        self._wake_up = None
        self._begin_boot(ResetReason.POWER_ON, None)

    def _open_doip(self, program: Program) -> None:
        hardware = self.hardware
        digest = hashlib.sha256(hardware.identity.serial.encode()).digest()
        settings = EntitySettings(
            vin=hardware.identity.vin,
            logical_address=self.ecu.logical_address,
            # A locally administered address, as MAC addresses without a vendor are.
            eid=b"\x02" + digest[:5],
            gid=b"\x02" + hashlib.sha256(hardware.identity.vin.encode()).digest()[:5],
            functional_addresses=frozenset((hardware.functional_address,)),
            max_request=self.ecu.max_block_length,
            edition=self.ecu.editions.doip,
        )

        def request(asked: Request) -> None:
            doip.delivered(asked)  # there is no network behind this entity
            program.request(asked.payload, source=asked.source, functional=asked.functional)

        entity = DoipEntity(self.adapt_entity(settings))
        doip = DoipNode(entity, request, announce=self._send_announcement)
        self._doip = doip
        program.attach_router(doip)
        self.announce_vehicle()

    def _binding(self, program: Program, port: CanPort, address: CanAddress) -> IsoTpBinding:
        fd = self._fd
        return IsoTpBinding(
            port,
            Addresses(
                request=FrameHeader(
                    address.request_id, extended=address.extended, fd=fd, bit_rate_switch=fd
                ),
                response=self._response(address),
            ),
            replace(
                self.ecu.isotp,
                tx_data_length=64 if fd else 8,
                max_message_length=self.ecu.max_block_length,
                tx_address_extension=address.response_extension,
                rx_address_extension=address.request_extension,
                edition=self.ecu.editions.isotp,
            ),
            partial(program.request, source=address.request_id, functional=False),
            began=partial(program.reception_began, address.request_id),
            failed=partial(program.reception_failed, address.request_id),
        )

    def _response(self, address: CanAddress) -> FrameHeader:
        return self._header(address.response_id, extended=address.extended)

    def _header(self, identifier: int, *, extended: bool) -> FrameHeader:
        return FrameHeader(identifier, extended=extended, fd=self._fd, bit_rate_switch=self._fd)

    @property
    def _fd(self) -> bool:
        functional = self.hardware.functional
        return functional is not None and functional.fd

    def _keep_dtcs(self) -> None:
        if self.program is None:
            return
        try:
            self.program.keep_dtcs()
        except PowerLossError as error:
            self._power_lost(error)

    def _settled(self) -> None:
        self._watchdogs_in_a_row = 0

    def _power_lost(self, error: PowerLossError) -> None:
        self.kill()
        self.reason = str(error)

    def _stop_program(self) -> None:
        self._bite.cancel()
        doip, self._doip = self._doip, None
        if doip is not None:
            closing = self._loop.create_task(doip.stop())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        network, self._network = self._network, None
        if network is not None:
            network.stop()
        program, self.program = self.program, None
        if program is not None:
            program.stop()

    def _set_mode(self, mode: Mode) -> None:
        self.mode = mode
        if mode in (Mode.APPLICATION, Mode.BOOTLOADER):
            self._booted.set()
        else:
            self._booted.clear()
        for callback in tuple(self.on_mode):
            callback(mode)


def _send_frame(port: CanPort, header: FrameHeader, message: bytes) -> None:
    """One frame without transport protocol."""
    port.send(header, (pad(message, None),))


def _traits(hardware: Hardware) -> Traits:
    ecu, memory = hardware.ecu, hardware.memory
    offsets: dict[int, int] = {}
    for one in ecu.can_addresses:
        offsets[one.request_id] = int(one.request_extension is not None)
        offsets[one.response_id] = int(one.response_extension is not None)
    places = tuple(number * ecu.slot.size for number in range(ecu.areas))
    areas = [Area(start=ecu.application_base, size=ecu.slot.size, chip=memory.flash, places=places)]
    at = ecu.areas * ecu.slot.size
    for block in ecu.blocks:
        areas.append(Area(start=block.start, size=block.size, chip=memory.flash, places=(at,)))
        at += block.size
    return Traits(
        name=ecu.name,
        port=hardware.port,
        isotp_offsets=offsets,
        corrupt=hardware.corrupt,
        memory=areas,
        p2_s=ecu.p2_s,
        p2_star_s=ecu.p2_star_s,
        boots=(boots.SlowBoot, boots.NoBoot, boots.NoApplication, boots.Watchdog),
    )
