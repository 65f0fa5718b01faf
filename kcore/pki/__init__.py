"""The cluster's certificate authority and all that it signs, kept in ``DATA_DIR/pki`` (files of mode 0600).

Everything is made on first need and then read back, renewed when a quarter of its life is left; the library that
makes keys is imported only then, so a warm start never loads it. Keys are ECDSA P-256: what Kubernetes accepts,
small, and quick.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kcore import clock
from kcore.errors import UserError
from kcore.pki import x509

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate, CertificateBuilder, ExtensionType, GeneralName, Name

_CA_DAYS = 3650
_LEAF_DAYS = 365
_SKEW = timedelta(minutes=5)  # peers' clocks may be behind ours
_RENEW = 0.25  # of a certificate's life


class Pki:
    """Use `Pki.open`. PEM texts are bytes."""

    def __init__(self, directory: Path, name: str = "kcore-ca"):
        self.directory, self._name = directory, name
        self.ca_pem = b""

    @staticmethod
    def open(data_dir: Path) -> Pki:
        """The PKI of a data directory; makes the CA on first use. Raises UserError when files are unusable."""
        return Pki._open(data_dir / "pki", "kcore-ca")

    @staticmethod
    def _open(directory: Path, name: str) -> Pki:
        pki = Pki(directory, name)
        try:
            pki.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            pki.ca_pem = pki._read_ca()
            if not pki.ca_pem:
                with pki._lock():
                    pki.ca_pem = pki._read_ca() or pki._make_ca()
        except (OSError, ValueError) as error:
            raise UserError(f"{pki.directory}: cannot keep certificates here: {error}") from error
        return pki

    def front_proxy(self) -> Pki:
        """The authority of its own that vouches for front proxies: who holds a certificate of it may speak for
        anybody, so it is not the authority of users."""
        return Pki._open(self.directory / "front-proxy", "kcore-front-proxy-ca")

    @property
    def ca_path(self) -> Path:
        return self.directory / "ca.crt"

    # --- what others ask for ---

    def server_context(self, names: Iterable[str]) -> ssl.SSLContext:
        """TLS for a server known by these host names and addresses.

        A client may show a certificate; one that this CA did not sign, or that has expired, ends the handshake
        (unless `kcore.http.strangers` admits it).
        """
        path = self._server(names)[0]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(path)
        context.load_verify_locations(cadata=self.ca_pem.decode("ascii"))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        context.num_tickets = 0  # resumption would skip the check of the client's certificate
        return context

    def server_certificate(self, names: Iterable[str]) -> tuple[bytes, bytes]:
        """(certificate, key) of a server known by these names, for whoever needs the files' contents."""
        return self._server(names)[1:]

    def client_certificate(self, user: str, groups: Iterable[str] = ()) -> tuple[bytes, bytes]:
        """(certificate, key) that say: this is `user`, a member of `groups`."""
        wanted = tuple(sorted(groups))
        return self._leaf(_file_name("client", user, *wanted), user, wanted, ())

    def client_context(self, certificate: bytes = b"", key: bytes = b"") -> ssl.SSLContext:
        """TLS for a client that trusts this CA and shows `certificate`."""
        return client_context(self.ca_pem, certificate, key)

    def service_account_key(self) -> bytes:
        """The PEM of the private key (RSA 2048) that signs service-account tokens.

        RSA because it is what every verifier of Kubernetes tokens understands. Making one takes about 0.1 s: in a
        thread.
        """
        path = self.directory / "sa.key"
        if path.exists():
            return path.read_bytes()
        with self._lock():
            if path.exists():
                return path.read_bytes()
            from cryptography.hazmat.primitives.asymmetric import rsa

            pem = _key_pem(rsa.generate_private_key(65537, 2048))
            _write(path, pem)
            return pem

    # --- files ---

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time makes something."""
        descriptor = os.open(self.directory / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read_ca(self) -> bytes:
        """The CA's certificate; b"" when there is none (or not its key). Raises ValueError when it has expired."""
        try:
            pem = self.ca_path.read_bytes()
        except FileNotFoundError:
            return b""
        found = x509.summary(x509.der(pem))
        if found.not_after <= clock.now():
            raise ValueError(f"the CA expired at {clock.timestamp(found.not_after)}; remove it for a new one")
        return pem if (self.directory / "ca.key").exists() else b""

    def _server(self, names: Iterable[str]) -> tuple[Path, bytes, bytes]:
        wanted = sorted(set(names))
        file = _file_name("server", *wanted)
        return self.directory / f"{file}.pem", *self._leaf(file, wanted[0] if wanted else "kcore", (), wanted)

    def _leaf(self, file: str, user: str, groups: Iterable[str], names: Iterable[str]) -> tuple[bytes, bytes]:
        """The (certificate, key) kept as `file`, made when it is absent, due for renewal, or an earlier CA's."""
        found = self._read_leaf(file)
        if found is None:
            with self._lock():
                found = self._read_leaf(file) or self._make_leaf(file, user, groups, names)
        return found

    def _read_leaf(self, file: str) -> tuple[bytes, bytes] | None:
        path = self.directory / f"{file}.pem"  # one file for both, so that they always belong together
        try:
            data = path.read_bytes()
            if path.stat().st_mtime_ns < self.ca_path.stat().st_mtime_ns:
                return None
            found = x509.summary(x509.der(data))
        except (FileNotFoundError, ValueError):
            return None
        left = found.not_after - clock.now()
        if left < _RENEW * (found.not_after - found.not_before):
            return None
        certificate, begin, key = data.partition(b"-----BEGIN PRIVATE KEY-----")
        return (certificate, begin + key) if begin else None

    # --- making (imports the library) ---

    def _make_ca(self) -> bytes:
        from cryptography import x509 as cx
        from cryptography.hazmat.primitives import hashes

        key = _new_key()
        name = _name(self._name, ())
        builder = _builder(name, name, key, _CA_DAYS)
        usage = cx.KeyUsage(True, False, False, False, False, True, True, False, False)
        identifier = cx.SubjectKeyIdentifier.from_public_key(key.public_key())
        for extension, critical in (
            (cx.BasicConstraints(ca=True, path_length=None), True),
            (usage, True),
            (identifier, False),
        ):
            builder = builder.add_extension(extension, critical)
        pem = _pem(builder.sign(key, hashes.SHA256()))
        _write(self.directory / "ca.key", _key_pem(key))
        _write(self.ca_path, pem)
        return pem

    def _make_leaf(self, file: str, user: str, groups: Iterable[str], names: Iterable[str]) -> tuple[bytes, bytes]:
        """A certificate for a client, or with `names` for a server; written, and returned with its key."""
        from cryptography import x509 as cx
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        ca = cx.load_pem_x509_certificate(self.ca_pem)
        ca_key = load_pem_private_key((self.directory / "ca.key").read_bytes(), None)
        key = _new_key()
        builder = _builder(_name(user, groups), ca.subject, key, _LEAF_DAYS)
        sans = [_general_name(n) for n in names]
        purpose = cx.OID_SERVER_AUTH if sans else cx.OID_CLIENT_AUTH
        extensions: list[tuple[ExtensionType, bool]] = [
            (cx.BasicConstraints(ca=False, path_length=None), True),
            (cx.KeyUsage(True, False, False, False, False, False, False, False, False), True),
            (cx.ExtendedKeyUsage([purpose]), False),
            (cx.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), False),  # type: ignore[arg-type]
        ]
        if sans:
            extensions.append((cx.SubjectAlternativeName(sans), False))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        pem = _pem(builder.sign(ca_key, hashes.SHA256()))  # type: ignore[arg-type]
        key_pem = _key_pem(key)
        _write(self.directory / f"{file}.pem", pem + key_pem)
        return pem, key_pem


def client_context(ca_pem: bytes, certificate: bytes = b"", key: bytes = b"") -> ssl.SSLContext:
    """TLS for a client that trusts `ca_pem` alone and, if given, shows a certificate. Raises ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        if ca_pem:
            context.load_verify_locations(cadata=ca_pem.decode("ascii"))
        else:
            context.load_default_certs()
        if certificate:
            # the ssl module takes keys from files only
            with tempfile.NamedTemporaryFile(prefix="kcore-") as file:
                file.write(certificate.rstrip() + b"\n" + key)
                file.flush()
                context.load_cert_chain(file.name)
    except ssl.SSLError as error:
        raise ValueError(f"the certificate or its key cannot be used: {error.reason or error}") from error
    return context


def _file_name(kind: str, *words: str) -> str:
    """A name that is safe in a directory and different for different words; readable as far as it goes."""
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
    readable = "".join(c if c.isascii() and c.isalnum() else "-" for c in words[0])[:40] if words else ""
    return f"{kind}-{readable}-{digest}"


def _write(path: Path, data: bytes) -> None:
    """Atomically, mode 0600, durable: a half-written key would lock the cluster's owner out."""
    temporary = path.with_name(path.name + f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: EllipticCurvePrivateKey | RSAPrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization as s

    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _name(common_name: str, organizations: Iterable[str]) -> Name:
    from cryptography import x509 as cx
    from cryptography.x509.oid import NameOID

    parts = [cx.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return cx.Name([*parts, cx.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> GeneralName:
    from cryptography import x509 as cx

    try:
        return cx.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return cx.DNSName(name)


def _builder(subject: Name, issuer: Name, key: EllipticCurvePrivateKey, days: int) -> CertificateBuilder:
    from cryptography import x509 as cx

    now = datetime.fromtimestamp(int(clock.now()), UTC)
    return (
        cx.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(cx.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )
