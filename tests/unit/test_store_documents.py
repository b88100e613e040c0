"""Documents: dataclasses come back from the store as they went in."""

from datetime import UTC, datetime, timedelta

import pytest

from cloud.fleet.campaigns import Outcome
from cloud.fleet.diagnostics import Dtc, DtcRecord, EcuDiagnostics, SignalSeries, Snapshot
from cloud.fleet.evidence import (
    EcuJudgement,
    EcuResult,
    Judgement,
    ReadBack,
    Step,
    UpdateReport,
)
from cloud.store import documents
from cloud.store.errors import StoreDamagedError
from cloud.store.now import VirtualClock, WallClock, from_microseconds, microseconds

NOW = datetime(2026, 6, 1, 8, 0, 0, 123456, tzinfo=UTC)

REPORT = UpdateReport(
    campaign_id="c",
    release_id="r",
    outcome=Outcome.ROLLED_BACK,
    reason="blower: ä \N{ROBOT FACE}",
    start_time=NOW,
    finish_time=None,
    ecus=(
        EcuResult(
            ecu="ccu",
            hardware_id="CCU-2",
            wire="comfort",
            version_before="1",
            version_after="2",
            software_number_after="",
            supplier_version_after="",
            image_sha256=b"\x00\xff" * 16,
            image_bytes=1 << 40,
            read_back=ReadBack(nonce=b"n", image_sha256=b"", signature=b"\x80"),
            transfer_s=0.1,
            bound_s=1e-9,
            staging_s=0.0,
            out_of_use_s=12.5,
            error="",
        ),
    ),
    steps=(
        Step(
            start=NOW,
            duration=timedelta(microseconds=1),
            ecu="",
            step="commit",
            detail="",
            failed=True,
        ),
    ),
    snapshot_before="before",
)
SNAPSHOT = Snapshot(
    vin="WCANHVAC000000001",
    snapshot_id="s",
    occasion="on_request",
    campaign_id=None,
    time=NOW,
    ecus=(
        EcuDiagnostics(
            ecu="ccu",
            dtcs=(
                Dtc(
                    code=0x9A0100,
                    display="B1A01-00",
                    text="",
                    status=0x2F,
                    snapshots=(DtcRecord(record_number=1, record=b"\x00"),),
                ),
            ),
        ),
    ),
    signals=(
        SignalSeries(
            wire="w", message="m", signal="s", unit="", offsets_s=(0.1, 0.2), values=(-1.0, 1e300)
        ),
    ),
)
JUDGEMENT = Judgement(
    outcome=Outcome.FAILED_SAFE,
    reason="r",
    ecus=(EcuJudgement(ecu="ccu", read_back=False, proved_sha256=None, reason="x"),),
)


@pytest.mark.parametrize("value", [REPORT, SNAPSHOT, JUDGEMENT])
def test_a_document_comes_back_as_it_went_in(value: object) -> None:
    assert documents.load(type(value), documents.dump(value)) == value


@pytest.mark.parametrize("document", [b"", b"junk", documents.dump(REPORT)[:-3]])
def test_a_damaged_document_says_what_it_was(document: bytes) -> None:
    with pytest.raises(StoreDamagedError, match="UpdateReport"):
        documents.load(UpdateReport, document)


def test_what_has_no_place_in_a_document_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        documents.dump(complex(1))


def test_dates_are_kept_to_the_microsecond() -> None:
    assert from_microseconds(microseconds(NOW)) == NOW


def test_a_virtual_clock_takes_the_newest_date_and_a_wall_clock_none() -> None:
    virtual, wall = VirtualClock(NOW), WallClock()
    for moment in (NOW + timedelta(seconds=5), NOW):
        virtual.seen(moment)
        wall.seen(moment + timedelta(days=365_000))
    assert virtual.now() == NOW + timedelta(seconds=5)
    assert wall.now() < NOW + timedelta(days=364_000)
