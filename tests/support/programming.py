"""A tester's programming sequences over a raw ISO-TP connection."""

import zlib
from itertools import count

from ecu_sim.node import EcuNode
from protocols.uds.security_access import compute_key, derive_key
from tests.support.ecu import RawTester


async def unlock(tester: RawTester, node: EcuNode) -> None:
    serial = node.hardware.identity.serial
    key = derive_key(node.hardware.identity.diagnostics_master, serial, 1)
    await tester.unlock(lambda seed: compute_key(key, level=1, ecu_id=serial, seed=seed))


async def expect(tester: RawTester, request: str | bytes, answer: str) -> None:
    sent = bytes.fromhex(request) if isinstance(request, str) else request
    assert (await tester.ask(sent)).hex(" ") == answer


def erase_request(address: int, size: int) -> bytes:
    return bytes.fromhex("31 01 FF 00 44") + address.to_bytes(4) + size.to_bytes(4)


async def erase(tester: RawTester, address: int, size: int) -> None:
    await expect(tester, erase_request(address, size), "71 01 ff 00 00")


async def transfer(
    tester: RawTester, address: int, data: bytes, *, blocks: int | None = None
) -> None:
    """34, 36 and 37; with `blocks` only that many blocks and no 37."""
    request = bytes.fromhex("34 00 44") + address.to_bytes(4) + len(data).to_bytes(4)
    answer = await tester.ask(request)
    assert answer[:2] == bytes.fromhex("74 20"), answer.hex()
    step = int.from_bytes(answer[2:]) - 2
    for number, start in zip(count(1), range(0, len(data), step), strict=False):
        if blocks is not None and number > blocks:
            return
        counter = bytes((number & 0xFF,))
        answer = await tester.ask(b"\x36" + counter + data[start : start + step])
        assert answer == b"\x76" + counter, answer.hex()
    await expect(tester, "37", "77")


async def stage(tester: RawTester, node: EcuNode, image: bytes) -> None:
    """Write the inactive slot of a two-slot ECU, in its running application."""
    await expect(tester, "10 03", "50 03 00 32 01 f4")
    await unlock(tester, node)
    base = node.ecu.application_base
    await erase(tester, base, len(image))
    await transfer(tester, base, image)


async def program_single_slot(tester: RawTester, node: EcuNode, image: bytes) -> None:
    """Rewrite the only slot through the boot loader, up to the reset."""
    await expect(tester, "10 03", "50 03 00 32 01 f4")
    await expect(tester, "10 02", "50 02 00 32 01 f4")
    await unlock(tester, node)
    base = node.ecu.application_base
    await erase(tester, base, len(image))
    await transfer(tester, base, image)
    crc = zlib.crc32(image).to_bytes(4)
    await expect(tester, bytes.fromhex("31 01 02 02") + crc, "71 01 02 02 00")
    await expect(tester, "31 01 FF 01", "71 01 ff 01 00")
    await expect(tester, "11 01", "51 01")
