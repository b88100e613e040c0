"""`canota vehicle consent`: the driver's seat of a bench."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from canota.cli.exits import CommandError, Exit
from canota.cli.output import JsonOption, console, print_json, table
from vehicle_gateway.driver import ConsentError, give_answer, open_question
from vehicle_gateway.update.consent import Choice

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def consent(
    *,
    state: Annotated[
        Path, typer.Option(help="The gateway's state directory.", file_okay=False)
    ] = Path("canota-gateway"),
    accept: Annotated[bool, typer.Option("--accept", help="Agree to the update.")] = False,
    deny: Annotated[
        bool, typer.Option("--deny", help="Deny it for good: it is not offered again.")
    ] = False,
    defer: Annotated[
        str, typer.Option(metavar="TIME", help="Be asked again later: 30m, 8h, 2d.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """
    Show what the gateway asks its driver, and answer it.

    Without an answer the notice is shown: purpose, changes, expected time, what does not work
    meanwhile, what to do. An answer counts for this very release and this very question.

    `canota vehicle consent --state canota-gateway --accept`
    """
    if sum((accept, deny, bool(defer))) > 1:
        raise CommandError("one of --accept, --deny and --defer", Exit.USAGE)
    try:
        question = open_question(state)
        if question is None:
            raise CommandError(f"{state}: the driver is not asked anything", Exit.NOT_FOUND)
        if not (accept or deny or defer):
            _show(question, as_json=as_json)
            return
        choice = Choice.ACCEPTED if accept else Choice.DENIED if deny else Choice.DEFERRED
        until_us = 0 if choice is not Choice.DEFERRED else _from_now_us(defer)
        give_answer(state, question, choice, defer_until_us=until_us)
    except ConsentError as error:
        raise CommandError(str(error), Exit.REFUSED) from error
    if as_json:
        print_json({"release": question["release"], "answer": choice.value})
        return
    console().print(f"{question['release']}: {choice.value}")


def _from_now_us(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if found is None:
        raise CommandError(f"--defer {text}: a time such as 30m, 8h or 2d expected", Exit.USAGE)
    wait = timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    return round((datetime.now(UTC) + wait).timestamp() * 1e6)  # noqa: TID251 the driver's own calendar


def _show(question: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(dict(question))
        return
    shown = table("", "")
    shown.show_header = False
    shown.add_row("release", f"{question['release']}, version {question['version']}")
    for name, text in (question["notice"] or {}).items():
        shown.add_row(name.replace("_", " "), str(text))
    for number, condition in enumerate(question["conditions"]):
        shown.add_row("" if number else "conditions", str(condition))
    shown.add_row("out of use", f"about {question['out_of_use_s']:.0f} s")
    shown.add_row("SHA-256", str(question["release_sha256"]))
    console().print(shown)
    console().print("answer with --accept, --defer TIME or --deny")
