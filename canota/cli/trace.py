"""`canota trace`: what goes over the wires, in words, live or out of a log."""

import asyncio
import json as json_module
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Annotated, Final, TextIO

import typer
from cantools.database.can import Database
from rich.console import Console
from rich.text import Text

import clock
from canota.cli.exits import CommandError, Exit, explained
from canota.cli.log import errors, log_errors, loop_epoch_ns, opened, vehicle_of
from canota.cli.selections import (
    ChannelOption,
    FromOption,
    IdOption,
    UntilOption,
    WithoutOption,
    pair,
    selection,
)
from canota.cli.serving import until_stopped
from protocols.can import FrameHeader
from protocols.can.bits import NS_PER_S
from recording import CanFrame, Channel, Record
from recording.reading import LogReader
from recording.records import date_of
from recording.selection import Selection, identifiers
from recording.trace import IsoTpPair, Kind, Line, TraceOptions, Tracer, VehicleNames
from recording.trace.names import EVERYBODY
from recording.trace.signals import load_database

app = typer.Typer(rich_markup_mode="markdown", add_completion=False, pretty_exceptions_enable=False)

_NS_PER_MS: Final = 1_000_000
#: Least width of the column of who speaks to whom, or of a message's name.
_WHO: Final = 18
_STYLES: Final[Mapping[Kind, str]] = {
    Kind.SIGNALS: "",
    Kind.UDS: "",
    Kind.ISOTP: "yellow",
    Kind.DOIP: "magenta",
    Kind.NM: "dim",
    Kind.FRAME: "dim",
    Kind.ERROR: "bold red",
}
#: Longest piece of a row that is not broken into two, and what stands between two pieces.
_WHOLE: Final = 32
_GAP: Final = "  "
_REQUEST, _ANSWER, _PENDING, _REFUSED = "bold cyan", "green", "dim green", "bold red"


class Times(Enum):
    """How stamps are shown."""

    RELATIVE = "relative"
    ABSOLUTE = "absolute"
    DELTA = "delta"


@app.command(epilog=explained())
def trace(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|NAME=URI",
            help="A log (`-`: from a pipe), or wires: comfort=can://bridge/HOST:PORT/comfort.",
        ),
    ],
    *,
    frames: Annotated[
        bool, typer.Option("--frames", help="Every frame with its bytes, ISO-TP's in words.")
    ] = False,
    changes: Annotated[
        bool, typer.Option("--changes", help="Signals only when their values change.")
    ] = False,
    kind: Annotated[
        list[Kind] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help=f"Only this kind: {', '.join(one.value for one in Kind)}.",
        ),
    ] = None,
    ecu: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only what this ECU says or is told."),
    ] = None,
    only: IdOption = None,
    without: WithoutOption = None,
    channel: ChannelOption = None,
    from_s: FromOption = 0.0,
    until_s: UntilOption = None,
    times: Annotated[
        Times,
        typer.Option(
            "--time", metavar="HOW", help="relative (to the first record), absolute or delta."
        ),
    ] = Times.RELATIVE,
    description: Annotated[
        Path | None, typer.Option(help="The vehicle's description; ours if left out.")
    ] = None,
    wire: Annotated[
        list[str] | None,
        typer.Option(metavar="CHANNEL=WIRE", help="Which wire of the vehicle a channel is."),
    ] = None,
    dbc: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CHANNEL=]FILE", help="Signals from this database, in place of the vehicle's."
        ),
    ] = None,
    isotp: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REQUEST:RESPONSE", help="Identifiers of an ECU that is not described."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """
    Put the wires into words: signals, ISO-TP, UDS, DoIP, errors; live, or from a log.

    A long UDS message is one line, at its last frame; answers say how long they took. Ctrl-C ends
    a live trace. A log that still grows can come through a pipe, as can candump and dumpcap:

    `canota trace comfort=can://bridge/127.0.0.1:50091/comfort --changes`

    `canota trace car.blf --kind uds --ecu ccu`

    `candump -L can0 | canota trace - --wire can0=comfort`
    """
    options = TraceOptions(
        frames=frames,
        changes=changes,
        wires=dict(pair(argument, "--wire", "CHANNEL=WIRE") for argument in wire or ()),
        databases=_databases(dbc or ()),
        isotp=[_isotp(argument) for argument in isotp or ()],
    )
    names = VehicleNames(vehicle_of(description))
    _check_names(names, ecu or (), options.wires)
    chosen = selection(only, without, channel, from_s, until_s)
    channels = [Channel(name=name) for name in _live(source)]
    printer = (_JsonPrinter if json else _Printer)(sys.stdout, times, live=bool(channels))
    # What is asked of all is asked of each.
    who = frozenset((*ecu, EVERYBODY)) if ecu else frozenset()
    shown = _Shown(printer, frozenset(kind or ()), who)
    with log_errors():
        if channels:
            tracer = Tracer(channels, names, options)
            clock.run(_trace_wires(_live(source), channels, tracer, chosen, shown), virtual=False)
        else:
            with _reader(source) as reader:
                tracer = Tracer(reader.channels, names, options)
                _trace_log(reader, tracer, chosen, shown)
    counts = tracer.counts
    Console(stderr=True).print(
        f"{counts.records} frames, {counts.uds} UDS messages, {counts.refused} refused,"
        f" {counts.errors} error frames",
        style="dim",
        highlight=False,
    )


class _Shown:
    """Lines that are asked for go to the printer."""

    def __init__(
        self, printer: "_Printer | _JsonPrinter", kinds: frozenset[Kind], ecus: frozenset[str]
    ) -> None:
        self._printer = printer
        self._kinds = kinds
        self._ecus = ecus

    def counted(self, records: Iterable[Record]) -> Iterator[Record]:
        """Times count from the first of these, whether it is shown or not."""
        for number, record in enumerate(records):
            if not number:
                self._printer.start_ns = record.at_ns
            yield record

    def show(self, line: Line) -> None:
        if self._kinds and line.kind not in self._kinds:
            return
        if self._ecus and not self._ecus & {line.source, line.target}:
            return
        self._printer.show(line)


def _trace_log(reader: LogReader, tracer: Tracer, chosen: Selection, shown: _Shown) -> None:
    with suppress(KeyboardInterrupt):
        for record in chosen.take(shown.counted(reader), reader.channels):
            for line in tracer.lines(record):
                shown.show(line)


async def _trace_wires(
    wires: Mapping[str, str],
    channels: Sequence[Channel],
    tracer: Tracer,
    chosen: Selection,
    shown: _Shown,
) -> None:
    """Until interrupted, or until nobody reads any more; lines are printed as frames come.

    A reader that is slow holds up the loop, and so the wire's socket: nothing piles up here.
    """
    epoch_ns = loop_epoch_ns()
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(record: Record) -> None:
        if over.done() or not chosen.wants(record, channels):
            return
        try:
            for line in tracer.lines(record):
                shown.show(line)
        except OSError as error:
            over.set_exception(error)

    def hearing(number: int) -> Callable[[FrameHeader, bytes, float], None]:
        return lambda header, data, at_s: take(
            CanFrame(epoch_ns + round(at_s * NS_PER_S), number, header, bytes(data))
        )

    async with opened(wires, node="canota trace") as links:
        for number, name in enumerate(wires):
            links.can(name).listen(hearing(number))
            links.listen_errors(name, errors(number, take, epoch_ns))
        stop = asyncio.create_task(until_stopped())
        await asyncio.wait({over, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if over.done():
            over.result()


class _JsonPrinter:
    """One object a line."""

    def __init__(self, file: TextIO, times: Times, *, live: bool) -> None:
        del times  # stamps are whole
        self.start_ns: int | None = None
        self._file = file
        self._live = live

    def show(self, line: Line) -> None:
        self._file.write(json_module.dumps(line.json(), ensure_ascii=False) + "\n")
        if self._live:
            self._file.flush()


class _Printer:
    """Columns: time, wire, identifier, who to whom (or which message), what."""

    def __init__(self, file: TextIO, times: Times, *, live: bool) -> None:
        self._console = Console(file=file, highlight=False, markup=False)
        self._file = file
        self._plain = not self._console.is_terminal
        self._live = live
        self._times = times
        #: Where relative times begin; the first line if nobody has said it.
        self.start_ns: int | None = None
        self._before_ns: int | None = None
        self._wire_width = 8
        self._identifier_width = 3
        self._who_width = _WHO

    def show(self, line: Line) -> None:
        if self.start_ns is None:
            self.start_ns = line.at_ns
        head = self._head(line)
        pieces = _said(line)
        if self._plain:
            text = _GAP.join(piece.plain for piece in pieces)
            self._file.write(f"{head.plain}{text}".rstrip() + "\n")
            if self._live:
                self._file.flush()
            return
        # A terminal that is too narrow for columns breaks rows where it likes.
        width = max(self._console.width - len(head.plain), _WHO)
        for number, row in enumerate(_rows(pieces, width, self._console)):
            before = Text(" " * len(head.plain)) if number else head
            self._console.print(Text.assemble(before, row), soft_wrap=True)

    def _head(self, line: Line) -> Text:
        if line.source and line.target:
            who = f"{line.source} → {line.target}"
        else:
            who = line.source or line.target or line.name
        # Columns grow with what they hold and do not shrink: rows stay below each other.
        self._wire_width = max(self._wire_width, len(line.wire))
        self._identifier_width = max(self._identifier_width, len(line.identifier))
        self._who_width = max(self._who_width, min(len(who), 2 * _WHO))
        return Text.assemble(
            (f"{self._time(line.at_ns)}  ", "dim"),
            (f"{line.wire:<{self._wire_width}} ", "blue"),
            (f"{line.identifier:>{self._identifier_width}}  ", "dim"),
            (f"{who:<{self._who_width}}  ", _STYLES[line.kind]),
        )

    def _time(self, at_ns: int) -> str:
        before_ns, self._before_ns = self._before_ns or at_ns, at_ns
        match self._times:
            case Times.ABSOLUTE:
                return f"{date_of(at_ns):%Y-%m-%d %H:%M:%S.%f}"
            case Times.DELTA:
                return f"{(at_ns - before_ns) / NS_PER_S:12.6f}"
            case Times.RELATIVE:
                return f"{(at_ns - (self.start_ns or 0)) / NS_PER_S:12.6f}"


def _said(line: Line) -> list[Text]:
    """What stands in the last column, in pieces that stay together."""
    if line.kind is Kind.SIGNALS:
        return [Text.assemble((f"{one.name} ", "dim"), (one.text, "bold")) for one in line.signals]
    said = line.said
    if said is None:
        name = line.name if line.source or line.target else ""
        text = f"{name}: {line.text}" if name and line.text else name or line.text
        return [Text(text, "bold red" if line.alarming else _STYLES[line.kind])]
    styles = {said.request: _REQUEST, said.pending: _PENDING, said.refused: _REFUSED}
    pieces = [Text(said.service, styles.get(True, _ANSWER))]
    if said.text:
        pieces.append(Text(said.text, _REFUSED if said.refused else ""))
    notes = [f"{line.frames} frames"] if line.frames > 1 else []
    if line.after_ns is not None:
        notes.append(f"after {_duration(line.after_ns)}")
    if notes:
        pieces.append(Text(f"({', '.join(notes)})", "dim"))
    return pieces


def _duration(ns: int) -> str:
    return f"{ns / 1000:.0f} µs" if abs(ns) < _NS_PER_MS else f"{ns / _NS_PER_MS:.1f} ms"


def _rows(pieces: Sequence[Text], width: int, console: Console) -> Iterator[Text]:
    """The pieces side by side as far as there is room; short ones whole, long ones word by word."""
    row = Text()
    for piece in pieces:
        if row and len(row) + len(_GAP) + len(piece) > width and len(piece) <= _WHOLE:
            yield row
            row = Text()
        row = Text.assemble(row, _GAP, piece) if row else piece
        while len(row) > width:
            first, *rest = row.wrap(console, width)
            yield first
            row = Text(" ").join(rest)
    yield row


def _live(source: Sequence[str]) -> dict[str, str]:
    """Wires by name; empty if the sources are a log."""
    wires: dict[str, str] = {}
    for argument in source:
        name, equals, uri = argument.partition("=")
        if "://" not in argument:
            continue
        if not equals or "://" in name:
            name, uri = argument.partition("?")[0].rstrip("/").rpartition("/")[2], argument
        wires[name] = uri
    if wires and len(wires) < len(source):
        raise CommandError("trace: a log, or wires of different names", Exit.USAGE)
    return wires


def _reader(source: Sequence[str]) -> LogReader:
    if len(source) != 1:
        raise CommandError("trace: one log at a time", Exit.USAGE)
    if source[0] == "-":
        return LogReader(Path("standard input"), sys.stdin.buffer)  # type: ignore[arg-type]  # a BufferedReader, says its documentation
    return LogReader(Path(source[0]))


def _check_names(names: VehicleNames, ecus: Sequence[str], wires: Mapping[str, str]) -> None:
    for option, given, known in (
        ("--ecu", ecus, names.vehicle.ecus),
        ("--wire", wires.values(), names.vehicle.wires),
    ):
        # An ECU that is not described is called by its identifier: ECU 7E0.
        if unknown := [name for name in given if name not in known and name[:4] != "ECU "]:
            text = f"{option} {unknown[0]}: the vehicle has {', '.join(known)}"
            raise CommandError(text, Exit.USAGE)


def _databases(arguments: Sequence[str]) -> dict[str, list[Database]]:
    made: dict[str, list[Database]] = {}
    with log_errors():
        for argument in arguments:
            name, equals, file = argument.partition("=")
            path = Path(file if equals else argument)
            made.setdefault(name if equals else "", []).append(load_database(path))
    return made


def _isotp(argument: str) -> IsoTpPair:
    request, _, response = argument.partition(":")
    with log_errors(Exit.USAGE):
        asked, answered = identifiers(request), identifiers(response)
    if any(len(one) != 1 or one[0].first != one[0].last for one in (asked, answered)):
        raise CommandError(f"--isotp {argument}: REQUEST:RESPONSE expected", Exit.USAGE)
    return IsoTpPair(
        request_id=asked[0].first, response_id=answered[0].first, extended=asked[0].extended
    )
