"""What can go wrong on a DoIP connection."""


class DoipError(Exception):
    """Root of this room's errors."""


class DoipTimeoutError(DoipError):
    """The peer did not answer within the time that ISO 13400-2 gives it."""
