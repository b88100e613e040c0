"""Any answer of the cloud to a check-in gives an offer that a vehicle can judge, or is refused.

A vehicle believes nothing that the cloud says: what is not as `fleet.v1` has it is a
`ManagementError`, and an offer that is comes back from the journal as it went in.
"""

import json
from contextlib import suppress
from typing import Final

from google.protobuf.message import DecodeError

from fuzz import Harness
from protocols.fleet.v1 import gateway_pb2, releases_pb2
from vehicle_gateway.management import ManagementError
from vehicle_gateway.management.grpc.messages import check_in_of
from vehicle_gateway.update.offer import Offer
from vehicle_gateway.update.records import from_json, to_json


def prove(data: bytes) -> None:
    try:
        message = gateway_pb2.CheckInResponse.FromString(data)
    except DecodeError:
        return
    with suppress(ManagementError):
        found = check_in_of(message)
        if found.offer is not None:
            written = json.dumps(to_json(found.offer))
            if from_json(Offer, json.loads(written)) != found.offer:
                raise AssertionError("the journal does not give the offer back")


_IMAGE: Final = releases_pb2.Image(
    hardware_id="CCU-2",
    file_name="ccu.hex",
    format=releases_pb2.IMAGE_FORMAT_INTEL_HEX,
    file_size=9,
    file_sha256=bytes(32),
    address=0x0804_0000,
    image_size=9,
    image_sha256=bytes(32),
)
_ANSWER: Final = gateway_pb2.CheckInResponse(
    offer=gateway_pb2.Offer(
        campaign="campaigns/summer",
        release="releases/hvac-2",
        version="2.0.0",
        nonce=bytes(16),
        images=[gateway_pb2.OfferedImage(ecu="ccu", image=_IMAGE, present=_IMAGE)],
    )
)
_ANSWER.diagnostic_orders.plan.period.FromSeconds(60)
_ANSWER.diagnostic_jobs.add(name="a").routine.run_time.FromSeconds(60)
_ANSWER.diagnostic_jobs.add(name="b").clear_dtcs.group = 0xFFFFFF
_ANSWER.next_check_in.FromSeconds(30)
_LATE: Final = gateway_pb2.CheckInResponse()
_LATE.next_check_in.seconds = (1 << 63) - 1
HARNESS: Final = Harness(
    prove=prove,
    seeds=(_ANSWER.SerializeToString(), _LATE.SerializeToString()),
)
