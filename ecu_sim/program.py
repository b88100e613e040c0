"""What runs on an ECU between two resets: application or boot loader, and its diagnostic server.

Nothing here outlives a reset. What does is in flash and NVM, and read from there by the next one.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from clock import Timer
from ecu_sim import runtime
from ecu_sim.boot import Application, Boot, BootMemory, Decision, ResetReason, Trust
from ecu_sim.device import DTC_KEY, EcuDevice, Identity, Surroundings
from ecu_sim.diagnostics import (
    EnterBootloader,
    Respond,
    Restart,
    SendUnsegmented,
    ServerEvent,
    SetBitRate,
)
from ecu_sim.diagnostics.dtc import MIRROR, DtcDefinition, DtcMemory, DtcMemoryError
from ecu_sim.diagnostics.server import UdsServer
from ecu_sim.diagnostics.state import ServerTiming
from ecu_sim.ecus import BusOff, DtcTraits, EcuType
from ecu_sim.faults.dialogue import Dialogue
from ecu_sim.memory import Flash, MemoryFaultError, Nvm, PowerLossError
from ecu_sim.outputs import OutputChannels
from ecu_sim.periodic import Periodic
from ecu_sim.plant import Cabin
from ecu_sim.server_rules import server_rules
from ecu_sim.signals import Encoder, header_of, period_s_of
from ecu_sim.values import CanController, Values
from protocols.can import CanPort, FrameHeader
from protocols.uds import ResetType, Session
from protocols.uds.routine_status import SelfTestStatus

_LOG = logging.getLogger(__name__)

#: Control step of every application, seconds.
STEP_S: Final = 0.1
#: Bytes of a response that every transport carries.
_MAX_RESPONSE: Final = 4095
#: Status changes of DTCs reach the NVM at most this often, in steps.
_STEPS_BETWEEN_WRITES: Final = 10
#: A tester's request keeps the ECU awake for so many seconds.
_STAY_AWAKE_S: Final = 5.0
#: Steps after which an application counts as running.
_SETTLED_STEPS: Final = 50


class Transport(Protocol):
    """A way to one tester and back."""

    def send(self, message: bytes, sent: Callable[[], None]) -> None: ...
    def when_idle(self, callback: Callable[[], None]) -> None: ...
    def close(self) -> None: ...


class Router(Protocol):
    """A way to whichever tester is named: a DoIP node."""

    def respond(self, payload: bytes, *, tester: int, sent: Callable[[], None]) -> None: ...
    def when_idle(self, callback: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What of an ECU outlives its resets."""

    ecu: EcuType
    memory: BootMemory
    #: Data flash, for the NVM.
    data_flash: Flash
    identity: Identity
    trust: Trust
    #: None for an ECU that is not on a CAN wire.
    port: CanPort | None
    #: Spoils a share of the ECU's frames; None on a wire that cannot.
    corrupt: Callable[[float, random.Random | None], None] | None = None
    controller: CanController | None = None
    #: Changes the wire's bit rate; None as the rate is the wire's own again.
    set_bit_rate: Callable[[int | None], None] | None = None
    functional: FrameHeader | None
    #: The same on DoIP, as a logical address.
    functional_address: int = 0
    cabin: Cabin
    random_bytes: Callable[[int], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a program asks of its node."""

    #: Reset now; with the tester's address when the boot loader must answer it.
    reset: Callable[[ResetReason, int | None], None]
    power_lost: Callable[[PowerLossError], None]
    #: The application has run for a while without the watchdog biting.
    settled: Callable[[], None]


def _nobody_asks() -> None:
    """Nothing depends on it."""


class Program:
    """One run of one ECU program."""

    def __init__(
        self,
        hardware: Hardware,
        boot: Boot,
        nvm: Nvm,
        decision: Decision,
        hooks: Hooks,
        dialogue: Dialogue,
    ) -> None:
        loop = asyncio.get_running_loop()
        ecu = hardware.ecu
        self._hooks = hooks
        self._dialogue = dialogue
        self._nvm = nvm
        self._nvm_is_bad = False
        self._loop = loop
        self._ecu = ecu
        self._port = hardware.port
        self._set_bit_rate = hardware.set_bit_rate
        self._bit_rate_changed = False
        application = decision if isinstance(decision, Application) else None
        self.application = application
        self.decision = decision
        self._runtime: runtime.Application | None = None
        self._values = Values(
            ecu, hardware.cabin, hardware.port, loop.time, controller=hardware.controller
        )
        self.dtcs = self._open_dtcs() if application is not None else DtcMemory()
        self.device = EcuDevice(
            ecu,
            identity=hardware.identity,
            boot=boot,
            application=application,
            memory=hardware.memory,
            nvm=nvm,
            dtcs=self.dtcs,
            surroundings=Surroundings(
                value_of=self._values.of,
                hindrances=self._values.hindrances,
                random_bytes=hardware.random_bytes,
                outputs=OutputChannels(
                    value=self._values.output,
                    override=self._values.override,
                    hindrances=self._values.hindrances,
                ),
                self_test=self._self_test,
                ram=lambda: self._runtime,
            ),
        )
        self._values.offsets = self.device.calibrations.offsets
        self._values.reception_enabled = lambda: self.device.reception_enabled
        self._values.communicating = lambda: self.may_communicate()  # noqa: PLW0108 the node sets it later
        self.server = UdsServer(
            self.device,
            server_rules(ecu, application=application is not None),
            timing=ServerTiming(p2_s=ecu.p2_s, p2_star_s=ecu.p2_star_s, s3_s=ecu.s3_s),
            now=loop.time(),
            max_response=max(_MAX_RESPONSE, ecu.max_block_length),
        )
        self.server.watch_sessions(dialogue.entered)
        self._timer = Timer(loop, self._timeout)
        self._stopped = False
        self._last_request_s = loop.time()
        #: Network management: whether messages may be sent.
        self.may_communicate: Callable[[], bool] = lambda: True
        self._transports: dict[int, Transport] = {}
        self._unsegmented: dict[int, Callable[[bytes], None]] = {}
        self._listeners: list[Transport] = []
        self._router: Router | None = None
        self._codes = ecu.application_dtcs
        self._steps = 0
        #: Outputs out of their range until the last look.
        self._violations = 0
        self._ticker = Periodic(loop, STEP_S, self._tick)
        self._cyclic = [
            (
                round(period_s_of(message.database, message.message) / STEP_S),
                header_of(message.database, message.message),
                Encoder(message.database, message.message),
                message,
            )
            for message in ecu.cyclic
        ]

    def start(self) -> None:
        """Run the application's `init`; `InvalidModule` or `WatchdogReset` if it fails."""
        if self.application is None:
            return
        self._runtime = runtime.Application(
            self.application.module,
            read=self._values.read,
            write=self._values.write,
            report_dtc=self._report_dtc,
        )
        self._ticker.start()
        # Stored events (86) begin by themselves.
        self._timer.set(self.server.next_deadline())

    def stop(self) -> None:
        """Volatile things end here; what was sent already still goes out."""
        self._stopped = True
        if self._bit_rate_changed:
            self._change_bit_rate(None)
        self._ticker.stop()
        self._timer.cancel()
        self._dialogue.reset()
        for transport in {*self._transports.values(), *self._listeners}:
            transport.close()
        self._values.close()
        self._runtime = None

    def attach(self, source: int, transport: Transport) -> None:
        """Answers to the tester `source` go this way."""
        self._transports[source] = transport

    def attach_unsegmented(self, source: int, send: Callable[[bytes], None]) -> None:
        """Single frames to the tester `source` go this way (2A, response message type 2)."""
        self._unsegmented[source] = send

    def attach_router(self, router: Router) -> None:
        """Answers to every other tester go this way; the node ends it with the program."""
        self._router = router

    def attach_listener(self, transport: Transport) -> None:
        """Something that only hears, and ends with this program."""
        self._listeners.append(transport)

    def reception_began(self, source: int) -> None:
        """A request of several frames has begun."""
        self.server.reception_began(source=source)
        self._timer.set(self.server.next_deadline())

    def reception_failed(self, source: int) -> None:
        self.server.reception_failed(source=source, now=self._loop.time())
        self._timer.set(self.server.next_deadline())

    def request(self, message: bytes, *, source: int, functional: bool) -> None:
        """A tester's request has arrived."""
        self._last_request_s = self._loop.time()
        self._dialogue.request(
            message,
            source=source,
            serve=partial(self._serve, source=source, functional=functional),
            send=partial(self._send, source=source),
        )
        if not functional:
            # Where a fault has kept it from the server.
            self.reception_failed(source)

    def _serve(self, message: bytes, *, source: int, functional: bool) -> None:
        self._guarded(
            lambda: self.server.receive(
                message, source=source, functional=functional, now=self._loop.time()
            )
        )

    def resume_programming(self, source: int) -> None:
        """Answer the 10 02 that the application before the reset was asked."""
        self._guarded(lambda: self.server.resume_programming(source=source, now=self._loop.time()))

    def wants_network(self) -> bool:
        """Whether this ECU needs its wire: driving, diagnosed, or in its boot loader."""
        return (
            self.application is None
            or self._values.ignition_on()
            or self.server.session != Session.DEFAULT
            or self._loop.time() - self._last_request_s < _STAY_AWAKE_S
        )

    def keep_dtcs(self) -> None:
        """Write the DTC memory to the NVM if it has changed.

        With a sector that is bad the ECU works on, as it would on the road, and forgets its codes.
        """
        if self.application is None or not self.dtcs.changed or self._nvm_is_bad:
            return
        try:
            self._nvm.write(DTC_KEY, self.dtcs.to_bytes())
        except MemoryFaultError as error:
            self._nvm_is_bad = True
            _LOG.warning("dtcs_not_kept ecu=%s cause=%s", self._ecu.name, error)

    def _open_dtcs(self) -> DtcMemory:
        rules = self._ecu.dtc_rules
        dtcs = DtcMemory(
            dtc_definitions(self._ecu),
            capture=self._snapshot,
            memories=(*rules.memories, *((MIRROR,) if rules.mirror else ())),
        )
        stored = self._nvm.read(DTC_KEY)
        if stored is not None:
            # What another edition of the ECU has stored is dropped: the monitors begin anew.
            with suppress(DtcMemoryError):
                dtcs.restore(stored)
        return dtcs

    def _snapshot(self) -> dict[int, bytes]:
        return {did: self.device.read_data(did) for did in self._ecu.live_values}

    def _report_dtc(self, index: int, failed: bool) -> None:  # noqa: FBT001 the runtime's callback
        if index < len(self._codes):
            self.dtcs.report(self._codes[index], failed=failed)

    def _timeout(self) -> None:
        self._guarded(lambda: self.server.handle_timeout(now=self._loop.time()))

    def _tick(self) -> None:
        if self._runtime is None:
            return
        try:
            self._runtime.step(STEP_S)
            self._watch_outputs()
            self._watch_wire()
            self._steps += 1
            if self._steps % _STEPS_BETWEEN_WRITES == 0:
                self.keep_dtcs()
        except runtime.WatchdogReset:
            self._hooks.reset(ResetReason.WATCHDOG, None)
            return
        except PowerLossError as error:
            self._hooks.power_lost(error)
            return
        if self._steps == _SETTLED_STEPS:
            self._hooks.settled()
        self._send_cyclic()

    def _self_test(self) -> SelfTestStatus:
        """What is wrong with the application since it started."""
        if self._values.output_violations:
            return SelfTestStatus.OUTPUT_OUT_OF_RANGE
        if self._runtime is not None and not self._runtime.self_test():
            return SelfTestStatus.APPLICATION_FAILED
        return SelfTestStatus.PASSED

    def _watch_outputs(self) -> None:
        """The output stages hold what the application asks to their ranges; it is its fault."""
        violations = self._values.output_violations
        if self._ecu.output_monitor:
            failed = violations != self._violations
            self.dtcs.report(self._ecu.output_monitor, failed=failed)
        self._violations = violations

    def _watch_wire(self) -> None:
        if not self.may_communicate():
            return
        for code, monitor in self._ecu.wire_monitors.items():
            failed = self._values.of(monitor.source) > monitor.above
            if self._values.expects_messages or isinstance(monitor.source, BusOff):
                self.dtcs.report(code, failed=failed)

    def _send_cyclic(self) -> None:
        if self._port is None or not self.device.transmission_enabled:
            return
        if not self.may_communicate():
            return
        for every, header, encoder, message in self._cyclic:
            if self._steps % every == 0 and message.node not in self.device.silent_nodes:
                signals = message.signals.items()
                values = {name: self._values.of(source) for name, source in signals}
                self._port.send(header, (encoder.encode(values),))

    def _guarded(self, serve: Callable[[], Iterable[ServerEvent]]) -> None:
        try:
            events = list(serve())
        except PowerLossError as error:
            self._hooks.power_lost(error)
            return
        except runtime.WatchdogReset:
            self._hooks.reset(ResetReason.WATCHDOG, None)
            return
        self._timer.set(self.server.next_deadline())
        for event in events:
            match event:
                case Respond():
                    self._respond(event)
                case SendUnsegmented(payload, source):
                    if (send := self._unsegmented.get(source)) is not None:
                        send(payload)
                case Restart(kind):
                    self._when_all_sent(partial(self._hooks.reset, _REASONS[kind], None))
                case SetBitRate(bit_rate):
                    self._when_all_sent(partial(self._change_bit_rate, bit_rate))
                case EnterBootloader(source):
                    reset = partial(self._hooks.reset, ResetReason.PROGRAMMING, source)
                    self._when_all_sent(reset)

    def _change_bit_rate(self, bit_rate: int | None) -> None:
        if self._set_bit_rate is not None:
            self._bit_rate_changed = bit_rate is not None
            self._set_bit_rate(bit_rate)

    def _respond(self, answer: Respond) -> None:
        sent = partial(self._sent, answer)
        send = partial(self._send, source=answer.source, sent=sent)
        self._dialogue.answer(answer.payload, source=answer.source, send=send, lost=sent)

    def _send(
        self, payload: bytes, *, source: int, sent: Callable[[], None] = _nobody_asks
    ) -> None:
        transport = self._transports.get(source)
        if transport is not None:
            transport.send(payload, sent)
        elif self._router is not None:
            self._router.respond(payload, tester=source, sent=sent)
        else:
            sent()

    def _sent(self, answer: Respond) -> None:
        self.server.sent(answer, now=self._loop.time())
        if not self._stopped:
            self._timer.set(self.server.next_deadline())

    def _when_all_sent(self, then: Callable[[], None]) -> None:
        waiting: list[Transport | Router | Dialogue] = list(self._transports.values())
        if self._router is not None:
            waiting.append(self._router)
        # What is late gets to its transport first.
        waiting.append(self._dialogue)

        def next_one() -> None:
            if waiting:
                waiting.pop().when_idle(next_one)
            else:
                then()

        next_one()


#: What a reset is to the ECU: a hard one and key off and on begin a new operation cycle, as the
#: power does; a soft one starts the program anew and nothing else.
_REASONS: Final[Mapping[ResetType, ResetReason]] = MappingProxyType(
    {
        ResetType.HARD: ResetReason.POWER_ON,
        ResetType.KEY_OFF_ON: ResetReason.POWER_ON,
        ResetType.SOFT: ResetReason.SOFTWARE,
    }
)


def dtc_definitions(ecu: EcuType) -> Iterator[DtcDefinition]:
    """The trouble codes of an ECU type, in the order of the application's monitors."""
    for code in ecu.dtcs:
        traits = ecu.dtc_traits.get(code, _USUAL)
        yield DtcDefinition(
            code=code,
            confirm_cycles=traits.confirm_cycles,
            aging_cycles=traits.aging_cycles,
            indicator=traits.indicator,
            severity=traits.severity,
            functional_unit=traits.functional_unit,
            failed_step=traits.failed_step,
            passed_step=traits.passed_step,
            group=traits.group,
            readiness_group=traits.readiness_group,
        )


_USUAL: Final = DtcTraits()
