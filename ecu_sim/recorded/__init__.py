"""An ECU as a log has it: it answers what it was heard to answer, and refuses the rest."""

from dataclasses import dataclass


class RecordedError(Exception):
    """A log that no ECU can be made of; the message names file, and what was found."""


@dataclass(frozen=True, slots=True)
class Answer:
    payload: bytes
    #: Seconds from the end of the request to the begin of this.
    after_s: float


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request in the log and what came of it, perhaps nothing."""

    request: bytes
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEcu:
    name: str
    #: CAN identifiers: tester -> ECU, ECU -> tester, tester -> all.
    request_id: int
    response_id: int
    functional_id: int
    extended: bool = False
    fd: bool = False
    #: In the order of the log.
    exchanges: tuple[Exchange, ...]
    #: The log's channel that it was heard on.
    channel: str = ""
    #: Messages of its own accord (2A, 86), which it does not repeat.
    unasked: int = 0

    @property
    def requests(self) -> int:
        """Different requests that it knows."""
        return len({exchange.request for exchange in self.exchanges})
