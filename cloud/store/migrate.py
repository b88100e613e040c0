"""Brings a database to the newest schema: Alembic, run from inside the program."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

_MIGRATIONS: Final = Path(__file__).with_name("migrations")


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Apply what is missing, all in one transaction."""
    with engine.connect() as connection:
        writing = connection.execution_options(canota_synchronous="FULL")
        with writing.begin():
            config = configuration()
            config.attributes["connection"] = writing
            command.upgrade(config, revision)


def configuration() -> Config:
    """Return what Alembic needs to know, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
