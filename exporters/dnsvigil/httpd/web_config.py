"""The web configuration file of Prometheus's exporter-toolkit: TLS, client certificates, users, headers.

The format is that of ``--web.config.file`` in Prometheus, Alertmanager and the exporters
(https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).
What Python's ``ssl`` cannot do is refused when the file is read, never silently left out.
"""

import base64
import contextlib
import dataclasses
import hashlib
import ipaddress
import logging
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from dnsvigil.config import yaml_file as yamlfile
from dnsvigil.config.yaml_file import ConfigError, Invalid
from dnsvigil.system.files import read_file

log = logging.getLogger(__name__)

# Go's names, which the file uses, and OpenSSL's. The TLS 1.3 suites have none: they are always offered.
CIPHER_SUITES: Mapping[str, str | None] = {
    "TLS_AES_128_GCM_SHA256": None,
    "TLS_AES_256_GCM_SHA384": None,
    "TLS_CHACHA20_POLY1305_SHA256": None,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that a file may set, each with the values it may take (none listed: any)."""

_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {"VerifyClientCertIfGiven": ssl.CERT_OPTIONAL, "RequireAndVerifyClientCert": ssl.CERT_REQUIRED}
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_REMEMBERED_FAILURES = 128
_MAX_PEM = 1 << 20  # bytes

Stamp = tuple[int, ...] | None


class _CipherSuite(str):
    @classmethod
    def parse(cls, text: str) -> Self:
        if text not in CIPHER_SUITES:
            raise ValueError(f"expected one of {', '.join(CIPHER_SUITES)}")
        return cls(text)


@dataclasses.dataclass
class _Tls:
    cert: str = ""
    cert_file: str = ""
    key: str = ""
    key_file: str = ""
    client_auth_type: Literal[
        "NoClientCert",
        "RequestClientCert",
        "RequireClientCert",
        "RequireAnyClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    ] = "NoClientCert"
    client_ca: str = ""
    client_ca_file: str = ""
    client_allowed_sans: list[str] | None = None
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    cipher_suites: list[_CipherSuite] | None = None
    prefer_server_cipher_suites: bool = True
    curve_preferences: list[Literal["CurveP256", "CurveP384", "CurveP521", "X25519"]] | None = None

    def __post_init__(self) -> None:
        for name in ("cert", "key", "client_ca"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise Invalid(name, f"given together with {name}_file; keep one of them")
        for name in ("cert", "key"):
            if not (getattr(self, name) or getattr(self, f"{name}_file")):
                raise Invalid(f"{name}_file", f"missing; TLS needs {name}_file or {name}")
        self._check_client_authentication()
        if self.min_version > self.max_version:
            raise Invalid("min_version", f"{self.min_version} is above max_version {self.max_version}")
        if self.cipher_suites and self.max_version == "TLS12" and not self.openssl_ciphers:
            raise Invalid("cipher_suites", "names only suites of TLS 1.3, but max_version is TLS12")
        if self.curve_preferences and len(self.curve_preferences) > 1:
            raise Invalid("curve_preferences", "Python's ssl supports only one curve; name one, or leave the key out")

    def _check_client_authentication(self) -> None:
        kind = self.client_auth_type
        authority = "client_ca_file" if self.client_ca_file else "client_ca"
        if kind != "NoClientCert" and kind not in _VERIFY:
            raise Invalid(
                "client_auth_type",
                f"{kind} accepts certificates without verifying them, which Python's ssl cannot do; "
                "use RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert",
            )
        if kind in _VERIFY and not getattr(self, authority):
            raise Invalid("client_auth_type", f"{kind} needs client_ca_file or client_ca")
        if kind not in _VERIFY and getattr(self, authority):
            raise Invalid(authority, f"has no effect with client_auth_type {kind}; use RequireAndVerifyClientCert")
        if self.client_allowed_sans is not None and kind != "RequireAndVerifyClientCert":
            raise Invalid("client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert")
        if self.client_allowed_sans == []:
            raise Invalid("client_allowed_sans", "an empty list would reject every client")

    @property
    def openssl_ciphers(self) -> list[str]:
        """The TLS 1.2 suites of ``cipher_suites``, in OpenSSL's names."""
        return [name for suite in self.cipher_suites or () if (name := CIPHER_SUITES[suite])]


@dataclasses.dataclass
class _Http:
    http2: bool = True
    headers: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for name, value in (self.headers or {}).items():
            if name not in HEADERS:
                raise Invalid("headers", f"header {name!r} cannot be set; known headers: {', '.join(HEADERS)}")
            if HEADERS[name] and value not in HEADERS[name]:
                raise Invalid("headers", f"{name}: expected {' or '.join(HEADERS[name])}, found {value!r}")
            if not (value.isascii() and (value.isprintable() or not value)):
                raise Invalid("headers", f"{name}: expected printable ASCII on one line, found {value!r}")


@dataclasses.dataclass
class _File:
    tls_server_config: _Tls | None = None
    http_server_config: _Http | None = None
    basic_auth_users: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for user, digest in (self.basic_auth_users or {}).items():
            if ":" in user:
                raise Invalid("basic_auth_users", f"{user!r}: a user name cannot contain a colon (RFC 7617)")
            if not _BCRYPT.fullmatch(digest):  # never shown: it may be a password
                raise Invalid("basic_auth_users", f"{user!r}: expected a bcrypt hash such as htpasswd -nB prints")


class BasicAuth:
    """Users and their bcrypt hashes.

    Bcrypt is slow on purpose, so verdicts are remembered: one success for each user, and a bounded
    number of failures. Only keyed digests of credentials are kept in memory.
    Raises ``ImportError`` where the ``bcrypt`` package is missing.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        import bcrypt  # only those who use passwords need it installed

        self._matches = bcrypt.checkpw
        self._users = {user: digest.encode() for user, digest in users.items()}
        # No password has this hash. It costs an unknown user the same time as a known one.
        cost = max(digest[4:6] for digest in users.values())
        self._nobody = f"$2b${cost}${'.' * 53}".encode()
        self._secret = os.urandom(32)
        self._good: dict[str, bytes] = {}
        self._bad: dict[bytes, None] = {}
        self._lock = threading.Lock()  # one bcrypt at a time: a flood of guesses gets one core, not all

    def user(self, authorization: str | None) -> str | None:
        """The user whom the value of an ``Authorization`` header proves, or None."""
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            credentials = base64.b64decode(encoded.strip(), validate=True)
            user = credentials.partition(b":")[0].decode()
        except ValueError:
            return None
        if b":" not in credentials:
            return None
        seen = hashlib.blake2b(credentials, key=self._secret).digest()
        if self._good.get(user) == seen:
            return user
        with self._lock:
            if seen in self._bad:
                return None
            if self._good.get(user) == seen or self._verify(user, credentials.partition(b":")[2]):
                self._good[user] = seen
                return user
            if len(self._bad) >= _REMEMBERED_FAILURES:
                del self._bad[next(iter(self._bad))]
            self._bad[seen] = None
            return None

    def _verify(self, user: str, password: bytes) -> bool:
        try:
            # Bcrypt looks at 72 bytes; newer packages raise on more, Go and htpasswd do not.
            matches = self._matches(password[:72], self._users.get(user, self._nobody))
        except ValueError:
            return False
        return matches and user in self._users


@dataclasses.dataclass(frozen=True)
class WebConfig:
    """A web configuration file that was read and checked; the default is plain HTTP for everybody."""

    ssl_context: ssl.SSLContext | None = None
    """Certificate, key and client authentication loaded; None for plain HTTP."""
    client_allowed_sans: frozenset[str] | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What to add to every answer."""
    basic_auth: BasicAuth | None = None
    files: Mapping[Path, Stamp] = dataclasses.field(default_factory=dict)
    """Every file that was read, as it was just before."""

    def changed(self) -> bool:
        """Whether a file that this came from is no longer the one that was read."""
        return any(_stamp(path) != stamp for path, stamp in self.files.items())

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a verified client certificate, as ``getpeercert()`` gives it, has an allowed name."""
        if self.client_allowed_sans is None:
            return True
        names = (certificate or {}).get("subjectAltName", ())
        return not self.client_allowed_sans.isdisjoint(_san(kind, value) for kind, value in names)


class LiveWebConfig:
    """The current web configuration of the files; ``path`` None always gives the default.

    A file that became wrong is reported in the log once, and the last good configuration stays. So it is
    with one that would switch TLS on or off, or basic authentication off: a file that is empty, halfway
    through being written, must not open the server to everybody.
    """

    def __init__(self, path: Path | None) -> None:
        """Read ``path``. Raises :class:`ConfigError`."""
        self._path = path
        self._current = load_web_config(path) if path else WebConfig()
        self._complaint = ""
        self._lock = threading.Lock()

    def current(self) -> WebConfig:
        """The configuration to serve the next request with; costs one ``stat`` for each file."""
        if self._path and self._current.changed():
            with self._lock:
                if self._current.changed():
                    self._reload(self._path)
        return self._current

    def _reload(self, path: Path) -> None:
        old = self._current
        try:
            new = load_web_config(path)
            if (new.ssl_context is None) != (old.ssl_context is None):
                raise ConfigError(path, None, "tls_server_config", "restart to switch TLS on or off")
            if old.basic_auth and not new.basic_auth:
                raise ConfigError(path, None, "basic_auth_users", "restart to switch basic authentication off")
        except (ConfigError, OSError) as error:
            if str(error) != self._complaint:
                log.error("%s; the last good configuration stays in force", error)
            self._complaint = str(error)
            return
        log.info("%s: read again", path)
        self._complaint = ""
        self._current = new


def load_web_config(path: Path) -> WebConfig:
    """Read a web configuration file, and load the certificates and the key that it names.

    Relative paths start at the folder of ``path``. Raises :class:`ConfigError` for anything wrong.
    """
    files = {path: _stamp(path)}
    content = yamlfile.load(path, _File)
    http = content.http_server_config or _Http()
    tls = content.tls_server_config
    users = content.basic_auth_users
    try:
        basic_auth = BasicAuth(users) if users else None
    except ImportError as error:
        message = "needs the Python package bcrypt: apt install python3-bcrypt, or pip install bcrypt"
        raise ConfigError(path, None, "basic_auth_users", message) from error
    return WebConfig(
        ssl_context=_Pem(path, files).context(tls) if tls else None,
        client_allowed_sans=frozenset(tls.client_allowed_sans) if tls and tls.client_allowed_sans else None,
        headers={name: value for name, value in (http.headers or {}).items() if value},
        basic_auth=basic_auth,
        files=files,
    )


class _Pem:
    """Makes the TLS context of the web configuration file ``path``; ``files`` records the files that it reads."""

    def __init__(self, path: Path, files: dict[Path, Stamp]) -> None:
        self._path = path
        self._files = files

    def context(self, tls: _Tls) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if not tls.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        context.minimum_version = _VERSIONS[tls.min_version]
        context.maximum_version = _VERSIONS[tls.max_version]
        try:
            if tls.openssl_ciphers:
                context.set_ciphers(":".join(tls.openssl_ciphers))
            elif tls.cipher_suites:  # none for TLS 1.2
                context.minimum_version = ssl.TLSVersion.TLSv1_3
            for curve in tls.curve_preferences or ():
                context.set_ecdh_curve(_CURVES[curve])
        except (ssl.SSLError, ValueError) as error:
            message = f"{ssl.OPENSSL_VERSION} supports none of the cipher suites, or not the curve: {error}"
            raise ConfigError(self._path, None, "tls_server_config", message) from error
        self._load_certificate(context, tls)
        if tls.client_auth_type in _VERIFY:
            self._load_authorities(context, tls)
            context.verify_mode = _VERIFY[tls.client_auth_type]
        return context

    def _load_certificate(self, context: ssl.SSLContext, tls: _Tls) -> None:
        certificate = self._read("cert", tls.cert, tls.cert_file, "CERTIFICATE")
        key = self._read("key", tls.key, tls.key_file, "PRIVATE KEY")

        def no_password() -> str:  # without this, OpenSSL would ask on the terminal
            raise self._wrong("key", tls.key_file, "is encrypted; a key without a passphrase is needed")

        with _in_memory(certificate) as certificate_path, _in_memory(key) as key_path:
            try:
                context.load_cert_chain(certificate_path, key_path, no_password)
            except ssl.SSLError as error:
                if error.reason == "KEY_VALUES_MISMATCH":
                    raise self._wrong("key", tls.key_file, "does not belong to the certificate") from error
                message = f"cannot be used with its key: {error.reason or error}"
                raise self._wrong("cert", tls.cert_file, message) from error

    def _load_authorities(self, context: ssl.SSLContext, tls: _Tls) -> None:
        pem = self._read("client_ca", tls.client_ca, tls.client_ca_file, "CERTIFICATE")
        with _in_memory(pem) as path:
            try:
                context.load_verify_locations(path)
            except ssl.SSLError as error:
                message = f"cannot be used: {error.reason or error}"
                raise self._wrong("client_ca", tls.client_ca_file, message) from error

    def _read(self, name: str, inline: str, file: str, label: str) -> bytes:
        """The PEM text of ``name``, which has to hold a block of the kind ``label``."""
        pem = inline.encode()
        if file:
            path = self._path.parent / file
            self._files[path] = _stamp(path)
            try:
                pem = read_file(path, _MAX_PEM)
            except OSError as error:
                raise self._wrong(name, file, f"cannot be read: {error.strerror}") from error
        if f"{label}-----".encode() not in pem:
            raise self._wrong(name, file, f"holds no PEM block of the kind {label}")
        return pem

    def _wrong(self, name: str, file: str, message: str) -> ConfigError:
        key = f"tls_server_config.{name}"
        if file:
            return ConfigError(self._path, None, f"{key}_file", f"{self._path.parent / file} {message}")
        return ConfigError(self._path, None, key, message)


@contextlib.contextmanager
def _in_memory(pem: bytes) -> Iterator[str]:
    # OpenSSL takes paths only, and neither a key nor a half-written copy of one should touch a disk.
    with os.fdopen(os.memfd_create("pem"), "wb") as file:
        file.write(pem)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _san(kind: str, value: str) -> str:
    # OpenSSL writes IPv6 addresses in full and in upper case; the file has them as Go (and RFC 5952) would.
    return str(ipaddress.ip_address(value.strip())) if kind == "IP Address" else value
