"""One line of a trace: what was said on a wire, by whom, to whom."""

from dataclasses import dataclass
from enum import Enum

from recording.trace.signals import SignalValue
from recording.trace.uds_words import Said

#: What a line may be in JSON.
Json = bool | int | float | str | None | list["Json"] | dict[str, "Json"]


class Kind(Enum):
    """What a line tells of; the values are what people ask for."""

    SIGNALS = "signals"
    UDS = "uds"
    #: Frames of the transport under UDS, and what went wrong there.
    ISOTP = "isotp"
    DOIP = "doip"
    #: Network management.
    NM = "nm"
    #: Frames that nobody describes, and every frame where all are asked for.
    FRAME = "frame"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    #: Stamp of the (last) frame in ns since 1970.
    at_ns: int
    #: Name of the channel.
    wire: str
    kind: Kind
    #: CAN identifier as people write it; empty on Ethernet.
    identifier: str = ""
    source: str = ""
    target: str = ""
    #: The message's name in the database, or the kind of message.
    name: str = ""
    text: str = ""
    signals: tuple[SignalValue, ...] = ()
    said: Said | None = None
    #: Data bytes of a frame, or the beginning of a message.
    data: bytes = b""
    #: Bytes of the message in all.
    length: int = 0
    #: Frames that carried it.
    frames: int = 1
    #: From the request to this answer.
    after_ns: int | None = None
    #: Something that somebody should look at.
    alarming: bool = False

    def json(self) -> dict[str, Json]:
        """The line for programs: what is empty is left out."""
        made: dict[str, Json] = {
            "at_ns": self.at_ns,
            "wire": self.wire,
            "kind": self.kind.value,
            "id": self.identifier,
            "source": self.source,
            "target": self.target,
            "name": self.name,
            "text": self.text,
            "signals": {one.name: {"value": one.value, "unit": one.unit} for one in self.signals},
            "data": self.data.hex(),
            "length": self.length,
            "frames": self.frames,
            "after_ns": self.after_ns,
            "alarming": self.alarming,
        }
        if self.said is not None:
            made |= {
                "service": self.said.service,
                "service_id": self.said.service_id,
                "request": self.said.request,
                "negative_response_code": self.said.code,
            }
        return {key: value for key, value in made.items() if value not in ("", None, {})}
