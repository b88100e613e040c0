"""Programs that run until they are told to stop: signals, and how an end is said."""

import asyncio
import logging
import signal
import sys

from rich.console import Console
from rich.logging import RichHandler


async def until_stopped() -> None:
    """Return at SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def say(text: str) -> None:
    """Print a line at once, for whoever waits for it on a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def log_to_stderr(*, verbose: bool) -> None:
    """Send what the programs log to the error output; payloads only if asked for."""
    console = Console(stderr=True)
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(message)s" if console.is_terminal else "%(levelname)s %(name)s %(message)s",
        handlers=[RichHandler(console=console, show_path=False)] if console.is_terminal else None,
    )
    # python-can tells of every socket and bus that it opens.
    logging.getLogger("can").setLevel(logging.WARNING)
    # Its DEBUG lines are about its own loop.
    logging.getLogger("asyncio").setLevel(logging.INFO)
    if not verbose:
        # Its INFO lines say at every start which database it is.
        logging.getLogger("alembic").setLevel(logging.WARNING)
