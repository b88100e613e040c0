"""One CAN interface as a wire: ports for the nodes that live in this process.

`sent` follows the echo of a frame, where the interface gives one: on hardware it comes when the
frame was acknowledged. Elsewhere the last bit is reckoned from the bit rate (options `bitrate`
and `data_bitrate`), as if nobody else used the wire. vcan has no bit timing: its echo comes at
once.
"""

import asyncio
import errno
import fcntl
import logging
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Final

import can
from can.interfaces.socketcan import SocketcanBus

from can_interfaces import InterfaceAwayError, InterfaceError
from can_interfaces.uri import InterfaceTarget
from protocols.can import CanPort, FrameHeader, Receive, ReceiveRun, Sent, arbitration_key
from protocols.can.bits import NS_PER_S, FrameError, check, frame_ns
from protocols.can.error_frames import in_words

_LOG: Final = logging.getLogger(__name__)

#: Interfaces that give a sent frame back as one that was not received.
_ECHOING: Final = frozenset(
    {"canota", "etas", "kvaser", "neovi", "nixnet", "pcan", "socketcan", "vector", "virtual"}
)
#: Frames with the driver and not echoed yet. Few, so that a lower identifier has not long to
#: wait, and below the 10 that a CAN interface of Linux queues by default.
_WITH_DRIVER: Final = 8
#: A frame without an echo for so many seconds is lost: its controller was bus-off, or restarted.
_ECHO_S: Final = 1.0
#: Where there is no echo, a frame is handed over so many seconds before its turn.
_AHEAD_S: Final = 0.002
#: Bursts that a node may have queued.
_QUEUE_LIMIT: Final = 1024
#: Frames taken in one go, before others have their turn.
_READ_LIMIT: Final = 64
_READ_S: Final = 0.1
#: A full transmit queue, and an interface that went away, are tried again after so many seconds.
_FULL_S: Final = 0.001
_AWAY_S: Final = 0.5
#: The same error frame is logged once in so many seconds.
_ERRORS_S: Final = 1.0
#: linux/sockios.h; and the largest frame of an interface that carries CAN FD.
_SIOCGIFMTU: Final = 0x8921
_CANFD_MTU: Final = 72
#: asm-generic/socket.h; and bytes for some thousand frames with all that the kernel adds.
_SO_RCVBUFFORCE: Final = 33
_RECEIVE_BUFFER: Final = 8 << 20
_BIT_RATE: Final = 500_000
_DATA_BIT_RATE: Final = 2_000_000

#: Called with each error frame of the interface: identifier (classes), data, loop time in seconds.
ErrorFrameHeard = Callable[[int, bytes, float], None]


@dataclass(frozen=True, slots=True)
class _Listener:
    node: str
    receive: Receive
    #: None hears every frame.
    keys: frozenset[int] | None


@dataclass(slots=True)
class _Burst:
    node: str
    header: FrameHeader
    payloads: Sequence[bytes]
    sent: Sent | None
    #: First frame that is not with the driver yet.
    next: int = 0


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame that the driver has."""

    burst: _Burst
    data: bytes
    last: bool


class InterfaceWire:
    """Made inside a running loop, in real time; `open` and `close` are its life.

    `error` makes the error that a port raises. Where `lossy`, what is sent while the interface is
    away or its queue is full is lost without one: the nodes of a cut wire notice nothing either.
    """

    def __init__(
        self,
        target: InterfaceTarget,
        *,
        error: Callable[[str], Exception] = InterfaceError,
        lossy: bool = False,
    ) -> None:
        self.uri = target.uri
        self.on_error_frame: list[ErrorFrameHeard] = []
        self._target = target
        self._error = error
        self._lossy = lossy
        self._loop = asyncio.get_running_loop()
        self._bus: can.BusABC | None = None
        self._fd = False
        self._echoes = target.interface in _ECHOING
        self._rates = {
            "bit_rate": _rate(target, "bitrate", _BIT_RATE),
            "data_bit_rate": _rate(target, "data_bitrate", _DATA_BIT_RATE),
        }
        self._reader: _Reader | None = None
        self._opening: asyncio.Task[None] | None = None
        self._reason = "not open"
        self._listeners: dict[int, _Listener] = {}
        self._numbers = count()
        self._waiting: list[tuple[int, int, _Burst]] = []
        self._queued: dict[str, int] = {}
        self._with_driver: deque[_Frame] = deque()
        #: Where there is no echo: when the wire is free again, by our reckoning.
        self._free_s = 0.0
        self._flushing: asyncio.Handle | None = None
        self._echo_timer: asyncio.TimerHandle | None = None
        self._last_error = ("", float("-inf"))

    async def open(self) -> None:
        """`InterfaceAwayError` where it may be there later, else `InterfaceError`."""
        bus = await self._loop.run_in_executor(None, _open_bus, self._target, self._echoes)
        self._fd = _carries_fd(self._target, bus)
        self._bus = bus
        self._reader = _Reader(self._loop, bus, self._take, self._lose)

    @property
    def carries_fd(self) -> bool:
        """Whether CAN FD frames can be sent; known once it is open."""
        return self._fd

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError):
                await self._opening
        await self._shut("closed")

    def port(self, node: str) -> CanPort:
        """Access for a node of this process; ports of one name are one node."""
        return _Port(self, node)

    def send(
        self, node: str, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None
    ) -> None:
        self._check(header, payloads)
        if self._bus is None:
            if self._lossy:
                return
            raise self._error(f"{self.uri}: {self._reason}")
        queued = self._queued.get(node, 0)
        if queued >= _QUEUE_LIMIT:
            if self._lossy:
                return
            raise self._error(f"{self.uri}: {node} has {queued} bursts queued")
        self._queued[node] = queued + 1
        burst = _Burst(node, header, payloads, sent)
        heappush(self._waiting, (arbitration_key(header), next(self._numbers), burst))
        # Not at once: what is sent at one moment competes by identifier.
        self._flush_soon()

    def listen(
        self, node: str, receive: Receive, headers: Sequence[FrameHeader]
    ) -> Callable[[], None]:
        number = next(self._numbers)
        keys = frozenset(arbitration_key(header) for header in headers) if headers else None
        self._listeners[number] = _Listener(node, receive, keys)

        def stop() -> None:
            self._listeners.pop(number, None)

        return stop

    def _check(self, header: FrameHeader, payloads: Sequence[bytes]) -> None:
        if not payloads:
            raise self._error(f"{self.uri}: 0x{header.identifier:X}: a burst without frames")
        if header.fd and self._bus is not None and not self._fd:
            raise self._error(f"{self.uri}: 0x{header.identifier:X}: no CAN FD here")
        try:
            for length in set(map(len, payloads)):
                check(header, bytes(length))
        except FrameError as error:
            raise self._error(f"{self.uri}: {error}") from error

    def _flush_soon(self, delay_s: float = 0.0) -> None:
        if self._flushing is None:
            self._flushing = self._loop.call_later(delay_s, self._flush)

    def _flush(self) -> None:
        """Hand frames over, the lowest identifier first, while the driver has room for them."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        while self._waiting and self._bus is not None:
            if self._echoes and len(self._with_driver) >= _WITH_DRIVER:
                return  # the next echo goes on
            early_s = self._free_s - _AHEAD_S - self._loop.time()
            if not self._echoes and early_s > 0:
                self._flush_soon(early_s)
                return
            burst = self._waiting[0][2]
            try:
                self._bus.send(_message(burst.header, burst.payloads[burst.next]), timeout=0)
            except can.CanError as error:
                if _is_full(self._target, error):
                    self._flush_soon(_FULL_S)
                else:
                    self._lose(error)
                return
            self._handed_over(burst)

    def _handed_over(self, burst: _Burst) -> None:
        data = burst.payloads[burst.next]
        burst.next += 1
        last = burst.next == len(burst.payloads)
        frame = _Frame(burst, data, last)
        if last:
            heappop(self._waiting)
        if self._echoes:
            self._with_driver.append(frame)
            if self._echo_timer is None:
                self._echo_timer = self._loop.call_later(_ECHO_S, self._no_echo)
            return
        start_s = max(self._free_s, self._loop.time())
        self._free_s = start_s + frame_ns(burst.header, data, **self._rates) / NS_PER_S
        self._with_driver.append(frame)
        self._loop.call_at(self._free_s, self._reckoned, frame)

    def _reckoned(self, frame: _Frame) -> None:
        if self._with_driver and self._with_driver[0] is frame:
            self._with_driver.popleft()
            self._on_wire(frame)

    def _no_echo(self) -> None:
        self._echo_timer = None
        lost = len(self._with_driver)
        _LOG.warning("can_frames_lost wire=%s frames=%d cause=no echo", self.uri, lost)
        while self._with_driver:
            self._forget(self._with_driver.popleft())
        self._flush()

    def _forget(self, frame: _Frame) -> None:
        if frame.last:
            self._queued[frame.burst.node] -= 1

    def _on_wire(self, frame: _Frame) -> None:
        """Its last bit is over: the sender hears first, then the other nodes here."""
        self._forget(frame)
        burst, now = frame.burst, self._loop.time()
        if frame.last and burst.sent is not None:
            burst.sent(now)
        self._deliver(burst.node, burst.header, frame.data, now)

    def _deliver(self, node: str | None, header: FrameHeader, data: bytes, now: float) -> None:
        key = arbitration_key(header)
        for number, listener in tuple(self._listeners.items()):
            wanted = listener.keys is None or key in listener.keys
            if wanted and listener.node != node and number in self._listeners:
                listener.receive(header, data, now)

    def _take(self, message: can.Message) -> None:
        """What the interface has for us: an error frame, an echo, or a frame of others."""
        if message.is_error_frame:
            self._tell_error(message.arbitration_id, bytes(message.data))
            return
        if message.is_remote_frame:
            return
        header = FrameHeader(
            message.arbitration_id, message.is_extended_id, message.is_fd, message.bitrate_switch
        )
        data = bytes(message.data)
        if not message.is_rx and self._echoes and self._echo(header, data):
            return
        self._deliver(None, header, data, self._loop.time())

    def _echo(self, header: FrameHeader, data: bytes) -> bool:
        """Whether this is a frame of ours; those handed over before it are on the wire too.

        SocketCAN marks the frames of every program on this machine alike, so the content tells.
        """
        matches = (
            frame.data == data and frame.burst.header == header for frame in self._with_driver
        )
        place = next((number for number, found in enumerate(matches) if found), None)
        if place is None:
            return False
        if self._echo_timer is not None:
            self._echo_timer.cancel()
        ours = [self._with_driver.popleft() for _ in range(place + 1)]
        waits = bool(self._with_driver)
        self._echo_timer = self._loop.call_later(_ECHO_S, self._no_echo) if waits else None
        for frame in ours:
            self._on_wire(frame)
        self._flush()
        return True

    def _tell_error(self, identifier: int, data: bytes) -> None:
        now, words = self._loop.time(), in_words(identifier, data)
        if self._last_error[0] != words or now - self._last_error[1] >= _ERRORS_S:
            _LOG.warning("can_error_frame wire=%s error=%s", self.uri, words)
            self._last_error = (words, now)
        for callback in tuple(self.on_error_frame):
            callback(identifier, data, now)

    def _lose(self, error: Exception) -> None:
        """The interface is gone: come back when it does."""
        if self._bus is None or self._opening is not None:
            return
        _LOG.warning("can_interface_away wire=%s cause=%s", self.uri, error)
        self._opening = self._loop.create_task(self._reopen(str(error)), name=self.uri)

    async def _reopen(self, reason: str) -> None:
        await self._shut(reason)
        while True:
            await asyncio.sleep(_AWAY_S)
            with suppress(InterfaceError):
                await self.open()
                _LOG.warning("can_interface_back wire=%s", self.uri)
                self._opening = None
                return

    async def _shut(self, reason: str) -> None:
        """Everything that waits is lost."""
        self._reason = reason
        for handle in (self._flushing, self._echo_timer):
            if handle is not None:
                handle.cancel()
        self._flushing = self._echo_timer = None
        self._waiting.clear()
        self._with_driver.clear()
        self._queued.clear()
        bus, self._bus = self._bus, None
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()
        if bus is not None:
            await self._loop.run_in_executor(None, bus.shutdown)


class _Port:
    """A node's access to an interface (`protocols.can.CanPort`)."""

    __slots__ = ("_node", "_wire")

    def __init__(self, wire: InterfaceWire, node: str) -> None:
        self._wire = wire
        self._node = node

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        self._wire.send(self._node, header, payloads, sent)

    def listen(
        self,
        receive: Receive,
        *headers: FrameHeader,
        receive_run: ReceiveRun | None = None,  # noqa: ARG002 an interface has frames, no runs
    ) -> Callable[[], None]:
        return self._wire.listen(self._node, receive, headers)


class _Reader:
    """Brings what a bus receives to the loop: by its descriptor, or by a thread if it has none."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bus: can.BusABC,
        take: Callable[[can.Message], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._loop = loop
        self._bus = bus
        self._take = take
        self._lost = lost
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._descriptor = bus.fileno()
        except NotImplementedError:
            self._descriptor = -1
        if self._descriptor >= 0:
            loop.add_reader(self._descriptor, self._readable)
        else:
            self._thread = threading.Thread(target=self._run, name=bus.channel_info, daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        self._stopped.set()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
        if self._thread is not None:
            await self._loop.run_in_executor(None, self._thread.join)

    def _readable(self) -> None:
        try:
            for _ in range(_READ_LIMIT):
                message = self._bus.recv(0)
                if message is None:
                    return
                self._take(message)
                if self._stopped.is_set():
                    return
        except can.CanError as error:
            self._loop.remove_reader(self._descriptor)
            self._lost(error)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                message = self._bus.recv(_READ_S)
            except (can.CanError, OSError) as error:
                self._tell(self._lost, error)
                return
            if message is not None:
                self._tell(self._take, message)

    def _tell(self, callback: Callable[..., None], what: object) -> None:
        with suppress(RuntimeError):  # the loop may be closed already
            self._loop.call_soon_threadsafe(self._unless_stopped, callback, what)

    def _unless_stopped(self, callback: Callable[..., None], what: object) -> None:
        if not self._stopped.is_set():
            callback(what)


def _message(header: FrameHeader, data: bytes) -> can.Message:
    return can.Message(
        arbitration_id=header.identifier,
        is_extended_id=header.extended,
        is_fd=header.fd,
        bitrate_switch=header.bit_rate_switch,
        data=data,
        is_rx=False,
    )


def _rate(target: InterfaceTarget, option: str, default: int) -> int:
    value = target.options.get(option, default)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise InterfaceError(f"{target.uri}: {option} {value} is no bit rate")
    return value


def _is_full(target: InterfaceTarget, error: can.CanError) -> bool:
    """Whether a driver that did not take a frame will take it soon."""
    if target.interface == "socketcan":
        # Without a code: python-can found the socket not ready to write.
        return error.error_code in {errno.ENOBUFS, errno.EAGAIN, None}
    return isinstance(error, can.CanTimeoutError)


def _open_bus(target: InterfaceTarget, echoes: bool) -> can.BusABC:  # noqa: FBT001 run_in_executor passes by place
    options = dict(target.options)
    if echoes:
        options["receive_own_messages"] = True
    try:
        if target.interface == "socketcan":
            options.setdefault("fd", _mtu(target.channel) >= _CANFD_MTU)
        elif target.interface == "socketcand":
            _reach(options)
        bus = can.Bus(channel=target.channel, interface=target.interface, **options)  # type: ignore[arg-type]  # options are the interface's own, of any kind
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            raise InterfaceError(f"{target.uri}: this kernel has no CAN sockets") from error
        raise InterfaceAwayError(f"{target.uri}: {error.strerror or error}") from error
    except Exception as error:  # drivers of vendors raise what they like, NameError included
        raise InterfaceError(f"{target.uri}: {error}") from error
    if isinstance(bus, SocketcanBus):
        _enlarge(bus.socket)
    return bus


def _enlarge(opened: socket.socket) -> None:
    """Room for the longest burst: vcan has no bit timing that would keep a sender back."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:  # up to net.core.rmem_max then
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _mtu(channel: str) -> int:
    """Largest frame in bytes that an interface of this machine carries."""
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as asking:
        request = struct.pack("16si20x", channel.encode()[:15], 0)
        answer = fcntl.ioctl(asking.fileno(), _SIOCGIFMTU, request)
    found: int = struct.unpack("16si20x", answer)[1]
    return found


def _reach(options: dict[str, str | int | float | bool]) -> None:
    """python-can tries for ten seconds without a pause: find out first."""
    socket.create_connection((str(options["host"]), int(options["port"])), timeout=5.0).close()


def _carries_fd(target: InterfaceTarget, bus: can.BusABC) -> bool:
    if target.interface in {"socketcan", "canota"}:
        return bus.protocol is can.CanProtocol.CAN_FD
    return bool(target.options.get("fd", False))
