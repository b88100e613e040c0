"""File transfer (38 with 36 and 37), over the real store; messages by udsoncan's codecs."""

import pytest
from udsoncan import Filesize
from udsoncan.Response import Response
from udsoncan.services.RequestFileTransfer import RequestFileTransfer

from ecu_sim.file_store import FileStore
from ecu_sim.memory import Flash, FlashGeometry, Nvm, TwoCopyRecord
from protocols.editions import UdsEdition
from protocols.uds import Session
from protocols.uds.enums import FileOperation
from protocols.uds.rules import (
    FileRules,
    SpecialRules,
    file_operations,
    single_slot_application,
)
from tests.support.diagnostics import Bench, BenchDevice

RULES = FileRules(capacity=2000, files=3)
GEOMETRY = FlashGeometry(size=0x4000, sector_size=0x800, page_size=0x10, erase_s=0.01, program_s=0)
DATA = bytes(range(256)) * 3
ADD, DELETE, REPLACE, READ, LIST, RESUME = FileOperation


def store(cells: bytearray | None = None) -> FileStore:
    memory = cells if cells is not None else bytearray(b"\xff" * GEOMETRY.size)
    record = TwoCopyRecord(Flash(memory, GEOMETRY), address=0, copy_size=0x2000)
    return FileStore(RULES, Nvm(record))


def new_bench(edition: UdsEdition = UdsEdition.E2020, files: FileStore | None = None) -> Bench:
    rules = single_slot_application(special=SpecialRules(files=RULES), edition=edition)
    return Bench(rules, BenchDevice(files=files or store()))


@pytest.fixture
def bench() -> Bench:
    """In an unlocked extended session."""
    bench = new_bench()
    bench.ask("1003")
    bench.unlock()
    return bench


def asked(operation: FileOperation, path: str, size: int | None = None) -> bytes:
    filesize = None if size is None else Filesize(size, width=2)
    payload = RequestFileTransfer.make_request(operation, path, filesize=filesize).get_payload()
    assert payload is not None
    return bytes(payload)


def told(answer: str) -> RequestFileTransfer.ResponseData:
    response = Response.from_payload(bytes.fromhex(answer))
    assert response.positive, answer
    return RequestFileTransfer.interpret_response(response).service_data


def send(bench: Bench, data: bytes, *, step: int = 254, first: int = 1) -> None:
    for number, start in enumerate(range(0, len(data), step), start=first):
        block = bytes([0x36, number]) + data[start : start + step]
        assert bench.ask(block) == f"76{number:02x}"


def put(bench: Bench, path: str, data: bytes, operation: FileOperation = ADD) -> None:
    assert told(bench.ask(asked(operation, path, len(data)))).max_length == 256
    send(bench, data)
    assert bench.ask("37") == "77"


def receive(bench: Bench, size: int) -> bytes:
    data = b""
    number = 0
    while len(data) < size:
        number += 1
        data += bytes.fromhex(bench.ask(bytes([0x36, number])))[2:]
    assert bench.ask("37") == "77"
    return data


def get(bench: Bench, path: str) -> bytes:
    answer = told(bench.ask(asked(READ, path)))
    assert answer.filesize is not None
    assert answer.filesize.uncompressed == answer.filesize.compressed
    return receive(bench, answer.filesize.uncompressed or 0)


def names(bench: Bench, path: str) -> list[str]:
    answer = told(bench.ask(asked(LIST, path)))
    return receive(bench, answer.dirinfo_length or 0).decode().splitlines()


def test_what_was_added_is_read_back(bench: Bench) -> None:
    put(bench, "/log/one.bin", DATA)
    assert get(bench, "/log/one.bin") == DATA


def test_files_outlive_the_power() -> None:
    cells = bytearray(b"\xff" * GEOMETRY.size)
    first = new_bench(files=store(cells))
    first.ask("1003")
    first.unlock()
    put(first, "/one", DATA)
    second = new_bench(files=store(cells))
    second.ask("1003")
    second.unlock()
    assert get(second, "/one") == DATA


def test_directories_are_what_the_paths_say(bench: Bench) -> None:
    assert names(bench, "/") == []
    put(bench, "/log/b", b"1")
    put(bench, "/log/a", b"2")
    put(bench, "/readme", b"3")
    assert names(bench, "/") == ["log/", "readme"]
    assert names(bench, "/log") == ["a", "b"]
    assert bench.ask(asked(LIST, "/nothing")) == "7f3831"


def test_a_file_is_replaced_and_deleted(bench: Bench) -> None:
    put(bench, "/one", DATA)
    put(bench, "/one", b"new", REPLACE)
    assert get(bench, "/one") == b"new"
    assert bench.ask(asked(DELETE, "/one")) == "7802"
    assert bench.ask(asked(READ, "/one")) == "7f3831"
    put(bench, "/one", b"again", REPLACE)


def test_who_reads_goes_on_in_a_session_that_may_and_who_writes_does_not(bench: Bench) -> None:
    put(bench, "/log/one.bin", DATA)
    assert told(bench.ask(asked(READ, "/log/one.bin"))).max_length == 256
    first = bench.ask("3601")
    bench.ask("1003")
    second = bench.ask("3602")
    assert bytes.fromhex(first[4:] + second[4:]) == DATA[:508]
    bench.ask("1001")
    bench.ask("1003")
    assert bench.ask("3603") == "7f3624"
    bench.unlock()
    assert told(bench.ask(asked(ADD, "/two", 300))).max_length == 256
    bench.ask("1003")
    bench.unlock()
    assert bench.ask(b"\x36\x01" + bytes(254)) == "7f3624"


def test_nothing_is_stored_before_the_end(bench: Bench) -> None:
    put(bench, "/one", b"old")
    bench.ask(asked(REPLACE, "/one", len(DATA)))
    send(bench, DATA[:254])
    assert bench.ask("37") == "7f3724"
    bench.ask("1003")
    bench.unlock()
    assert get(bench, "/one") == b"old"


def test_a_broken_off_file_is_resumed_where_it_stands(bench: Bench) -> None:
    bench.ask(asked(ADD, "/one", len(DATA)))
    send(bench, DATA[:254])
    bench.run(6.0)
    assert bench.session() == Session.DEFAULT
    bench.ask("1003")
    bench.unlock()
    assert bench.ask(asked(RESUME, "/other", len(DATA))) == "7f3831"
    assert bench.ask(asked(RESUME, "/one", len(DATA) + 1)) == "7f3831"
    position = told(bench.ask(asked(RESUME, "/one", len(DATA)))).fileposition
    assert position == 254
    send(bench, DATA[254:])
    assert bench.ask("37") == "77"
    assert get(bench, "/one") == DATA
    assert bench.ask(asked(RESUME, "/one", len(DATA))) == "7f3831"


def test_resuming_came_with_the_edition_of_2020() -> None:
    bench = new_bench(UdsEdition.E2013)
    bench.ask("1003")
    bench.unlock()
    bench.ask(asked(ADD, "/one", 10))
    bench.ask("1003")
    bench.unlock()
    assert bench.ask(asked(RESUME, "/one", 10)) == "7f3831"
    assert FileOperation.RESUME not in file_operations(bench.rules.special, UdsEdition.E2013)


def test_the_store_has_an_end(bench: Bench) -> None:
    assert bench.ask(asked(ADD, "/big", 1997)) == "7f3870"
    put(bench, "/big", bytes(1000))
    assert bench.ask(asked(ADD, "/other", 1000)) == "7f3870"
    put(bench, "/big", bytes(1996), REPLACE)
    bench.ask(asked(DELETE, "/big"))
    for name in "abc":
        put(bench, f"/{name}", b"")
    assert bench.ask(asked(ADD, "/d", 0)) == "7f3870"
    assert bench.ask(asked(ADD, "/" + "x" * RULES.max_path, 0)) == "7f3831"


@pytest.mark.parametrize(
    ("request_hex", "answer"),
    [
        ("38 01 00 02", "7f3813"),
        ("38 07 00 02 2F 61", "7f3831"),
        ("38 00 00 02 2F 61", "7f3831"),
        ("38 02 00 03 2F 61", "7f3813"),
        ("38 02 00 02 2F 61 00", "7f3813"),
        ("38 02 00 00 2F", "7f3831"),
        # Paths that are relative, lead elsewhere or are no text.
        ("38 04 00 02 61 62 00", "7f3831"),
        ("38 04 00 05 2F 2E 2E 2F 61 00", "7f3831"),
        ("38 04 00 03 2F 2F 61 00", "7f3831"),
        ("38 04 00 02 2F FF 00", "7f3831"),
        # Compressed data, sizes of no bytes, sizes that differ.
        ("38 01 00 02 2F 61 10 01 05 05", "7f3831"),
        ("38 01 00 02 2F 61 00 00", "7f3831"),
        ("38 01 00 02 2F 61 00 01 05 04", "7f3831"),
        ("38 01 00 02 2F 61 00 02 05 05", "7f3813"),
        ("38 01 00 01 2F 00 01 05 05", "7f3831"),
        ("38 02 00 02 2F 61", "7f3831"),
    ],
)
def test_what_is_refused(bench: Bench, request_hex: str, answer: str) -> None:
    assert bench.ask(request_hex) == answer
    assert bench.ask(request_hex, functional=True) == ""


@pytest.mark.parametrize("operation", FileOperation, ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("session", "unlocked"),
    [(Session.DEFAULT, False), (Session.EXTENDED, False), (Session.EXTENDED, True)],
)
def test_every_operation_is_as_open_as_its_row(
    operation: FileOperation,
    session: Session,
    unlocked: bool,  # noqa: FBT001 a column of the table
) -> None:
    bench = new_bench()
    bench.ask(bytes([0x10, session]))
    if unlocked:
        bench.unlock()
    row = RULES.operations[operation]
    sized = operation in {ADD, REPLACE, RESUME}
    answer = bench.ask(asked(operation, "/one", 4 if sized else None))
    if session not in row.sessions:
        assert answer == "7f387f"
    elif row.secured and not unlocked:
        assert answer == "7f3833"
    else:
        assert answer[:4] in {f"78{operation:02x}", "7f38"}
        assert answer != "7f3833"


def test_one_transfer_at_a_time(bench: Bench) -> None:
    bench.ask(asked(ADD, "/one", 10))
    assert bench.ask(asked(ADD, "/two", 10)) == "7f3822"
    assert bench.ask(asked(LIST, "/")) == "7f3822"
