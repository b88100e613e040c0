"""Wireless diagnostics: what the ECUs say of themselves, as values.

`reader.py` asks the ECUs over UDS, `signals.py` records the messages of the wires. What the cloud
wants (`orders.py`): `observer.py` reads by a plan and follows signals (`live.py`), `jobs.py` does
each job at most once (`ledger.py`, `perform.py`), as far as `state.py` lets it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationRecord:
    """One data identifier of an ECU."""

    data_identifier: int
    #: What it is, by the vehicle's description.
    text: str
    record: bytes
    #: For people: the text it holds, or hexadecimal.
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DtcRecord:
    """A snapshot record or an extended data record of a trouble code."""

    record_number: int
    record: bytes
    #: For people; hexadecimal where nothing is known of it.
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubleCode:
    #: 24 bits, as ISO 14229-1 has it.
    code: int
    #: ISO 15031-6 letter form with failure type: `B1A01-00`.
    display: str
    text: str
    #: Status byte, ISO 14229-1 annex D.2.
    status: int
    snapshots: tuple[DtcRecord, ...] = ()
    extended_data: tuple[DtcRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuDiagnostics:
    ecu: str
    #: Why it could not be read; empty if it was.
    error: str = ""
    data_identifiers: tuple[IdentificationRecord, ...] = ()
    dtcs: tuple[TroubleCode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSeries:
    """One signal over a window of time."""

    wire: str
    message: str
    signal: str
    unit: str
    #: Loop times in seconds, rising; as long as `values`.
    times_s: tuple[float, ...]
    values: tuple[float, ...]
