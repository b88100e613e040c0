"""What a diagnostic server remembers between two requests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecu_sim.diagnostics import Device, ServerEvent, SetBitRate
from ecu_sim.diagnostics.background import BackgroundRoutines
from ecu_sim.diagnostics.dynamic import DynamicIdentifiers
from ecu_sim.diagnostics.events import Events
from ecu_sim.diagnostics.schedule import Schedule
from ecu_sim.diagnostics.security import AttemptLimits, KeyScheme, SecurityAccess
from protocols.uds import CommunicationControl, CommunicationType, Session
from protocols.uds.enums import POSITIVE_RESPONSE, ServiceId
from protocols.uds.requests import ALL_DTCS
from protocols.uds.rules import Access, ServerRules

if TYPE_CHECKING:
    from ecu_sim.diagnostics.download import Download
    from ecu_sim.diagnostics.files import Suspended
    from ecu_sim.diagnostics.upload import Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTiming:
    """P2server, P2*server and S3server in seconds."""

    p2_s: float = 0.05
    p2_star_s: float = 5.0
    s3_s: float = 5.0


class ServerState:
    """Session, its owner, the lock and the download; all but the count of wrong keys volatile."""

    def __init__(
        self,
        *,
        device: Device,
        rules: ServerRules,
        timing: ServerTiming,
        attempts: AttemptLimits,
        now: float,
        max_response: int = 4095,
        scheme: KeyScheme | None = None,
        stock_answer: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        self.device = device
        self.rules = rules
        #: As 83 has set it; the default session brings `default_timing` back.
        self.timing = self.default_timing = timing
        #: Longest response in bytes.
        self.max_response = max_response
        self.security = SecurityAccess(device, attempts, now=now, scheme=scheme)
        #: Answers of a server that has the service and cannot act on it: request -> response,
        #: `None` for what is to be acted on, or a `Refusal`.
        self.stock_answer = stock_answer
        self.session = Session.DEFAULT
        #: Called with each session that is entered, by a request or by S3.
        self.on_session: Callable[[Session], None] = lambda _: None
        #: The tester that holds the session; `None` in the default session.
        self.owner: int | None = None
        self.download: Download | None = None
        self.upload: Upload | None = None
        #: The row that let the transfer under way begin.
        self.transfer_access: Access | None = None
        #: 2A: what is sent by itself while the session lasts.
        self.schedule = Schedule()
        #: 31: routines that run on.
        self.routines = BackgroundRoutines()
        #: 38: what 06 can go on with.
        self.suspended_file: Suspended | None = None
        #: 86.
        self.events = Events()
        #: 87: the bit rate that a transition would go to.
        self.verified_bit_rate: int | None = None
        self.bit_rate_changed = False
        #: What is to happen once the answer under way is out.
        self.afterwards: list[ServerEvent] = []
        #: 2C: kept over sessions, gone with the reset.
        self.dynamic = DynamicIdentifiers()

    def unlocked_for(self, source: int) -> int:
        """The security level that is open to this tester, 0 if there is none."""
        return self.security.unlocked_for(source)

    def take_afterwards(self) -> list[ServerEvent]:
        events, self.afterwards = self.afterwards, []
        return events

    def enter(self, session: Session, *, source: int) -> bytes:
        """Change the session and answer 50; see `_change` for what that ends."""
        if session == Session.DEFAULT:
            self.leave()
        else:
            self._change(session)
            self.session = session
            self.owner = source
            self.on_session(session)
        p2_ms = round(self.timing.p2_s * 1000)
        p2_star_10ms = round(self.timing.p2_star_s * 100)
        head = bytes([ServiceId.DIAGNOSTIC_SESSION_CONTROL + POSITIVE_RESPONSE, session])
        return head + p2_ms.to_bytes(2) + p2_star_10ms.to_bytes(2)

    def leave(self) -> None:
        """Back to the default session, and to everything that it implies."""
        self._change(Session.DEFAULT)
        self.timing = self.default_timing
        if self.bit_rate_changed:
            self.bit_rate_changed = False
            self.afterwards.append(SetBitRate(None))
        if self.session == Session.DEFAULT:
            return
        self.session = Session.DEFAULT
        self.owner = None
        self.on_session(Session.DEFAULT)
        everything = CommunicationType.NORMAL | CommunicationType.NETWORK_MANAGEMENT
        self.device.communication_control(CommunicationControl.ENABLE_RX_AND_TX, everything)
        self.device.set_dtc_logging(on=True, groups=(ALL_DTCS,))

    def _change(self, session: Session) -> None:
        """Lock, and end what does not live on in `session` (ISO 14229-1, session transitions).

        What the new session has and no lock protects lives on: periodic messages, outputs,
        routines, transfers. From the default session to itself everything begins anew.
        """
        anew = session == self.session == Session.DEFAULT

        def ends(access: Access | None) -> bool:
            return anew or access is None or access.secured or session not in access.sessions

        rules = self.rules
        self.security.lock()
        self.verified_bit_rate = None
        self.events.leave(self.session, session)
        if ends(rules.data.periodic):
            self.schedule.clear()
        self.routines.end(rid for rid, row in rules.routines.items() if ends(row))
        if self.device.input_output is not None:
            given_back = [did for did, row in rules.data.outputs.items() if ends(row)]
            self.device.input_output.release_outputs(given_back)
        if ends(self.transfer_access):
            self.upload = None
            if self.download is not None:
                self.download.abort()
            self.download = None
