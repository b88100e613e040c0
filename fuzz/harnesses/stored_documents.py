"""Anything in the place of a stored document is read as its kind, or is a `StoreDamagedError`.

The compression is put around the input: a fuzzer does not guess it.
"""

import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud.fleet.campaigns import Outcome
from cloud.fleet.diagnostics import Dtc, DtcRecord, EcuDiagnostics, SignalSeries, Snapshot
from cloud.fleet.evidence import Judgement, Step, UpdateReport
from cloud.store import documents
from cloud.store.errors import StoreDamagedError
from fuzz import Harness

_KINDS: Final = (Snapshot, UpdateReport, Judgement)


def prove(data: bytes) -> None:
    if not data:
        return
    kind = _KINDS[data[0] % len(_KINDS)]
    for stored in (data[1:], zlib.compress(data[1:], 1)):
        with suppress(StoreDamagedError):
            documents.load(kind, stored)


_DATE: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SNAPSHOT: Final = Snapshot(
    vin="V",
    snapshot_id="a1",
    occasion="on_request",
    campaign_id=None,
    time=_DATE,
    ecus=(
        EcuDiagnostics(
            ecu="ccu",
            dtcs=(
                Dtc(
                    code=1,
                    display="B",
                    text="t",
                    status=8,
                    snapshots=(DtcRecord(record_number=1, record=b"\1"),),
                ),
            ),
        ),
    ),
    signals=(
        SignalSeries(wire="w", message="m", signal="s", unit="", offsets_s=(0.5,), values=(1.0,)),
    ),
)
_STEP: Final = Step(
    start=_DATE, duration=timedelta(seconds=1), ecu="ccu", step="stage", detail="", failed=False
)
_REPORT: Final = UpdateReport(
    campaign_id="c",
    release_id="r",
    outcome=Outcome.UPDATED,
    reason="",
    start_time=_DATE,
    finish_time=None,
    steps=(_STEP,),
)


def _seed(value: Snapshot | UpdateReport) -> bytes:
    return bytes((_KINDS.index(type(value)),)) + zlib.decompress(documents.dump(value))


HARNESS: Final = Harness(
    prove=prove,
    seeds=(_seed(_SNAPSHOT), _seed(_REPORT), b"\0[]", b"\0" + b"[" * 2000),
    max_length=2048,
)
