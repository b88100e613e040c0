"""ISO-TP of the Linux kernel (CAN_ISOTP sockets) in place of ours, on a SocketCAN interface.

The kernel segments and reassembles by its own timers (N_Bs and N_Cr are 1 s), and takes messages
up to 8200 bytes, or what the parameter `max_pdu_size` of its module says. The rest goes over a
raw socket beside it: functional requests, network management, and the news that a long answer
has begun.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from can_interfaces.uri import InterfaceTarget
from dbc import EcuDescription, WireDescription
from protocols.can import CanPort, FrameHeader, Receive, ReceiveRun, Sent
from protocols.isotp import IsoTpParameters
from protocols.isotp.errors import ParameterError
from vehicle_gateway.wires import (
    AnswerBroken,
    AnswerReceived,
    AnswerStarted,
    ChannelEvent,
    LinkError,
    NoAnswerError,
)
from vehicle_gateway.wires.isotp import Gate, IsoTpWire
from vehicle_gateway.wires.mailbox import Mailbox

# linux/can/isotp.h
_OPTS, _RECV_FC, _LL_OPTS = 1, 2, 5
_EXTEND_ADDR, _TX_PADDING, _HALF_DUPLEX, _RX_EXT_ADDR, _WAIT_TX_DONE = 0x2, 0x4, 0x40, 0x200, 0x400
# linux/can.h
_CAN_MTU, _CANFD_MTU = 16, 72
_BRS: Final = 0x01
_EXTENDED: Final = 1 << 31
#: SOL_CAN_BASE + CAN_ISOTP; Python has no name for it.
_SOL_CAN_ISOTP: Final = 106
#: `MAX_MSG_LENGTH` of Linux 5.10 to 6.3, and where later ones tell theirs.
_LONGEST: Final = 8200
_LONGEST_FILE: Final = Path("/sys/module/can_isotp/parameters/max_pdu_size")
_BUFFER: Final = 1 << 20

#: Fields of `IsoTpParameters` that differ from their defaults.
Settings = dict[str, int | None]

_SENDING: Final = {
    errno.ECOMM: "no flow control in time (N_Bs)",
    errno.EMSGSIZE: "it is too long for the receiver (OVFLW) or for the kernel",
    errno.EINVAL: "it is too long for the kernel",
    errno.EBADMSG: "a flow control that is none",
}
_RECEIVING: Final = {
    errno.ETIMEDOUT: "no consecutive frame in time (N_Cr)",
    errno.EILSEQ: "a wrong sequence number",
    errno.EBADMSG: "wrong padding",
}


class KernelIsoTpPort:
    """A port on a SocketCAN interface that says: ISO-TP on this wire is the kernel's."""

    def __init__(self, port: CanPort, interface: str, settings: Settings) -> None:
        """`LinkError` if this kernel has no ISO-TP."""
        self.interface = interface
        self.settings = settings
        self._port = port
        _new_socket(interface).close()

    def send(
        self, header: FrameHeader, payloads: Sequence[bytes], sent: Sent | None = None
    ) -> None:
        self._port.send(header, payloads, sent)

    def listen(
        self, receive: Receive, *headers: FrameHeader, receive_run: ReceiveRun | None = None
    ) -> Callable[[], None]:
        return self._port.listen(receive, *headers, receive_run=receive_run)


class KernelIsoTpWire(IsoTpWire):
    """The wire of such a port (`Wire`)."""

    def __init__(self, port: KernelIsoTpPort, description: WireDescription) -> None:
        length = 64 if description.kind == "canfd" else 8
        settings = {"tx_data_length": length, **port.settings}
        super().__init__(port, description, _parameters(settings))
        self._kernel = port

    def _make_channel(
        self,
        ecu: EcuDescription,
        parameters: IsoTpParameters,
        awake: Callable[[], Awaitable[None]] | None,
    ) -> "KernelIsoTpChannel":
        return KernelIsoTpChannel(
            self._kernel,
            name=ecu.name,
            parameters=parameters,
            request=self._header(ecu.request_id, extended=ecu.extended_ids),
            response=self._header(ecu.response_id, extended=ecu.extended_ids),
            gate=self._gate,
            awake=awake,
        )


class KernelIsoTpChannel:
    """One ECU's messages over one kernel socket (`Channel`)."""

    def __init__(
        self,
        port: KernelIsoTpPort,
        *,
        name: str,
        parameters: IsoTpParameters,
        request: FrameHeader,
        response: FrameHeader,
        gate: Gate,
        awake: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`LinkError` if the kernel has no such interface, or refuses a setting."""
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._awake = awake
        self._gate = gate
        self._mailbox = Mailbox()
        self._sending: asyncio.Future[None] | None = None
        self._first_byte = 0 if parameters.rx_address_extension is None else 1
        self.longest_request = _longest()
        self._socket = open_socket(port.interface, request, response, parameters)
        self._loop.add_reader(self._socket, self._readable)
        self._stop_listening = port.listen(self._hear, response)

    async def send(self, request: bytes) -> float:
        """Returns once the kernel has the last frame's echo."""
        # A request that was given up is in the kernel's hands: it ends there by itself.
        while self._sending is not None and not self._sending.done():
            await asyncio.wait((self._sending,))
        if self._awake is not None:
            await self._awake()
        await self._gate.passed()
        self._sending = self._loop.run_in_executor(None, self._send, request)
        try:
            await asyncio.shield(self._sending)
        except OSError as error:
            reason = _SENDING.get(error.errno or 0)
            if reason is None:
                raise LinkError(f"{self._name}: {error.strerror}") from error
            raise NoAnswerError(f"{self._name}: request not taken: {reason}") from error
        return self._loop.time()

    async def receive(self) -> ChannelEvent:
        return await self._mailbox.get()

    def discard(self) -> None:
        self._mailbox.clear()

    def close(self) -> None:
        self._stop_listening()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _send(self, request: bytes) -> None:
        self._socket.send(request)  # blocks until the last frame is on the wire (WAIT_TX_DONE)

    def _hear(self, _header: FrameHeader, data: bytes, _at_s: float) -> None:
        """A raw frame of the ECU: the kernel does not tell of a message's first one."""
        if len(data) > self._first_byte and data[self._first_byte] >> 4 == 0x1:
            self._mailbox.put(AnswerStarted())

    def _readable(self) -> None:
        try:
            message = self._socket.recv(_BUFFER, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            reason = _RECEIVING.get(error.errno or 0) or str(error.strerror)
            self._mailbox.put(AnswerBroken(reason))
        else:
            self._mailbox.put(AnswerReceived(message, self._loop.time()))


def open_socket(
    interface: str, request: FrameHeader, response: FrameHeader, parameters: IsoTpParameters
) -> socket.socket:
    """A bound socket with these settings; `LinkError` names the interface."""
    opened = _new_socket(interface)
    try:
        for option, value in options(request, parameters).items():
            opened.setsockopt(_SOL_CAN_ISOTP, option, value)
        opened.bind((interface, _identifier(response), _identifier(request)))
    except OSError as error:
        opened.close()
        raise LinkError(f"{interface}: kernel ISO-TP: {error.strerror}") from error
    return opened


def options(header: FrameHeader, parameters: IsoTpParameters) -> dict[int, bytes]:
    """Socket option -> its structure (linux/can/isotp.h), for messages under this header."""
    flags = _WAIT_TX_DONE
    padding, ours, theirs = 0, 0, 0
    if parameters.padding is not None:
        flags, padding = flags | _TX_PADDING, parameters.padding
    if parameters.half_duplex:
        flags |= _HALF_DUPLEX
    if parameters.tx_address_extension is not None and parameters.rx_address_extension is not None:
        flags |= _EXTEND_ADDR | _RX_EXT_ADDR
        ours, theirs = parameters.tx_address_extension, parameters.rx_address_extension
    link = (
        _CANFD_MTU if header.fd else _CAN_MTU,
        parameters.tx_data_length,
        _BRS if header.bit_rate_switch else 0,
    )
    return {
        # The frame time stays the kernel's own, and what pads received frames is not looked at.
        _OPTS: struct.pack("=IIBBBB", flags, 0, ours, padding, 0, theirs),
        _RECV_FC: bytes((parameters.block_size, parameters.st_min, 0)),
        _LL_OPTS: bytes(link),
    }


#: Option of a URI -> the field of `IsoTpParameters` that it sets.
_SETTINGS: Final = {
    "isotp_st_min": "st_min",
    "isotp_block_size": "block_size",
    "isotp_padding": "padding",
    "isotp_tx_dl": "tx_data_length",
}


def take_settings(target: InterfaceTarget) -> Settings | None:
    """What the `isotp` options of a URI say; None: no word of the kernel's ISO-TP.

    Numbers are decimal or 0x...; `isotp_padding=none` leaves frames short. `LinkError` names the
    URI and the option.
    """
    asked = {name: str(its) for name, its in target.options.items() if name.startswith("isotp")}
    if not asked:
        return None
    if asked.pop("isotp", None) != "kernel" or target.interface != "socketcan":
        raise LinkError(
            f"{target.uri}: the only choice of ISO-TP is `isotp=kernel`, on can://socketcan/..."
        )
    settings: Settings = {}
    for name, text in asked.items():
        if name not in _SETTINGS:
            raise LinkError(f"{target.uri}: {name}: not known; known: {', '.join(_SETTINGS)}")
        try:
            none = name == "isotp_padding" and text == "none"
            settings[_SETTINGS[name]] = None if none else int(text, 0)
        except ValueError as error:
            raise LinkError(f"{target.uri}: {name}={text} is no number") from error
    try:
        _parameters(settings)
    except ParameterError as error:
        raise LinkError(f"{target.uri}: {error}") from error
    return settings


def _parameters(settings: Settings) -> IsoTpParameters:
    return IsoTpParameters(**settings)  # type: ignore[arg-type]  # numbers, by the table above


def _new_socket(interface: str) -> socket.socket:
    try:
        return socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP)
    except OSError as error:
        raise LinkError(
            f"{interface}: this kernel has no ISO-TP sockets ({error.strerror}): Linux 5.10 or"
            " newer, `modprobe can-isotp`, or leave `isotp=kernel` out"
        ) from error


def _identifier(header: FrameHeader) -> int:
    return header.identifier | (_EXTENDED if header.extended else 0)


def _longest() -> int:
    """Bytes of the longest message that the kernel takes."""
    with suppress(OSError, ValueError):
        return int(_LONGEST_FILE.read_text(encoding="ascii"))
    return _LONGEST
