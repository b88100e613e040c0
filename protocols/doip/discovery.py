"""What a DoIP entity says by UDP: announcements, identification, entity status, power mode."""

from collections.abc import Callable

from protocols.doip.decoder import HeaderFault, decode_datagram
from protocols.doip.messages import (
    AliveCheckRequest,
    DiagnosticMessage,
    EntityStatusRequest,
    EntityStatusResponse,
    HeaderNack,
    HeaderNegativeAcknowledge,
    Message,
    PowerMode,
    PowerModeRequest,
    PowerModeResponse,
    RoutingActivationRequest,
    VehicleAnnouncement,
    VehicleIdentificationRequest,
    encode,
)
from protocols.doip.settings import EntitySettings


class Discovery:
    """Times are loop seconds. `open_sockets` counts the testers that are registered."""

    def __init__(self, settings: EntitySettings, open_sockets: Callable[[], int]) -> None:
        self._settings = settings
        self._open_sockets = open_sockets
        #: When the vehicle is announced next, `None` once that is over.
        self.announce_at: float | None = None
        self._announcements_left = 0
        self._window = 0.0
        self._answers = 0
        self.power_mode = PowerMode.READY

    def start_announcing(self, *, wait_s: float, now: float) -> None:
        self._announcements_left = self._settings.announcements
        self.announce_at = now + wait_s if self._announcements_left else None

    def announce(self, *, now: float) -> list[bytes]:
        """The announcement that is due, if one is."""
        if self.announce_at is None or self.announce_at > now:
            return []
        self._announcements_left -= 1
        more = self._announcements_left > 0
        self.announce_at = now + self._settings.announce_interval_s if more else None
        return [encode(self._announcement(), version=self._settings.version)]

    def receive(self, data: bytes, *, now: float) -> list[bytes]:
        """Answers to one datagram, in the version that it is written in."""
        settings = self._settings
        message = decode_datagram(data, versions=settings.versions)
        answer = None if message is None else self._answer(message, now)
        if answer is None:
            return []
        in_kind = settings.answer_in_kind and data[0] in settings.versions
        return [encode(answer, version=data[0] if in_kind else settings.version)]

    def _answer(self, message: Message | HeaderFault, now: float) -> Message | None:
        match message:
            case HeaderFault(code=code):
                # A refusal is no longer than what it refuses by much: little to amplify.
                return HeaderNegativeAcknowledge(code)
            case VehicleIdentificationRequest(eid, vin):
                ours = eid in {None, self._settings.eid} and vin in {None, self._vin()}
                return self._announcement() if ours and self._may_identify(now) else None
            case EntityStatusRequest():
                return self._status()
            case PowerModeRequest():
                return PowerModeResponse(self.power_mode)
            case RoutingActivationRequest() | DiagnosticMessage() | AliveCheckRequest():
                return HeaderNegativeAcknowledge(HeaderNack.UNKNOWN_PAYLOAD_TYPE)
            case _:
                return None  # what other entities and testers broadcast is not for us

    def _vin(self) -> bytes:
        return self._settings.vin.encode("ascii")

    def _announcement(self) -> VehicleAnnouncement:
        return VehicleAnnouncement(
            vin=self._vin(),
            logical_address=self._settings.logical_address,
            eid=self._settings.eid,
            gid=self._settings.gid,
            further_action=self._settings.further_action,
            sync_status=self._settings.sync_status,
        )

    def _status(self) -> EntityStatusResponse:
        settings = self._settings
        return EntityStatusResponse(
            node_type=settings.node_type,
            max_sockets=settings.max_testers,
            open_sockets=self._open_sockets(),
            max_data_size=settings.max_request if settings.tells_max_data_size else None,
        )

    def _may_identify(self, now: float) -> bool:
        """So many answers per second, whoever asks."""
        if now >= self._window + 1:
            self._window, self._answers = now, 0
        self._answers += 1
        return self._answers <= self._settings.identifications_per_s
