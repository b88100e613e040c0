"""What an ECU type says of ISO-TP is what is on its wire."""

from itertools import pairwise
from pathlib import Path

from clock import run
from ecu_sim.ecus import ecu_type
from protocols.can import FrameHeader
from tests.support import bench
from tests.support.ecu import RawTester, application
from tests.support.vehicle import new_vehicle

ECU = ecu_type("bench_2013")
ADDRESS = ECU.can_addresses[0]


def test_an_ecu_asks_for_the_blocks_separation_and_padding_of_its_type(tmp_path: Path) -> None:
    heard: list[tuple[int, bytes, float]] = []

    def hear(header: FrameHeader, data: bytes, at_s: float) -> None:
        heard.append((header.identifier, data, at_s))

    async def main() -> None:
        vehicle = new_vehicle(tmp_path, ECU.name)
        try:
            image = bench.image(application(), hardware_id=ECU.hardware_identifier)
            vehicle.provision(ECU.name, image)
            await vehicle.start()
            headers = (FrameHeader(ADDRESS.request_id), FrameHeader(ADDRESS.response_id))
            vehicle.can_port(ECU.wire, "listener").listen(hear, *headers)
            port = vehicle.can_port(ECU.wire, "tester")
            tester = RawTester.can(port, ADDRESS.request_id, ADDRESS.response_id)
            await tester.ask(b"\x22" + b"\xf1\x90" * 60)
            tester.close()
        finally:
            await vehicle.stop()

    run(main(), virtual=True)
    flow = [data for source, data, _ in heard if source == ADDRESS.response_id and data[0] == 0x30]
    assert flow == [b"\x30\x08\x02" + b"\x55" * 5] * 3  # of the 17 consecutive frames
    sent = [(data, at) for source, data, at in heard if source == ADDRESS.request_id]
    frames = [at for data, at in sent if data[0] >> 4 == 2]
    assert len(frames) == 17
    gaps = [after - before for before, after in pairwise(frames)]
    assert all(gap > 0.002 for number, gap in enumerate(gaps, start=1) if number % 8)
