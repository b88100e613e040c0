"""Downloads that are held, by another part of the gateway or from the keyboard."""

import asyncio
import io
import os
import signal

from rich.console import Console

import clock
from canota.cli.gateway_flash import held_by_ctrl_z
from vehicle_gateway.flashing.pace import Pace

#: Longest that a signal may take to arrive, in seconds.
_BOUND_S = 10.0


def test_a_turn_waits_while_it_is_held_and_keeps_the_session_open() -> None:
    told: list[float] = []

    async def main() -> None:
        pace, loop = Pace(), asyncio.get_running_loop()

        async def tell(request: bytes) -> None:
            assert request == b"\x3e\x80"
            told.append(loop.time())

        assert await pace.turn(tell, period_s=2.0) == 0.0
        assert told == []
        pace.hold()
        assert pace.held
        loop.call_later(7.0, pace.go_on)
        assert await pace.turn(tell, period_s=2.0) == 7.0
        assert told == [0.0, 2.0, 4.0, 6.0]
        assert not pace.held

    clock.run(main(), virtual=True)


def test_ctrl_z_holds_and_ctrl_z_again_goes_on() -> None:
    said = io.StringIO()

    async def main() -> None:
        with held_by_ctrl_z(Console(file=said)) as pace:
            for held in (True, False, True):
                os.kill(os.getpid(), signal.SIGTSTP)
                async with asyncio.timeout(_BOUND_S):
                    while pace.held is not held:  # noqa: ASYNC110 a signal tells nobody
                        await asyncio.sleep(0)
        assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL

    clock.run(main(), virtual=False)
    assert said.getvalue().count("held at the next block") == 2
    assert said.getvalue().count("goes on") >= 1
