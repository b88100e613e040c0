"""A tester's TCP connection to a DoIP entity as the frames of a capture."""

from protocols.doip.messages import PORT
from protocols.ip_frames import Host
from protocols.tcp_frames import TcpConversation, line_bytes

CLIENT = Host(mac=bytes.fromhex("020000000001"), ip=bytes((198, 51, 100, 1)), port=50000)
SERVER = Host(mac=bytes.fromhex("020000000002"), ip=bytes((198, 51, 100, 2)), port=PORT)
NS_PER_BYTE = 80


def client_frames(*sent: bytes) -> list[bytes]:
    """The three frames of the handshake, then the tester's segments: of each piece its own."""
    core = TcpConversation(CLIENT, SERVER, ns_per_byte=NS_PER_BYTE)
    core.opened(6_880, 13_760, 20_480)
    handshake = [frame for _, frame in core.due(20_480)]
    end_ns = 20_480
    for piece in sent:
        end_ns += (
            sum(line_bytes(len(piece[at : at + 1460])) for at in range(0, len(piece), 1460))
            * NS_PER_BYTE
        )
        core.carried(piece, from_client=True, end_ns=end_ns)
    port = CLIENT.port.to_bytes(2)
    return handshake + [frame for _, frame in core.due(1 << 60) if frame[34:36] == port]
