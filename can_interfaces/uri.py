"""`can://INTERFACE/CHANNEL?option=value`: any interface that python-can knows.

    can://socketcan/vcan0
    can://pcan/PCAN_USBBUS1?bitrate=500000
    can://socketcand/127.0.0.1:29536/comfort

Options are python-can's own, by their names there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import can
from can.util import cast_from_string

from can_interfaces import InterfaceError

#: What is given by the rest of the URI, or is ours to choose.
_RESERVED: Final = frozenset({"interface", "channel", "receive_own_messages", "can_filters"})

Option = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceTarget:
    """What python-can is to open."""

    #: As it was written; the name in messages.
    uri: str
    interface: str
    channel: str
    options: Mapping[str, Option] = field(default_factory=dict)


def parse(uri: str) -> InterfaceTarget:
    """`InterfaceError` names the URI and what is wrong with it."""
    try:
        parts = urlsplit(uri)
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise InterfaceError(f"{uri}: {error}") from error
    interface, channel = parts.netloc, unquote(parts.path.removeprefix("/"))
    if parts.scheme != "can":
        raise InterfaceError(f"{uri}: not can://INTERFACE/CHANNEL")
    if interface not in can.VALID_INTERFACES:
        known = ", ".join(sorted(can.VALID_INTERFACES))
        raise InterfaceError(f"{uri}: no CAN interface {interface!r}; python-can knows {known}")
    if not channel:
        raise InterfaceError(f"{uri}: names no channel (can://{interface}/CHANNEL)")
    if reserved := _RESERVED & query.keys():
        raise InterfaceError(f"{uri}: {', '.join(sorted(reserved))}: not to be chosen here")
    options = {name: cast_from_string(text) for name, text in query.items()}
    if interface == "socketcand":
        channel = _at_socketcand(uri, channel, options)
    return InterfaceTarget(uri=uri, interface=interface, channel=channel, options=options)


def _at_socketcand(uri: str, text: str, options: dict[str, Option]) -> str:
    """HOST:PORT/CHANNEL; the port is 29536 if it is left out."""
    address, slash, channel = text.partition("/")
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port or 29536
    except ValueError as error:
        raise InterfaceError(f"{uri}: {error}") from error
    if not slash or not channel or not host:
        raise InterfaceError(f"{uri}: not can://socketcand/HOST:PORT/CHANNEL")
    options.update(host=host, port=port)
    return channel
