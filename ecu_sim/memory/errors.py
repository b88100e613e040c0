"""What goes wrong in a memory, other than losing its power."""


class MemoryFaultError(Exception):
    """An operation that the memory cannot do; the message names the address and the rule."""
