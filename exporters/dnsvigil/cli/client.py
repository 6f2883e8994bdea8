"""Asks a running collector over HTTP, with the credentials of the ``client`` section of the configuration.

Neither proxies nor redirections are followed, and every answer has a time limit.
"""

import contextlib
import errno
import http.client
import ipaddress
import json
import os
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

import yaml

from dnsvigil.cli.credentials import authorization, certificates, tls_context, why
from dnsvigil.cli.errors import CommandError
from dnsvigil.config.collector import Client, Config
from dnsvigil.httpd.access import TOKEN_FILE

_SECONDS: Final = 30.0
_MAX_ANSWER: Final = 256 << 20  # bytes
_JSON: Final = "application/json"
_LATE: Final = f"does not answer within {_SECONDS:.0f} s"
_ANSWERS: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)  # to what was asked wrongly
_NOBODY: Final = (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT)


class NoCollectorError(Exception):
    """Nothing listens at the collector's address."""


@dataclass(frozen=True)
class Answer:
    """An answer of the collector."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RefusedError(Exception):
    """The collector does not give what was asked for, with an answer that says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def request(config: Config, state: Path, target: str, body: bytes | None = None) -> Answer:
    """Return the answer to ``GET target``, or to ``POST target`` where there is a ``body``, which is JSON.

    Raises :class:`NoCollectorError` where nothing listens, and :class:`CommandError` where the collector refuses, fails
    or takes too long, or something else answers.
    """
    with _asked(config, state, target, body) as (response, _):
        answer = _read(response)
    if reason := _refusal(answer):
        raise CommandError(f"the collector at {url_of(config)} {reason}")
    return answer


def stream(config: Config, state: Path, target: str, body: bytes | None = None) -> Iterator[bytes]:
    """Yield the lines of the answer as they arrive. Raises as :func:`opened`."""
    with opened(config, state, target, body) as response:
        yield from response


@contextlib.contextmanager
def opened(config: Config, state: Path, target: str, body: bytes | None = None) -> Iterator[http.client.HTTPResponse]:
    """Give the answer, to be read as it arrives. Raises as :func:`request`, and :class:`RefusedError`."""
    with _asked(config, state, target, body) as (response, deadline):
        if response.status == HTTPStatus.OK:
            deadline.stop()  # from here on, each wait has the limit
            try:
                yield response
            except (OSError, http.client.HTTPException) as error:
                raise CommandError(f"the answer of {url_of(config)} breaks off: {why(error)}") from error
            return
        answer = _read(response)
    if reason := _refusal(answer):
        raise CommandError(f"the collector at {url_of(config)} {reason}")
    raise RefusedError(answer)


def _read(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, dict(response.getheaders()), response.read(_MAX_ANSWER + 1))


@contextlib.contextmanager
def _asked(
    config: Config, state: Path, target: str, body: bytes | None
) -> Iterator[tuple[http.client.HTTPResponse, "_Deadline"]]:
    """Give the response, of which the body is to be read. Raises as :func:`request`."""
    url = url_of(config)
    parts = urllib.parse.urlsplit(url)
    client = config.client
    if not (client.url or client.ca_file):  # the collector of this very configuration
        client = replace(client, ca_file=_own_certificate(config))
    own_token = config.api.token_file or state / TOKEN_FILE
    headers = {"User-Agent": "dnsvigil", "Connection": "close", **authorization(client, own_token, parts)}
    if body is not None:
        headers["Content-Type"] = _JSON
    context = tls_context(client) if parts.scheme == "https" else None
    with _Deadline() as deadline:
        try:
            connection = _connect(client, parts, context, deadline)
            with contextlib.closing(connection):
                connection.request("GET" if body is None else "POST", parts.path + target, body, headers)
                yield connection.getresponse(), deadline
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _NOBODY:
                raise NoCollectorError(f"no collector answers at {url}: {error.strerror}") from error
            reason = _LATE if deadline.passed or isinstance(error, TimeoutError) else _reason(error, parts)
            raise CommandError(f"the collector at {url} {reason}") from error
        if deadline.passed:
            raise CommandError(f"the collector at {url} {_LATE}")


def url_of(config: Config) -> str:
    """Return where the collector is asked, without a final slash. Raises :class:`CommandError`."""
    if config.client.url:
        return config.client.url
    host, _, port = config.listen.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]") or "0.0.0.0")  # noqa: S104
    except ValueError:
        pass  # a name
    else:
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "[::1]"
    return f"{'https' if _tls_of_collector(config) else 'http'}://{host}:{port}"


def _own_certificate(config: Config) -> Path | None:
    """Return the file with the certificate that the collector presents, if this user may read it."""
    file = _tls_of_collector(config).get("cert_file")
    path = config.web_config_file.parent / str(file) if config.web_config_file and file else None
    return path if path and os.access(path, os.R_OK) else None


def _tls_of_collector(config: Config) -> Mapping[str, object]:
    """Return the TLS section of the collector's web configuration file, which the collector itself checks."""
    web_config = config.web_config_file
    if web_config is None:
        return {}
    try:
        content = yaml.safe_load(web_config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is no YAML"
        hint = "set client.url, http://... or https://..."
        raise CommandError(f"whether the collector has TLS is not known: {web_config}: {what}; {hint}") from error
    found = content.get("tls_server_config") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


class _Deadline:
    """Ends connections after some time: a socket's own time limit begins anew with each read."""

    def __init__(self) -> None:
        self.passed = False
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(_SECONDS, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for connection in self._watched:
            connection.close()

    def stop(self) -> None:
        """End no connection any more."""
        self._timer.cancel()

    def watch(self, connection: socket.socket) -> None:
        """End this one as well."""
        self._watched.append(connection.dup())  # TLS takes the socket itself away

    def _end(self) -> None:
        self.passed = True
        for connection in self._watched:
            with contextlib.suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)


def _connect(
    client: Client, parts: urllib.parse.SplitResult, context: ssl.SSLContext | None, deadline: _Deadline
) -> http.client.HTTPConnection:
    """Return an open connection, which for TLS has a trusted certificate.

    A certificate is trusted that is in ``ca_file`` itself, whatever its name, or that an authority has issued for this
    host.
    """
    host = parts.hostname or ""

    def connected() -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(host, parts.port or (443 if context else 80), timeout=_SECONDS)
        connection.default_port = 443 if context else 80  # which the header Host leaves out
        connection.connect()
        deadline.watch(connection.sock)
        return connection

    connection = connected()
    if context and client.ca_file:
        context.check_hostname = False
        connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
        if connection.sock.getpeercert(binary_form=True) in certificates(client.ca_file):
            return connection
        connection.close()
        context.check_hostname = True
        connection = connected()
    if context:
        connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
    return connection


# Why there is no answer


def _reason(error: Exception, parts: urllib.parse.SplitResult) -> str:
    if isinstance(error, socket.gaierror):
        return f"has no address: {error.strerror}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"presents a certificate that is not trusted: {error.verify_message}; see client.ca_file"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "does not speak TLS; is it http://?"
    if parts.scheme == "https" and isinstance(error, ssl.SSLError | ConnectionError):
        # One that wants a client certificate may end the connection before its alert is read.
        return f"refuses the TLS connection: {why(error)}; see client.cert_file"
    if parts.scheme == "http" and isinstance(error, http.client.HTTPException | ConnectionError):
        return f"does not answer in HTTP ({why(error)}); is it https://?"
    return f"does not answer: {why(error)}"


def _refusal(answer: Answer) -> str | None:
    """Return why an answer cannot be used, and None for one that can."""
    status = answer.status
    if len(answer.body) > _MAX_ANSWER:
        return f"answers more than {_MAX_ANSWER >> 20} MiB"
    if 200 <= status < 300 or status in _ANSWERS:
        return None
    if status == HTTPStatus.UNAUTHORIZED:
        hint = "see client.username, client.password_file, client.token_file"
        return f"wants a user and a password, or a token ({_message(answer)}): {hint}"
    if status == HTTPStatus.FORBIDDEN:
        return f"does not allow that: {_message(answer)}; see client.token_file and client.cert_file"
    return f"answers {status}: {_message(answer)}"


def _message(answer: Answer) -> str:
    try:
        return str(json.loads(answer.body)["error"])
    except (ValueError, LookupError, TypeError):
        return answer.body[:200].decode("utf-8", "replace").strip() or http.client.responses.get(answer.status, "")
