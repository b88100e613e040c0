"""Links by URI: `can://INTERFACE/CHANNEL`, `can://bridge/HOST:PORT/WIRE`, `doip://HOST:PORT`.

A CAN interface is any that python-can knows (`can_interfaces.uri`); the bridge is the way to a
simulated wire of another process.

`doips://HOST:PORT` is DoIP over TLS 1.3: `?ca=FILE` names the authority whose entities are
trusted, and `&certificate=FILE&key=FILE` what is shown where the entity asks for it;
`&entity=1031` insists on the logical address in the entity's certificate.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self
from urllib.parse import SplitResult, parse_qsl, urlsplit

from can_interfaces import InterfaceAwayError, InterfaceError
from can_interfaces.uri import InterfaceTarget
from can_interfaces.uri import parse as parse_interface
from can_interfaces.wire import ErrorFrameHeard, InterfaceWire
from protocols.can import CanPort
from protocols.stream import ByteStream
from vehicle_gateway.wires import LinkAwayError, LinkError, tcp
from vehicle_gateway.wires.bridge import BridgePort
from vehicle_gateway.wires.isotp_kernel import KernelIsoTpPort, take_settings
from vehicle_gateway.wires.tls import TlsFiles
from vehicle_gateway.wires.tls import connect as connect_tls

#: What the gateway calls itself on a wire of another process.
NODE: Final = "gateway"
DOIP_PORT: Final = 13400
DOIP_TLS_PORT: Final = 3496
_KNOWN: Final = (
    "known: can://INTERFACE/CHANNEL (socketcan, socketcand, ...), can://bridge/HOST:PORT/WIRE,"
    " doip://HOST[:PORT], doips://HOST[:PORT]?ca=FILE"
)
_TLS_QUERY: Final = frozenset({"ca", "certificate", "key", "entity"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeTarget:
    """A wire of a bridge that another process serves."""

    host: str
    port: int
    wire: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DoipTarget:
    host: str
    port: int
    #: `None`: plain TCP.
    tls: TlsFiles | None = None


def parse(uri: str) -> BridgeTarget | InterfaceTarget | DoipTarget:
    """What a URI points to; `LinkError` names the URI and what is wrong with it."""
    try:
        parts = urlsplit(uri)
        match parts.scheme, parts.netloc:
            case "can", "bridge":
                address, _, wire = parts.path.removeprefix("/").partition("/")
                host, port = _address(uri, address)
                if not wire or "/" in wire:
                    raise LinkError(f"{uri}: names no wire; {_KNOWN}")
                return BridgeTarget(host=host, port=port, wire=wire)
            case "can", _:
                target = parse_interface(uri)
                take_settings(target)  # wrong ones show here, before anything is opened
                return target
            case "doip", address:
                if parts.path.strip("/") or parts.query:
                    raise LinkError(f"{uri}: nothing follows host and port; {_KNOWN}")
                host, port = _address(uri, address, default_port=DOIP_PORT)
                return DoipTarget(host=host, port=port)
            case "doips", address:
                if parts.path.strip("/"):
                    raise LinkError(f"{uri}: a path means nothing here; {_KNOWN}")
                host, port = _address(uri, address, default_port=DOIP_TLS_PORT)
                return DoipTarget(host=host, port=port, tls=_tls_files(uri, parts))
            case scheme, _:
                raise LinkError(f"{uri}: no scheme {scheme!r}; {_KNOWN}")
    except InterfaceError as error:
        raise LinkError(f"{error}; {_KNOWN}") from error
    except ValueError as error:
        raise LinkError(f"{uri}: {error}; {_KNOWN}") from error


def _tls_files(uri: str, parts: SplitResult) -> TlsFiles:
    query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    if unknown := query.keys() - _TLS_QUERY:
        raise LinkError(f"{uri}: {', '.join(sorted(unknown))}: not known; {_KNOWN}")
    if "ca" not in query:
        raise LinkError(f"{uri}: names no authority to trust; {_KNOWN}")
    if ("certificate" in query) != ("key" in query):
        raise LinkError(f"{uri}: a certificate and its key go together; {_KNOWN}")
    return TlsFiles(
        authority=Path(query["ca"]),
        certificate=Path(query["certificate"]) if "certificate" in query else None,
        key=Path(query["key"]) if "key" in query else None,
        entity=int(query["entity"], 16) if "entity" in query else None,
    )


def _address(uri: str, text: str, *, default_port: int | None = None) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    port = parts.port or default_port
    if not parts.hostname or port is None:
        raise LinkError(f"{uri}: {text!r} is not HOST:PORT; {_KNOWN}")
    return parts.hostname, port


class UriLinks:
    """`Links` of the wires named in a table of URIs; CAN ports are opened by `open`.

    `node` is what this program calls itself there: ports of one name do not hear each other.
    """

    def __init__(self, uris: Mapping[str, str], *, node: str = NODE) -> None:
        self._node = node
        self._targets = {wire: (uri, parse(uri)) for wire, uri in uris.items()}
        self._ports: dict[str, CanPort] = {}
        self._interfaces: dict[str, InterfaceWire] = {}
        self._closing = AsyncExitStack()

    async def open(self) -> Self:
        """Open every CAN port; `LinkError` names the first that cannot be had."""
        try:
            for wire, (uri, target) in self._targets.items():
                match target:
                    case BridgeTarget():
                        self._ports[wire] = await self._open_bridge(uri, target)
                    case InterfaceTarget():
                        self._ports[wire] = await self._open_interface(wire, target)
                    case DoipTarget():
                        pass  # a connection per use
        except LinkError:
            await self.close()
            raise
        return self

    async def _open_bridge(self, uri: str, target: BridgeTarget) -> CanPort:
        port = BridgePort(
            uri, host=target.host, port=target.port, wire=target.wire, node=self._node
        )
        await port.open()
        self._closing.push_async_callback(port.close)
        return port

    async def _open_interface(self, name: str, target: InterfaceTarget) -> CanPort:
        plain = {
            option: its for option, its in target.options.items() if not option.startswith("isotp")
        }
        try:
            wire = InterfaceWire(replace(target, options=plain), error=LinkError)
            await wire.open()
        except InterfaceAwayError as error:
            raise LinkAwayError(str(error)) from error
        except InterfaceError as error:
            raise LinkError(str(error)) from error
        self._closing.push_async_callback(wire.close)
        self._interfaces[name] = wire
        port = wire.port(self._node)
        kernel = take_settings(target)
        return port if kernel is None else KernelIsoTpPort(port, target.channel, kernel)

    async def close(self) -> None:
        self._ports.clear()
        self._interfaces.clear()
        await self._closing.aclose()

    def can(self, wire: str) -> CanPort:
        if wire not in self._ports:
            raise self._missing(wire, "CAN")
        return self._ports[wire]

    def listen_errors(self, wire: str, heard: ErrorFrameHeard) -> None:
        """Hear the error frames of a CAN interface; a bridge does not tell of any."""
        if wire in self._interfaces:
            self._interfaces[wire].on_error_frame.append(heard)

    async def stream(self, wire: str) -> ByteStream:
        match self._targets.get(wire):
            case uri, DoipTarget(host=host, port=port, tls=TlsFiles() as files):
                return await connect_tls(uri, host, port, files)
            case uri, DoipTarget(host=host, port=port):
                return await tcp.connect(uri, host, port)
            case _:
                raise self._missing(wire, "DoIP")

    def _missing(self, wire: str, kind: str) -> LinkError:
        if wire in self._targets:
            return LinkError(f"{wire}: {self._targets[wire][0]} is not a {kind} link")
        given = ", ".join(sorted(self._targets)) or "none"
        return LinkError(f"{wire}: no link given for this wire (links given: {given})")
