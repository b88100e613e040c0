"""`canota link`: a wireless link between two programs, as a local TCP proxy."""

import asyncio
import contextlib
import json
from contextlib import AsyncExitStack
from dataclasses import asdict
from itertools import takewhile
from typing import Annotated, Final

import typer
from rich.console import Console

import clock
from canota.cli.arguments import host_and_port, link_profile, seconds
from canota.cli.exits import CommandError, Exit, explained
from canota.cli.output import Json, JsonOption, console, print_json, size, table
from canota.cli.serving import log_to_stderr, say, until_stopped
from canota.link_proxy import LinkProxy, LinkProxyError, Statistics
from protocols.link import PROFILES, Link, Profile, Radio

#: A listing of outages ends there.
_MOST_LISTED_S: Final = 86_400.0

app = typer.Typer(rich_markup_mode="markdown", add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog=explained())
def link(
    *,
    profile: Annotated[
        str, typer.Option(metavar="PROFILE", help=f"One of {', '.join(PROFILES)}.")
    ] = "lte",
    to: Annotated[str, typer.Option(metavar="HOST:PORT", help="The far end: the cloud.")] = "",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The near end; port 0 takes a free one.")
    ] = "127.0.0.1:0",
    seed: Annotated[int, typer.Option(help="The same seed gives the same outages.")] = 1,
    duration: Annotated[
        float, typer.Option("--for", metavar="SECONDS", help="End by itself; 0 never does.")
    ] = 0.0,
    profiles: Annotated[
        bool, typer.Option("--profiles", help="Show the links there are, and end.")
    ] = False,
    outages: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Show the outages of so many seconds, and end."),
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """
    Put a wireless link between a gateway and its cloud, or any two programs that speak TCP.

    `canota link --profile tunnel --to 127.0.0.1:50080` prints where it listens; point the gateway
    there (`canota gateway run ... --cloud 127.0.0.1:PORT`). Bytes come as late as over the link,
    outages hold them, and long ones reset connections. Ctrl-C ends it and shows what went over it.
    """
    if profiles:
        _show_profiles(as_json=as_json)
        return
    chosen = link_profile(profile, option="--profile")
    if outages:
        _show_outages(chosen, seed, seconds(outages, option="--outages"), as_json=as_json)
        return
    if not to:
        raise CommandError("--to: HOST:PORT of the far end expected", Exit.USAGE)
    far = host_and_port(to, option="--to", free=False)
    near = host_and_port(listen, option="--listen", free=True)
    log_to_stderr(verbose=False)
    passed = clock.run(
        _serve(Link(chosen, seed), far, near, seconds(duration, option="--for"), as_json=as_json),
        virtual=False,
    )
    if as_json:
        say(json.dumps({"profile": chosen.name, "seed": seed, **asdict(passed)}))
    else:
        _show(passed, console())


async def _serve(
    model: Link, to: tuple[str, int], listen: tuple[str, int], ends_s: float, *, as_json: bool
) -> Statistics:
    async with AsyncExitStack() as stack:
        try:
            proxy = await stack.enter_async_context(LinkProxy(model, to=to, listen=listen))
        except LinkProxyError as error:
            raise CommandError(str(error), Exit.REFUSED) from error
        name = model.profile.name
        if as_json:
            host, port = proxy.address
            begin = {"host": host, "port": port, "profile": name, "seed": model.seed}
            say(json.dumps(begin))
        else:
            say(f"{name} from {proxy.target} to {to[0]}:{to[1]}, seed {model.seed}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ends_s or None):
                await until_stopped()
        return proxy.statistics()


def _show(passed: Statistics, out: Console) -> None:
    shown = table("", "sent", "delivered", "on the air", right=("sent", "delivered", "on the air"))
    for name, way in (("up", passed.up), ("down", passed.down)):
        shown.add_row(name, size(way.sent), size(way.delivered), size(way.on_air))
    out.print(shown)
    out.print(
        f"{passed.connections} connections, {passed.resets} reset by the link, "
        f"{passed.unreachable} without a far end, {passed.too_many} too many"
    )
    out.print(
        f"{passed.outages} outages, {passed.outage_seconds:.1f} s "
        f"of {passed.seconds:.1f} s without coverage"
    )


def _show_profiles(*, as_json: bool) -> None:
    if as_json:
        print_json([_plain(one) for one in PROFILES.values()])
        return
    shown = table("profile", "down", "up", "delay", "loss", "coverage", "outages", "reset", "what")
    for one in PROFILES.values():
        shown.add_row(
            one.name,
            _rate(one.down),
            _rate(one.up),
            _delay(one.down),
            f"{one.down.loss:.2%}",
            _range(one.covered_s),
            _range(one.outage_s),
            f"after {one.reset_after_s:g} s",
            one.summary,
        )
    console().print(shown)


def _show_outages(profile: Profile, seed: int, until_s: float, *, as_json: bool) -> None:
    if until_s > _MOST_LISTED_S:
        raise CommandError(f"--outages: a day at most, {_MOST_LISTED_S:g} s", Exit.USAGE)
    coming = Link(profile, seed).coverage.outages(0.0)
    found = list(takewhile(lambda outage: outage.start_s < until_s, coming))
    if as_json:
        print_json([{"start_s": one.start_s, "end_s": one.end_s} for one in found])
        return
    shown = table("from", "to", "seconds", right=("from", "to", "seconds"))
    for one in found:
        shown.add_row(f"{one.start_s:.1f}", f"{one.end_s:.1f}", f"{one.duration_s:.1f}")
    console().print(shown)


def _rate(radio: Radio) -> str:
    return f"{radio.bytes_per_s * 8 / 1000:g} kbit/s"


def _delay(radio: Radio) -> str:
    return f"{radio.delay_s * 1e3:.0f} to {(radio.delay_s + radio.jitter_s) * 1e3:.0f} ms"


def _range(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g} s"


def _plain(profile: Profile) -> dict[str, Json]:
    made: dict[str, Json] = asdict(profile)
    return made
