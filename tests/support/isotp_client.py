"""udsoncan's client on can-isotp's stack on python-can: nothing of it is ours but the wire."""

from collections.abc import Iterator
from contextlib import contextmanager

import can
import isotp
import udsoncan.configs
from udsoncan.client import Client
from udsoncan.connections import PythonIsoTpConnection

from tests.support.serving import channel


class Raw(udsoncan.DidCodec):
    """A record as it is."""

    def decode(self, string_ascii: bytes) -> bytes:
        return bytes(string_ascii)

    def encode(self, *values: bytes) -> bytes:
        return values[0]

    def __len__(self) -> int:
        raise udsoncan.DidCodec.ReadAllRemainingData


@contextmanager
def isotp_client(
    uri: str, request_id: int, response_id: int, *, p2_s: float = 2.0
) -> Iterator[Client]:
    """A client on the wire of a bridge's URI; it waits `p2_s` for each answer."""
    address = isotp.Address(isotp.AddressingMode.Normal_11bits, txid=request_id, rxid=response_id)
    parameters = {"blocking_send": True, "blocksize": 0, "tx_padding": 0xCC}
    config = udsoncan.configs.default_client_config.copy()
    config["data_identifiers"] = {"default": Raw}
    config["p2_timeout"] = p2_s
    config["use_server_timing"] = False
    config["request_timeout"] = None  # type: ignore[typeddict-item] # the library takes None
    with can.Bus(interface="canota", channel=channel(uri)) as bus:
        notifier = can.Notifier(bus, [], timeout=0.1)
        stack = isotp.NotifierBasedCanStack(bus, notifier, address=address, params=parameters)
        try:
            with Client(PythonIsoTpConnection(stack), config=config) as client:
                yield client
        finally:
            notifier.stop()
