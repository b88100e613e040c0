from dataclasses import replace

import pytest

from dbc import describe_vehicle
from protocols.uds import requests
from vehicle_gateway.flashing.bound import BoundCalculator, block_size, wire_time
from vehicle_gateway.flashing.updater import resume_point

VEHICLE = describe_vehicle()


@pytest.mark.parametrize(
    ("longest", "page", "expected"),
    [(258, 128, 256), (4095, 256, 3840), (65535, 1024, 64512), (130, 256, 128), (4095, 1, 4093)],
)
def test_blocks_are_whole_pages_where_a_page_fits(longest: int, page: int, expected: int) -> None:
    assert block_size(longest, page) == expected


def test_the_wire_time_of_a_block_is_that_of_its_frames() -> None:
    ecu = VEHICLE.ecus["ccu"]
    wire = wire_time(VEHICLE.wires["comfort"], ecu)
    request = requests.transfer_data(1, bytes(range(256)) * 15 + bytes(range(252)))
    seconds = wire.exchange_s(request, b"\x76\x01")
    # First frame, flow control, 584 consecutive frames, answer: 111 to 135 bits at 500 kbit/s.
    assert 587 * 111 / 500_000 < seconds < 587 * 135 / 500_000


def test_doip_pays_for_full_segments() -> None:
    wire = wire_time(VEHICLE.wires["rear"], VEHICLE.ecus["rear"])
    # facts: 11.85 MB/s at 65535 bytes without turnaround.
    assert 65535 / wire.exchange_s(bytes(65535), b"\x76\x01") == pytest.approx(11.85e6, rel=0.001)


@pytest.mark.parametrize(("program_s", "memory_bound"), [(0.0, False), (1.0, True)])
def test_a_block_costs_the_slower_of_wire_and_memory(
    program_s: float, *, memory_bound: bool
) -> None:
    ecu = replace(VEHICLE.ecus["blower"], program_s=program_s)
    wire = wire_time(VEHICLE.wires["comfort"], ecu)
    calculator = BoundCalculator(wire, ecu, address=ecu.application_base)
    block = requests.transfer_data(1, bytes(256))
    for _ in range(3):
        calculator.add(block)
    bound = calculator.result()
    on_wire_s = wire.exchange_s(block, b"\x76\x01")
    later_s = 2.0 if memory_bound else on_wire_s
    assert bound.blocks_s == pytest.approx((on_wire_s, later_s, later_s))
    assert bound.total_s > sum(bound.blocks_s)
    assert bound.serial_s >= 2 * program_s


@pytest.mark.parametrize(
    ("size", "resume_from", "expected"),
    [(10_000, 0, 0), (10_000, 4095, 0), (10_000, 4096, 4096), (10_000, 9_000, 8192),
     (10_000, 99_999, 8192), (8192, 8192, 4096), (10, 10, 0)],
)  # fmt: skip
def test_a_download_goes_on_at_a_sector_and_always_has_something_left(
    size: int, resume_from: int, expected: int
) -> None:
    assert resume_point(bytes(size), resume_from=resume_from, sector_size=4096) == expected
