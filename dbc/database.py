"""Signal databases by name."""

from functools import cache
from pathlib import Path

import cantools
from cantools.database.can import Database

_FOLDER = Path(__file__).parent


def database_names() -> tuple[str, ...]:
    return tuple(sorted(found.stem for found in _FOLDER.glob("*.dbc")))


@cache
def load(name: str) -> Database:
    """The signal database `dbc/<name>.dbc`, parsed once; `FileNotFoundError` names the known."""
    path = _FOLDER / f"{name}.dbc"
    if not path.is_file():
        known = ", ".join(database_names())
        raise FileNotFoundError(f"no signal database {name!r}; known: {known}")
    database = cantools.database.load_file(path, strict=True)
    if not isinstance(database, Database):
        raise TypeError(f"{path} is not a CAN database")
    return database
