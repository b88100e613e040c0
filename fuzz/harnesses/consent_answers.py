"""Any bytes in a driver's answer file are an answer to one question, or a `ConsentError`."""

import json
from typing import Final

from fuzz import Harness
from vehicle_gateway.driver import ConsentError, read_answer
from vehicle_gateway.update.consent import Choice


def prove(data: bytes) -> None:
    try:
        answer = read_answer(data)
    except ConsentError:
        return
    if answer.choice is Choice.DEFERRED and answer.defer_until_us <= 0:
        raise AssertionError(f"{answer} is deferred until never")


def _answer(**values: object) -> bytes:
    good = {"question": "0123456789abcdef", "release_sha256": "00" * 32, "choice": "accepted"}
    return json.dumps({**good, **values}).encode()


HARNESS: Final = Harness(
    prove=prove,
    seeds=(
        _answer(),
        _answer(choice="deferred", defer_until_us=1_700_000_000_000_000),
        _answer(choice="maybe"),
        _answer(release_sha256="no"),
        b"[]",
        b"{}",
    ),
)
