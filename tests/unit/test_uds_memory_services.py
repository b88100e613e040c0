"""23, 3D and 35 on a server with regions of every kind. Requests and answers in hex."""

import pytest

from protocols.uds import Nrc
from protocols.uds.rules import MemoryRegion, region_of
from tests.support.data import IMAGE, KEYS, MEMORY, RAM, SIZE, DataBench
from tests.support.diagnostics import hexes


@pytest.fixture
def bench() -> DataBench:
    """In the extended session, locked."""
    bench = DataBench()
    bench.ask("1003")
    return bench


@pytest.fixture
def programmer(bench: DataBench) -> DataBench:
    bench.unlock(1)
    return bench


@pytest.fixture
def engineer(bench: DataBench) -> DataBench:
    bench.unlock(3)
    return bench


def _read(address: int, size: int) -> bytes:
    return b"\x23\x24" + address.to_bytes(4) + size.to_bytes(2)


def _write(address: int, data: bytes) -> bytes:
    return b"\x3d\x24" + address.to_bytes(4) + len(data).to_bytes(2) + data


def _upload(address: int, size: int, data_format: int = 0) -> bytes:
    return bytes([0x35, data_format, 0x24]) + address.to_bytes(4) + size.to_bytes(2)


# 23


@pytest.mark.parametrize(
    "request_hex",
    ["2312200003", "231300200003", "23440000200000000003"],
)
def test_memory_is_read_in_any_format_of_one_to_four_bytes(
    bench: DataBench, request_hex: str
) -> None:
    assert bench.ask(request_hex) == "63000102"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("23", "7f2313"),
        ("231220", "7f2313"),
        # Lengths of no or more than four bytes.
        ("2302200003", "7f2331"),
        ("2310200003", "7f2331"),
        ("2352200003", "7f2331"),
        ("2315200003", "7f2331"),
        # Longer or shorter than the format says.
        ("231220000300", "7f2313"),
        ("23122000", "7f2313"),
        # Nothing, and beyond what four bytes address.
        ("2312200000", "7f2331"),
        ("2314ffffffff02", "7f2331"),
        # 256 bytes are as much as the transport carries.
        ("2322200000ff", "63" + bytes(range(255)).hex()),
        ("232220000100", "7f2314"),
    ],
)
def test_the_format_and_lengths_of_a_read_are_checked(
    bench: DataBench, request_hex: str, answer: str
) -> None:
    assert bench.ask(request_hex) == answer


@pytest.mark.parametrize(
    ("address", "size", "locked", "level_1", "level_3"),
    [
        (RAM, 1, "ok", "ok", "ok"),
        (RAM + SIZE - 1, 1, "ok", "ok", "ok"),
        (RAM + SIZE - 1, 2, "31", "31", "31"),
        (RAM - 1, 2, "31", "31", "31"),
        (IMAGE, 4, "33", "ok", "33"),
        (IMAGE, SIZE + 1, "31", "31", "31"),
        (KEYS, 1, "31", "31", "31"),
        (KEYS + SIZE - 1, 1, "31", "31", "31"),
        (0, 1, "31", "31", "31"),
    ],
)
def test_each_region_is_open_to_whom_its_row_says(
    bench: DataBench, address: int, size: int, locked: str, level_1: str, level_3: str
) -> None:
    def outcome() -> str:
        answer = bench.ask(_read(address, size))
        return "ok" if answer.startswith("63") else answer.removeprefix("7f23")

    got = [outcome()]
    for level in (1, 3):
        bench.unlock(level)
        got.append(outcome())
    assert got == [locked, level_1, level_3]


def test_memory_is_for_the_extended_session_and_physical_requests() -> None:
    bench = DataBench()
    assert bench.ask(_read(RAM, 1)) == "7f237f"
    bench.ask("1003")
    assert hexes(bench.tell(_read(RAM, 1), functional=True)) == []


@pytest.mark.parametrize("region", MEMORY, ids=lambda region: region.storage.name)
def test_a_range_belongs_to_the_region_that_holds_all_of_it(region: MemoryRegion) -> None:
    assert region_of(MEMORY, region.start, SIZE) is region
    assert region_of(MEMORY, region.start, SIZE + 1) is None
    assert region_of(MEMORY, region.start - 1, 2) is None


# 3D


def test_what_is_written_is_read_back(engineer: DataBench) -> None:
    assert engineer.ask(_write(RAM + 4, b"\xca\xfe")) == "7d24000020040002"
    assert engineer.ask(_read(RAM + 3, 4)) == "6303cafe06"


@pytest.mark.parametrize(
    ("address", "locked", "level_1", "level_3"),
    [
        (RAM, Nrc.SECURITY_ACCESS_DENIED, Nrc.SECURITY_ACCESS_DENIED, None),
        (IMAGE, Nrc.REQUEST_OUT_OF_RANGE, Nrc.REQUEST_OUT_OF_RANGE, Nrc.REQUEST_OUT_OF_RANGE),
        (KEYS, Nrc.REQUEST_OUT_OF_RANGE, Nrc.REQUEST_OUT_OF_RANGE, Nrc.REQUEST_OUT_OF_RANGE),
    ],
)
def test_only_an_engineer_writes_and_only_where_it_is_allowed(
    bench: DataBench, address: int, locked: Nrc | None, level_1: Nrc | None, level_3: Nrc | None
) -> None:
    def outcome() -> Nrc | None:
        answer = bytes.fromhex(bench.ask(_write(address, b"\x01")))
        return Nrc(answer[2]) if answer[0] == 0x7F else None

    got = [outcome()]
    for level in (1, 3):
        bench.unlock(level)
        got.append(outcome())
    assert got == [locked, level_1, level_3]
    assert set(bench.memory.cells) == ({RAM} if level_3 is None else set())


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("3d122000", "7f3d13"),
        ("3d12200001", "7f3d13"),
        ("3d1220000211", "7f3d13"),
        ("3d12200002112233", "7f3d13"),
        ("3d0220000111", "7f3d31"),
        ("3d12200000", "7f3d31"),
    ],
)
def test_a_write_holds_as_many_bytes_as_it_says(
    engineer: DataBench, request_hex: str, answer: str
) -> None:
    assert engineer.ask(request_hex) == answer
    assert engineer.memory.cells == {}


# 35


def test_an_upload_reads_a_region_block_by_block(programmer: DataBench) -> None:
    # Blocks of 18 bytes with their two of head; 40 bytes are 16, 16 and 8.
    assert programmer.ask(_upload(IMAGE, 40)) == "75200012"
    data = bytes.fromhex("".join(programmer.ask(f"36{n:02x}")[4:] for n in (1, 2, 3)))
    assert data == bytes(range(40))
    assert programmer.ask("37") == "77"
    assert programmer.ask("37") == "7f3724"


def test_the_counter_goes_on_at_zero(programmer: DataBench) -> None:
    programmer.memory.max_block_length = 3
    programmer.ask(_upload(IMAGE, 260))
    blocks = [hexes(programmer.tell(bytes([0x36, n & 0xFF]))) for n in range(1, 261)]
    assert [block[2:4] for (block,) in blocks] == [f"{n & 0xFF:02x}" for n in range(1, 261)]
    assert programmer.ask("37") == "77"


def test_a_block_whose_answer_was_lost_is_sent_again(programmer: DataBench) -> None:
    programmer.ask(_upload(IMAGE, 20))
    first = programmer.ask("3601")
    assert programmer.ask("3601") == first
    last = programmer.ask("3602")
    assert last == "760210111213"
    assert programmer.ask("3602") == last
    assert programmer.ask("37") == "77"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [("3602", "7f3673"), ("3600", "7f3673"), ("360100", "7f3613"), ("37", "7f3724")],
)
def test_an_upload_refuses_what_is_out_of_order_and_goes_on(
    programmer: DataBench, request_hex: str, answer: str
) -> None:
    programmer.ask(_upload(IMAGE, 4))
    assert programmer.ask(request_hex) == answer
    assert programmer.ask("3601") == "760100010203"
    assert programmer.ask("3602") == "7f3624"
    assert programmer.ask("37") == "77"


def test_no_block_is_longer_than_a_response_can_be(programmer: DataBench) -> None:
    programmer.memory.max_block_length = 4000
    assert programmer.ask(_upload(IMAGE, 0x200)) == "75200100"
    assert len(programmer.ask("3601")) == 2 * 256


def test_one_transfer_at_a_time(programmer: DataBench) -> None:
    programmer.ask(_upload(IMAGE, 4))
    assert programmer.ask(_upload(IMAGE, 4)) == "7f3522"
    assert programmer.ask("3400440000100000000010") == "7f3422"
    programmer.ask("3601")
    programmer.ask("37")
    assert programmer.ask("3400440000100000000010").startswith("74")
    assert programmer.ask(_upload(IMAGE, 4)) == "7f3522"


@pytest.mark.parametrize(
    ("address", "size", "data_format", "answer"),
    [
        (RAM, 4, 0, "7f3531"),
        (KEYS, 4, 0, "7f3531"),
        (IMAGE, SIZE + 1, 0, "7f3531"),
        (IMAGE, 0, 0, "7f3531"),
        (IMAGE, 4, 0x10, "7f3531"),
        (IMAGE, 4, 0x01, "7f3531"),
        (IMAGE, SIZE, 0, "75200012"),
    ],
)
def test_only_what_may_be_uploaded_is(
    programmer: DataBench, address: int, size: int, data_format: int, answer: str
) -> None:
    assert programmer.ask(_upload(address, size, data_format)) == answer


def test_an_upload_needs_its_level_and_ends_with_the_session(bench: DataBench) -> None:
    assert bench.ask(_upload(IMAGE, 4)) == "7f3533"
    bench.unlock(3)
    assert bench.ask(_upload(IMAGE, 4)) == "7f3533"
    bench.unlock(1)
    assert bench.ask(_upload(IMAGE, 4)) == "75200012"
    bench.ask("1003")
    bench.unlock(1)
    assert bench.ask("3601") == "7f3624"
