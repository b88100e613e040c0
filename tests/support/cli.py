"""The command line, run in this process."""

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from canota.cli import app


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 what a test makes of it
        return json.loads(self.out)


def canota(*arguments: str, stdin: str | None = None) -> Ended:
    result = CliRunner().invoke(app, arguments, input=stdin, prog_name="canota")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(code=result.exit_code, out=result.stdout, err=result.stderr)
