"""A small device for the diagnostic server: memory in a bytearray, records in a dict."""

import random
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field

from ecu_sim.diagnostics import (
    BackgroundRoutine,
    Files,
    InputOutput,
    Job,
    MemoryAccess,
    Nrc,
    Refusal,
    Respond,
    Scaling,
    ServerEvent,
)
from ecu_sim.diagnostics.dtc import DtcDefinition, DtcMemory
from ecu_sim.diagnostics.server import UdsServer
from ecu_sim.diagnostics.state import ServerTiming
from protocols.uds import CommunicationControl, CommunicationType, ResetType, Session
from protocols.uds.data_formats import PLAIN, DataFormat, Decoder
from protocols.uds.routine_status import Precondition
from protocols.uds.rules import ServerRules
from protocols.uds.security_access import compute_key

TESTER = 0x0F00
OTHER_TESTER = 0x0E00
SERIAL = "TEST-0001"
KEY = bytes(range(16))
BASE = 0x1000
SIZE = 0x400
DTC = 0x9A0100
PROGRAM_S = 0.01
ERASE_S = 6.0


def at_once(result: bytes = b"") -> Generator[float, None, bytes]:
    yield from ()
    return result


class CountingRoutine:
    """Implements `ecu_sim.diagnostics.BackgroundRoutine`: counts steps, each of a second."""

    def __init__(self, *, steps: int = 3, step_s: float = 1.0) -> None:
        self._steps = steps
        self._step_s = step_s
        self.seconds = 0
        self.state = "running"

    def start(self) -> Job:
        for _ in range(self._steps):
            yield self._step_s
            self.seconds += 1
        self.state = "finished"
        return b""

    def status(self) -> bytes:
        return bytes([("finished", "running", "stopped").index(self.state), self.seconds])

    def stop(self) -> None:
        self.state = "stopped"


@dataclass
class BenchDevice:
    """Implements `ecu_sim.diagnostics.Device`; what it was told stands in its attributes."""

    max_block_length: int = 66
    program_s: float = PROGRAM_S
    fails_at: int | None = None
    conditions: bool = True
    serial: str = SERIAL
    nvm: dict[str, bytes] = field(default_factory=dict)
    memory: bytearray = field(default_factory=lambda: bytearray(b"\xff" * SIZE))
    written: list[bytes] = field(default_factory=list)
    at: int = 0
    silenced: CommunicationControl = CommunicationControl.ENABLE_RX_AND_TX
    silenced_nodes: dict[int, CommunicationControl] = field(default_factory=dict)
    aborted: int = 0
    data: dict[int, bytes] = field(
        default_factory=lambda: {0xF190: b"WVWZZZ1KZAW000001", 0xF188: b"SW-1"}
    )
    dtcs: DtcMemory = field(
        default_factory=lambda: DtcMemory(
            (DtcDefinition(code=DTC), DtcDefinition(code=0x9A0211, confirm_cycles=2)),
            capture=lambda: {0x0101: b"\x01\x02"},
        )
    )
    rng: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 seeds that repeat
    memory_access: MemoryAccess | None = None
    input_output: InputOutput | None = None
    scaling: Scaling | None = None
    files: Files | None = None
    data_formats: Mapping[int, DataFormat] = field(default_factory=lambda: {0x00: PLAIN})
    step_s: float = 1.0
    background: list[CountingRoutine] = field(default_factory=list)

    def read_data(self, did: int) -> bytes:
        if did not in self.data:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
        return self.data[did]

    def write_data(self, did: int, record: bytes) -> Job:
        yield 0.001
        self.data[did] = record
        return b""

    def routine(self, rid: int, option: bytes) -> Job:
        yield ERASE_S if rid == 0xFF00 else 0.001
        if rid == 0xFF01:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT)
        return b"\x00" + option

    def background_routine(self, rid: int, option: bytes) -> BackgroundRoutine:  # noqa: ARG002 the port's arguments
        if option:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
        if not self.conditions:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT)
        self.background.append(CountingRoutine(step_s=self.step_s))
        return self.background[-1]

    def decoder(self, data_format: int, size: int) -> Decoder:
        if data_format not in self.data_formats:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
        return Decoder(self.data_formats[data_format], size=size, key=bytes(16))

    def request_download(self, address: int, size: int) -> int:
        if address < BASE or address + size > BASE + SIZE:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE)
        self.at = address - BASE
        return self.max_block_length

    def transfer(self, data: bytes) -> Job:
        yield self.program_s
        if self.fails_at is not None and self.at >= self.fails_at:
            raise Refusal(Nrc.GENERAL_PROGRAMMING_FAILURE)
        self.memory[self.at : self.at + len(data)] = data
        self.at += len(data)
        self.written.append(data)
        return b""

    def transfer_exit(self) -> Job:
        return at_once()

    def transfer_abort(self) -> None:
        self.aborted += 1

    def clear_dtcs(self, group: int, *, selection: int | None = None) -> Job:
        self.dtcs.clear(group, selection=selection)
        return at_once()

    def communication_control(
        self,
        control: CommunicationControl,
        communication: CommunicationType,
        *,
        node: int | None = None,
    ) -> None:
        if node is not None:
            self.silenced_nodes[node] = control
        elif communication & CommunicationType.NORMAL:
            self.silenced = control

    def set_dtc_logging(self, *, on: bool, groups: Iterable[int]) -> None:
        for group in groups:
            self.dtcs.set_logging(group, on=on)

    def check_session(self, session: Session) -> None:
        if not self.conditions:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, session.name)

    def check_conditions(
        self,
        conditions: frozenset[Precondition],  # noqa: ARG002 the port's
    ) -> None:
        if not self.conditions:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "conditions")

    def check_reset(self, reset: ResetType) -> None:
        if not self.conditions:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, reset.name)

    def new_seed(self) -> bytes:
        return self.rng.randbytes(16)

    def security_key(self, level: int) -> bytes:
        return KEY if level == 1 else bytes(16)

    def nvm_read(self, key: str) -> bytes | None:
        return self.nvm.get(key)

    def nvm_write(self, key: str, value: bytes) -> Job:
        yield 0.0005
        self.nvm[key] = value
        return b""


class Served:
    """A server with a clock that the test moves."""

    def __init__(self, server: UdsServer, *, now: float = 100.0) -> None:
        self.server = server
        self.now = now
        #: Whether an answer is on the wire as soon as it is given.
        self.prompt = True

    def tell(
        self, request: str | bytes, *, source: int = TESTER, functional: bool = False
    ) -> list[ServerEvent]:
        """Send a request (hex or bytes); the events that come at once."""
        data = bytes.fromhex(request) if isinstance(request, str) else request
        return self._sent(
            self.server.receive(data, source=source, functional=functional, now=self.now)
        )

    def _sent(self, events: list[ServerEvent]) -> list[ServerEvent]:
        for event in events:
            if self.prompt and isinstance(event, Respond):
                self.server.sent(event, now=self.now)
        return events

    def session(self) -> Session:
        return self.server.session

    def run(self, seconds: float) -> list[tuple[float, ServerEvent]]:
        """Let time pass, exactly as its deadlines ask; what happens when (from 0)."""
        begin, end = self.now, self.now + seconds
        events: list[tuple[float, ServerEvent]] = []
        while (due := self.server.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            happened = self._sent(self.server.handle_timeout(now=self.now))
            events += [(round(self.now - begin, 6), event) for event in happened]
        self.now = end
        return events

    def ask(self, request: str | bytes, *, source: int = TESTER, functional: bool = False) -> str:
        """The final answer in hex, after any number of 78; `""` if none comes within 60 s."""
        events = self.tell(request, source=source, functional=functional)
        waited = 0.0
        while True:
            for event in events:
                if isinstance(event, Respond) and event.payload[2:] != b"\x78":
                    return event.payload.hex()
            due = self.server.next_deadline()
            if due is None or waited > 60 or not self.server.busy:
                return ""
            waited += max(0.0, due - self.now)
            self.now = max(self.now, due)
            events = self._sent(self.server.handle_timeout(now=self.now))

    def unlock_with(
        self, secret: bytes, *, serial: str = SERIAL, level: int = 1, source: int = TESTER
    ) -> None:
        seed = bytes.fromhex(self.ask(bytes([0x27, level]), source=source))[2:]
        key = compute_key(secret, level=level, ecu_id=serial, seed=seed)
        answer = self.ask(bytes([0x27, level + 1]) + key, source=source)
        assert answer == bytes([0x67, level + 1]).hex()


class Bench(Served):
    """A server and its small device."""

    def __init__(self, rules: ServerRules, device: BenchDevice | None = None) -> None:
        self.device = device or BenchDevice()
        self.rules = rules
        super().__init__(self._new_server(100.0))

    def restart(self) -> None:
        """Power the ECU on again: only the device's memories are left."""
        self.server = self._new_server(self.now)

    def _new_server(self, now: float) -> UdsServer:
        return UdsServer(self.device, self.rules, timing=ServerTiming(), now=now, max_response=256)

    def unlock(self, level: int = 1, *, source: int = TESTER) -> None:
        self.unlock_with(self.device.security_key(level), level=level, source=source)


def hexes(events: list[ServerEvent]) -> list[str]:
    return [event.payload.hex() for event in events if isinstance(event, Respond)]
