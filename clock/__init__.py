"""The two clocks of a run: the ordinary event loop, and one whose time jumps to the next timer.

All waiting code takes its time from the running loop and so runs on both, unchanged. What the
virtual loop cannot see (a real peer, a thread, a database) is awaited inside `held`.
"""

from clock.holding import held
from clock.loop import VirtualLoop, is_virtual, run
from clock.timer import Timer

__all__ = ["Timer", "VirtualLoop", "held", "is_virtual", "run"]
