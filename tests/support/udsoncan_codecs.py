"""Answers read with udsoncan's own codecs, and compared with the request that they answer."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import udsoncan
from udsoncan.Response import Response
from udsoncan.services.InputOutputControlByIdentifier import InputOutputControlByIdentifier
from udsoncan.services.ReadDataByIdentifier import ReadDataByIdentifier
from udsoncan.services.ReadDTCInformation import ReadDTCInformation
from udsoncan.services.SecurityAccess import SecurityAccess
from udsoncan.services.WriteMemoryByAddress import WriteMemoryByAddress

from ecu_sim.ecus import EcuType
from protocols.editions import UdsEdition

Data = Any  # what udsoncan makes of an answer has no common type


class Raw(udsoncan.DidCodec):
    """Whatever bytes there are."""

    def decode(self, string_bin: bytes) -> bytes:
        return string_bin

    def encode(self, value: bytes) -> bytes:
        return value

    def __len__(self) -> int:
        raise udsoncan.DidCodec.ReadAllRemainingData


#: Services and reports of which udsoncan 1.26 has the number and no codec.
WITHOUT_CODEC: Final = frozenset({0x24, 0x2A, 0x84, 0x86})
REPORTS_WITHOUT_CODEC: Final = frozenset({0x1A, 0x56})
#: It reads a severity before each DTC of 55, which py-uds has in 42 alone.
_PERMANENT: Final = 0x55


def has_codec(ecu: EcuType, request: bytes) -> bool:
    if request[0] == 0x19 and request[1] & 0x7F == _PERMANENT:
        return ecu.dtc_rules.permanent_severity
    if request[0] == 0x19:
        return request[1] not in REPORTS_WITHOUT_CODEC
    return request[0] not in WITHOUT_CODEC


def record_lengths(
    ecu: EcuType,
) -> dict[int | str, str | udsoncan.DidCodec | type[udsoncan.DidCodec]]:
    """Codecs of a snapshot's records: the message does not say how long they are."""
    return {did: f"{live.length}s" for did, live in ecu.live_values.items()}


def interpret(ecu: EcuType, request: bytes, answer: bytes) -> Data:
    """The service data; udsoncan's own errors where it cannot read the answer.

    `AssertionError` where an echo is not what was asked.
    """
    response = Response.from_payload(answer)
    assert response.positive
    assert response.service is not None
    assert response.service.request_id() == request[0]
    read = _READERS.get(request[0], _usual)
    data = read(ecu, request, response)
    for name, expected in _ECHOES.get(request[0], _nothing)(request).items():
        assert getattr(data, name) == expected, f"{name} of {answer.hex(' ')}"
    return data


def _usual(_: EcuType, __: bytes, response: Response) -> Data:
    codec: Data = response.service
    return _interpreted(codec, response)


def _interpreted(codec: Data, response: Response) -> Data:
    return codec.interpret_response(response).service_data


def _nothing(_: bytes) -> Mapping[str, int]:
    return {}


def _reports(ecu: EcuType, request: bytes, response: Response) -> Data:
    return ReadDTCInformation.interpret_response(
        response,
        subfunction=request[1],
        extended_data_size=1,
        didconfig=record_lengths(ecu),
        standard_version=2020 if ecu.editions.uds >= UdsEdition.E2020 else 2013,
    ).service_data


def _data(_: EcuType, request: bytes, response: Response) -> Data:
    did = int.from_bytes(request[1:3])
    data = ReadDataByIdentifier.interpret_response(
        response, didlist=did, didconfig={did: Raw}
    ).service_data
    assert set(data.values) == {did}
    return data


def _security(_: EcuType, request: bytes, response: Response) -> Data:
    modes = SecurityAccess.Mode
    mode = modes.RequestSeed if request[1] % 2 else modes.SendKey
    return SecurityAccess.interpret_response(response, mode).service_data


def _output(_: EcuType, request: bytes, response: Response) -> Data:
    did = int.from_bytes(request[1:3])
    return InputOutputControlByIdentifier.interpret_response(
        response, control_param=request[3], ioconfig={did: {"codec": Raw}}
    ).service_data


def _written(_: EcuType, request: bytes, response: Response) -> Data:
    place = udsoncan.MemoryLocation.from_bytes(request[2:6], request[6:10])
    return WriteMemoryByAddress.interpret_response(response, place).service_data


_READERS: Final[Mapping[int, Callable[[EcuType, bytes, Response], Data]]] = {
    0x19: _reports,
    0x22: _data,
    0x27: _security,
    0x2F: _output,
    0x3D: _written,
}

_ECHOES: Final[Mapping[int, Callable[[bytes], Mapping[str, int]]]] = {
    0x10: lambda request: {"session_echo": request[1]},
    0x11: lambda request: {"reset_type_echo": request[1]},
    0x19: lambda request: {"subfunction_echo": request[1]},
    0x27: lambda request: {"security_level_echo": request[1]},
    0x28: lambda request: {"control_type_echo": request[1]},
    0x2C: lambda request: {"subfunction_echo": request[1]},
    0x2E: lambda request: {"did_echo": int.from_bytes(request[1:3])},
    0x2F: lambda request: {"did_echo": int.from_bytes(request[1:3])},
    0x31: lambda request: {
        "control_type_echo": request[1],
        "routine_id_echo": int.from_bytes(request[2:4]),
    },
    0x36: lambda request: {"sequence_number_echo": request[1]},
    0x38: lambda request: {"moop_echo": request[1]},
    0x3D: lambda request: {"alfid_echo": request[1]},
    0x3E: lambda request: {"subfunction_echo": request[1]},
    0x83: lambda request: {"access_type_echo": request[1]},
    0x85: lambda request: {"setting_type_echo": request[1]},
    0x87: lambda request: {"control_type_echo": request[1]},
}
