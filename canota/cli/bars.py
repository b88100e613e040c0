"""Live progress: one bar for each ECU on a terminal, one line for each step elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuStep:
    """How far one ECU of one vehicle is."""

    ecu: str
    step: str
    bytes_done: int = 0
    bytes_total: int = 0
    #: Seconds to the end of the step by the computed bound; 0 when unknown.
    remaining_s: float = 0.0


#: Step that ends an ECU's part -> what stands in front of its bar, and in which colour.
ENDS: Final[dict[str, tuple[str, str]]] = {
    "confirmed": ("\u2713", "green"),
    "reverted": ("\u21ba", "yellow"),
    "failed": ("\u2717", "red"),
}


class _Mark(SpinnerColumn):
    """Turns until the ECU's part has ended, and then says how: all bytes sent is not yet that."""

    def render(self, task: Task) -> RenderableType:
        mark = ENDS.get(task.fields["step"])
        return self.spinner.render(task.get_time()) if mark is None else Text(*mark)


class EcuBars:
    """Progress of several ECUs at once; a context manager that owns the terminal's last lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._steps: dict[str, str] = {}
        self._progress = Progress(
            TextColumn(" "),
            _Mark(),
            TextColumn("[bold]{task.description:<8}"),
            TextColumn("{task.fields[step]:<14}"),
            BarColumn(bar_width=32, complete_style="cyan", finished_style="green"),
            DownloadColumn(binary_units=True),
            TextColumn("{task.fields[remaining]}", style="dim"),
            console=console,
            refresh_per_second=20,
        )

    def __enter__(self) -> Self:
        # A recording would hold every refresh: it gets the last one.
        if self._console.is_terminal and not self._console.record:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.record:
            self._console.print(self._progress)
        elif self._console.is_terminal:
            self._progress.stop()

    def show(self, steps: Iterable[EcuStep], *, vehicle: str = "") -> None:
        for step in steps:
            name = f"{vehicle} {step.ecu}" if vehicle else step.ecu
            if self._console.is_terminal:
                self._show_bar(name, step)
            elif self._steps.get(name) != step.step:
                self._console.print(f"  {name:<8} {step.step}")
            self._steps[name] = step.step

    def _show_bar(self, name: str, step: EcuStep) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None, step="", remaining="")
        remaining = f"{step.remaining_s:.0f} s left" if step.remaining_s >= 1 else ""
        self._progress.update(self._tasks[name], step=step.step, remaining=remaining)
        if step.bytes_total:
            self._progress.update(
                self._tasks[name], total=step.bytes_total, completed=step.bytes_done
            )


class ByteBar:
    """One bar for an upload or a download, on the error output if that is a terminal."""

    def __init__(self, text: str, total: int | None) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(text, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, done: int, *, total: int | None = None) -> None:
        """Bytes so far; `total` where it was not known before."""
        self._progress.update(self._task, completed=done, total=total)
