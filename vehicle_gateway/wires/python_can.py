"""A simulated wire as a python-can bus, for testers that others have written.

    can.Bus(interface="canota", channel="tcp://127.0.0.1:50091/comfort")

joins the bridge that `canota ecus serve` offers, as one more node. Real time; any thread may send
and any thread may receive.
"""

import os
import queue
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

import can
from can.typechecking import CanFilters

from protocols.can import FrameHeader
from protocols.can import bridge as records
from protocols.can.bits import FrameError, check
from protocols.can.error_frames import ERROR_LENGTH

#: Connecting and the bridge's answer together.
_OPEN_S: Final = 5.0
_TOKENS: Final = 1 << 32
_NUMBERS: Final = count(1)
_CHUNK: Final = 1 << 16
#: Frames handed over and not on the wire yet, before `send` waits for room.
_QUEUE: Final = 64
#: Frames received and not yet asked for; later ones push out the oldest, as a real queue does.
_BACKLOG: Final = 1 << 16
_EXPECTED: Final = "tcp://HOST:PORT/WIRE expected"


@dataclass(frozen=True, slots=True)
class _Pending:
    """A frame that the bridge has and the wire has not carried yet."""

    header: FrameHeader
    data: bytes
    #: Set at its last bit, or when there is no wire any more.
    over: threading.Event = field(default_factory=threading.Event)


class CanotaBus(can.BusABC):
    """A node on the wire behind `channel`; `node` is its name there, its own if it is left out.

    `send` returns when the frame is handed over, as most interfaces do; with `confirmed` it
    returns at the frame's last bit on the wire. Callers that compare the clock after `send` with
    the stamps of answers want the first: an answer may be here before they look. Only data frames
    can be sent; error frames of the wire are received, as SocketCAN has them.
    Raises `CanInitializationError`, later `CanOperationError`; both name the channel.
    """

    def __init__(
        self,
        channel: str,
        *,
        node: str | None = None,
        confirmed: bool = False,
        receive_own_messages: bool = False,
        can_filters: CanFilters | None = None,
        **kwargs: Any,  # noqa: ANN401 what python-can's configuration files may hold besides
    ) -> None:
        self._is_shutdown = True  # python-can complains of what was never opened otherwise
        self.channel_info = f"canota wire {channel}"
        self._channel = channel
        self._confirmed = confirmed
        self._receive_own_messages = receive_own_messages
        self._received: queue.Queue[can.Message | None] = queue.Queue()
        # A thread of its own sends, so that `send` returns before the wire can have answered.
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(_QUEUE)
        self._tokens = count()
        self._pending: dict[int, _Pending] = {}
        self._decoder = records.BridgeDecoder()
        self._reason: str | None = None
        self._early: list[records.Record] = []
        self._socket, opened = self._open(
            records.Open(wire=_wire(channel), node=node or _own_name())
        )
        self._can_protocol = can.CanProtocol.CAN_20
        if opened.data_bit_rate:
            self._can_protocol = can.CanProtocol.CAN_FD
        super().__init__(channel=channel, can_filters=can_filters, **kwargs)
        self._is_shutdown = False
        self._threads = [
            threading.Thread(target=target, name=self.channel_info, daemon=True)
            for target in (self._read, self._write)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        pending = _Pending(*_frame(self._channel, msg))
        token = next(self._tokens) % _TOKENS
        if not self._room.acquire(timeout=timeout):
            raise self._late(pending, timeout)
        self._pending[token] = pending
        self._outgoing.put(records.encode(records.Send(token, pending.header, (pending.data,))))
        if self._confirmed and not pending.over.wait(timeout):
            raise self._late(pending, timeout)
        if self._reason is not None:
            raise can.CanOperationError(f"{self._channel}: {self._reason}")

    def _late(self, pending: _Pending, timeout: float | None) -> can.CanTimeoutError:
        identifier = pending.header.identifier
        return can.CanTimeoutError(f"{self._channel}: 0x{identifier:X} not sent in {timeout} s")

    def shutdown(self) -> None:
        super().shutdown()
        self._end("closed here")
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        try:
            message = self._received.get(block=timeout != 0, timeout=timeout)
        except queue.Empty:
            return None, False
        if message is None:
            self._received.put(None)  # for whoever asks next
            raise can.CanOperationError(f"{self._channel}: {self._reason}")
        return message, False

    def _open(self, record: records.Open) -> tuple[socket.socket, records.Opened]:
        parts = urlsplit(self._channel)
        try:
            connection = socket.create_connection((parts.hostname, parts.port), timeout=_OPEN_S)
        except OSError as error:
            raise self._refused(error) from error
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(records.encode(record))
            connection.sendall(records.encode(records.Listen(None)))
            first, *self._early = self._first(connection)
            match first:
                case records.Opened():
                    connection.settimeout(None)
                    return connection, first
                case records.Refused(reason):
                    raise records.BridgeError(reason)  # noqa: TRY301 one way out closes the socket
                case _:
                    raise records.BridgeError(f"{type(first).__name__} in place of Opened")  # noqa: TRY301 as above
        except (OSError, records.BridgeError) as error:
            connection.close()
            raise self._refused(error) from error

    def _first(self, connection: socket.socket) -> list[records.Record]:
        while not (found := self._decoder.receive(data := connection.recv(_CHUNK))):
            if not data:
                raise records.BridgeError("closed by the bridge")
        return found

    def _refused(self, error: Exception) -> can.CanInitializationError:
        return can.CanInitializationError(f"{self._channel}: {error}")

    def _read(self) -> None:
        try:
            for record in self._early:
                self._take(record)
            while data := self._socket.recv(_CHUNK):
                for record in self._decoder.receive(data):
                    self._take(record)
            self._end("closed by the bridge")
        except (OSError, records.BridgeError) as error:
            self._end(str(error))

    def _take(self, record: records.Record) -> None:
        match record:
            case records.Frames(header, payloads):
                for data in payloads:
                    self._keep(_message(self._channel, header, data, is_rx=True))
            case records.Sent(token):
                self._confirm(token)
            case records.Error(classes):
                self._keep(_error(self._channel, classes))
            case records.Refused(reason):
                raise records.BridgeError(reason)
            case _:
                raise records.BridgeError(f"{type(record).__name__} is not for a client")

    def _confirm(self, token: int) -> None:
        if (pending := self._pending.pop(token, None)) is None:
            return
        self._room.release()
        if self._receive_own_messages:
            self._keep(_message(self._channel, pending.header, pending.data, is_rx=False))
        pending.over.set()

    def _keep(self, message: can.Message) -> None:
        if self._received.qsize() >= _BACKLOG:
            self._received.get()
        self._received.put(message)

    def _write(self) -> None:
        try:
            while (data := self._outgoing.get()) is not None:
                self._socket.sendall(data)
        except OSError as error:
            self._end(str(error))

    def _end(self, reason: str) -> None:
        """Once: nothing is sent or received any more, and who waits is told."""
        if self._reason is not None:
            return
        self._reason = reason
        with suppress(OSError):  # the peer may have been faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._received.put(None)
        self._outgoing.put(None)
        for pending in list(self._pending.values()):
            self._room.release()
            pending.over.set()


def _own_name() -> str:
    """Buses of one name are one node, and do not hear each other."""
    return f"python-can {os.getpid()}.{next(_NUMBERS)}"


def _wire(channel: str) -> str:
    parts = urlsplit(channel)
    wire = parts.path.removeprefix("/")
    try:
        address = parts.hostname and parts.port
    except ValueError as error:
        raise can.CanInitializationError(f"{channel}: {error}; {_EXPECTED}") from error
    if parts.scheme != "tcp" or not address or not wire or "/" in wire:
        raise can.CanInitializationError(f"{channel}: {_EXPECTED}")
    return wire


def _frame(channel: str, message: can.Message) -> tuple[FrameHeader, bytes]:
    if message.is_remote_frame or message.is_error_frame:
        raise can.CanOperationError(f"{channel}: only data frames can be sent")
    header = FrameHeader(
        message.arbitration_id, message.is_extended_id, message.is_fd, message.bitrate_switch
    )
    data = bytes(message.data)
    try:
        check(header, data)
    except FrameError as error:
        raise can.CanOperationError(f"{channel}: {error}") from error
    return header, data


def _error(channel: str, classes: int) -> can.Message:
    return can.Message(
        timestamp=time.time(),  # noqa: TID251 as below
        arbitration_id=classes,
        is_extended_id=False,
        is_error_frame=True,
        data=bytes(ERROR_LENGTH),
        channel=channel,
    )


def _message(channel: str, header: FrameHeader, data: bytes, *, is_rx: bool) -> can.Message:
    return can.Message(
        timestamp=time.time(),  # noqa: TID251 python-can stamps with the wall clock, in real time
        arbitration_id=header.identifier,
        is_extended_id=header.extended,
        is_fd=header.fd,
        bitrate_switch=header.bit_rate_switch,
        data=data,
        channel=channel,
        is_rx=is_rx,
    )
