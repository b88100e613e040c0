"""Everything that the cloud keeps, in one hand."""

from dataclasses import dataclass

from cloud.store.changes import Changes
from cloud.store.database import Database
from cloud.store.files import Files
from cloud.store.now import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    database: Database
    files: Files
    clock: Clock
    changes: Changes
