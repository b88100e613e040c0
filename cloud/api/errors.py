"""How the cloud's errors look on the wire: status codes with `google.rpc` details, in one table."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2
from grpc import StatusCode

from cloud.fleet import errors as fleet
from cloud.store import errors as store

#: Whose words `ErrorInfo.reason` are.
DOMAIN: Final = "canota"
#: Bytes of a message in UTF-8. Status and details travel in headers of 8 KiB together, where one
#: byte may take three (the status message) or stand up to twice in base64 (the details).
_MESSAGE_LIMIT: Final = 600

_Details: TypeAlias = "Callable[[Exception], list[Message]]"


def _bad_request(error: Exception) -> list[Message]:
    if not isinstance(error, fleet.InvalidFieldError):
        return []
    violation = details.BadRequest.FieldViolation(
        field=error.field, description=_short(error.description)
    )
    return [details.BadRequest(field_violations=[violation])]


def _resource(error: Exception) -> list[Message]:
    if not isinstance(error, fleet.ResourceError):
        return []
    return [
        details.ResourceInfo(
            resource_type=error.kind,
            resource_name=error.name,
            description=_short(error.description),
        )
    ]


def _precondition(error: Exception) -> list[Message]:
    if not isinstance(error, fleet.PreconditionError):
        return []
    violation = details.PreconditionFailure.Violation(
        type=error.rule, subject=error.subject, description=_short(error.description)
    )
    return [details.PreconditionFailure(violations=[violation])]


def _quota(error: Exception) -> list[Message]:
    subject = error.subject if isinstance(error, fleet.LimitError) else "store"
    violation = details.QuotaFailure.Violation(subject=subject, description=_short(str(error)))
    return [details.QuotaFailure(violations=[violation])]


def _offset(error: Exception) -> list[Message]:
    violation = details.BadRequest.FieldViolation(field="offset", description=str(error))
    return [details.BadRequest(field_violations=[violation])]


def _nothing(_: Exception) -> list[Message]:
    return []


#: Error -> status, word for programs, details. The nearest class of an error counts.
TABLE: Final[Mapping[type[Exception], tuple[StatusCode, str, _Details]]] = {
    fleet.InvalidFieldError: (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", _bad_request),
    fleet.NotFoundError: (StatusCode.NOT_FOUND, "NOT_FOUND", _resource),
    fleet.AlreadyExistsError: (StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", _resource),
    fleet.NotOfferedError: (StatusCode.PERMISSION_DENIED, "NOT_OFFERED", _resource),
    fleet.PreconditionError: (StatusCode.FAILED_PRECONDITION, "PRECONDITION", _precondition),
    fleet.DamagedError: (StatusCode.DATA_LOSS, "DAMAGED", _nothing),
    fleet.LimitError: (StatusCode.RESOURCE_EXHAUSTED, "LIMIT", _quota),
    fleet.OffsetError: (StatusCode.OUT_OF_RANGE, "OFFSET", _offset),
    store.StoreFullError: (StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL", _quota),
    store.StoreDamagedError: (StatusCode.DATA_LOSS, "STORE_DAMAGED", _nothing),
    store.StoreError: (StatusCode.UNAVAILABLE, "STORE", _nothing),
}

#: Roots of what the table covers; anything else is a fault of the cloud.
KNOWN: Final = (fleet.FleetError, store.StoreError)


def to_status(error: Exception) -> tuple[StatusCode, status_pb2.Status]:
    """Return code and `google.rpc.Status` of a known error; `LookupError` for another."""
    row = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), None)
    if row is None:
        raise LookupError(f"no row for {type(error).__name__}")
    code, reason, make_details = row
    return code, status_of(
        code,
        str(error),
        [details.ErrorInfo(reason=reason, domain=DOMAIN), *make_details(error)],
    )


def status_of(code: StatusCode, message: str, parts: list[Message]) -> status_pb2.Status:
    packed = []
    for part in parts:
        packed.append(AnyMessage())
        packed[-1].Pack(part)
    number: int = code.value[0]
    return status_pb2.Status(code=number, message=_short(message), details=packed)


def _short(text: str) -> str:
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= _MESSAGE_LIMIT:
        return encoded.decode()
    return encoded[:_MESSAGE_LIMIT].decode(errors="ignore") + "..."
