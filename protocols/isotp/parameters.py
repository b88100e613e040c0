"""What the two ends of an ISO-TP connection agree on, and what each end allows."""

from dataclasses import dataclass
from typing import Final

from protocols.can.port import LONGEST_RUN_S
from protocols.editions import IsoTpEdition
from protocols.isotp.errors import ParameterError

#: CAN_DL values that a frame can have (ISO 11898-1).
FRAME_LENGTHS: Final[tuple[int, ...]] = (*range(9), 12, 16, 20, 24, 32, 48, 64)
#: TX_DL values (ISO 15765-2, 9.5 "Transmit data length").
TX_DATA_LENGTHS: Final = (8, 12, 16, 20, 24, 32, 48, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoTpParameters:
    """Parameters of one endpoint; the defaults are the fastest that a classic CAN wire carries."""

    #: TX_DL: data bytes of the frames that we send at most (8, or up to 64 on CAN FD).
    tx_data_length: int = 8
    #: Byte that fills a frame up; None: frames are as short as their content allows.
    padding: int | None = 0xCC
    #: Whether the peer must fill its frames up to 8 bytes at least (as ISO 15765-4 has it for
    #: emissions diagnostics): shorter ones are not seen.
    rx_padding_required: bool = False
    #: BS that we ask of the sender: consecutive frames until the next flow control; 0: no more.
    block_size: int = 0
    #: STmin that we ask of the sender, as coded on the wire (0x00-0x7F ms, 0xF1-0xF9 x 100 us).
    st_min: int = 0
    #: Longest message that we take, in bytes; a first frame of a longer one is answered OVFLW.
    max_message_length: int = 1 << 20
    #: N_As: from a frame's request to its last bit, in seconds.
    n_as_s: float = 1.0
    #: N_As of each further frame of a run: a run of hundreds that is lost with its wire is known
    #: within seconds. (20 times a frame's time at 125 kbit/s, for the frames that win against it.)
    n_as_further_s: float = 0.02
    #: N_Bs: from the last bit of our frame to the flow control, in seconds.
    n_bs_s: float = 1.0
    #: N_Cr: from the last bit of a frame to the next consecutive frame, in seconds.
    n_cr_s: float = 1.0
    #: N_Ar: from the request of a flow control to its last bit, in seconds.
    n_ar_s: float = 1.0
    #: N_Br: from the last bit of the frame that asks for it to our flow control, in seconds at
    #: most; what cannot go on by then is answered WAIT. (N_Br + N_Ar < 0.9 N_Bs of the sender.)
    n_br_s: float = 0.5
    #: N_Cs: from the end of STmin to the request of the next consecutive frame, in seconds at
    #: most; later the receiver has given up. (N_Cs + N_As < 0.9 N_Cr of the receiver.)
    n_cs_s: float = 0.8
    #: Flow control WAIT frames in a row that we put up with as sender.
    max_wait_frames: int = 16
    #: N_WFTmax: flow control WAIT frames in a row that we send as receiver; 0: none at all.
    max_own_wait_frames: int = 16
    #: N_AE or N_TA of extended and mixed addressing: first byte of every frame that we send ...
    tx_address_extension: int | None = None
    #: ... and of every frame that is meant for us; others are not seen.
    rx_address_extension: int | None = None
    #: Functional addressing: single frames only, in both directions.
    functional: bool = False
    #: One direction at a time: what comes while we send is not seen, and a message to send waits
    #: for the end of a reception.
    half_duplex: bool = False
    #: 2004: no message above 4095 bytes, no CAN FD.
    edition: IsoTpEdition = IsoTpEdition.E2016

    @property
    def takes_runs(self) -> bool:
        """Whether frames that are told of together, at the end of a run, are in time for N_Cr."""
        return self.n_cr_s >= LONGEST_RUN_S

    def __post_init__(self) -> None:
        """Refuse what no wire carries."""
        if self.tx_data_length not in TX_DATA_LENGTHS:
            raise ParameterError(f"tx_data_length {self.tx_data_length} is not in 8..64 of CAN FD")
        if self.edition < IsoTpEdition.E2016 and self.tx_data_length > 8:
            raise ParameterError(f"the {self.edition} edition has no frames above 8 bytes")
        for name in (
            "padding",
            "block_size",
            "st_min",
            "tx_address_extension",
            "rx_address_extension",
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 0xFF:
                raise ParameterError(f"{name} {value} is not a byte")
        if not 1 <= self.max_message_length <= 0xFFFF_FFFF:
            raise ParameterError(f"max_message_length {self.max_message_length} is not in 32 bits")
        for name in ("n_as_s", "n_ar_s", "n_bs_s", "n_br_s", "n_cs_s", "n_cr_s"):
            if getattr(self, name) <= 0:
                raise ParameterError(f"{name} {getattr(self, name)} s is no time to wait")
        for name in ("max_wait_frames", "max_own_wait_frames"):
            if getattr(self, name) < 0:
                raise ParameterError(f"{name} {getattr(self, name)} is below 0")
        if (self.tx_address_extension is None) != (self.rx_address_extension is None):
            raise ParameterError("an address extension needs both directions")
