"""Whatever single request or answer gets lost on the way, the new software runs in the end."""

import asyncio
from pathlib import Path

import pytest

from clock import run
from tests.support.flashing import NONCE, Line, bench, job

ADDRESSES = {"ccu": 0x7A0, "blower": 0x7A1}
EVERYONE = 0x7DF
#: Starts of messages; the second byte of a block is its counter.
ANSWERS = {
    "ccu": (
        *("62 F1 8C", "50 03", "7F 27 78", "67 01", "67 02", "6E F1 5A"),
        *("7F 31 78", "71 01 FF 00", "74", "76 01", "77", "71 01 02 02", "71 01 02 14"),
        *("71 01 FF 01", "71 01 02 10", "51 01", "7E 00", "71 01 02 11"),
    ),
    "blower": (
        *("7F 10 78", "50 02", "67 01", "67 02", "6E F1 5A", "71 01 FF 00", "74", "76 01"),
        *("77", "71 01 02 02", "71 01 FF 01", "51 01", "7E 00", "71 01 02 03"),
    ),
}
REQUESTS = {
    "ccu": (
        *("22 F1 8C", "10 03", "27 01", "27 02", "2E F1 5A", "31 01 FF 00", "34", "36 01"),
        *("37", "31 01 02 02", "31 01 02 14", "31 01 FF 01", "31 01 02 10", "11 01"),
        *("3E 00", "31 01 02 11"),
    ),
    "blower": (
        *("3E 80", "10 83", "31 01 02 03", "85 82", "28 83 01", "10 02", "27 01", "27 02"),
        *("2E F1 5A", "31 01 FF 00", "34", "36 01", "37", "31 01 02 02", "31 01 FF 01"),
        *("11 01", "3E 00", "28 80 01", "85 81", "10 81"),
    ),
}


def message(frame: bytes) -> bytes:
    """The start of the message that a classic frame begins, empty for other frames."""
    match frame[0] >> 4:
        case 0x0:
            return frame[1 : 1 + frame[0]]
        case 0x1:
            return frame[2:]
    return b""


def program(state: Path, ecu: str, line: Line) -> tuple[str, float]:
    """The whole sequence of one ECU: its version after it, and how long it took."""

    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        async with bench(
            state, "ccu", "blower", outgoing=line.outgoing, incoming=line.incoming
        ) as on:
            updater, update = on.updaters[ecu], job(ecu)
            begin_s = loop.time()
            await updater.stage(update, resume_from=0, progress=on.progress)
            await updater.activate(update, resume_from=0, progress=on.progress)
            await updater.confirm(update)
            return (await updater.inventory(NONCE)).software_version, loop.time() - begin_s

    return run(main(), virtual=True)


@pytest.mark.parametrize(
    ("ecu", "start"), [(ecu, start) for ecu, starts in ANSWERS.items() for start in starts]
)
def test_a_lost_answer_changes_nothing_but_the_time(tmp_path: Path, ecu: str, start: str) -> None:
    line = Line()
    lost: list[bytes] = []

    def lose(identifier: int, frame: bytes) -> bool:
        meant = identifier == ADDRESSES[ecu] + 8
        if lost or not meant or not message(frame).startswith(bytes.fromhex(start)):
            return False
        lost.append(frame)
        return True

    line.lose_answer = lose
    version, took_s = program(tmp_path, ecu, line)
    assert lost
    assert version == "2.0.0"
    # P2* is the longest that one answer is waited for.
    assert took_s < 15


@pytest.mark.parametrize(
    ("ecu", "start"), [(ecu, start) for ecu, starts in REQUESTS.items() for start in starts]
)
def test_a_lost_request_changes_nothing_but_the_time(tmp_path: Path, ecu: str, start: str) -> None:
    line = Line()
    lost: list[bytes] = []

    def lose(identifier: int, begun: bytes) -> bool:
        meant = identifier in {ADDRESSES[ecu], EVERYONE}
        if lost or not meant or not begun.startswith(bytes.fromhex(start)):
            return False
        lost.append(begun)
        return True

    line.lose_request = lose
    version, took_s = program(tmp_path, ecu, line)
    assert lost
    assert version == "2.0.0"
    assert took_s < 15
