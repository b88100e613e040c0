"""Requests and answers that udsoncan has no codec for, read with py-uds's of the ECU's edition."""

from collections.abc import Mapping
from typing import Final

from uds.translator.service_definitions.read_data_by_periodic_identifier import (
    READ_DATA_BY_PERIODIC_IDENTIFIER,
)
from uds.translator.service_definitions.read_dtc_information import (
    READ_DTC_INFORMATION_2013,
    READ_DTC_INFORMATION_2020,
)
from uds.translator.service_definitions.read_scaling_data_by_identifier import (
    READ_SCALING_DATA_BY_IDENTIFIER_2013,
    READ_SCALING_DATA_BY_IDENTIFIER_2020,
)
from uds.translator.service_definitions.response_on_event import (
    RESPONSE_ON_EVENT_2013,
    RESPONSE_ON_EVENT_2020,
)
from uds.translator.service_definitions.secured_data_transmission import (
    SECURED_DATA_TRANSMISSION_2020,
)

from ecu_sim.ecus import EcuType
from protocols.editions import UdsEdition

_CODECS: Final = {
    0x19: (READ_DTC_INFORMATION_2013, READ_DTC_INFORMATION_2020),
    0x24: (READ_SCALING_DATA_BY_IDENTIFIER_2013, READ_SCALING_DATA_BY_IDENTIFIER_2020),
    0x2A: (READ_DATA_BY_PERIODIC_IDENTIFIER,) * 2,
    # The edition of 2013 leaves the record open; ours has the layout of 2020 in both.
    0x84: (SECURED_DATA_TRANSMISSION_2020,) * 2,
    0x86: (RESPONSE_ON_EVENT_2013, RESPONSE_ON_EVENT_2020),
}
#: Bytes of the request that follow its service identifier and come back.
_ECHOED: Final[Mapping[int, int]] = {0x19: 1, 0x24: 2, 0x86: 1}


def translate(ecu: EcuType, request: bytes, answer: bytes) -> None:
    """py-uds's own errors where it cannot read one of them; `AssertionError` for a wrong echo."""
    codec = _CODECS[request[0]][ecu.editions.uds >= UdsEdition.E2020]
    for message in (request, answer):
        parts = codec.decode(list(message))
        assert parts[0]["raw_value"] == message[0]
    echoed = 1 + _ECHOED.get(request[0], 0)
    assert answer[1:echoed] == request[1:echoed]
