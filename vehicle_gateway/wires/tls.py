"""A TLS 1.3 connection as a `ByteStream`, to an entity whose certificate is checked."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vehicle_gateway.wires import LinkError
from vehicle_gateway.wires.tcp import TcpStream, told

#: What a logical address in an entity's certificate begins with (a subject alternative name).
ADDRESS_URN: Final = "urn:canota:doip:"
_HANDSHAKE_S: Final = 5.0
_CLOSE_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of a tester."""

    #: Who has signed the certificates of the entities that are trusted.
    authority: Path
    #: What is shown to an entity that asks for it.
    certificate: Path | None = None
    key: Path | None = None
    #: The logical address that must stand in the entity's certificate; `None`: any.
    entity: int | None = None


def tester_context(files: TlsFiles) -> ssl.SSLContext:
    """A tester's end; `OSError` for files that cannot be used.

    An entity is known by its logical address and not by a host name: what a vehicle's network
    calls it says nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_verify_locations(files.authority)
    if files.certificate is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


async def connect(uri: str, host: str, port: int, files: TlsFiles) -> TcpStream:
    """Open a connection; `LinkError` names the URI and what TLS or the system refuses."""
    try:
        reader, writer = await asyncio.open_connection(
            host,
            port,
            ssl=tester_context(files),
            ssl_handshake_timeout=_HANDSHAKE_S,
            ssl_shutdown_timeout=_CLOSE_S,
        )
    except OSError as error:
        raise LinkError(f"{uri}: {told(error)}") from error
    stream = TcpStream(reader, writer)
    if files.entity is not None and not _is_for(writer, files.entity):
        await stream.close()
        raise LinkError(f"{uri}: the certificate is not that of 0x{files.entity:04X}")
    return stream


def _is_for(writer: asyncio.StreamWriter, entity: int) -> bool:
    certificate = writer.get_extra_info("peercert") or {}
    name = f"{ADDRESS_URN}{entity:04X}"
    return ("URI", name) in certificate.get("subjectAltName", ())
