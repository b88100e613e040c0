"""`python -m benchmarks NAME [--json] [--quick]`."""

import argparse
import importlib
import json
from collections.abc import Mapping
from typing import Any, Final

#: Modules of this package with `run(quick=...)`, which gives figures by row.
BENCHMARKS: Final = ("flash", "peers", "vehicle")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="NAME", dest="name")
    for name in BENCHMARKS:
        text = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
        command = commands.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--json", action="store_true", help="one JSON object, nothing else")
        command.add_argument("--quick", action="store_true", help="smaller, for a look")
    options = parser.parse_args()
    results = importlib.import_module(f"benchmarks.{options.name}").run(quick=options.quick)
    print(json.dumps(results) if options.json else table(results))  # noqa: T201 the benchmark's output


def table(results: Mapping[str, Any]) -> str:
    """The results for a reader: a row each, with the figures that it has."""
    if not all(isinstance(figures, Mapping) for figures in results.values()):
        width = max(len(name) for name in results)
        return "\n".join(f"{name.ljust(width)}  {value:g}" for name, value in results.items())
    columns = list(dict.fromkeys(column for figures in results.values() for column in figures))
    rows = [
        ["", *columns],
        *(
            [name, *(f"{figures[column]:g}" if column in figures else "-" for column in columns)]
            for name, figures in results.items()
        ),
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns) + 1)]
    return "\n".join(
        "  ".join(
            (
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            )
        )
        for row in rows
    )


if __name__ == "__main__":
    main()
