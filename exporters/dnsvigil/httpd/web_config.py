"""The web configuration file of Prometheus's exporter-toolkit: TLS, client certificates, users, headers.

The format is that of ``--web.config.file`` in Prometheus, Alertmanager and the exporters
(https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).
What Python's ``ssl`` cannot do is refused when the file is read, never silently left out.
"""

import dataclasses
import ipaddress
import logging
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnsvigil.config import yaml_file as yamlfile
from dnsvigil.config.yaml_file import ConfigError, Invalid
from dnsvigil.httpd.basic_auth import BCRYPT_HASH, BasicAuth
from dnsvigil.httpd.tls import TlsContexts, TlsSection
from dnsvigil.system.files import read_file

log = logging.getLogger(__name__)

HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that a file may set, each with the values it may take (none listed: any)."""

_MAX_PEM = 1 << 20  # bytes

Stamp = tuple[int, ...] | None


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
    tls_server_config: TlsSection | None = None
    http_server_config: _Http | None = None
    basic_auth_users: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for user, digest in (self.basic_auth_users or {}).items():
            if ":" in user:
                raise Invalid("basic_auth_users", f"{user!r}: a user name cannot contain a colon (RFC 7617)")
            if not BCRYPT_HASH.fullmatch(digest):  # never shown: it may be a password
                raise Invalid("basic_auth_users", f"{user!r}: expected a bcrypt hash such as htpasswd -nB prints")


@dataclasses.dataclass(frozen=True)
class WebConfig:
    """A web configuration file that was read and checked; the default is plain HTTP for everybody."""

    ssl_context: ssl.SSLContext | None = None
    """Certificate, key and client authentication loaded; None for plain HTTP."""
    client_allowed_sans: frozenset[str] | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Headers to add to every response."""
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

    def read(pem: Path) -> bytes:
        files[pem] = _stamp(pem)
        return read_file(pem, _MAX_PEM)

    return WebConfig(
        ssl_context=TlsContexts(path, read).make(tls) if tls else None,
        client_allowed_sans=frozenset(tls.client_allowed_sans) if tls and tls.client_allowed_sans else None,
        headers={name: value for name, value in (http.headers or {}).items() if value},
        basic_auth=basic_auth,
        files=files,
    )


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _san(kind: str, value: str) -> str:
    # OpenSSL writes IPv6 addresses in full and in upper case; the file has them as Go (and RFC 5952) would.
    return str(ipaddress.ip_address(value.strip())) if kind == "IP Address" else value
