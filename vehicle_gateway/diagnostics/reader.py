"""Reads one ECU over UDS: identification, trouble codes with what was stored beside them."""

from collections.abc import Mapping

from dbc import EcuDescription
from protocols.uds import MalformedResponseError, Nrc, dtc, requests, responses
from vehicle_gateway.diagnostics import DtcRecord, EcuDiagnostics, IdentificationRecord, TroubleCode
from vehicle_gateway.wires import WireError
from vehicle_gateway.wires.tester import NegativeResponseError, UdsTester
from vehicle_gateway.wires.testers import Testers

#: 59 04 and 59 06 repeat DTC and status before the records: 59, sub-function, three bytes, status.
_RECORDS_AT = 6
#: Data identifiers of ISO 14229-1 Annex C.1 that name software, hardware and vehicle in text.
_IDENTIFICATION = range(0xF180, 0xF1A0)
_COUNTERS: Mapping[int, str] = {
    dtc.ExtendedDataRecord.OCCURRENCE_COUNTER: "cycles with this fault:",
    dtc.ExtendedDataRecord.AGING_COUNTER: "cycles without it:",
    dtc.ExtendedDataRecord.CYCLES_SINCE_FIRST_FAILURE: "cycles since it first came:",
}


async def read_ecu(testers: Testers, name: str) -> EcuDiagnostics:
    """All identification and trouble codes of one ECU; an ECU that fails says why in `error`."""
    description = testers.vehicle.ecus[name]
    identification: tuple[IdentificationRecord, ...] = ()
    try:
        tester = testers.tester(name)
        identification = await read_identification(tester, description)
        dtcs = await read_dtcs(tester, description, _lengths(identification))
    except (WireError, MalformedResponseError) as error:
        return EcuDiagnostics(ecu=name, error=str(error), data_identifiers=identification)
    return EcuDiagnostics(ecu=name, data_identifiers=identification, dtcs=dtcs)


async def read_identification(
    tester: UdsTester, description: EcuDescription
) -> tuple[IdentificationRecord, ...]:
    """Every data identifier of the description that the ECU answers now.

    Raises `WireError` if it does not answer at all.
    """
    found: list[IdentificationRecord] = []
    for did, text in description.data_identifiers.items():
        try:
            answer = await tester.insist(requests.read_data(did))
        except NegativeResponseError:
            continue  # a boot loader, or an application of another version, may not have it
        record = responses.decode_data(answer, did)
        found.append(
            IdentificationRecord(
                data_identifier=did,
                text=text,
                record=record,
                value=_readable(description, did, record),
            )
        )
    return tuple(found)


async def read_dtcs(
    tester: UdsTester, description: EcuDescription, lengths: Mapping[int, int]
) -> tuple[TroubleCode, ...]:
    """19 02 FF, then 19 04 and 19 06 for each code; none from a boot loader.

    `lengths` are those of the data records that a snapshot may hold, by DID.
    """
    try:
        answer = await tester.insist(requests.read_dtcs())
    except NegativeResponseError as error:
        if error.code == Nrc.SERVICE_NOT_SUPPORTED:
            return ()
        raise
    return tuple(
        [
            TroubleCode(
                code=one.code,
                display=dtc.display(one.code),
                text=description.dtcs.get(one.code, "unknown trouble code"),
                status=one.status,
                snapshots=await _snapshots(tester, description, one.code, lengths),
                extended_data=await _extended_data(tester, one.code),
            )
            for one in responses.decode_dtcs(answer)
        ]
    )


async def clear_dtcs(tester: UdsTester) -> None:
    """14 FFFFFF: every trouble code of the ECU. Raises `WireError`."""
    await tester.insist(requests.clear_dtcs())


async def _snapshots(
    tester: UdsTester, description: EcuDescription, code: int, lengths: Mapping[int, int]
) -> tuple[DtcRecord, ...]:
    try:
        answer = await tester.insist(requests.read_snapshots(code))
    except NegativeResponseError:
        return ()  # nothing stored for this code
    if len(answer) <= _RECORDS_AT:
        return ()
    try:
        records = responses.decode_snapshots(answer, lengths)
    except MalformedResponseError:
        # A DID of unknown length: what follows the first record number is kept as one.
        return (_undecoded(answer),)
    return tuple(
        DtcRecord(
            record_number=one.record_number,
            value=", ".join(_named(description, did, record) for did, record in one.data.items()),
            record=bytes([len(one.data)])
            + b"".join(did.to_bytes(2) + record for did, record in one.data.items()),
        )
        for one in records
    )


async def _extended_data(tester: UdsTester, code: int) -> tuple[DtcRecord, ...]:
    try:
        answer = await tester.insist(requests.read_extended_data(code))
    except NegativeResponseError:
        return ()
    if len(answer) <= _RECORDS_AT:
        return ()
    try:
        decoded = responses.decode_extended_data(answer)
    except MalformedResponseError:
        return (_undecoded(answer),)
    return tuple(
        DtcRecord(record_number=number, record=record, value=_counted(number, record))
        for number, record in decoded.records.items()
    )


def _undecoded(answer: bytes) -> DtcRecord:
    record = answer[_RECORDS_AT + 1 :]
    return DtcRecord(
        record_number=answer[_RECORDS_AT], record=record, value=record.hex(" ").upper()
    )


def _counted(number: int, record: bytes) -> str:
    """An extended data record in words, if it is one of the counters that we know."""
    name = _COUNTERS.get(number)
    if name is None:
        return record.hex(" ").upper()
    return f"{name} {int.from_bytes(record, 'big')}"


def _named(description: EcuDescription, did: int, record: bytes) -> str:
    name = description.data_identifiers.get(did, f"{did:04X}")
    return f"{name} {_readable(description, did, record)}"


def _lengths(identification: tuple[IdentificationRecord, ...]) -> dict[int, int]:
    return {one.data_identifier: len(one.record) for one in identification}


def _readable(description: EcuDescription, did: int, record: bytes) -> str:
    """A physical value, or the text that an identification record holds, or hexadecimal."""
    if did in description.scalings:
        return description.scalings[did].physical(record)
    text = record.rstrip(b"\0 ")
    if did in _IDENTIFICATION and text and all(0x20 <= byte < 0x7F for byte in text):
        return text.decode("ascii")
    return record.hex(" ").upper()
