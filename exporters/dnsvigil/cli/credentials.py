"""The credentials with which commands ask the collector: password, token, client certificate, trusted certificates."""

import base64
import ipaddress
import os
import re
import ssl
import urllib.parse
from pathlib import Path
from typing import Final

from dnsvigil.cli.errors import UsageError
from dnsvigil.config.collector import Client
from dnsvigil.system.files import check_file, open_file, open_to_all

_MAX_SECRET: Final = 4096  # bytes


def authorization(client: Client, own_token: Path, parts: urllib.parse.SplitResult) -> dict[str, str]:
    """Return the headers that prove an identity to the collector at a URL. Raises :class:`UsageError`."""
    if client.username is not None and client.password_file:
        password = secret(client.password_file)
        return {"Authorization": f"Basic {base64.b64encode(client.username.encode() + b':' + password).decode()}"}
    if client.token_file:
        return _bearer(client.token_file)
    # The own collector's token is not sent to another host, whose server may be another's.
    if (parts.scheme == "https" or _is_loopback(parts.hostname or "")) and os.access(own_token, os.R_OK):
        return _bearer(own_token)
    return {}


def _bearer(path: Path) -> dict[str, str]:
    token = secret(path).decode("latin-1").strip()
    if not re.fullmatch(r"[!-~]+", token):
        raise UsageError(f"{path} holds no token")
    return {"Authorization": f"Bearer {token}"}


def secret(path: Path) -> bytes:
    """Return the one line in a file, without its end. A file that all users may read is refused."""
    try:
        with open_file(path) as file:
            status = os.fstat(file.fileno())
            content = file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if problem := open_to_all(path, status):
        raise UsageError(problem)
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(content) <= _MAX_SECRET or b"\n" in content:
        raise UsageError(f"{path} does not hold one line")
    return content


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context(client: Client) -> ssl.SSLContext:
    """Return the TLS context with the authorities and the client certificate. Raises :class:`UsageError`."""
    try:
        for path in (client.ca_file, client.cert_file, client.key_file):
            if path:
                check_file(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        context = ssl.create_default_context(cafile=str(client.ca_file) if client.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{client.ca_file} holds no certificates that can be used: {why(error)}") from error
    # A certificate that was made for the collector alone is in the file itself, be it no authority's.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if client.cert_file:
        key = client.key_file or client.cert_file

        def no_password() -> str:  # without this, OpenSSL would ask on the terminal
            raise UsageError(f"{key} is encrypted; a key without a passphrase is needed")

        try:
            if b"PRIVATE KEY-----" in key.read_bytes() and (problem := open_to_all(key, key.stat())):
                raise UsageError(problem)
            context.load_cert_chain(client.cert_file, key, no_password)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{client.cert_file} and {key} cannot be used: {why(error)}") from error
    return context


def certificates(path: Path) -> list[bytes]:
    """Return the certificates in a PEM file, as DER."""
    blocks = re.findall(
        r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", path.read_text("latin-1"), re.DOTALL
    )
    return [ssl.PEM_cert_to_DER_cert(block) for block in blocks]


def why(error: Exception) -> str:
    """Return in words why a connection failed or a file cannot be used."""
    if isinstance(error, ssl.SSLEOFError):
        return "the connection ended during the handshake"
    if isinstance(error, ssl.SSLError):
        reason = re.sub(r" \(_ssl\.c:\d+\)", "", error.reason or str(error)).replace("_", " ").lower()
        return "there is no certificate or no key in them" if reason.endswith("pem lib") else reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
