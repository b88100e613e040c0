"""A foreign ECU's flash sequence and key, as an engineer would write them: files, no code of ours.

`write` puts the PDX, its options, the sequence, the key hook, the secondary boot loader and a
firmware file into a folder; `serving` has an ECU made from the PDX there serve on a bridge.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import clock
from ecu_sim.bus.bridge import serve_bridge
from ecu_sim.bus.can import CanWire
from ecu_sim.described import DescribedEcu
from ecu_sim.described.node import DescribedNode
from ecu_sim.described.options import applied, read_options
from ecu_sim.described.pdx import read_pdx
from protocols.firmware.formats import Image, formats
from tests.support.foreign_ecu import (
    FLASH_AT,
    FOREIGN_KEY_SOURCE,
    FOREIGN_OPTIONS,
    foreign_key,
    foreign_pdx,
    node_of,
)

T = TypeVar("T")

PROGRAM: Final = bytes(range(256)) * 21 + b"end of program"
DATA: Final = b"calibration" * 50
DATA_AT: Final = 0x00B0_0000
LOADER: Final = bytes(reversed(range(256))) * 3

SEQUENCE: Final = """# Brakes: extended session first, level 11, a boot loader in RAM.
name = "brakes"

[addressing]
request_id = 0x7B1
response_id = 0x7B9

[timing]
boot_s = 0.2

[security]
level = 0x11
key = "brakes_key.py:key"

[loader]
file = "brakes_loader.bin"
address = 0x40000000

[identification]
part_number = 0xF187
fingerprint = 0xF184

[routines]
wipe = 0x0301
start_loader = 0x0302
compare = { id = 0x0304, texts = { 01 = "another checksum" } }
fits = 0x0305

[[blocks]]
name = "program"
address = 0x00A00000
size = 0x10000

[[blocks]]
name = "data"
address = 0x00B00000
size = 0x2000

[program]
tester_present = "ecu"
steps = [
  { step = "opening", session = 0x03 },
  { step = "opening", session = 0x02 },
  { step = "unlocking", unlock = "default" },
  { step = "loading the boot loader", download = "loader" },
  { step = "starting the boot loader", routine = "start_loader" },
  { step = "fingerprinting", write = 0xF184, record = "{date} 'BENCH1'" },
  { step = "programming", each_block = [
    { step = "erasing", erase = "wipe", option = "{address} {size}" },
    { step = "transferring", download = "image" },
    { step = "verifying", check = "compare", option = "{crc32}" },
  ] },
  { step = "checking dependencies", routine = "fits" },
  { step = "starting", reset = 0x01 },
]
"""


def write(folder: Path) -> None:
    formats_ = formats()
    firmware = formats_["s_record"].encode(Image(address=FLASH_AT, data=PROGRAM))
    for name, content in {
        "brakes.pdx": foreign_pdx(),
        "brakes_options.toml": FOREIGN_OPTIONS.encode(),
        "brakes.toml": SEQUENCE.encode(),
        "brakes_key.py": FOREIGN_KEY_SOURCE.encode(),
        "brakes_loader.bin": LOADER,
        "program.s19": firmware,
        "data.hex": formats_["intel_hex"].encode(Image(address=DATA_AT, data=DATA)),
    }.items():
        (folder / name).write_bytes(content)


def ecu_of(folder: Path) -> DescribedEcu:
    """The ECU of the files."""
    described = read_pdx((folder / "brakes.pdx").read_bytes(), name="brakes.pdx")
    options = (folder / "brakes_options.toml").read_text(encoding="utf-8")
    return applied(described, read_options(options, name="brakes_options.toml"))


@asynccontextmanager
async def serving(ecu: DescribedEcu) -> AsyncIterator[tuple[DescribedNode, str]]:
    """The ECU on a bridge in real time, and the wire's URI."""
    wire = CanWire("bench", bit_rate=500_000, loop=asyncio.get_running_loop())
    node = node_of(ecu, wire.port("ecu"), key=foreign_key)
    server = await serve_bridge(wire, "127.0.0.1", 0)
    node.power_on()
    await node.booted()
    try:
        yield node, f"can://bridge/127.0.0.1:{server.port}/bench"
    finally:
        node.power_off()
        await server.close()
        wire.close()


def against(ecu: DescribedEcu, tester: Callable[[str], T]) -> tuple[T, DescribedNode]:
    """Run a blocking tester in a thread; it gets the URI of the ECU's wire."""

    async def main() -> tuple[T, DescribedNode]:
        async with serving(ecu) as (node, uri):
            return await asyncio.to_thread(tester, uri), node

    return clock.run(main(), virtual=False)
