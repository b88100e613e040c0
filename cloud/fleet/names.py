"""Names and identifiers: what they may look like, and how resources are called."""

import re
from typing import Final

from cloud.fleet.errors import InvalidFieldError

#: ISO 3779: capital letters without I, O and Q, and digits.
_VIN: Final = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
_RESOURCE_ID: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_ECU: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_HARDWARE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
#: One path component as people name files; bytes are stored by hash, so this name never reaches
#: a file system.
_FILE_NAME_LIMIT: Final = 128
_SNAPSHOT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PRINTABLE: Final = re.compile(r"[ -~]*")
_TEXT_LIMIT: Final = 4096


def check_vin(vin: str, *, field: str) -> str:
    """Return the VIN; `InvalidFieldError` unless it is 17 characters of ISO 3779."""
    if len(vin) != 17:
        raise InvalidFieldError(field, f"{vin!r} has {len(vin)} characters; a VIN has 17")
    if not _VIN.fullmatch(vin):
        wrong = next(character for character in vin if not _VIN.fullmatch(character * 17))
        raise InvalidFieldError(
            field, f"{vin!r}: {wrong!r} is not allowed in a VIN (A-Z without I, O, Q; 0-9)"
        )
    return vin


def check_resource_id(identifier: str, *, field: str) -> str:
    return _check(identifier, _RESOURCE_ID, field)


def check_ecu(name: str, *, field: str) -> str:
    return _check(name, _ECU, field)


def check_hardware_id(identifier: str, *, field: str) -> str:
    return _check(identifier, _HARDWARE_ID, field)


def check_file_name(name: str, *, field: str) -> str:
    if not 0 < len(name) <= _FILE_NAME_LIMIT:
        raise InvalidFieldError(
            field, f"{len(name)} characters; a file name has 1 to {_FILE_NAME_LIMIT}"
        )
    if not name.isprintable() or "/" in name or "\\" in name or not name.strip(". "):
        raise InvalidFieldError(field, f"{name!r} is not the name of a file without its folders")
    return name


def check_snapshot_id(identifier: str, *, field: str) -> str:
    return _check(identifier, _SNAPSHOT_ID, field)


def check_printable(text: str, *, field: str, limit: int = 64) -> str:
    """Return short text of printable ASCII, as identification records have it."""
    if len(text) > limit:
        raise InvalidFieldError(field, f"{len(text)} characters; at most {limit}")
    if not _PRINTABLE.fullmatch(text):
        raise InvalidFieldError(field, f"{text!r} is not printable ASCII")
    return text


def check_text(text: str, *, field: str) -> str:
    """Return text for people, of bounded length."""
    if len(text) > _TEXT_LIMIT:
        raise InvalidFieldError(field, f"{len(text)} characters; at most {_TEXT_LIMIT}")
    if "\0" in text:
        raise InvalidFieldError(field, "holds a NUL character")
    return text


def vehicle_name(vin: str) -> str:
    return f"vehicles/{vin}"


def release_name(release_id: str) -> str:
    return f"releases/{release_id}"


def campaign_name(campaign_id: str) -> str:
    return f"campaigns/{campaign_id}"


def snapshot_name(vin: str, snapshot_id: str) -> str:
    return f"vehicles/{vin}/snapshots/{snapshot_id}"


def diagnostic_plan_name(vin: str) -> str:
    return f"vehicles/{vin}/diagnosticPlan"


def diagnostic_job_name(vin: str, job_id: str) -> str:
    return f"vehicles/{vin}/diagnosticJobs/{job_id}"


def signal_subscription_name(vin: str, subscription_id: str) -> str:
    return f"vehicles/{vin}/signalSubscriptions/{subscription_id}"


def diagnostic_gap_name(vin: str, number: int) -> str:
    return f"vehicles/{vin}/diagnosticGaps/{number}"


def remote_session_name(vin: str, session_id: str) -> str:
    return f"vehicles/{vin}/remoteSessions/{session_id}"


def vin_of(name: str, *, field: str) -> str:
    """Take the VIN out of `vehicles/{vin}`."""
    return check_vin(_after("vehicles/", name, field), field=field)


def ecu_of(name: str, *, field: str) -> tuple[str, str]:
    """Take VIN and ECU out of `vehicles/{vin}/ecus/{ecu}`."""
    vin, separator, ecu = _after("vehicles/", name, field).partition("/ecus/")
    if not separator:
        raise InvalidFieldError(field, f"{name!r} is not vehicles/{{vin}}/ecus/{{ecu}}")
    return check_vin(vin, field=field), check_ecu(ecu, field=field)


def release_id_of(name: str, *, field: str) -> str:
    """Take the identifier out of `releases/{id}`."""
    return _identifier("releases/", name, field)


def campaign_id_of(name: str, *, field: str) -> str:
    """Take the identifier out of `campaigns/{id}`."""
    return _identifier("campaigns/", name, field)


def diagnostic_plan_of(name: str, *, field: str) -> str:
    """Take the VIN out of `vehicles/{vin}/diagnosticPlan`."""
    vin, separator, rest = _after("vehicles/", name, field).partition("/diagnosticPlan")
    if not separator or rest:
        raise InvalidFieldError(field, f"{name!r} is not vehicles/{{vin}}/diagnosticPlan")
    return check_vin(vin, field=field)


def snapshot_of(name: str, *, field: str) -> tuple[str, str]:
    """Take VIN and identifier out of `vehicles/{vin}/snapshots/{id}`."""
    return _of_vehicle("snapshots", name, field)


def diagnostic_job_of(name: str, *, field: str) -> tuple[str, str]:
    """Take VIN and identifier out of `vehicles/{vin}/diagnosticJobs/{id}`."""
    return _of_vehicle("diagnosticJobs", name, field)


def remote_session_of(name: str, *, field: str) -> tuple[str, str]:
    """Take VIN and identifier out of `vehicles/{vin}/remoteSessions/{id}`."""
    return _of_vehicle("remoteSessions", name, field)


def signal_subscription_of(name: str, *, field: str) -> tuple[str, str]:
    """Take VIN and identifier out of `vehicles/{vin}/signalSubscriptions/{id}`."""
    return _of_vehicle("signalSubscriptions", name, field)


def diagnostic_gap_of(name: str, *, field: str) -> tuple[str, int]:
    """Take VIN and number out of `vehicles/{vin}/diagnosticGaps/{number}`."""
    vin, number = _of_vehicle("diagnosticGaps", name, field)
    if not number.isascii() or not number.isdigit():
        raise InvalidFieldError(field, f"{name!r}: {number!r} is no number")
    return vin, int(number)


def _of_vehicle(collection: str, name: str, field: str) -> tuple[str, str]:
    vin, separator, identifier = _after("vehicles/", name, field).partition(f"/{collection}/")
    if not separator:
        raise InvalidFieldError(field, f"{name!r} is not vehicles/{{vin}}/{collection}/{{id}}")
    return check_vin(vin, field=field), check_snapshot_id(identifier, field=field)


def _identifier(collection: str, name: str, field: str) -> str:
    identifier = _after(collection, name, field)
    if not _RESOURCE_ID.fullmatch(identifier):
        raise InvalidFieldError(
            field, f"{name!r}: behind {collection} there must be {_RESOURCE_ID.pattern}"
        )
    return identifier


def _after(collection: str, name: str, field: str) -> str:
    if not name.startswith(collection):
        raise InvalidFieldError(field, f"{name!r} does not begin with {collection}")
    return name.removeprefix(collection)


def _check(value: str, pattern: re.Pattern[str], field: str) -> str:
    if not pattern.fullmatch(value):
        raise InvalidFieldError(field, f"{value!r} does not match {pattern.pattern}")
    return value
