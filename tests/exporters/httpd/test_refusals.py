"""Who is refused, and why, is in the log: real openssl and curl clients against both programs and the server alone."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from dnsvigil.httpd import limits, refusals
from dnsvigil.httpd.refusals import MAX_LINES, Refusals
from dnsvigil.httpd.routes import Response, routes
from dnsvigil.httpd.server import Server
from exporters.httpd.support import Authority, hashed, write
from exporters.resolver.exporting import Exporter
from exporters.running import CollectorProcess, eventually, write_config

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"

needs_clients = pytest.mark.skipif(
    not (shutil.which("openssl") and shutil.which("curl")), reason="needs openssl and curl"
)


@pytest.fixture
def serve(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[Path], Server]]:
    caplog.set_level(logging.INFO)
    app = routes({"/": lambda _: Response.text("hello\n")})
    with contextlib.ExitStack() as stack:
        yield lambda web_config: stack.enter_context(Server(app, "127.0.0.1:0", web_config))


def refused(text: str) -> list[str]:
    return [line.partition("refused ")[2] for line in text.splitlines() if "refused 127.0.0.1" in line]


def reported(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about refusals; waits for the first."""
    return eventually(lambda: refused("\n".join(caplog.messages)), 20)


def openssl(server: Server, folder: Path, *arguments: str) -> None:
    host, port = server.address
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", *arguments]
    request = b"GET / HTTP/1.0\r\n\r\n"
    subprocess.run(command, cwd=folder, input=request, capture_output=True, timeout=30, check=False)


def curl(url: str, folder: Path, *arguments: str) -> None:
    command = ["curl", "-sS", "--noproxy", "*", *arguments, url]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=30, check=False)


def stranger(authority: Authority) -> Authority:
    folder = authority.folder / "stranger"
    folder.mkdir()
    other = Authority(folder, "other")
    other.issue("client")
    return other


@needs_clients
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_without_a_certificate(
    serve: Callable[[Path], Server], authority: Authority, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    openssl(serve(write(authority.folder / "web.yml", MUTUAL)), authority.folder, version)
    assert reported(caplog) == [
        "127.0.0.1: no client certificate (peer did not return a certificate)",
    ]


@needs_clients
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_certificate_of_another_authority(
    serve: Callable[[Path], Server], authority: Authority, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    stranger(authority)
    pair = ["-cert", "stranger/client.pem", "-key", "stranger/client.key"]
    openssl(serve(write(authority.folder / "web.yml", MUTUAL)), authority.folder, version, *pair)
    assert reported(caplog) == [
        "127.0.0.1: client certificate not accepted: unable to get local issuer certificate",
    ]


@needs_clients
@pytest.mark.parametrize("version", ["--tls-max 1.2", "--tlsv1.3"])
def test_a_client_that_does_not_know_the_servers_authority(
    serve: Callable[[Path], Server], authority: Authority, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    server = serve(write(authority.folder / "web.yml", TLS))
    curl(server.url, authority.folder, "--cacert", str(stranger(authority).path), *version.split())
    assert reported(caplog) == [
        "127.0.0.1: the client does not accept this server's certificate or its TLS settings: unknown ca",
    ]


@needs_clients
def test_plain_http_where_tls_is_spoken(
    serve: Callable[[Path], Server], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(write(authority.folder / "web.yml", TLS))
    curl(server.url.replace("https", "http"), authority.folder)
    assert reported(caplog) == ["127.0.0.1: plain HTTP on a port that speaks TLS (http request)"]


@needs_clients
def test_tls_where_plain_http_is_spoken(
    serve: Callable[[Path], Server], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(write(authority.folder / "web.yml", ""))
    curl(server.url.replace("http", "https"), authority.folder, "-k")
    assert reported(caplog) == ["127.0.0.1: TLS on a port that speaks plain HTTP"]


@needs_clients
def test_an_old_version_of_tls(
    serve: Callable[[Path], Server], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(write(authority.folder / "web.yml", TLS + "  min_version: TLS13\n"))
    openssl(server, authority.folder, "-tls1_2")
    assert reported(caplog) == ["127.0.0.1: a TLS version that is not allowed here (unsupported protocol)"]


def test_what_is_not_tls_and_who_hangs_up(
    serve: Callable[[Path], Server], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(write(authority.folder / "web.yml", TLS))
    with socket.create_connection(server.address) as sock:
        sock.sendall(b"\x00\x01not tls at all, by any means\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            sock.recv(100)
    assert reported(caplog) == ["127.0.0.1: not TLS (wrong version number)"]
    socket.create_connection(server.address).close()
    hung_up = "127.0.0.1: closed the connection during the TLS handshake"
    assert eventually(lambda: refused("\n".join(caplog.messages))[1:]) == [hung_up]


def test_a_handshake_that_does_not_end(
    serve: Callable[[Path], Server],
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT", 0.5)
    server = serve(write(authority.folder / "web.yml", TLS))
    with socket.create_connection(server.address):
        assert reported(caplog) == ["127.0.0.1: TLS handshake not finished in time"]


@needs_clients
def test_a_certificate_with_no_name_that_is_allowed(
    serve: Callable[[Path], Server], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(write(authority.folder / "web.yml", MUTUAL + "  client_allowed_sans: [prometheus.example]\n"))
    authority.issue("client", [x509.DNSName("evil.example"), x509.UniformResourceIdentifier("x:\x1b[2J\n" + "y" * 500)])
    openssl(server, authority.folder, "-cert", "client.pem", "-key", "client.key")
    (line,) = reported(caplog)
    assert line.startswith("127.0.0.1: none of the names in the client certificate is in client_allowed_sans: ")
    assert r"'evil.example, x:\x1b[2J\n" in line
    assert line.isprintable() and line.isascii() and len(line) < 300


@needs_clients
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no credentials"),
        (["-u", "alice:wrong"], "wrong user or password, user 'alice'"),
        (["-u", "\x1b[2Jml\n:wrong"], r"wrong user or password, user '\x1b[2Jml\n'"),
        (["-H", "Authorization: Bearer wrong"], "token not accepted"),
        (["-H", "Authorization: Basic %%%"], "bad credentials"),
        (["-H", "Authorization: Digest x"], "bad credentials"),
    ],
)
def test_bad_credentials(
    serve: Callable[[Path], Server],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    arguments: list[str],
    reason: str,
) -> None:
    server = serve(write(tmp_path / "web.yml", f"basic_auth_users:\n  alice: {hashed('secret')}\n"))
    for _ in range(3):
        curl(server.url, tmp_path, *arguments)
    assert reported(caplog) == [f"127.0.0.1: 401 Unauthorized: {reason}"]
    assert "wrong:" not in caplog.text and ":wrong" not in caplog.text


@needs_clients
def test_an_ipv4_client_of_a_socket_for_both_families(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with Server(
        routes({}), ":0", write(tmp_path / "web.yml", f"basic_auth_users:\n  alice: {hashed('secret')}\n")
    ) as server:
        curl(f"http://127.0.0.1:{server.address[1]}", tmp_path)
        assert reported(caplog) == ["127.0.0.1: 401 Unauthorized: no credentials"]


@needs_clients
@pytest.mark.parametrize("body", ["not from\x1b[2J here\n", '{"error": "not from\\u001b[2J here"}\n'])
def test_what_is_forbidden_is_reported_with_the_answer(
    body: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app = routes({"/": lambda _: Response.text(body, 403)})
    with Server(app, "127.0.0.1:0") as server:
        curl(server.url, tmp_path)
        assert reported(caplog) == [r"127.0.0.1: 403 Forbidden: 'not from\x1b[2J here'"]


@needs_clients
def test_who_is_let_in_leaves_no_line(
    serve: Callable[[Path], Server], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    authority.issue("client")
    users = f"basic_auth_users:\n  alice: {hashed('secret')}\n"
    server = serve(write(authority.folder / "web.yml", MUTUAL + users))
    pair = ["--cert", "client.pem", "--key", "client.key"]
    curl(server.url, authority.folder, "--cacert", "ca.pem", *pair, "-u", "alice:secret")
    assert "refused" not in caplog.text


def test_the_log_is_not_filled(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    refuser = Refusals()
    for number in range(1000):
        refuser.report(f"2001:db8::{number % 500:x}", "no client certificate")
    assert len(caplog.messages) == MAX_LINES
    monkeypatch.setattr(refusals, "WINDOW", 0)
    refuser.report("192.0.2.1", "no client certificate")
    assert caplog.messages[MAX_LINES:] == [
        f"refused {1000 - MAX_LINES} more times since the last report, mostly for the same reasons",
        "refused 192.0.2.1: no client certificate",
    ]


@needs_clients
def test_both_programs_report_at_info(authority: Authority, tmp_path: Path) -> None:
    web = str(write(tmp_path / "web.yml", MUTUAL))
    line = "INFO refused 127.0.0.1: plain HTTP on a port that speaks TLS"
    quiet = {"collectors": {"probe": {"enabled": False}}, "web_config_file": web}
    with Exporter(tmp_path / "resolver", quiet) as exporter:
        curl(exporter.url.replace("https", "http"), tmp_path)
        eventually(lambda: line in exporter.log())
    collector = CollectorProcess(write_config(tmp_path, web_config_file=web), tmp_path / "state")
    try:
        curl(collector.url.replace("https", "http"), tmp_path)
        eventually(lambda: line in collector.stderr())
    finally:
        collector.kill()
