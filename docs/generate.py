"""Writes the pages of `docs/reference/` from the tables that the programs run on.

`python -m docs.generate` writes them; with `--check` it exits 1 if one is not up to date.
"""

import argparse
import importlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from typer.core import TyperArgument
from typer.main import get_command

from canota.cli.app import GROUPS
from canota.cli.exits import explained
from cloud.fleet.campaigns import ADVANCES, Phase
from dbc import describe_vehicle
from dbc.vehicle import EcuDescription, VehicleDescription
from docs import ecus, sequences
from docs.tables import table
from ecu_sim.boot import conventional, mcuboot_swap, overwrite, two_slots, update_agent
from ecu_sim.ecus import all_ecu_names, ecu_type
from ecu_sim.faults import Layer
from ecu_sim.faults.table import KINDS
from ecu_sim.faults.table import Parameter as FaultParameter
from firmware.faulty import FAULTS
from protocols import network_management
from protocols.uds.dtc import display
from vehicle_gateway.software import record as software
from vehicle_gateway.update import coordinator
from vehicle_gateway.update.journal import Kind

if TYPE_CHECKING:
    from typer._click.core import Command, Parameter

ROOT = Path(__file__).parents[1]
_State = TypeVar("_State", bound=Enum)
_Trigger = TypeVar("_Trigger", bound=Enum)

_NOTE = "<!-- Written by `python -m docs.generate`; do not edit. -->\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args(arguments).check
    stale = [
        path for name, text in _pages() if _differs(path := ROOT / "docs/reference" / name, text)
    ]
    for name, text in _pages():
        if not check:
            path = ROOT / "docs/reference" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.stderr.write(f"not up to date: {names}; run python -m docs.generate\n")
        return 1
    return 0


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text(encoding="utf-8") != text


def _pages() -> Iterator[tuple[str, str]]:
    yield "states.md", states()
    yield "vehicle.md", vehicle(describe_vehicle())
    yield "command-line.md", command_line()
    yield "fleet-api.md", fleet_api()
    yield "faults.md", faults()
    yield "faulty-firmware.md", faulty_firmware()
    yield "flash-sequences.md", f"{_NOTE}\n{sequences.page()}"
    for name in all_ecu_names():
        yield f"ecus/{name}.md", f"{_NOTE}\n{ecus.page(ecu_type(name))}"


# State diagrams


def states() -> str:
    """Every state machine, drawn from its table."""
    parts = [
        _NOTE,
        "# State diagrams\n",
        "Drawn from the tables that the programs run on. A pair that is not drawn is refused.\n",
        "## Boot profiles `mcuboot-ab` and `she-cmac`\n",
        (
            "Two slots; the confirmed slot and this state stand in a two-copy record in the flash."
            " An image is good if a trusted key has signed it (`mcuboot-ab`), or if its MAC is the"
            " one in the secure store (`she-cmac`), where only the check, 31 01 0202, puts it.\n"
        ),
        diagram(_labelled(two_slots.TRANSITIONS), start=two_slots.State.CONFIRMED.name),
        "## Boot profile `mcuboot-swap`\n",
        "Two slots that the boot loader swaps; marks in the flash say how far it has come.\n",
        diagram(_labelled(mcuboot_swap.TRANSITIONS), start=mcuboot_swap.State.CONFIRMED.name),
        "## Boot profile `overwrite`\n",
        "One slot, overwritten from a second one; a copy that was cut begins anew.\n",
        diagram(_labelled(overwrite.TRANSITIONS), start=overwrite.State.CONFIRMED.name),
        "## Boot profile `conventional`\n",
        "One slot, programmed by the boot loader; nothing runs unless its CRC is right.\n",
        diagram(_labelled(conventional.TRANSITIONS), start=conventional.State.EMPTY.name),
        "## Boot profile `update_agent`\n",
        "One slot and a staging area, and an agent that copies; no secure boot.\n",
        diagram(_labelled(update_agent.TRANSITIONS), start=update_agent.State.IDLE.name),
        "## The gateway's own software\n",
        "Two slots; `canota gateway boot` starts the one that this record names.\n",
        diagram(_labelled(software.TRANSITIONS), start=software.State.CONFIRMED.name),
        "## One ECU in the gateway's journal\n",
        "A failure leaves an ECU where it is; the direction says what it means.\n",
        diagram(
            (
                (one.value, two.value, kind.value)
                for (one, kind), two in coordinator.ECU_TRANSITIONS.items()
                if kind not in {Kind.FAILED, Kind.LOST}
            ),
            start=coordinator.EcuState.IDLE.value,
        ),
        "## The direction of an update\n",
        "`commit` is the only point of no return.\n",
        diagram(
            (
                (one.value, two.value, kind.value)
                for (one, kind), two in coordinator.DIRECTIONS.items()
                if one is not two
            ),
            start=coordinator.Direction.FORWARD.value,
        ),
        "## A vehicle in a campaign\n",
        "As progress reports move it; the final report ends it in `DONE` from any phase.\n",
        diagram(
            ((one.name, two.name, "") for one, twos in ADVANCES.items() for two in sorted(twos)),
            start=Phase.OFFERED.name,
        ),
        "## Network management\n",
        "Each node on a CAN wire; `protocols/network_management.py`.\n",
        diagram(
            _labelled(network_management.TRANSITIONS),
            start=network_management.State.BUS_SLEEP.name,
        ),
    ]
    return "\n".join(parts)


def _labelled(
    table: Mapping[tuple[_State, _Trigger], _State | None],
) -> Iterator[tuple[str, str, str]]:
    for (one, trigger), two in table.items():
        if two is not None:
            yield one.name, two.name, str(trigger.value)


def diagram(rows: Iterable[tuple[str, str, str]], *, start: str) -> str:
    """A Mermaid state diagram of (from, to, label); rows of one pair share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one, two, label in rows:
        arrows[one, two].append(label)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {start}"]
    for (one, two), labels in arrows.items():
        text = ", ".join(label for label in labels if label)
        lines.append(f"    {one} --> {two}" + (f": {text}" if text else ""))
    return "\n".join([*lines, "```", ""])


# Faults


_FAULTS = """What can go wrong with a simulated ECU: `canota ecus serve --fault ECU:FAULT`, the
actions of a scenario, `begin_fault` in Python. `canota ecus faults` prints the same table. How to
use them: [let ECUs go wrong](../how-to/faults.md).

- `REQUEST` is the first bytes of a request in hex (`36`, `0x31`, `3101FF00`); `REQUEST:N` is the
  Nth such request since the fault began.
- Times are `300ms`, `2s`, `1min`.
- An address is one as 34 has it, or counts from the start of the application area.
- Draws follow from `seed` and the name of the ECU: they repeat.
"""


_FAULTY = """\
Applications that are bad, one C source per fault in `firmware/faulty/src/`, built small and
correctly signed for every ECU of the vehicle into `firmware/faulty/images/`: nothing but the
software is at fault. Publish one in place of ours and see what becomes of the car: `canota demo
--image ccu=firmware/faulty/images/ccu-wild_actuator.hex`.

What finds them: the watchdog (a step that does not end, traps or leaves its memory is a reset;
after three in a row an ECU stays in its boot loader), the output stages (they hold every output to
its range, and the base software sets a trouble code and fails the self-test), the self-test 0213
that the gateway has every ECU run before the release is kept, and trouble codes that are new after
the update. A failure of one ECU takes all of them back.
"""


def faulty_firmware() -> str:
    """Where an update to each bad application ends, by boot profile."""
    parts = [_NOTE, "# Faulty firmware\n", _FAULTY]
    for title, profiles, end_of in (
        ("Two slots", "`mcuboot-ab`, `she-cmac`", lambda fault: fault.two_slots),
        ("One slot", "`conventional`, `update-agent`", lambda fault: fault.one_slot),
    ):
        parts.append(f"## {title}: {profiles}\n")
        parts.append(
            table(
                ("image", "version", "what it does", "the ECU", "the vehicle", "the reason says"),
                (
                    (
                        f"`{name}`",
                        fault.version,
                        fault.what,
                        end_of(fault).ecu,
                        f"`{end_of(fault).outcome}`",
                        end_of(fault).reason or "nothing: the report lists the code as new",
                    )
                    for name, fault in FAULTS.items()
                ),
            )
        )
    return "\n".join(parts)


def faults() -> str:
    """Every fault by where it acts, with its parameters."""
    parts = [
        _NOTE,
        "# Faults\n",
        _FAULTS,
    ]
    for layer in Layer:
        parts.append(f"## {layer.value}\n")
        parts.append(
            table(
                ("fault", "what it does", "parameters", "example"),
                (
                    (
                        f"`{kind.form}`".replace("|", "\\|"),
                        kind.summary,
                        "; ".join(map(_parameter_of_fault, kind.parameters)) or "-",
                        f"`{kind.example}`",
                    )
                    for kind in KINDS.values()
                    if kind.layer is layer
                ),
            )
        )
    return "\n".join(parts)


def _parameter_of_fault(parameter: FaultParameter) -> str:
    text = f"`{parameter.name}`: {parameter.meaning}"
    return text if not parameter.default else f"{text} ({parameter.default})"


# The vehicle


def vehicle(description: VehicleDescription) -> str:
    """Addresses, layouts, identifiers and trouble codes of every ECU."""
    parts = [
        _NOTE,
        "# The vehicle\n",
        "As `dbc/vehicle.toml` describes it to the gateway, generated from `ecu_sim/ecus`.\n",
        "## Wires\n",
        table(
            ("wire", "kind", "bit rate", "data phase", "functional", "signals"),
            (
                (
                    f"`{wire.name}`",
                    wire.kind,
                    f"{wire.bit_rate:,}",
                    f"{wire.data_bit_rate:,}" if wire.data_bit_rate else "-",
                    f"{wire.functional_id:03X}",
                    ", ".join(f"`{name}.dbc`" for name in wire.databases) or "-",
                )
                for wire in description.wires.values()
            ),
        ),
        "## Routines\n",
        table(
            ("31 01 ...", "routine"),
            (
                (f"`{getattr(description.routines, name):04X}`", name.replace("_", " "))
                for name in description.routines.__slots__
            ),
        ),
    ]
    return "\n".join((*parts, *map(_ecu, description.ecus.values())))


def _programmed(ecu: EcuDescription) -> str:
    if ecu.staging_area:
        return "by its application, into a staging area from which its boot loader copies"
    if ecu.single_slot:
        return "through its boot loader, while the car waits"
    return "by its application, into the inactive slot"


def _ecu(ecu: EcuDescription) -> str:
    kib = 1024
    rows = (
        ("hardware identifier", ecu.hardware_id),
        ("wire", f"`{ecu.wire}`"),
        (
            "tester to ECU, ECU to tester",
            f"{ecu.request_id:03X}, {ecu.response_id:03X}" if ecu.request_id else "-",
        ),
        ("logical address", f"{ecu.logical_address:04X}"),
        (
            "programmed",
            _programmed(ecu),
        ),
        ("application area", f"{ecu.application_base:08X}, {ecu.slot_size // kib} KiB"),
        ("sector", f"{ecu.sector_size} bytes, erased in {ecu.erase_s * 1000:g} ms"),
        ("page", f"{ecu.page_size} bytes, programmed in {ecu.program_s * 1000:g} ms"),
        ("maxNumberOfBlockLength", str(ecu.max_block_length)),
        ("security level", f"27 {ecu.security_level:02X} / 27 {ecu.security_level + 1:02X}"),
        ("P2, P2*, S3", f"{ecu.p2_s * 1000:g} ms, {ecu.p2_star_s:g} s, {ecu.s3_s:g} s"),
        ("reset to first answer", f"{ecu.boot_s:g} s"),
    )
    return "\n".join(
        (
            f"## `{ecu.name}`\n",
            table(("property", "value"), rows),
            table(
                ("DID", "data"),
                ((f"`{did:04X}`", text) for did, text in ecu.data_identifiers.items()),
            ),
            table(
                ("DTC", "number", "text"),
                ((f"`{display(code)}`", f"{code:06X}", text) for code, text in ecu.dtcs.items()),
            ),
        )
    )


# The command line


def command_line() -> str:
    """Every command with its help, arguments and options."""
    parts = [_NOTE, "# Command line\n", f"{explained()}\n"]
    for name, group in GROUPS.items():
        module = importlib.import_module(group.module)
        parts.extend(_command(f"canota {name}", get_command(module.app)))
    return "\n".join(parts)


def _command(path: str, command: "Command") -> Iterator[str]:
    yield f"{'#' * min(4, path.count(' ') + 2)} `{path}`\n"
    yield _paragraphs(command.help or "")
    rows = [
        (f"`{_usage(parameter)}`", _one_line(getattr(parameter, "help", None) or ""))
        for parameter in command.params
        if not getattr(parameter, "hidden", False) and "completion" not in (parameter.name or "")
    ]
    if rows:
        yield table(("parameter", "meaning"), rows)
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _command(f"{path} {name}", child)


def _usage(parameter: "Parameter") -> str:
    if isinstance(parameter, TyperArgument):
        return str(parameter.metavar or parameter.name).upper()
    return ", ".join(parameter.opts)


def _paragraphs(text: str) -> str:
    return text.replace("\b", "").strip() + "\n"


def _one_line(text: str) -> str:
    return " ".join(_paragraphs(text).split()).replace("|", "\\|")


# fleet.v1

_RPC = re.compile(r"^rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\)")
_FIELD = re.compile(r"^(repeated )?([\w.]+) (\w+) = \d+")
_VALUE = re.compile(r"^([A-Z0-9_]+) = (\d+);")


def fleet_api() -> str:
    """Services and messages of fleet.v1 with the comments of their sources."""
    parts = [_NOTE, "# fleet.v1\n", "From `protocols/fleet/v1/*.proto`, which is the reference.\n"]
    for source in sorted((ROOT / "protocols/fleet/v1").glob("*.proto")):
        parts.append(f"## `{source.name}`\n")
        parts.extend(_blocks(source.read_text(encoding="utf-8").splitlines()))
    return "\n".join(parts) + "\n"


def _blocks(lines: list[str]) -> Iterator[str]:
    comment: list[str] = []
    for line in map(str.strip, lines):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
            continue
        words = " ".join(comment)
        if found := re.match(r"^(service|message|enum) (\w+)", line):
            yield f"### {found[1]} `{found[2]}`\n\n{words}\n"
        elif found := _RPC.match(line):
            request, answer = f"{found[2] or ''}{found[3]}", f"{found[4] or ''}{found[5]}"
            yield f"- `{found[1]}({request}) -> {answer}` {words}".rstrip()
        elif line.startswith("oneof"):
            pass
        elif found := _FIELD.match(line):
            yield f"- `{found[3]}` ({found[1] or ''}{found[2]}) {words}".rstrip()
        elif found := _VALUE.match(line):
            yield f"- `{found[1]}` {words}".rstrip()
        elif line == "}":
            yield ""
        comment = []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
