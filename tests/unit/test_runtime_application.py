"""The runtime: what an application may do, and what becomes of one that does not behave."""

import gc
import math
import weakref

import pytest
import wasmtime

from ecu_sim.runtime import (
    CHANNELS,
    MEMORY_LIMIT,
    STEPS_WITHOUT_KICK,
    TABLE_LIMIT,
    Application,
    InvalidModule,
    WatchdogReset,
    compile_module,
)

_TEXT = """(module
  (import "io" "read" (func $read (param i32) (result f64)))
  (import "io" "write" (func $write (param i32 f64)))
  (import "io" "report_dtc" (func $report (param i32 i32)))
  (import "io" "kick" (func $kick))
  (memory (export "memory") 1 2)
  (global $count (mut f64) (f64.const 0))
  (func (export "init") %s)
  (func (export "step") (param $dt f64)
    (global.set $count (f64.add (global.get $count) (f64.const 1)))
    %s))"""
KICK = "(call $kick)"


def module(step: str, init: str = "") -> bytes:
    return bytes(wasmtime.wat2wasm(_TEXT % (init, step)))


class Ecu:
    """Inputs by channel, and everything that the application did, in order."""

    def __init__(self, inputs: dict[int, float] | None = None) -> None:
        self.inputs = inputs if inputs is not None else {}
        self.log: list[tuple[str, int, float]] = []

    def start(self, wasm: bytes, *, fuel_per_step: int = 100_000) -> Application:
        return Application(
            wasm,
            read=lambda channel: self.inputs[channel],
            write=lambda channel, value: self.log.append(("write", channel, value)),
            report_dtc=lambda index, failed: self.log.append(("dtc", index, failed)),
            fuel_per_step=fuel_per_step,
        )


def write_sum(first: int, second: int) -> str:
    return (
        f"(call $write (i32.const 0) (f64.add (call $read (i32.const {first}))"
        f" (call $read (i32.const {second}))))"
    )


def test_a_step_reads_inputs_and_writes_outputs() -> None:
    ecu = Ecu({3: 1.5, 63: 2.0})
    application = ecu.start(module(write_sum(3, CHANNELS - 1) + KICK))
    application.step(0.1)
    assert ecu.log == [("write", 0, 3.5)]


def test_each_step_sees_the_inputs_of_its_own_moment() -> None:
    ecu = Ecu({0: 1.0, 1: 0.0})
    application = ecu.start(module(write_sum(0, 1) + KICK))
    for value in (1.0, 2.0, 3.0):
        ecu.inputs[0] = value
        application.step(0.1)
    assert [value for _, _, value in ecu.log] == [1.0, 2.0, 3.0]


def test_an_input_first_read_in_a_late_step_is_right() -> None:
    late = """(if (f64.gt (global.get $count) (f64.const 2))
      (then (call $write (i32.const 0) (call $read (i32.const 9)))))"""
    ecu = Ecu()
    application = ecu.start(module(late + KICK))
    application.step(0.1)
    application.step(0.1)
    ecu.inputs[9] = 7.0
    application.step(0.1)
    assert ecu.log == [("write", 0, 7.0)]


def test_init_runs_once_and_before_the_first_step() -> None:
    ecu = Ecu()
    application = ecu.start(
        module("(call $write (i32.const 1) (local.get $dt))" + KICK,
               init="(call $write (i32.const 0) (f64.const 5))")
    )  # fmt: skip
    application.step(0.25)
    assert ecu.log == [("write", 0, 5.0), ("write", 1, 0.25)]


def test_outputs_and_test_results_arrive_in_the_order_they_were_made() -> None:
    step = """(call $report (i32.const 1) (i32.const -3)) (call $write (i32.const 2) (f64.const 4))
      (call $report (i32.const 5) (i32.const 0))"""
    ecu = Ecu()
    ecu.start(module(step + KICK)).step(0.1)
    assert ecu.log == [("dtc", 1, True), ("write", 2, 4.0), ("dtc", 5, False)]


RESETS = [
    ("endless loop", "(loop (br 0))", "out of fuel"),
    ("unreachable", "unreachable", "trap: unreachable"),
    ("division by zero", "(drop (i32.div_s (i32.const 1) (i32.const 0)))", "division by zero"),
    ("memory", "(drop (i32.load (i32.const 0x7fffffff)))", "memory out of bounds"),
    ("no such input", f"(drop (call $read (i32.const {CHANNELS})))", "trap"),
    ("no such output", f"(call $write (i32.const {CHANNELS}) (f64.const 0))", "trap"),
    ("endless reports", "(loop (call $report (i32.const 0) (i32.const 0)) (br 0))", "trap"),
]


@pytest.mark.parametrize(
    ("step", "reason"), [case[1:] for case in RESETS], ids=[case[0] for case in RESETS]
)
def test_a_step_that_does_not_end_well_is_a_watchdog_reset(step: str, reason: str) -> None:
    application = Ecu().start(module(step + KICK))
    with pytest.raises(WatchdogReset, match=reason) as caught:
        application.step(0.1)
    assert reason in caught.value.reason


def test_an_init_that_does_not_end_is_a_watchdog_reset() -> None:
    with pytest.raises(WatchdogReset, match="out of fuel"):
        Ecu().start(module(KICK, init="(loop (br 0))"))


def test_what_was_written_before_a_trap_has_been_written() -> None:
    ecu = Ecu()
    application = ecu.start(module("(call $write (i32.const 0) (f64.const 1)) unreachable"))
    with pytest.raises(WatchdogReset):
        application.step(0.1)
    assert ecu.log == [("write", 0, 1.0)]


def test_an_application_that_stops_kicking_is_reset() -> None:
    two_kicks = "(if (f64.le (global.get $count) (f64.const 2)) (then (call $kick)))"
    application = Ecu().start(module(two_kicks))
    for _ in range(2 + STEPS_WITHOUT_KICK - 1):
        application.step(0.1)
    with pytest.raises(WatchdogReset, match="no kick"):
        application.step(0.1)


def test_a_table_grows_no_further_than_its_limit_however_many_steps_it_takes() -> None:
    grow = """(call $write (i32.const 0)
      (f64.convert_i32_s (table.grow $table (ref.null func) (i32.const %d))))"""
    text = _TEXT.replace("(memory", "(table $table 0 funcref) (memory", 1)
    half = TABLE_LIMIT // 2
    ecu = Ecu()
    application = ecu.start(bytes(wasmtime.wat2wasm(text % ("", grow % half + KICK))))
    for _ in range(4):
        application.step(0.1)
    assert [value for _, _, value in ecu.log] == [0, half, -1, -1]


def test_one_kick_in_time_is_enough() -> None:
    rarely = f"""(if (i32.eqz (i32.rem_u (i32.trunc_f64_u (global.get $count))
      (i32.const {STEPS_WITHOUT_KICK}))) (then (call $kick)))"""
    application = Ecu().start(module(rarely))
    for _ in range(10 * STEPS_WITHOUT_KICK):
        application.step(0.1)


def test_fuel_is_counted_alike_in_every_run() -> None:
    wasm = module(write_sum(0, 1) + KICK)
    used = []
    for _ in range(3):
        application = Ecu({0: 0.1, 1: 0.2}).start(wasm)
        application.step(0.1)
        used.append(application.fuel_used())
    assert len(set(used)) == 1
    assert 0 < used[0] < 1000


def test_every_nan_is_the_same_nan() -> None:
    ecu = Ecu({0: -math.nan, 1: 1.0})
    step = (
        "(i32.store (i32.const 0) (i32.const 0))"
        "(f64.store (i32.const 0) (f64.add (call $read (i32.const 0)) (call $read (i32.const 1))))"
        "(call $write (i32.const 0) (f64.convert_i32_u"
        " (i32.wrap_i64 (i64.shr_u (i64.load (i32.const 0)) (i64.const 32)))))"
    )
    ecu.start(module(step + KICK)).step(0.1)
    assert ecu.log == [("write", 0, float(0x7FF80000))]


def test_an_error_of_the_ecu_itself_is_not_taken_for_one_of_the_application() -> None:
    application = Ecu({}).start(module("(drop (call $read (i32.const 4)))" + KICK))
    with pytest.raises(KeyError):
        application.step(0.1)


def interface(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


MEMORY = '(memory (export "memory") 1 1)'
INIT = '(func (export "init"))'
STEP = '(func (export "step") (param f64))'
INVALID = [
    ("empty", b"", "magic number"),
    ("text format", b"(module)", "magic number"),
    ("noise", b"\0asm\x01\0\0\0\xff\xff", "not a WebAssembly module"),
    ("no init", interface(MEMORY + STEP), "export 'init'"),
    ("no step", interface(MEMORY + INIT), "export 'step'"),
    ("step of integers", interface(MEMORY + INIT + '(func (export "step") (param i32))'), "'step'"),
    ("no memory", interface(INIT + STEP), "export 'memory'"),
    ("memory without maximum", interface('(memory (export "memory") 1)' + INIT + STEP), "maximum"),
    ("too much memory",
     interface(f'(memory (export "memory") 1 {MEMORY_LIMIT // 65536 + 1})' + INIT + STEP),
     "maximum"),
    ("foreign import", interface('(import "env" "clock" (func))' + MEMORY + INIT + STEP),
     "env.clock"),
    ("import of another type", interface('(import "io" "kick" (func (param i32)))' + MEMORY + INIT
                                         + STEP), "io.kick"),
    ("garbage-collected heap",
     interface("(type $bytes (array (mut i8)))" + MEMORY + INIT + STEP), "not a WebAssembly"),
    ("trap at the start", interface("(func $start unreachable) (start $start)" + MEMORY + INIT
                                    + STEP), "cannot be loaded"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wasm", "words"), [case[1:] for case in INVALID], ids=[case[0] for case in INVALID]
)
def test_what_is_no_application_cannot_boot(wasm: bytes, words: str) -> None:
    with pytest.raises(InvalidModule, match=words):
        Ecu().start(wasm)


def test_a_module_is_compiled_once() -> None:
    wasm = module(KICK)
    assert compile_module(wasm) is compile_module(bytes(bytearray(wasm)))


def test_two_applications_of_one_module_share_nothing() -> None:
    wasm = module("(call $write (i32.const 0) (global.get $count))" + KICK)
    first, second = Ecu(), Ecu()
    one, two = first.start(wasm), second.start(wasm)
    one.step(0.1)
    one.step(0.1)
    two.step(0.1)
    assert (first.log[-1][2], second.log[-1][2]) == (2.0, 1.0)


def test_an_application_that_is_let_go_is_freed() -> None:
    """A sweep boots thousands of times."""
    application = Ecu({0: 0.0, 1: 0.0}).start(module(write_sum(0, 1) + KICK))
    application.step(0.1)
    gone = weakref.ref(application)
    del application
    gc.collect()
    assert gone() is None


def self_testing(body: str) -> bytes:
    text = _TEXT % ("", KICK)
    return bytes(wasmtime.wat2wasm(text[:-1] + f'(func (export "self_test") (result i32) {body}))'))


@pytest.mark.parametrize(("result", "passes"), [(0, True), (1, False), (-1, False)])
def test_an_application_that_can_test_itself_says_whether_it_passes(
    result: int, *, passes: bool
) -> None:
    application = Ecu().start(self_testing(f"(i32.const {result})"))
    assert application.self_test() is passes
    application.step(0.1)


def test_an_application_without_a_test_of_its_own_passes() -> None:
    assert Ecu().start(module(KICK)).self_test()


def test_a_self_test_that_does_not_end_is_a_watchdog_reset() -> None:
    application = Ecu().start(self_testing("(loop (br 0)) (i32.const 0)"))
    with pytest.raises(WatchdogReset, match="out of fuel"):
        application.self_test()


def test_a_self_test_with_another_signature_cannot_boot() -> None:
    text = _TEXT % ("", KICK)
    wrong = bytes(wasmtime.wat2wasm(text[:-1] + '(func (export "self_test")))'))
    with pytest.raises(InvalidModule, match="'self_test' has another signature"):
        Ecu().start(wrong)
