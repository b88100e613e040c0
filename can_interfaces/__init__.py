"""CAN interfaces of this machine as wires: SocketCAN, and whatever else python-can opens.

A wire is one interface (`wire.InterfaceWire`), and hands out a port (`protocols.can.CanPort`) per
node that lives in this process. Gateway and ECUs use the same one. Real time only.
"""


class InterfaceError(Exception):
    """An interface that cannot be used; the message names its URI."""


class InterfaceAwayError(InterfaceError):
    """The interface, or what serves it, is not there now; it may come."""
