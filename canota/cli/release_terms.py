"""Preconditions, notice and consent of a release, as its manifest writes them."""

from dataclasses import fields
from pathlib import Path
from typing import Final

from canota.cli.client import ReleaseTerms
from canota.cli.exits import CommandError, Exit
from canota.cli.firmware_files import manifest
from cloud.fleet.releases import LONGEST_WAIT_S, SHORTEST_WAIT_S, Notice
from protocols.preconditions import PreconditionError, parse

#: Keys of a manifest besides `images`.
_KEYS: Final = frozenset({"images", "preconditions", "consent", "wait_s", "notice"})
_CONSENT: Final = {"required": True, "not required": False}
_NOTICE: Final = tuple(field.name for field in fields(Notice))


def terms_in(sources: list[str]) -> ReleaseTerms:
    """The terms of the manifest among the sources; those of no manifest are the defaults."""
    found = [(Path(one), manifest(Path(one))) for one in sources if _is_manifest(one)]
    with_terms = [(path, tables) for path, tables in found if tables.keys() - {"images"}]
    if not with_terms:
        return ReleaseTerms()
    if len(with_terms) > 1:
        names = " and ".join(str(path) for path, _ in with_terms)
        raise CommandError(f"{names}: both have terms of the release", Exit.USAGE)
    return _terms(*with_terms[0])


def _is_manifest(source: str) -> bool:
    return "=" not in source and Path(source).suffix == ".toml" and Path(source).is_file()


def _terms(path: Path, tables: dict[str, object]) -> ReleaseTerms:
    if unknown := sorted(tables.keys() - _KEYS):
        known = ", ".join(sorted(_KEYS))
        raise CommandError(f"{path}: unknown key {unknown[0]!r}; known: {known}", Exit.REFUSED)
    preconditions = tables.get("preconditions", "")
    if not isinstance(preconditions, str):
        raise CommandError(f"{path}: preconditions: text expected", Exit.REFUSED)
    if preconditions:
        check_text(preconditions, where=f"{path}: preconditions")
    consent = tables.get("consent", "not required")
    if not isinstance(consent, str) or consent not in _CONSENT:
        known = " or ".join(repr(one) for one in _CONSENT)
        raise CommandError(f"{path}: consent: {known} expected", Exit.REFUSED)
    wait_s = tables.get("wait_s")
    if wait_s is not None and not (
        isinstance(wait_s, int | float) and SHORTEST_WAIT_S <= wait_s <= LONGEST_WAIT_S
    ):
        raise CommandError(
            f"{path}: wait_s: {SHORTEST_WAIT_S:g} to {LONGEST_WAIT_S:g} seconds expected",
            Exit.REFUSED,
        )
    notice = _notice(path, tables["notice"]) if "notice" in tables else None
    if _CONSENT[consent] and notice is None:
        raise CommandError(
            f"{path}: notice: a driver who is asked has to be told what for", Exit.REFUSED
        )
    return ReleaseTerms(
        preconditions=preconditions,
        notice=notice,
        consent_required=_CONSENT[consent],
        wait_s=None if wait_s is None else float(wait_s),
    )


def check_text(preconditions: str, *, where: str) -> None:
    """`CommandError` shows the place of a mistake; which signals there are, the cloud knows."""
    try:
        parse(preconditions)
    except PreconditionError as error:
        mark = " " * (error.position - 1) + "^"
        raise CommandError(
            f"{where}: {error}\n  {preconditions}\n  {mark}", Exit.REFUSED
        ) from error


def _notice(path: Path, table: object) -> dict[str, str]:
    if not isinstance(table, dict):
        raise CommandError(f"{path}: notice: a table expected", Exit.REFUSED)
    if unknown := sorted(table.keys() - set(_NOTICE)):
        raise CommandError(f"{path}: notice: unknown field {unknown[0]!r}", Exit.REFUSED)
    for name in _NOTICE:
        text = table.get(name)
        if not isinstance(text, str) or not text.strip():
            raise CommandError(f"{path}: notice.{name}: text expected", Exit.REFUSED)
    return {name: str(table[name]) for name in _NOTICE}
