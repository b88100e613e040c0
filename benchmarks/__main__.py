"""`python -m benchmarks flash [--json] [--quick]`."""

import argparse
import json

from benchmarks import flash


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="benchmark")
    command = commands.add_parser("flash", help=flash.__doc__.splitlines()[0])
    command.add_argument("--json", action="store_true", help="one JSON object, nothing else")
    command.add_argument("--quick", action="store_true", help="a few seconds per wire")
    options = parser.parse_args()
    results = flash.run(quick=options.quick)
    if options.json:
        print(json.dumps(results))  # noqa: T201 the benchmark's output
    else:
        print(flash.table(results))  # noqa: T201 the benchmark's output


if __name__ == "__main__":
    main()
