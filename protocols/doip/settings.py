"""What a DoIP entity is set to: identity, limits, timing, and where readings of ISO 13400-2 differ.

The defaults are the common reading of the 2019 edition.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

from protocols.doip.messages import (
    VERSION_2012,
    VERSION_2019,
    ActivationCode,
    ActivationType,
    DiagnosticNack,
    NodeType,
)
from protocols.editions import DoipEdition

#: External testers, and the vehicle's own (ISO 13400-2 logical address table).
TESTER_ADDRESSES: Final = range(0x0E00, 0x1000)

#: After these the entity closes the connection (ISO 13400-2 leaves 04, 07 and 11 open).
CLOSING_CODES: Final = frozenset(
    {
        ActivationCode.UNKNOWN_SOURCE_ADDRESS,
        ActivationCode.NO_FREE_SOCKET,
        ActivationCode.SOURCE_ADDRESS_DIFFERS,
        ActivationCode.SOURCE_ADDRESS_ACTIVE_ELSEWHERE,
        ActivationCode.CONFIRMATION_REJECTED,
        ActivationCode.UNSUPPORTED_TYPE,
    }
)
#: Edition -> (version that it announces, versions that it takes). A tester of 2012 is understood
#: by an entity of 2019; a version that an entity of 2012 cannot know is a bad pattern to it.
_VERSIONS: Final = {
    DoipEdition.E2012: (VERSION_2012, frozenset({VERSION_2012})),
    DoipEdition.E2019: (VERSION_2019, frozenset({VERSION_2012, VERSION_2019})),
}


class Acknowledge(Enum):
    """When 8002 is sent for a request that goes on to another network."""

    #: Once it is in the queue for its network: what goes wrong later is silence to the tester.
    ON_ACCEPTANCE = "on acceptance"
    #: Once its last bit is on that network; a transport error there is NACK 08.
    ON_DELIVERY = "on delivery"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a person in the vehicle says to a routing activation."""

    granted: bool = True
    #: Seconds until it is said, meanwhile the activation is answered 11; 0: at once (10 or 05);
    #: `None`: when `DoipEntity.confirm` is called.
    after_s: float | None = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRule:
    """What one routing activation type asks of a tester."""

    #: Four OEM bytes that authenticate it; without them it is answered 04.
    key: bytes | None = field(default=None, repr=False)
    #: Its address must stand in a TLS client certificate; else 04.
    certificate: bool = False
    #: `None`: nobody is asked.
    confirmation: Confirmation | None = None
    #: Plain TCP is answered 07 (from the 2019 edition on).
    tls_only: bool = False
    #: OEM bytes of the response.
    oem: bytes | None = None


#: Any tester, by either of the types that the standard names for it.
OPEN_ACTIVATIONS: Final[Mapping[int, ActivationRule]] = MappingProxyType(
    {
        ActivationType.DEFAULT: ActivationRule(),
        ActivationType.REGULATORY: ActivationRule(),
    }
)


@dataclass(frozen=True, slots=True)
class Peer:
    """What the transport below knows of the other end."""

    #: TLS stands below.
    secure: bool = False
    #: Addresses that its certificate allows; `None` if it showed none.
    addresses: frozenset[int] | None = None
    #: Its network address, "" where there is none.
    host: str = ""


PLAIN: Final = Peer()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitySettings:
    #: 17 characters.
    vin: str
    #: The entity's own address.
    logical_address: int
    #: Six bytes each: usually the MAC address; of the group.
    eid: bytes
    gid: bytes
    node_type: NodeType = NodeType.NODE
    edition: DoipEdition = DoipEdition.E2019
    #: Answer a tester in the version that it speaks, or always in our own.
    answer_in_kind: bool = True
    #: Addresses of the ECUs behind the entity; `None`: one ECU, at the entity's own address.
    targets: frozenset[int] | None = None
    #: Addresses that reach ECUs as a group.
    functional_addresses: frozenset[int] = frozenset({0xE400})
    #: Target addresses of networks that the entity knows of and has no way to: NACK 07.
    foreign_networks: tuple[range, ...] = ()

    #: Activation types that there are; others are answered 06.
    activations: Mapping[int, ActivationRule] = field(default_factory=lambda: OPEN_ACTIVATIONS)
    tester_addresses: range = TESTER_ADDRESSES
    #: Plain TCP is answered 07 whatever the activation type.
    tls_only: bool = False
    #: Testers at a time; one socket more is kept so that the next one gets a proper refusal.
    max_testers: int = 4
    #: Sockets that one network address may hold, so that one peer cannot keep all others out;
    #: `None`: any number.
    sockets_per_host: int | None = None

    #: Codes of routing activation, and of 8003, after which the socket is closed.
    closing_codes: frozenset[int] = CLOSING_CODES
    closing_nacks: frozenset[int] = frozenset({DiagnosticNack.INVALID_SOURCE_ADDRESS})
    #: Answer a tester's own alive check (testers send it to try a connection), or refuse it as a
    #: type that is not for an entity (header NACK 01).
    answers_alive_check: bool = True
    #: After `confirm`, tell a tester that was answered 11 (10 or 05), or let it ask again.
    tells_confirmation: bool = True
    acknowledge: Acknowledge = Acknowledge.ON_ACCEPTANCE
    #: Bytes of a message that its 8002 or 8003 repeats.
    repeated_bytes: int = 0

    #: Longest UDS request in bytes (MDS): one above it is answered NACK 04.
    max_request: int = 0x1_0000
    #: Longest payload behind a header, one above it is header NACK 02; `None`: room for a
    #: diagnostic message that is twice as long as allowed, so that 8003 can say so.
    max_payload: int | None = None
    #: Bytes of messages that may come in at a time, over all sockets; more is header NACK 03.
    receive_memory: int | None = None
    #: Tell MDS in the entity status (the field is optional).
    tells_max_data_size: bool = True
    #: What the entity status counts as open: sockets with a tester, or every connected one.
    counts_fresh_sockets: bool = False

    #: 00, or 10: routing activation is needed for central security.
    further_action: int = 0x00
    #: VIN/GID synchronisation status (10: not yet in step); `None`: the byte is left out.
    sync_status: int | None = 0x00

    #: T_TCP_Initial_Inactivity, T_TCP_General_Inactivity, T_TCP_Alive_Check.
    initial_inactivity_s: float = 2.0
    general_inactivity_s: float = 300.0
    alive_check_s: float = 0.5
    #: A_DoIP_Announce_Num and A_DoIP_Announce_Interval.
    announcements: int = 3
    announce_interval_s: float = 0.5
    #: Vehicle identification answers per second, at most (they are larger than their questions).
    identifications_per_s: int = 20

    @property
    def version(self) -> int:
        """What the entity announces."""
        return _VERSIONS[self.edition][0]

    @property
    def versions(self) -> frozenset[int]:
        """What the entity takes."""
        return _VERSIONS[self.edition][1]

    @property
    def reachable(self) -> frozenset[int]:
        """Every address that a request may be for."""
        targets = self.targets
        ecus = frozenset({self.logical_address}) if targets is None else targets
        return ecus | self.functional_addresses

    @property
    def payload_limit(self) -> int:
        """Longest payload behind a header, in bytes."""
        return 2 * self.max_request + 4 if self.max_payload is None else self.max_payload
