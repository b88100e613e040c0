"""`python -m canota` is the `canota` command."""

from canota.cli import main

main()
