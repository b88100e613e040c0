"""Certificates for DoIP over TLS on a testbench. DEV ONLY: anyone who has the folder is trusted."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ecu_sim.diagnostics.doip_tls import ADDRESS_URN

_NOT_BEFORE: Final = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER: Final = datetime(2049, 12, 31, tzinfo=UTC)
_MARK: Final = "DEV ONLY"
#: Readable by their owner alone.
_PRIVATE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """PEM files of one end."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DevCertificates:
    """One authority, and what it has signed: the entities', and the testers' to show."""

    authority: Path
    entity: Certificate
    tester: Certificate


class _Authority:
    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name("canota DoIP authority")
        public = self.key.public_key()
        self.certificate = (
            _builder(self.name, self.name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue(
        self, name: str, addresses: Iterable[int], purpose: x509.ObjectIdentifier
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.UniformResourceIdentifier(f"{ADDRESS_URN}{address:04X}") for address in addresses
        ]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        certificate = (
            _builder(_name(name), self.name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate, key


def make_dev_certificates(
    folder: Path, *, entities: Iterable[int], testers: Iterable[int]
) -> DevCertificates:
    """Write a new authority, one certificate for the entities and one for testers.

    Every file's name and every subject says that it is for development. The authority's key is
    not kept. `OSError` if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority, files = _Authority(), dev_certificates(folder)
    files.authority.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    _write(files.entity, *authority.issue("canota DoIP entity", entities, server))
    _write(files.tester, *authority.issue("canota DoIP tester", testers, client))
    return files


def dev_certificates(folder: Path) -> DevCertificates:
    """The files that `make_dev_certificates` writes into a folder."""
    return DevCertificates(
        authority=folder / "authority.dev-only.pem",
        entity=_paths(folder, "entity"),
        tester=_paths(folder, "tester"),
    )


def _paths(folder: Path, name: str) -> Certificate:
    return Certificate(
        certificate=folder / f"{name}.dev-only.pem", key=folder / f"{name}.dev-only.key.pem"
    )


def _write(
    paths: Certificate, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    paths.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    paths.key.touch(mode=_PRIVATE)
    paths.key.chmod(_PRIVATE)
    paths.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _MARK),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{common_name} ({_MARK})"),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
