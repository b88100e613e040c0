"""What a caller of the cloud did wrong, or what stands in the way; each names its subject."""


class FleetError(Exception):
    """Root of everything that the rules refuse."""


class InvalidFieldError(FleetError):
    """A field of a request holds what it must not hold."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description


class ResourceError(FleetError):
    """Something about one named resource; `kind` and `name` as the API says them."""

    def __init__(self, kind: str, name: str, description: str) -> None:
        super().__init__(f"{name}: {description}")
        self.kind = kind
        self.name = name
        self.description = description


class NotFoundError(ResourceError):
    """There is no such resource."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(kind, name, f"there is no such {kind}")


class AlreadyExistsError(ResourceError):
    """The name is taken by something else."""


class NotOfferedError(ResourceError):
    """A vehicle asked for what no running campaign offers it."""


class PreconditionError(FleetError):
    """The request is right, but not in this state; `rule` is a word for programs."""

    def __init__(self, rule: str, subject: str, description: str) -> None:
        super().__init__(f"{subject}: {description}")
        self.rule = rule
        self.subject = subject
        self.description = description


class DamagedError(FleetError):
    """Bytes that came are not the bytes that were announced."""

    def __init__(self, subject: str, description: str) -> None:
        super().__init__(f"{subject}: {description}")
        self.subject = subject
        self.description = description


class LimitError(FleetError):
    """More than the cloud takes."""

    def __init__(self, subject: str, description: str) -> None:
        super().__init__(f"{subject}: {description}")
        self.subject = subject
        self.description = description


class OffsetError(FleetError):
    """A position behind the end of a file."""

    def __init__(self, *, offset: int, size: int) -> None:
        super().__init__(f"offset: {offset} lies past the end of the file ({size} bytes)")
        self.description = str(self)
