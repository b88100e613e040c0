"""How the address information of a message gets on the wire (ISO 15765-2, 10.3 "Mapping").

An address is one end's view of a connection: the header it sends under, the header it hears, and
the first data byte of each frame where the addressing has one (N_TA of extended addressing, N_AE
of mixed addressing).
"""

from dataclasses import dataclass, replace
from typing import Final

from protocols.can.frame import FrameHeader
from protocols.isotp.errors import ParameterError
from protocols.isotp.parameters import IsoTpParameters

#: Upper bits of the 29-bit identifiers that the standard fixes, without the priority.
_NORMAL_FIXED: Final = {False: 0xDA, True: 0xDB}
_MIXED: Final = {False: 0xCE, True: 0xCD}
#: Priority that ISO 15765-2 recommends for diagnostics (SAE J1939-21: 0 highest, 7 lowest).
_PRIORITY: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One end of a connection."""

    transmit: FrameHeader
    receive: FrameHeader
    #: First data byte of every frame that we send, and of every frame meant for us; None: none.
    transmit_extension: int | None = None
    receive_extension: int | None = None
    #: Functional: one to many, single frames only.
    functional: bool = False

    def applied_to(self, parameters: IsoTpParameters) -> IsoTpParameters:
        """The parameters of an endpoint at this address."""
        return replace(
            parameters,
            tx_address_extension=self.transmit_extension,
            rx_address_extension=self.receive_extension,
            functional=self.functional,
        )

    def swapped(self) -> "Address":
        """The other end of the same connection."""
        return Address(
            transmit=self.receive,
            receive=self.transmit,
            transmit_extension=self.receive_extension,
            receive_extension=self.transmit_extension,
            functional=self.functional,
        )


def normal(transmit: FrameHeader, receive: FrameHeader, *, functional: bool = False) -> Address:
    """Identifiers alone, 11 or 29 bits."""
    return Address(transmit=transmit, receive=receive, functional=functional)


def normal_fixed(
    *,
    source: int,
    target: int,
    functional: bool = False,
    fd: bool = False,
    priority: int = _PRIORITY,
) -> Address:
    """29-bit identifiers 0x18DA TT SS (functional: 0x18DB TT SS), TT and SS addresses of a byte."""
    return Address(
        transmit=_fixed(_NORMAL_FIXED[functional], target, source, priority, fd=fd),
        receive=_fixed(_NORMAL_FIXED[False], source, target, priority, fd=fd),
        functional=functional,
    )


def extended(
    transmit: FrameHeader,
    receive: FrameHeader,
    *,
    source: int,
    target: int,
    functional: bool = False,
) -> Address:
    """Identifiers of 11 or 29 bits; the first data byte is the target address (N_TA)."""
    return Address(
        transmit=transmit,
        receive=receive,
        transmit_extension=_byte("target", target),
        receive_extension=_byte("source", source),
        functional=functional,
    )


def mixed_11(
    transmit: FrameHeader, receive: FrameHeader, *, extension: int, functional: bool = False
) -> Address:
    """11-bit identifiers; the first data byte is the address extension (N_AE), both ways."""
    if transmit.extended or receive.extended:
        raise ParameterError("mixed addressing with identifiers of one's own has 11 bits")
    return Address(
        transmit=transmit,
        receive=receive,
        transmit_extension=_byte("extension", extension),
        receive_extension=extension,
        functional=functional,
    )


def mixed_29(
    *,
    source: int,
    target: int,
    extension: int,
    functional: bool = False,
    fd: bool = False,
    priority: int = _PRIORITY,
) -> Address:
    """29-bit identifiers 0x18CE TT SS (functional: 0x18CD TT SS) and N_AE as first data byte."""
    return Address(
        transmit=_fixed(_MIXED[functional], target, source, priority, fd=fd),
        receive=_fixed(_MIXED[False], source, target, priority, fd=fd),
        transmit_extension=_byte("extension", extension),
        receive_extension=extension,
        functional=functional,
    )


def _fixed(kind: int, target: int, source: int, priority: int, *, fd: bool) -> FrameHeader:
    if not 0 <= priority <= 7:
        raise ParameterError(f"priority {priority} is not in 0..7")
    addresses = _byte("target", target) << 8 | _byte("source", source)
    return FrameHeader(
        priority << 26 | kind << 16 | addresses, extended=True, fd=fd, bit_rate_switch=fd
    )


def _byte(name: str, value: int) -> int:
    if not 0 <= value <= 0xFF:
        raise ParameterError(f"{name} address {value} is not a byte")
    return value
