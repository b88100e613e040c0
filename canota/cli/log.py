"""`canota log`: logs of wires: record, look into, convert, replay, show in Wireshark."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

import clock
from can_interfaces.wire import ErrorFrameHeard
from canota.cli.arguments import seconds
from canota.cli.bars import ByteBar
from canota.cli.captures import KeepOption, MaxSizeOption, recording_to
from canota.cli.exits import CommandError, Exit
from canota.cli.output import Json, JsonOption, console, group, print_json, size, table, write_file
from canota.cli.selections import (
    ChannelOption,
    FromOption,
    IdOption,
    UntilOption,
    WithoutOption,
    pair,
    selection,
)
from canota.cli.serving import say, until_stopped
from dbc import load
from dbc.vehicle import DescriptionError, VehicleDescription, describe_vehicle
from protocols.can import CanPort, FrameHeader
from protocols.can.bits import NS_PER_S
from recording import Channel, LogError, Record
from recording.convert import convert as convert_log
from recording.formats import format_of
from recording.listening import error_frame, listen
from recording.reading import LogReader, channel_number
from recording.records import date_of, since_epoch_ns
from recording.replay import Replay, Replayed, ReplayError, Target
from recording.selection import Selection
from recording.summary import ChannelSummary, IdentifierSummary, Summary, summary
from recording.trace.signals import load_database
from recording.wireshark_profile import profile
from vehicle_gateway.wires import LinkError
from vehicle_gateway.wires.uri import UriLinks

app = group()

LogArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE", help=".pcapng, .asc, .blf or .log (candump).", dir_okay=False),
]
#: How often a log that is recorded is brought up to date on the disk.
_FLUSH_S: Final = 1.0
_NS_PER_MS: Final = 1_000_000


@app.callback()
def log() -> None:
    """
    Work with logs of wires: record, look into, convert, replay.

    Formats are known by the file's ending: .pcapng, .asc, .blf, .log (candump), and .mf4, which is
    written only. `canota trace FILE` puts a log into words.
    """


@app.command()
def info(
    file: LogArgument,
    *,
    ids: Annotated[bool, typer.Option("--ids", help="Every identifier with its cycle.")] = False,
    json: JsonOption = False,
) -> None:
    """
    Tell what a log holds: its times, its channels, its identifiers.

    `canota log info car.blf --ids`
    """
    with log_errors(), LogReader(file) as reader:
        found = summary(_with_bar(reader, "reading"), reader.channels)
    if json:
        print_json(_info_json(reader, found, ids=ids))
    else:
        _print_info(reader, found, ids=ids)


@app.command()
def convert(
    source: LogArgument,
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="Its ending names the format.", dir_okay=False)
    ],
    *,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="CHANNEL=NAME", help="Call a channel by this name, as 1=comfort."),
    ] = None,
    only: IdOption = None,
    without: WithoutOption = None,
    channel: ChannelOption = None,
    from_s: FromOption = 0.0,
    until_s: UntilOption = None,
) -> None:
    """
    Write a log in another format, or a part of it.

    `canota log convert car.blf part.asc --id 7A0-7BF --from 12 --until 15.5`
    """
    chosen = selection(only, without, channel, from_s, until_s)
    names = dict(pair(argument, "--name", "CHANNEL=NAME") for argument in name or ())
    _known_format(target)
    if source.resolve() == target.resolve():
        raise CommandError(f"{target}: is the log itself", Exit.USAGE)
    with log_errors(), ByteBar("converting", None) as bar:
        done = convert_log(
            source,
            target,
            selection=chosen,
            names=names,
            on_progress=lambda read, total: bar(read, total=total),
        )
    count = done.left_out
    missing = f"; left out: {count} Ethernet frame{'s' if count > 1 else ''}" if count else ""
    say(f"{target}: {done.written} records{missing}")


@app.command()
def record(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help=".pcapng, .asc, .blf, .log (candump) or .mf4.", dir_okay=False
        ),
    ],
    *,
    wire: Annotated[
        list[str],
        typer.Option(metavar="NAME=URI", help="A wire: comfort=can://bridge/HOST:PORT/comfort."),
    ],
    max_size: MaxSizeOption = None,
    keep: KeepOption = 0,
    duration: Annotated[
        float | None,
        typer.Option("--for", metavar="SECONDS", help="End by itself after so long."),
    ] = None,
) -> None:
    """
    Record CAN wires until interrupted, with the machine's clock.

    `canota log record bench.blf --wire comfort=can://bridge/127.0.0.1:50091/comfort`
    """
    wires = dict(pair(argument, "--wire", "NAME=URI") for argument in wire)
    open_log = recording_to(file, max_size=max_size, keep=keep)
    if open_log is None:
        raise TypeError("a file is given")
    limit_s = None if duration is None else seconds(duration, option="--for")

    async def main() -> int:
        start_ns = loop_epoch_ns()
        async with opened(wires, node=f"canota log record {file.name}") as links:
            now_ns = start_ns + round(asyncio.get_running_loop().time() * NS_PER_S)
            log_file = open_log([Channel(name=name) for name in wires], now_ns)
            with contextlib.closing(log_file):
                for number, name in enumerate(wires):
                    listen(log_file, number, links.can(name), epoch_ns=start_ns)
                    links.listen_errors(name, errors(number, log_file.add, start_ns))
                say(f"{file}: recording {', '.join(wires)}")
                stop = asyncio.create_task(until_stopped())
                loop = asyncio.get_running_loop()
                end_s = None if limit_s is None else loop.time() + limit_s
                while not stop.done() and not log_file.full:
                    pause_s = _FLUSH_S if end_s is None else min(_FLUSH_S, end_s - loop.time())
                    if pause_s <= 0:
                        break
                    await asyncio.wait({stop}, timeout=pause_s)
                    log_file.flush(start_ns + round(loop.time() * NS_PER_S))
                stop.cancel()
            return log_file.count

    with log_errors():
        count = clock.run(main(), virtual=False)
    say(f"{file}: {count} records")


@app.command()
def replay(
    file: LogArgument,
    *,
    wire: Annotated[
        list[str],
        typer.Option(
            metavar="[CHANNEL=]URI",
            help="Where a channel (by name, or number from 1) goes: can://bridge/HOST:PORT/WIRE."
            " Without CHANNEL: the first one.",
        ),
    ],
    speed: Annotated[
        float,
        typer.Option(metavar="FACTOR", help="2 is twice as fast, 0 as fast as the wires take it."),
    ] = 1.0,
    loop: Annotated[
        int, typer.Option(metavar="N", help="Play it N times; 0 until interrupted.", min=0)
    ] = 1,
    longest_gap: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Cut longer pauses in the log to this."),
    ] = None,
    only: IdOption = None,
    without: WithoutOption = None,
    from_s: FromOption = 0.0,
    until_s: UntilOption = None,
) -> None:
    """
    Send the data frames of a log on wires, at the times that they had in it.

    `canota log replay drive.blf --wire 1=can://bridge/127.0.0.1:50091/comfort --id 210,310`
    """
    chosen = selection(only, without, None, from_s, until_s)
    wires = dict(_replay_wire(argument) for argument in wire)
    gap_s = None if longest_gap is None else seconds(longest_gap, option="--longest-gap")
    factor = seconds(speed, option="--speed")

    async def main() -> Replayed:
        async with opened(wires, node=f"canota log replay {file.name}") as links:
            ports = {name: links.can(name) for name in wires}
            played = _Playing(file, ports, chosen)
            work = asyncio.create_task(played.run(speed=factor, laps=loop, longest_gap_s=gap_s))
            await _unless_stopped(work)
            return played.replay.report

    with log_errors():
        report = clock.run(main(), virtual=False)
    say(_replayed_text(report))


@app.command()
def wireshark_profile(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="Wireshark's own place for profiles if left out.",
            file_okay=False,
        ),
    ] = None,
    *,
    description: Annotated[
        Path | None, typer.Option(help="The vehicle's description; ours if left out.")
    ] = None,
    dbc: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Signals of this database too.", dir_okay=False),
    ] = None,
) -> None:
    """
    Write a Wireshark profile that knows the vehicle: ISO-TP and UDS on CAN, names, signals.

    `canota log wireshark-profile` and then `tshark -C canota -r car.pcapng -Y uds`
    """
    vehicle = vehicle_of(description)
    target = _profiles() / "canota" if folder is None else folder
    with log_errors():
        databases = [load(name) for wire in vehicle.wires.values() for name in wire.databases]
        databases += [load_database(path) for path in dbc or ()]
    made = profile(vehicle, (one for database in databases for one in database.messages))
    target.mkdir(parents=True, exist_ok=True)
    for name, content in made.files.items():
        write_file(target / name, content.encode())
    say(f"{target}: {len(made.files)} files; choose it in Wireshark, or tshark -C {target.name}")
    if made.left_out:
        say(f"Wireshark's table has no place for: {', '.join(made.left_out)}")


def _profiles() -> Path:
    """Where Wireshark looks for profiles."""
    own = os.environ.get("WIRESHARK_CONFIG_DIR")
    if own:
        return Path(own) / "profiles"
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "wireshark" / "profiles"


def vehicle_of(path: Path | None) -> VehicleDescription:
    """A vehicle's description, ours if none is named."""
    try:
        return describe_vehicle() if path is None else describe_vehicle(path)
    except DescriptionError as error:
        raise CommandError(str(error), Exit.REFUSED) from error


class _Playing:
    """A file, played lap after lap."""

    def __init__(self, file: Path, ports: Mapping[str, CanPort], chosen: Selection) -> None:
        self._file = file
        self._ports = ports
        self._chosen = chosen
        self.replay = Replay({})

    async def run(self, *, speed: float, laps: int, longest_gap_s: float | None) -> None:
        targets = self._targets()
        self.replay = Replay(targets, speed=speed, longest_gap_s=longest_gap_s)
        lap = 0
        while not laps or lap < laps:
            lap += 1
            before = self.replay.report.sent
            with LogReader(self._file) as reader:
                text = f"replaying {lap}/{laps or '∞'}" if laps != 1 else "replaying"
                records = _with_bar(reader, text)
                await self.replay.run(self._chosen.take(records, reader.channels))
            if self.replay.report.sent == before:
                raise CommandError(f"{self._file}: no frame that can be replayed", Exit.REFUSED)

    def _targets(self) -> dict[int, Target]:
        """The wires by channel number; a log is read for its channels first."""
        with LogReader(self._file) as reader:
            for _ in _with_bar(reader, "reading"):
                pass
        targets: dict[int, Target] = {}
        for name, port in self._ports.items():
            number = channel_number(reader.channels, name)
            if number is None:
                known = ", ".join(one.name for one in reader.channels) or "none"
                text = f"--wire {name}=...: {self._file} has no such channel; there are: {known}"
                raise CommandError(text, Exit.USAGE)
            targets[number] = Target(name=name, port=port)
        return targets


@contextlib.asynccontextmanager
async def opened(wires: Mapping[str, str], *, node: str) -> AsyncIterator[UriLinks]:
    """The wires, open; `CommandError` for a wire that is none or that nobody serves."""
    links = UriLinks(wires, node=node)
    try:
        await links.open()
        yield links
    except LinkError as error:
        raise CommandError(str(error), Exit.UNREACHABLE) from error
    finally:
        await links.close()


def errors(number: int, take: Callable[[Record], None], epoch_ns: int) -> ErrorFrameHeard:
    """Hands a wire's error frames on as records."""

    def heard(identifier: int, _: bytes, at_s: float) -> None:
        take(error_frame(identifier, at_s, number, epoch_ns=epoch_ns))

    return heard


async def _unless_stopped(work: "asyncio.Task[None]") -> None:
    stop = asyncio.create_task(until_stopped())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


def loop_epoch_ns() -> int:
    """The date at the loop's time 0, in ns since 1970."""
    loop_time = asyncio.get_running_loop().time()
    now = datetime.now(UTC)  # noqa: TID251 the one look at the calendar
    return since_epoch_ns(now - timedelta(seconds=loop_time))


def _replay_wire(argument: str) -> tuple[str, str]:
    name, equals, uri = argument.partition("=")
    return (name, uri) if equals and "://" not in name else ("1", argument)


def _replayed_text(report: Replayed) -> str:
    left = {
        "error frames": report.error_frames,
        "remote frames": report.remote_frames,
        "Ethernet frames": report.ethernet_frames,
        "frames of other channels": report.without_wire,
    }
    said = ", ".join(f"{count} {what}" for what, count in left.items() if count)
    behind = f"; up to {report.behind_s:.3f} s behind the log" if report.behind_s > 0.05 else ""
    return f"{report.sent} frames sent{behind}{f'; left out: {said}' if said else ''}"


def _known_format(target: Path) -> None:
    try:
        format_of(target)
    except LogError as error:
        raise CommandError(str(error), Exit.USAGE) from error


@contextmanager
def log_errors(code: Exit = Exit.REFUSED) -> Iterator[None]:
    """What is wrong with a log, or with what is asked of it, ends the command."""
    try:
        yield
    except LogError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        raise CommandError(str(error), Exit.NOT_FOUND if missing else code) from error
    except ReplayError as error:
        raise CommandError(str(error)) from error


def _with_bar(reader: LogReader, text: str) -> Iterator[Record]:
    with ByteBar(text, reader.size or None) as bar:
        for number, record in enumerate(reader):
            if number % 256 == 0:
                bar(reader.position)
            yield record


def _info_json(reader: LogReader, found: Summary, *, ids: bool) -> Json:
    channels: list[Json] = []
    for number, (channel, one) in enumerate(zip(reader.channels, found.channels, strict=True), 1):
        row: dict[str, Json] = {
            "number": number,
            "name": channel.name,
            "ethernet": channel.ethernet,
            "frames": one.frames,
            "fd_frames": one.fd_frames,
            "remote_frames": one.remote_frames,
            "error_frames": one.error_frames,
            "ethernet_frames": one.ethernet_frames,
            "data_bytes": one.data_bytes,
            "identifiers": len(one.identifiers),
        }
        if ids:
            row["by_identifier"] = [
                {
                    "id": header.identifier,
                    "extended": header.extended,
                    "fd": header.fd,
                    "frames": seen.frames,
                    "cycle_ns": seen.cycle_ns,
                    "least_cycle_ns": seen.least_ns,
                    "most_cycle_ns": seen.most_ns,
                    "data_bytes": [seen.shortest, seen.longest],
                }
                for header, seen in _sorted(one)
            ]
        channels.append(row)
    return {
        "file": str(reader.path),
        "format": reader.format.name,
        "bytes": reader.size,
        "records": found.records,
        "start": _date(found.first_ns),
        "start_ns": found.first_ns,
        "duration_ns": found.duration_ns,
        "out_of_order": found.out_of_order,
        "channels": channels,
    }


def _print_info(reader: LogReader, found: Summary, *, ids: bool) -> None:
    out = console()
    out.print(f"{reader.path}: {reader.format.name}, {size(reader.size)}, {found.records} records")
    if not found.records:
        return
    duration_s = found.duration_ns / NS_PER_S
    out.print(f"{_date(found.first_ns)}, {duration_s:.3f} s")
    if found.out_of_order:
        out.print(f"{found.out_of_order} records are stamped before the one that precedes them")
    numbers = ("no.", "frames", "per s", "ids", "FD", "remote", "errors", "data")
    rows = table("no.", "channel", *numbers[1:], right=numbers)
    for number, (channel, one) in enumerate(zip(reader.channels, found.channels, strict=True), 1):
        frames = one.ethernet_frames if channel.ethernet else one.frames
        rate = f"{frames / duration_s:.0f}" if duration_s else ""
        can = ("", "", "", "") if channel.ethernet else _can_cells(one)
        rows.add_row(str(number), channel.name, str(frames), rate, *can, size(one.data_bytes))
    out.print(rows)
    if ids:
        for channel, one in zip(reader.channels, found.channels, strict=True):
            if one.identifiers:
                out.print(_identifier_table(channel.name, one))


def _can_cells(one: ChannelSummary) -> tuple[str, str, str, str]:
    more = "+" if one.further_frames else ""
    counts = (one.fd_frames, one.remote_frames, one.error_frames)
    fd, remote, errors = (str(count or "") for count in counts)
    return f"{len(one.identifiers)}{more}", fd, remote, errors


def _identifier_table(name: str, one: ChannelSummary) -> Table:
    right = ("id", "frames", "bytes", "cycle", "least", "most")
    rows = table("id", "", *right[1:], title=f"{name}, cycles in ms", right=right)
    for header, seen in _sorted(one):
        lengths = {str(seen.shortest): None, str(seen.longest): None}
        times = (seen.cycle_ns, seen.least_ns, seen.most_ns) if seen.frames > 1 else ()
        rows.add_row(
            f"{header.identifier:08X}" if header.extended else f"{header.identifier:03X}",
            "FD" if header.fd else "",
            str(seen.frames),
            "-".join(lengths),
            *(f"{time_ns / _NS_PER_MS:.3f}" for time_ns in times),
        )
    return rows


def _sorted(one: ChannelSummary) -> list[tuple[FrameHeader, IdentifierSummary]]:
    return sorted(one.identifiers.items(), key=lambda row: (row[0].extended, row[0].identifier))


def _date(at_ns: int) -> str:
    """ISO 8601 in UTC with all nine decimals."""
    whole = date_of(at_ns // NS_PER_S * NS_PER_S)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{at_ns % NS_PER_S:09}Z"
