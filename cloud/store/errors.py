"""What the store could not do."""


class StoreError(Exception):
    """Root of everything that goes wrong in the store; the message names the place."""


class StoreFullError(StoreError):
    """No room: nothing was kept."""


class StoreDamagedError(StoreError):
    """What should be there is missing or unreadable."""


class ClosingError(StoreError):
    """The cloud is going down; the same call works again once it is back."""
