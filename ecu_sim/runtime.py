"""Runs a flashed application: a WebAssembly module with a watchdog and no clock of its own.

The application imports `io.read`, `io.write`, `io.report_dtc` and `io.kick` and exports `init`,
`step` and `memory`; one that can test itself also `self_test`. A host call from WebAssembly into
Python costs more than a whole control step, so the four imports are served by a *mailbox*, a second
small module in the same store: it answers reads from inputs that were laid out before the step and
keeps the outputs in order, to be delivered after it. Only an input that no earlier step has asked
for calls out.

The same module, inputs and fuel give the same outputs on every machine: NaNs are canonical,
threads and relaxed SIMD are off, and fuel counts instructions, not time.
"""

import ctypes
import functools
import hashlib
import weakref
from collections.abc import Callable
from typing import Any, Final

import wasmtime

#: Instructions (roughly) that one step may take; the largest application here needs some thousands.
DEFAULT_FUEL_PER_STEP: Final = 2_000_000
#: Linear memory that an application may have, bytes.
MEMORY_LIMIT: Final = 16 * 1024 * 1024
#: Elements of its function tables; fuel pays for one step's growth, not for that of all of them.
TABLE_LIMIT: Final = 10_000
#: The watchdog bites after so many steps in a row without a kick.
STEPS_WITHOUT_KICK: Final = 3
#: Channels 0 to 63; a read or write beyond is a programming error and traps.
CHANNELS: Final = 64
_OUTPUTS_PER_STEP: Final = 256
_PAGE: Final = 65536
_COMPILED_MODULES_KEPT: Final = 32
_BINARY_MAGIC: Final = b"\0asm"

# Layout of the mailbox's memory; see `_Mailbox`. `known` holds a 1 for each laid-out input.
_MAILBOX: Final = f"""
(module
  (import "host" "fetch" (func $fetch (param i32) (result f64)))
  (memory (export "mailbox") 1 1)
  (func $record (param $kind i32) (param $index i32) (param $value f64)
    (local $at i32)
    (if (i32.ge_u (i32.load (i32.const 4)) (i32.const {_OUTPUTS_PER_STEP})) (then unreachable))
    (local.set $at
      (i32.add (i32.const 1024) (i32.shl (i32.load (i32.const 4)) (i32.const 4))))
    (i32.store (local.get $at) (local.get $kind))
    (i32.store offset=4 (local.get $at) (local.get $index))
    (f64.store offset=8 (local.get $at) (local.get $value))
    (i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (i32.const 1))))
  (func (export "read") (param $channel i32) (result f64)
    (if (i32.ge_u (local.get $channel) (i32.const {CHANNELS})) (then unreachable))
    (if (i32.eqz (i32.load8_u offset=16 (local.get $channel)))
      (then (return (call $fetch (local.get $channel)))))
    (f64.load offset=128 (i32.shl (local.get $channel) (i32.const 3))))
  (func (export "write") (param $channel i32) (param $value f64)
    (if (i32.ge_u (local.get $channel) (i32.const {CHANNELS})) (then unreachable))
    (call $record (i32.const 0) (local.get $channel) (local.get $value)))
  (func (export "report_dtc") (param $index i32) (param $failed i32)
    (call $record (i32.const 1) (local.get $index)
      (f64.convert_i32_s (i32.ne (local.get $failed) (i32.const 0)))))
  (func (export "kick")
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))))
"""
_WRITE: Final = 0


class InvalidModule(Exception):  # noqa: N818 a state of the flash that the boot loader reacts to
    """Firmware that cannot start: not WebAssembly, or not with the interface of an application."""


class WatchdogReset(Exception):  # noqa: N818 an event in the ECU's life, not a mistake of a caller
    """The application has trapped, run out of fuel or stopped kicking; the ECU must restart."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Output(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("value", ctypes.c_double),
    )


class _Mailbox(ctypes.Structure):
    """The mailbox module's memory, as `_MAILBOX` lays it out."""

    _fields_ = (
        ("kicks", ctypes.c_uint32),
        ("output_count", ctypes.c_uint32),
        ("_reserved", ctypes.c_uint64),
        ("known", ctypes.c_uint8 * CHANNELS),
        ("_gap", ctypes.c_uint8 * 48),
        ("inputs", ctypes.c_double * CHANNELS),
        ("_gap2", ctypes.c_uint8 * 384),
        ("outputs", _Output * _OUTPUTS_PER_STEP),
    )


class Application:
    """One running application; after `WatchdogReset` it is dead and a new one must be made.

    `read` gives an input in the unit of its channel, `write` takes an output, `report_dtc` takes a
    monitor's test result (True: failed). They are called in the order in which the application
    wrote and reported, after the step. What they raise passes through.
    """

    def __init__(
        self,
        module: bytes,
        *,
        read: Callable[[int], float],
        write: Callable[[int, float], None],
        report_dtc: Callable[[int, bool], None],
        fuel_per_step: int = DEFAULT_FUEL_PER_STEP,
    ) -> None:
        """Compile (or find compiled), instantiate and run `init`.

        `InvalidModule` if it is no application, `WatchdogReset` if `init` fails.
        """
        compiled = compile_module(module)
        self._read = read
        self._write = write
        self._report_dtc = report_dtc
        self._fuel_per_step = fuel_per_step
        self._steps_without_kick = 0
        self._channels: list[int] = []
        self._store = wasmtime.Store(_engine())
        self._store.set_limits(
            memory_size=MEMORY_LIMIT,
            table_elements=TABLE_LIMIT,
            instances=2,
            memories=2,
            tables=2,
        )
        self._store.set_fuel(fuel_per_step)
        mailbox = self._open_mailbox()
        try:
            instance = _link(self._store, compiled, mailbox)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise InvalidModule(
                f"the application cannot be loaded: {_first_line(error)}"
            ) from error
        memory = instance.exports(self._store)["memory"]
        if not isinstance(memory, wasmtime.Memory):
            raise InvalidModule("export 'memory' is missing")
        self._memory = memory
        exports = instance.exports(self._store)
        self._step = exports["step"]
        self._self_test = exports.get("self_test")
        self._run(exports["init"])

    def step(self, dt: float) -> None:
        """One control step of `dt` seconds; `WatchdogReset` with the reason if it fails."""
        self._run(self._step, float(dt))
        self._watch()

    def self_test(self) -> bool:
        """Whether its own test passes, or it has none; `WatchdogReset` if the test itself fails."""
        if self._self_test is None:
            return True
        return bool(self._run(self._self_test) == 0)

    def fuel_used(self) -> int:
        """Fuel that the last step has burnt."""
        return self._fuel_per_step - self._store.get_fuel()

    def read_memory(self, offset: int, size: int) -> bytes:
        """Bytes of its linear memory; `IndexError` beyond its present end."""
        self._check_range(offset, size)
        return bytes(self._memory.read(self._store, offset, offset + size))

    def write_memory(self, offset: int, data: bytes) -> None:
        """Change its linear memory between two steps, for better or worse."""
        self._check_range(offset, len(data))
        self._memory.write(self._store, data, offset)

    def _check_range(self, offset: int, size: int) -> None:
        length = self._memory.data_len(self._store)
        if offset < 0 or size < 0 or offset + size > length:
            raise IndexError(f"0x{offset:X} + 0x{size:X} is outside its 0x{length:X} bytes")

    def _open_mailbox(self) -> wasmtime.Instance:
        fetch_type = wasmtime.FuncType([wasmtime.ValType.i32()], [wasmtime.ValType.f64()])
        # wasmtime keeps host functions in a global table until their store is gone; a strong
        # reference from there to the application, which owns the store, would keep both for ever.
        fetch_input = weakref.WeakMethod(self._fetch)

        def fetch(channel: int) -> float:
            method = fetch_input()
            if method is None:
                raise ReferenceError("the application is gone")
            return method(channel)

        offered = wasmtime.Func(self._store, fetch_type, fetch)
        instance = wasmtime.Instance(self._store, _mailbox_module(), [offered])
        memory = instance.exports(self._store)["mailbox"]
        if not isinstance(memory, wasmtime.Memory):
            raise TypeError("the mailbox exports no memory")
        address = ctypes.addressof(memory.data_ptr(self._store).contents)
        # The memory has one page for ever, so its address holds as long as the store.
        self._mailbox = _Mailbox.from_address(address)
        return instance

    def _fetch(self, channel: int) -> float:
        """An input that no earlier step has read: fetch it now, lay it out from here on."""
        value = float(self._read(channel))
        self._mailbox.inputs[channel] = value
        self._mailbox.known[channel] = 1
        self._channels.append(channel)
        return value

    def _run(self, function: Any, *arguments: float) -> Any:  # noqa: ANN401 an untyped export
        mailbox, read = self._mailbox, self._read
        inputs = mailbox.inputs
        for channel in self._channels:
            inputs[channel] = read(channel)
        mailbox.output_count = 0
        mailbox.kicks = 0
        self._store.set_fuel(self._fuel_per_step)
        try:
            return function(self._store, *arguments)
        except wasmtime.Trap as trap:
            raise WatchdogReset(_reason(trap)) from trap
        except wasmtime.WasmtimeError as error:
            raise WatchdogReset(_first_line(error)) from error
        finally:
            self._deliver()

    def _deliver(self) -> None:
        """Hand over what the application wrote; before a trap too, as real outputs would be."""
        outputs = self._mailbox.outputs
        for number in range(self._mailbox.output_count):
            output = outputs[number]
            if output.kind == _WRITE:
                self._write(output.index, output.value)
            else:
                self._report_dtc(output.index, output.value != 0.0)

    def _watch(self) -> None:
        if self._mailbox.kicks:
            self._steps_without_kick = 0
            return
        self._steps_without_kick += 1
        if self._steps_without_kick >= STEPS_WITHOUT_KICK:
            raise WatchdogReset(f"no kick in {STEPS_WITHOUT_KICK} steps")


_compiled: dict[bytes, wasmtime.Module] = {}


def compile_module(module: bytes) -> wasmtime.Module:
    """The module compiled and checked against the interface, once per SHA-256; `InvalidModule`."""
    digest = hashlib.sha256(module).digest()
    if digest in _compiled:
        return _compiled[digest]
    if not module.startswith(_BINARY_MAGIC):  # wasmtime would take the text format as well
        raise InvalidModule("not a WebAssembly module: the magic number is missing")
    try:
        compiled = wasmtime.Module(_engine(), module)
    except wasmtime.WasmtimeError as error:
        raise InvalidModule(f"not a WebAssembly module: {_first_line(error)}") from error
    _check_interface(compiled)
    if len(_compiled) >= _COMPILED_MODULES_KEPT:
        del _compiled[next(iter(_compiled))]  # the oldest
    _compiled[digest] = compiled
    return compiled


@functools.cache
def _engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.wasm_memory64 = False
    config.wasm_gc = False  # its heap is in no limit of the store
    return wasmtime.Engine(config)


@functools.cache
def _mailbox_module() -> wasmtime.Module:
    return wasmtime.Module(_engine(), _MAILBOX)


#: Function imports of an application: name -> (parameter types, result types).
_IMPORTS: Final = {
    "read": (["i32"], ["f64"]),
    "write": (["i32", "f64"], []),
    "report_dtc": (["i32", "i32"], []),
    "kick": ([], []),
}
#: Function exports of an application, likewise.
_EXPORTS: Final[dict[str, tuple[list[str], list[str]]]] = {
    "init": ([], []),
    "step": (["f64"], []),
}
#: An application's own test, which it need not have: 0 passes.
_SELF_TEST: Final[tuple[list[str], list[str]]] = ([], ["i32"])


def _check_interface(module: wasmtime.Module) -> None:
    for imported in module.imports:
        name = imported.name or ""
        if imported.module != "io" or _IMPORTS.get(name) != _signature(imported.type):
            raise InvalidModule(f"import {imported.module}.{name} is not offered by an ECU")
    exports = {exported.name: exported.type for exported in module.exports}
    for name, signature in _EXPORTS.items():
        if _signature(exports.get(name)) != signature:
            raise InvalidModule(f"export {name!r} is missing or has another signature")
    if "self_test" in exports and _signature(exports["self_test"]) != _SELF_TEST:
        raise InvalidModule("export 'self_test' has another signature")
    memory = exports.get("memory")
    if not isinstance(memory, wasmtime.MemoryType):
        raise InvalidModule("export 'memory' is missing")
    maximum = memory.limits.max
    if maximum is None or maximum * _PAGE > MEMORY_LIMIT:
        raise InvalidModule(f"its memory has no maximum within {MEMORY_LIMIT} bytes")


def _signature(kind: object) -> tuple[list[str], list[str]] | None:
    if not isinstance(kind, wasmtime.FuncType):
        return None
    return [str(param) for param in kind.params], [str(result) for result in kind.results]


def _link(
    store: wasmtime.Store, module: wasmtime.Module, mailbox: wasmtime.Instance
) -> wasmtime.Instance:
    offered = mailbox.exports(store)
    return wasmtime.Instance(
        store, module, [offered[imported.name or ""] for imported in module.imports]
    )


def _reason(trap: wasmtime.Trap) -> str:
    code = trap.trap_code
    if code is wasmtime.TrapCode.OUT_OF_FUEL:
        return "out of fuel: the step does not end"
    return "trap: unknown" if code is None else f"trap: {code.name.lower().replace('_', ' ')}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
