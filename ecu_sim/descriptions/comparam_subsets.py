"""The communication parameters of diagnostics on CAN and on DoIP: what there is to set.

Names, classes, texts and defaults are those of ISO 22900-2 and of the subsets that ODX tools ship
(ISO_15765_3, ISO_15765_2, ISO_11898_2_DWCAN; ISO_14229_5, ISO_13400_2), times are microseconds.
Parameters in `_Ecu` are what the ECU itself keeps; those without are for the tester.
"""

from dataclasses import dataclass
from typing import Final, Literal

from ecu_sim.descriptions.layout import Number, Raw, Text

#: CP_CanRespUUDTId of an ECU that sends nothing unsegmented.
NO_IDENTIFIER: Final = 0xFFFF_FFFF

Usage = Literal["TESTER", "ECU-COMM", "ECU-SOFTWARE", "APPLICATION"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    name: str
    title: str
    #: COM, TIMING, ERRHDL...: ISO 22900-2's class.
    kind: str
    usage: Usage = "TESTER"
    #: A tool may do without it.
    optional: bool = False
    value: Number | Raw | Text
    default: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A parameter that is a list of parameters, and may be given several times."""

    name: str
    title: str
    kind: str
    usage: Usage
    optional: bool = False
    members: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """COMPARAM-SUBSET: the parameters of one layer."""

    name: str
    #: APP, TRANS or PHYS.
    category: str
    parameters: tuple[Parameter, ...]
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One way to the ECU: COMPARAM-SPEC and its PROT-STACK, from the application down."""

    #: Short name of the protocol among the diagnostic layers.
    protocol: str
    #: ISO 22900-2's name of what carries it.
    link: str
    subsets: tuple[Subset, ...]

    @property
    def name(self) -> str:
        application, transport, *_ = self.subsets
        return f"{application.name}_on_{transport.name}"


_U8: Final = Number(name="number", bits=8)
_U16: Final = Number(name="number", bits=16)
_U32: Final = Number(name="number", bits=32)
_US: Final = Number(name="time", bits=32, unit="µs")
_MS: Final = Number(name="time_ms", bits=8, unit="ms")
_TEN_MS: Final = Number(name="time_10_ms", bits=8, scale=10, unit="ms")
_BIT_RATE: Final = Number(name="bit_rate", bits=32, unit="bit/s")
_PERCENT: Final = Number(name="percent", bits=32, unit="%")
_BYTES: Final = Raw(name="bytes")
_TEXT: Final = Text(name="text")


def _choice(name: str, *texts: str, first: int = 0) -> Number:
    return Number(name=name, bits=32, texts=dict(enumerate(texts, first)))


_ENABLED: Final = _choice("enabled", "Disabled", "Enabled")
_ADDRESSING: Final = _choice("request_addressing", "Physical", "Functional", first=1)


def _formats(name: str, direction: str, *, segmented: tuple[bool, ...]) -> Number:
    """The texts of CP_Can...Format by their codes.

    Bit 3: an address extension, bit 2: segments, bit 1: 29 bits, bit 0: flow control.
    """
    texts = {}
    for code in (0, 2, 4, 5, 6, 7, 8, 10, 12, 13, 14, 15):
        in_segments = bool(code & 4)
        if in_segments in segmented:
            flow = (" w/o FC", " with FC")[code & 1] if in_segments else ""
            texts[code] = (
                f"{('normal', 'extended')[code >> 3]} {('unsegmented', 'segmented')[in_segments]}"
                f" {('11', '29')[code >> 1 & 1]}-bit {direction}{flow}"
            )
    return Number(name=name, bits=32, texts=texts)


_REQUEST_FORMAT: Final = _formats("request_format", "transmit", segmented=(False, True))
_RESPONSE_FORMAT: Final = _formats("response_format", "receive", segmented=(True,))
_UNSEGMENTED_FORMAT: Final = _formats("unsegmented_format", "receive", segmented=(False,))


def _timing(
    name: str, title: str, default: int, *, usage: Usage = "TESTER", optional: bool = False
) -> Parameter:
    return Parameter(
        name=name,
        title=title,
        kind="TIMING",
        usage=usage,
        optional=optional,
        value=_US,
        default=str(default),
    )


def _patience(
    code: int, *, handling: str, timeout: int, request_time: int | None
) -> tuple[Parameter, ...]:
    """What follows a negative response that asks for patience; after 78 nothing is repeated."""
    name, optional = f"CP_RC{code:02X}", code == 0x23
    choice = _choice(
        f"handling_of_{code:02x}",
        "Disabled",
        f"Continue until RC{code:02X} timeout",
        "Continue unlimited",
    )
    parts: list[tuple[str, str, Number, str]] = [
        ("Handling", f"What follows a negative response {code:02X}", choice, handling),
        ("CompletionTimeout", f"How long {code:02X} is put up with", _US, str(timeout)),
    ]
    if request_time is not None:
        title = f"From {code:02X} to the request's repetition"
        parts.append(("RequestTime", title, _US, str(request_time)))
    return tuple(
        Parameter(
            name=f"{name}{part}",
            title=title,
            kind="ERRHDL",
            optional=optional,
            value=value,
            default=default,
        )
        for part, title, value, default in parts
    )


_TESTER_PRESENT: Final = (
    Parameter(
        name="CP_TesterPresentHandling",
        title="Whether tester present is sent",
        kind="TESTER_PRESENT",
        value=_ENABLED,
        default="Disabled",
    ),
    Parameter(
        name="CP_TesterPresentAddrMode",
        title="How tester present is addressed",
        kind="TESTER_PRESENT",
        value=_choice("tester_present_addressing", "Physical", "Functional"),
        default="Physical",
    ),
    Parameter(
        name="CP_TesterPresentSendType",
        title="Whether tester present is sent while other requests are",
        kind="TESTER_PRESENT",
        value=_choice("tester_present_sending", "Periodic", "On idle"),
        default="Periodic",
    ),
    Parameter(
        name="CP_TesterPresentTime",
        title="Period of tester present",
        kind="TESTER_PRESENT",
        value=_US,
        default="3000000",
    ),
    Parameter(
        name="CP_TesterPresentMessage",
        title="Request of tester present",
        kind="TESTER_PRESENT",
        value=_BYTES,
        default="3E80",
    ),
    Parameter(
        name="CP_TesterPresentReqRsp",
        title="Whether tester present is answered",
        kind="TESTER_PRESENT",
        value=_choice("tester_present_response", "No response", "Response expected"),
        default="No response",
    ),
    Parameter(
        name="CP_TesterPresentExpPosResp",
        title="Positive response to tester present",
        kind="TESTER_PRESENT",
        value=_BYTES,
        default="",
    ),
    Parameter(
        name="CP_TesterPresentExpNegResp",
        title="Beginning of a negative response to tester present",
        kind="TESTER_PRESENT",
        value=_BYTES,
        default="",
    ),
)

_ERRORS: Final = (
    *_patience(0x21, handling="Disabled", timeout=1_300_000, request_time=10_000),
    *_patience(0x23, handling="Disabled", timeout=0, request_time=0),
    *_patience(0x78, handling="Continue unlimited", timeout=25_000_000, request_time=None),
    Parameter(
        name="CP_RCByteOffset",
        title="Place of the negative response code",
        kind="ERRHDL",
        value=Number(name="place", bits=32, texts={1: "First byte", 0xFFFF_FFFF: "Last byte"}),
        default="Last byte",
    ),
    Parameter(
        name="CP_RepeatReqCountApp",
        title="Repetitions of a request without a response",
        kind="ERRHDL",
        optional=True,
        value=_U32,
    ),
)


def _session_timing(name: str, title: str, usage: Usage) -> Table:
    """One row per session, in the units of the response to 10."""
    return Table(
        name=name,
        title=title,
        kind="TIMING",
        usage=usage,
        optional=True,
        members=tuple(
            Parameter(
                name=member,
                title=meaning,
                kind="TIMING",
                usage=usage,
                optional=True,
                value=value,
            )
            for member, meaning, value in (
                ("CP_SessionNumber", "Session", _U16),
                ("CP_P2Max_High", "P2 of the server, high byte", _MS),
                ("CP_P2Max_Low", "P2 of the server, low byte", _MS),
                ("CP_P2Star_High", "P2* of the server, high byte", _TEN_MS),
                ("CP_P2Star_Low", "P2* of the server, low byte", _TEN_MS),
            )
        ),
    )


_COMMON: Final = (
    _timing("CP_CyclicRespTimeout", "Between responses that come by themselves; 0: none", 0),
    Parameter(
        name="CP_ModifyTiming",
        title="Whether timing follows the response to 10",
        kind="TIMING",
        optional=True,
        value=_ENABLED,
        default="Disabled",
    ),
    _timing("CP_P2Min", "From the request to the response at least", 0, usage="ECU-COMM"),
    _timing("CP_P2Max_Ecu", "P2 of the server", 50_000, usage="ECU-SOFTWARE"),
    _timing("CP_P2Star_Ecu", "P2* of the server", 5_000_000, usage="ECU-SOFTWARE"),
    _timing("CP_P3Func", "From a functional request to the next, if nothing answers", 50_000),
    _timing("CP_P3Phys", "From a physical request to the next, if nothing answers", 50_000),
    *_ERRORS,
    *_TESTER_PRESENT,
)
_OVERRIDE: Final = _session_timing(
    "CP_SessionTimingOverride", "Timing instead of what the response to 10 says", "TESTER"
)

ISO_15765_3: Final = Subset(
    name="ISO_15765_3",
    category="APP",
    parameters=(
        _timing("CP_P2Max", "From the request to the response's start", 100_000),
        _timing("CP_P2Star", "From a negative response 78 to the response's start", 6_000_000),
        _timing("CP_CanTransmissionTime", "What the wire adds to P2 both ways", 100_000),
        *_COMMON,
    ),
    tables=(_OVERRIDE,),
)
ISO_14229_5: Final = Subset(
    name="ISO_14229_5",
    category="APP",
    parameters=(
        _timing("CP_P6Max", "From the request to the whole response", 1_000_000),
        _timing("CP_P6Star", "From a negative response 78 to the whole response", 10_000_000),
        _timing("CP_NetworkTransmissionTime", "What the network adds to P2 both ways", 100_000),
        *_COMMON,
    ),
    tables=(_OVERRIDE,),
)

_LAYER: Final = Parameter(
    name="CP_ECULayerShortName",
    title="Diagnostic layer of the ECU",
    kind="UNIQUE_ID",
    usage="APPLICATION",
    value=_TEXT,
    default="None",
)
_REQUEST_ADDRESSING: Final = Parameter(
    name="CP_RequestAddrMode",
    title="How requests are addressed",
    kind="COM",
    value=_ADDRESSING,
    default="Physical",
)
_REPEAT_TRANSPORT: Final = Parameter(
    name="CP_RepeatReqCountTrans",
    title="Repetitions of a request that did not go through",
    kind="ERRHDL",
    optional=True,
    value=_U8,
)


def _address(name: str, title: str, value: Number, default: str = "0") -> Parameter:
    return Parameter(
        name=name, title=title, kind="UNIQUE_ID", usage="ECU-COMM", value=value, default=default
    )


def _network_timers() -> tuple[Parameter, ...]:
    """N_As to N_Cr as the tester keeps them, and as the ECU does."""
    timers = (
        ("As", "a frame of the sender, from its request to its last bit", 1_000_000),
        ("Ar", "a flow control, from its request to its last bit", 1_000_000),
        ("Bs", "the sender's wait for a flow control", 1_000_000),
        ("Br", "the receiver's time until its flow control", 10_000),
        ("Cs", "the sender's time until its next consecutive frame", 10_000),
        ("Cr", "the receiver's wait for a consecutive frame", 1_000_000),
    )
    return tuple(
        _timing(f"CP_{name}{suffix}", f"N_{name}: {title}", default, usage=usage)
        for name, title, default in timers
        for suffix, usage in _SIDES
    )


_SIDES: Final[tuple[tuple[str, Usage], ...]] = (("", "TESTER"), ("_Ecu", "ECU-SOFTWARE"))


def _flow_control() -> tuple[Parameter, ...]:
    fields = (
        ("BlockSize", "BS: consecutive frames until the next flow control; 0: no more", "COM"),
        ("StMin", "STmin as coded: 00 to 7F ms, F1 to F9 hundreds of microseconds", "TIMING"),
    )
    return tuple(
        Parameter(
            name=f"CP_{name}{suffix}",
            title=f"{title}, in the flow control of the {whose}",
            kind=kind,
            usage=usage,
            optional=bool(suffix),
            value=_U8,
        )
        for name, title, kind in fields
        for (suffix, usage), whose in zip(_SIDES, ("tester", "ECU"), strict=True)
    )


ISO_15765_2: Final = Subset(
    name="ISO_15765_2",
    category="TRANS",
    parameters=(
        *_network_timers(),
        *_flow_control(),
        Parameter(
            name="CP_CanFillerByte",
            title="Byte that fills frames up",
            kind="COM",
            usage="ECU-COMM",
            value=_U8,
            default="85",
        ),
        Parameter(
            name="CP_CanFillerByteHandling",
            title="Whether frames are filled up",
            kind="COM",
            usage="ECU-COMM",
            value=_ENABLED,
            default="Enabled",
        ),
        Parameter(
            name="CP_CanMaxNumWaitFrames",
            title="Flow control WAIT frames in a row to put up with",
            kind="COM",
            usage="ECU-COMM",
            value=_U16,
            default="255",
        ),
        Parameter(
            name="CP_CANFDTxMaxDataLength",
            title="Longest frame that is sent",
            kind="COM",
            usage="ECU-COMM",
            value=_TEXT,
            default="CAN: TX_DL = 8",
        ),
        Parameter(
            name="CP_CanFuncReqFormat",
            title="Format of functional requests",
            kind="COM",
            usage="ECU-COMM",
            value=_REQUEST_FORMAT,
            default="normal segmented 11-bit transmit with FC",
        ),
        Parameter(
            name="CP_CanFuncReqId",
            title="Identifier of functional requests",
            kind="COM",
            usage="ECU-COMM",
            value=_U32,
            default="2015",
        ),
        Parameter(
            name="CP_CanFuncReqExtAddr",
            title="Address extension of functional requests",
            kind="COM",
            usage="ECU-COMM",
            value=_U8,
        ),
        _REQUEST_ADDRESSING,
        _REPEAT_TRANSPORT,
    ),
    tables=(
        Table(
            name="CP_UniqueRespIdTable",
            title="Addresses of the ECU",
            kind="UNIQUE_ID",
            usage="ECU-COMM",
            members=(
                _address(
                    "CP_CanPhysReqFormat",
                    "Format of requests",
                    _REQUEST_FORMAT,
                    "normal segmented 11-bit transmit with FC",
                ),
                _address("CP_CanPhysReqId", "Identifier of requests", _U32, "2016"),
                _address("CP_CanPhysReqExtAddr", "Address extension of requests", _U8),
                _address(
                    "CP_CanRespUSDTFormat",
                    "Format of responses",
                    _RESPONSE_FORMAT,
                    "normal segmented 11-bit receive with FC",
                ),
                _address("CP_CanRespUSDTId", "Identifier of responses", _U32, "2024"),
                _address("CP_CanRespUSDTExtAddr", "Address extension of responses", _U8),
                _address(
                    "CP_CanRespUUDTFormat",
                    "Format of periodic responses",
                    _UNSEGMENTED_FORMAT,
                    "normal unsegmented 11-bit receive",
                ),
                _address(
                    "CP_CanRespUUDTId",
                    "Identifier of periodic responses; FFFFFFFF: there are none",
                    _U32,
                    str(NO_IDENTIFIER),
                ),
                _address("CP_CanRespUUDTExtAddr", "Address extension of periodic responses", _U8),
                _LAYER,
            ),
        ),
    ),
)

ISO_13400_2: Final = Subset(
    name="ISO_13400_2",
    category="TRANS",
    parameters=(
        Parameter(
            name="CP_DoIPLogicalTesterAddress",
            title="Logical address of the tester",
            kind="COM",
            value=_U16,
            default=str(0x0E00),
        ),
        Parameter(
            name="CP_DoIPLogicalGatewayAddress",
            title="Logical address of the DoIP entity",
            kind="COM",
            usage="ECU-COMM",
            value=_U16,
            default="1",
        ),
        Parameter(
            name="CP_DoIPLogicalFunctionalAddress",
            title="Logical address of functional requests",
            kind="COM",
            usage="ECU-COMM",
            value=_U16,
            default=str(0xE400),
        ),
        Parameter(
            name="CP_DoIPRoutingActivationType",
            title="Type of the routing activation",
            kind="COM",
            value=_U8,
        ),
        _timing("CP_DoIPRoutingActivationTimeout", "From 0005 to 0006", 1_000_000),
        _timing("CP_DoIPDiagnosticAckTimeout", "From 8001 to 8002 or 8003", 2_000_000),
        Parameter(
            name="CP_DoIPNumberOfRetries",
            title="Repetitions after 8003",
            kind="ERRHDL",
            value=_U8,
        ),
        _timing("CP_DoIPRetryPeriod", "From 8003 to the repetition", 1_000_000),
        _REQUEST_ADDRESSING,
        _REPEAT_TRANSPORT,
    ),
    tables=(
        Table(
            name="CP_UniqueRespIdTable",
            title="Addresses of the ECU",
            kind="UNIQUE_ID",
            usage="ECU-COMM",
            members=(
                _address("CP_DoIPLogicalEcuAddress", "Logical address of the ECU", _U16, "1"),
                _address(
                    "CP_DoIPSecondaryLogicalECUResponseAddress",
                    "Logical address of periodic responses; 0: there is none",
                    _U16,
                ),
                _LAYER,
            ),
        ),
    ),
)

ISO_11898_2: Final = Subset(
    name="ISO_11898_2_DWCAN",
    category="PHYS",
    parameters=(
        Parameter(
            name="CP_Baudrate",
            title="Bit rate",
            kind="BUSTYPE",
            usage="ECU-COMM",
            value=_BIT_RATE,
            default="500000",
        ),
        Parameter(
            name="CP_CANFDBaudrate",
            title="Bit rate of the data phase; 0: no CAN FD",
            kind="BUSTYPE",
            usage="ECU-COMM",
            optional=True,
            value=_BIT_RATE,
        ),
        Parameter(
            name="CP_BitSamplePoint",
            title="Sample point, of the bit time",
            kind="BUSTYPE",
            value=_PERCENT,
            default="80",
        ),
        Parameter(
            name="CP_SyncJumpWidth",
            title="Synchronization jump width, of the bit time",
            kind="BUSTYPE",
            value=_PERCENT,
            default="15",
        ),
        Parameter(
            name="CP_SamplesPerBit",
            title="Samples per bit",
            kind="BUSTYPE",
            value=_choice("samples", "1-Sample", "3-Sample"),
            default="1-Sample",
        ),
        Parameter(
            name="CP_ListenOnly",
            title="Whether the tester only listens",
            kind="BUSTYPE",
            usage="ECU-COMM",
            optional=True,
            value=_ENABLED,
            default="Disabled",
        ),
    ),
)

ON_CAN: Final = Stack(
    protocol="UDS_on_CAN",
    link="ISO_11898_2_DWCAN",
    subsets=(ISO_15765_3, ISO_15765_2, ISO_11898_2),
)
#: Ethernet itself has nothing to set.
ON_DOIP: Final = Stack(
    protocol="UDS_on_DoIP", link="IEEE_802_3", subsets=(ISO_14229_5, ISO_13400_2)
)
