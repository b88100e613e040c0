"""TLS under DoIP (ISO 13400-2:2019): TLS 1.3 alone, a client certificate if one is asked for.

A certificate says whose it is in a URI of its subject alternative names, one for each logical
address: `urn:canota:doip:0E80`. An entity takes a tester's address from its certificate; a tester
finds the entity's there.
"""

import ssl
from pathlib import Path
from typing import Final

from protocols.doip.settings import Peer

#: What a logical address in a certificate begins with.
ADDRESS_URN: Final = "urn:canota:doip:"


def entity_context(
    certificate: Path, key: Path, *, client_ca: Path | None = None
) -> ssl.SSLContext:
    """An entity's end; with `client_ca` a tester has to show a certificate of it.

    `OSError` (and its `ssl.SSLError`) for files that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def peer_of(tls: ssl.SSLObject) -> Peer:
    """What a handshake has shown of the other end."""
    certificate = tls.getpeercert()
    if not certificate:
        return Peer(secure=True)
    return Peer(secure=True, addresses=_addresses(certificate.get("subjectAltName", ())))


def _addresses(names: object) -> frozenset[int]:
    """The logical addresses among subject alternative names, as `ssl` gives them."""
    found: set[int] = set()
    for kind, name in names if isinstance(names, tuple) else ():
        digits = name.removeprefix(ADDRESS_URN)
        if kind == "URI" and digits != name:
            try:
                found.add(int(digits, 16))
            except ValueError:
                continue  # not an address: it allows nothing
    return frozenset(found)
