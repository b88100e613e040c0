"""A DoIP entity's sockets: TCP, TLS and UDP, on any number of IPv4 and IPv6 addresses."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Final

from ecu_sim.bus.ethernet import EthernetWire, StreamTap
from ecu_sim.diagnostics.doip_tls import peer_of
from protocols.doip.settings import PLAIN, Peer
from protocols.stream import ByteStream

_LOG: Final = logging.getLogger(__name__)

_NS_PER_S: Final = 1_000_000_000
_READ_SIZE: Final = 0x1_0000
_BACKLOG: Final = 16
#: A TLS handshake takes as long as a socket may be without a tester, at most.
_HANDSHAKE_S: Final = 2.0
_TLS_CLOSE_S: Final = 1.0
#: A peer that takes nothing more keeps its socket so long, at most.
_CLOSE_S: Final = 1.0
#: Free ports that are tried until one is free in all families and protocols.
_TRIES: Final = 10

#: Address and UDP port.
Target = tuple[str, int]


class TcpStream:
    """A `ByteStream` over an asyncio TCP connection, with what TLS knows of the other end.

    `tap` hears what goes over it, in the clear.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tap: StreamTap | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tap = tap
        #: Ends that send no more: the caller's, our own.
        self._ended: set[bool] = set()
        self._reader = reader
        self._writer = writer
        tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        below = PLAIN if tls is None else peer_of(tls)
        self.peer: Peer = replace(below, host=writer.get_extra_info("peername")[0])
        # Acknowledgement and response are two small messages in a row.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def receive(self) -> bytes:
        data = await self._reader.read(_READ_SIZE)
        if not data:
            self._tell_end(from_caller=True)
        elif self._tap is not None:
            self._tap.carried(data, from_caller=True, at_ns=self._now_ns())
        return data

    async def send(self, data: bytes) -> None:
        if self._tap is not None:
            self._tap.carried(data, from_caller=False, at_ns=self._now_ns())
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Once what was sent is out; what the peer does not take is dropped after a while."""
        self._writer.close()
        try:
            with suppress(OSError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._writer.wait_closed()
        finally:
            self._writer.transport.abort()
            self._tell_end(from_caller=False)
            self._tell_end(from_caller=True)

    def _tell_end(self, *, from_caller: bool) -> None:
        if self._tap is not None and from_caller not in self._ended:
            self._ended.add(from_caller)
            self._tap.ended(from_caller=from_caller, at_ns=self._now_ns())

    def _now_ns(self) -> int:
        return round(self._loop.time() * _NS_PER_S)


class _Discovery(asyncio.DatagramProtocol):
    def __init__(
        self,
        answer: Callable[[bytes], list[bytes]],
        wait: Callable[[], float],
        wire: EthernetWire | None,
    ) -> None:
        self._answer = answer
        self._wait = wait
        self._wire = wire
        #: Set once the endpoint stands (its class is the loop's own affair).
        self.transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._tell(data, addr, from_caller=True)
        for answer in self._answer(data):
            wait_s = self._wait()
            if wait_s > 0:
                asyncio.get_running_loop().call_later(wait_s, self._send, answer, addr)
            else:
                self._send(answer, addr)

    def error_received(self, exc: Exception) -> None:
        """A datagram could not go out: no such network, or nobody at that address."""
        _LOG.warning("datagram_lost cause=%s", exc)

    def _send(self, answer: bytes, addr: tuple[str, int]) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.sendto(answer, addr)
            self._tell(answer, addr, from_caller=False)

    def _tell(self, data: bytes, addr: tuple[str, int], *, from_caller: bool) -> None:
        if self._wire is not None:
            self._wire.overhear_datagram(data, from_caller=from_caller, asker=addr[1])


class DoipServer:
    """Sockets that outlive their ECU's resets; made by `serve_doip`."""

    def __init__(
        self,
        servers: Sequence[asyncio.Server],
        discovery: Sequence[asyncio.DatagramTransport],
        announce_to: Sequence[Target],
        *,
        tls_port: int | None,
        wire: EthernetWire | None = None,
    ) -> None:
        self._wire = wire
        self._servers = servers
        self._discovery = discovery
        self._announce_to = announce_to
        self.tcp_port: int = servers[0].sockets[0].getsockname()[1]
        self.udp_port: int = discovery[0].get_extra_info("sockname")[1]
        #: `None` where no TLS is served.
        self.tls_port = tls_port

    def announce(self, data: bytes) -> None:
        """Send a vehicle announcement to where announcements go, if anywhere."""
        if self._wire is not None and self._announce_to:
            self._wire.overhear_datagram(data, from_caller=False, asker=None)
        for host, port in self._announce_to:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            for transport in self._discovery:
                if transport.get_extra_info("socket").family == family:
                    transport.sendto(data, (host, port))

    async def stop(self) -> None:
        """Accept nothing more. Open connections are their `DoipNode`'s to close."""
        for server in self._servers:
            server.close()
        for transport in self._discovery:
            transport.close()
        # One turn of the loop lets the transports close their sockets.
        await asyncio.sleep(0)


async def serve_doip(
    accept: Callable[[ByteStream], Awaitable[None]],
    answer: Callable[[bytes], list[bytes]],
    *,
    hosts: Sequence[str] = ("127.0.0.1",),
    port: int = 0,
    announce_to: Sequence[Target] = (),
    tls: ssl.SSLContext | None = None,
    tls_port: int = 0,
    answer_wait: Callable[[], float] = lambda: 0.0,
    wire: EthernetWire | None = None,
) -> DoipServer:
    """Listen on TCP and UDP of one port (0: any free one) of every address.

    `OSError` if a port is taken. `accept` serves one connection until it is over
    (`DoipNode.serve` of the node that is awake); `answer` gives the answers to a datagram
    (`DoipNode.receive_datagram`), and `answer_wait` the seconds before each is sent (ISO 13400-2:
    0 to 0.5 at random, so that a whole vehicle does not answer at once). With a context, the same
    entity is on `tls_port` over TLS. Who listens on `wire` hears everything, TLS in the clear.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(TcpStream(reader, writer, None if wire is None else wire.overheard()))

    loop = asyncio.get_running_loop()
    with ExitStack() as opened:
        plain, datagrams = _bind_plain(opened, hosts, port)
        secure = [] if tls is None else _bind(opened, hosts, tls_port, socket.SOCK_STREAM)
        secure_port = secure[0].getsockname()[1] if secure else None
        # From here on the servers and transports own the sockets.
        opened.pop_all()
    servers = [await asyncio.start_server(serve, sock=one, backlog=_BACKLOG) for one in plain]
    servers += [
        await asyncio.start_server(
            serve,
            sock=one,
            backlog=_BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=_HANDSHAKE_S,
            ssl_shutdown_timeout=_TLS_CLOSE_S,
        )
        for one in secure
    ]
    transports = []
    for one in datagrams:
        transport, discovery = await loop.create_datagram_endpoint(
            lambda: _Discovery(answer, answer_wait, wire), sock=one
        )
        discovery.transport = transport
        transports.append(transport)
    return DoipServer(servers, transports, announce_to, tls_port=secure_port, wire=wire)


def _bind_plain(
    opened: ExitStack, hosts: Sequence[str], port: int
) -> tuple[list[socket.socket], list[socket.socket]]:
    """TCP and UDP on one port of every address."""
    for left in reversed(range(_TRIES)):
        try:
            with ExitStack() as attempt:
                tcp = _bind(attempt, hosts, port, socket.SOCK_STREAM)
                taken = tcp[0].getsockname()[1]
                udp = _bind(attempt, hosts, taken, socket.SOCK_DGRAM)
                opened.push(attempt.pop_all())
                return tcp, udp
        except OSError:
            # A free TCP port may be taken in UDP, or in the other family.
            if port or not left:
                raise
    raise AssertionError("the last attempt returns or raises")


def _bind(
    opened: ExitStack, hosts: Sequence[str], port: int, kind: socket.SocketKind
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for host in hosts:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=kind, flags=socket.AI_PASSIVE
        )[0]
        one = opened.enter_context(socket.socket(family, kind))
        one.settimeout(0)
        if kind is socket.SOCK_STREAM:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if family == socket.AF_INET6:
            # "::" beside "0.0.0.0": each family has its own socket.
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        sockets.append(one)
        port = port or one.getsockname()[1]
    return sockets
