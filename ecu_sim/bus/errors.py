"""The root of this room's errors."""


class WireError(Exception):
    """A node asked of a simulated wire what no wire can do; the message names wire and node."""
