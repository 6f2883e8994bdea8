"""The HTTP server over real sockets: TLS with real certificates, passwords, changes while running, hostile clients."""

import base64
import contextlib
import http.client
import io
import ipaddress
import logging
import os
import resource
import select
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry, Counter, make_wsgi_app

from dnsvigil.config.yaml_file import ConfigError
from dnsvigil.httpd import limits as module
from dnsvigil.httpd.routes import Response, routes
from dnsvigil.httpd.server import Server
from exporters.httpd.support import Authority, hashed, write

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
HEADERS = (
    "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Content-Security-Policy: default-src 'none'\n"
)

release = threading.Event()
"""What requests for /wait wait for."""


def wait(_environ: WSGIEnvironment) -> Response:
    release.wait(20)
    return Response.text("done\n")


def fail(_environ: WSGIEnvironment) -> Response:
    raise RuntimeError("a handler failed")


def show(environ: WSGIEnvironment) -> Response:
    names = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "REMOTE_USER", "wsgi.url_scheme", "HTTP_X_A")
    return Response.text("".join(f"{name}={environ.get(name)!r}\n" for name in names))


def take(environ: WSGIEnvironment) -> Response:
    body = environ["wsgi.input"].read()
    return Response(201, {"Content-Type": environ.get("CONTENT_TYPE", "")}, b"%d: " % len(body) + body[:20])


APP = routes(
    {
        "/take": lambda _: Response.text("what was taken\n"),
        "POST /take": take,
        "POST /only": take,
        "/": lambda _: Response.text("hello\n"),
        "/a b": show,
        "/show": show,
        "/wait": wait,
        "/fail": fail,
        "/split": lambda _: Response(302, {"Location": "/\r\nX-Evil: 1"}, b""),
        "/encode": lambda _: Response(302, {"Location": "/Ω"}, b""),
        "/frame": lambda _: Response(200, {"x-frame-options": "sameorigin", "Content-Length": "7"}, b"framed"),
        "/large": lambda _: Response(200, {"Content-Type": "text/plain"}, b"x" * (64 << 20)),
        "/unchanged": lambda _: Response(304, {"ETag": '"1"'}, b"not sent"),
    }
)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts a server; all are stopped after the test."""
    release.clear()
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(start(*args, **kwargs))
        release.set()


def start(web_config: Path | None = None, address: str = "127.0.0.1:0") -> Server:
    return Server(APP, address, web_config)


def client_context(authority: Authority, client: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.path)
    if client:
        context.load_cert_chain(authority.folder / f"{client}.pem", authority.folder / f"{client}.key")
    return context


def connect(server: Server, context: ssl.SSLContext | None = None) -> HTTPConnection:
    host, port = server.address
    if context:
        return HTTPSConnection(host, port, timeout=10, context=context)
    return HTTPConnection(host, port, timeout=10)


def get(
    server: Server,
    path: str = "/",
    context: ssl.SSLContext | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[HTTPResponse, str]:
    with contextlib.closing(connect(server, context)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read().decode(errors="replace")


def refused(server: Server, context: ssl.SSLContext) -> bool:
    # With TLS 1.3 the client's handshake is over before the server has seen its certificate.
    try:
        get(server, "/", context)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def raw(server: Server) -> socket.socket:
    return socket.create_connection(server.address, timeout=10)


def exchange(server: Server, request: bytes) -> bytes:
    """Everything that the server sends until it closes the connection."""
    with raw(server) as sock, sock.makefile("rb") as reader:
        sock.sendall(request)
        return reader.read()


def ended(sock: socket.socket) -> bool:
    """Wait for the server to close the connection; whether it did so without an answer (a TLS alert is none)."""
    try:
        return b"HTTP" not in b"".join(iter(lambda: sock.recv(1000), b""))
    except ConnectionResetError:
        return True


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


Serve = Callable[..., Server]


# Requests and answers


@pytest.mark.parametrize(
    ("address", "host", "at"),
    [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.1"),
        ("localhost:0", None, "localhost"),
        ("[::1]:0", "::1", "::1"),
        (":0", "::", "127.0.0.1"),
        (":0", "::", "::1"),
        ("[::]:0", "::", "127.0.0.1"),
        ("0.0.0.0:0", "0.0.0.0", "127.0.0.1"),
    ],
)
def test_addresses(serve: Serve, address: str, host: str | None, at: str) -> None:
    if ":" in address[:-2] + at and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    server = serve(address=address)
    if host:
        assert server.address[0] == host
        assert server.url == f"http://{f'[{host}]' if ':' in host else host}:{server.address[1]}"
    connection = HTTPConnection(at, server.address[1], timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello\n"
    connection.close()


@pytest.mark.parametrize("address", ["", "127.0.0.1", "::1:80", "localhost:http", "localhost:65536", "a:-1", "a:²"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"listen address .* expected host:port"):
        Server(APP, address)


def test_a_socket_that_systemd_gave_to_a_parent_is_left_alone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert get(serve())[1] == "hello\n"


def test_an_address_in_use_is_an_os_error(serve: Serve) -> None:
    with pytest.raises(OSError, match="in use"):
        Server(APP, f"127.0.0.1:{serve().address[1]}")


def test_requests_reach_their_handlers(serve: Serve) -> None:
    server = serve()
    response, body = get(server, "/a%20b?x=%31&y", headers={"X-A": "1", "X_A": "2"})
    assert response.status == 200
    assert response.getheader("Content-Type") == "text/plain; charset=utf-8"
    assert response.getheader("Server") is None
    assert body.splitlines() == [
        "REQUEST_METHOD='GET'",
        "PATH_INFO='/a b'",
        "QUERY_STRING='x=%31&y'",
        "REMOTE_ADDR='127.0.0.1'",
        "REMOTE_USER=None",
        "wsgi.url_scheme='http'",
        "HTTP_X_A='1'",
    ]
    absolute = exchange(server, b"GET http://h/show HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert b"PATH_INFO='/show'" in absolute


def test_other_paths_and_methods(serve: Serve) -> None:
    server = serve()
    for path in ("/nothing", "/show/", "//show/x", "//x/show", "//show", "///show", "/%2Fshow", "show", "x:/show", "*"):
        response, body = get(server, path)
        assert (response.status, body) == (404, "Not Found\n")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW", "get"):
        response, body = get(server, "/", method=method)
        assert (response.status, response.getheader("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("secure", [False, True])
def test_a_body_is_refused_with_an_answer_that_arrives(serve: Serve, authority: Authority, secure: bool) -> None:
    server = serve(write(authority.folder / "web.yml", TLS) if secure else None)
    context = client_context(authority) if secure else None
    for _ in range(5):
        response, body = get(server, "/", context, method="POST", body=b"x" * (8 << 20))
        assert (response.status, body) == (405, "Method Not Allowed\n")
        assert response.getheader("Connection") == "close"


def test_a_body_is_never_taken_for_the_next_request(serve: Serve) -> None:
    inner = b"GET /show HTTP/1.1\r\nHost: h\r\n\r\n"
    length = b"Content-Length: %d\r\n" % len(inner)
    both = length + b"Transfer-Encoding: chunked\r\n"
    for request in (b"GET / HTTP/1.1\r\nHost: h\r\n", b"POST / HTTP/1.1\r\nHost: h\r\n"):
        for framing in (length, b"Transfer-Encoding: chunked\r\n", b"odd\r\n", both, length * 2):
            answer = exchange(serve(), request + framing + b"\r\n" + inner)
            assert answer.count(b"HTTP/1.1 ") == 1
            assert b"PATH_INFO" not in answer


def test_a_chunked_body_of_an_older_client_is_never_taken_for_the_next_request(serve: Serve) -> None:
    inner = b"GET /show HTTP/1.0\r\n\r\n"
    head = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(serve(), head + inner)
    assert answer.count(b"HTTP/1.1 ") == 1


# Bodies


@pytest.mark.parametrize("secure", [False, True])
def test_a_handler_for_post_has_the_body_and_the_connection_goes_on(
    serve: Serve, authority: Authority, secure: bool
) -> None:
    server = serve(write(authority.folder / "web.yml", TLS) if secure else None)
    with contextlib.closing(connect(server, client_context(authority) if secure else None)) as connection:
        connection.connect()
        first = connection.sock
        for size in (0, 1, 10_000, module.MAX_BODY, 3):
            connection.request("POST", "/take", b"x" * size, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert response.read() == b"%d: " % size + b"x" * min(size, 20)
            assert (response.status, response.getheader("Content-Type")) == (201, "application/json")
            connection.request("GET", "/take")
            assert connection.getresponse().read() == b"what was taken\n"
            assert connection.sock is first


def test_bodies_sent_ahead_stay_apart(serve: Serve) -> None:
    request = b"POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
    many = b"".join(request + b"\r\n%03d" % n for n in range(1000))
    answer = exchange(serve(), many + b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1 + answer.count(b"HTTP/1.1 201 Created\r\n") == 1001
    assert all(b"\r\n\r\n3: %03d" % n in answer for n in range(1000))
    assert answer.endswith(b"\r\n\r\nhello\n")


def test_a_path_says_which_methods_it_takes(serve: Serve) -> None:
    server = serve()
    for path, method, allowed in (
        ("/take", "PUT", "GET, POST, HEAD"),
        ("/only", "GET", "POST"),
        ("/only", "HEAD", "POST"),
        ("/only", "OPTIONS", "POST"),
    ):
        response, _ = get(server, path, method=method)
        assert (response.status, response.getheader("Allow")) == (405, allowed)
    assert get(server, "POST%20/only")[0].status == 404


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(serve: Serve, authority: Authority) -> None:
    server = serve()
    for length in (module.MAX_BODY + 1, 10**17):
        with raw(server) as sock, sock.makefile("rb") as reader:
            sock.sendall(b"POST /take HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n")
            sock.sendall(b"Content-Length: %d\r\n\r\n" % length)
            answer = reader.read()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close\r\n" in answer
    context = client_context(authority)
    secure = serve(write(authority.folder / "web.yml", TLS))
    for _ in range(5):
        assert get(server, "/take", method="POST", body=b"x" * (8 << 20))[0].status == 413
        assert get(secure, "/take", context, method="POST", body=b"x" * (8 << 20))[0].status == 413


def test_the_client_is_asked_for_a_body_only_when_it_is_read(serve: Serve) -> None:
    request = b" HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    server = serve()
    with raw(server) as sock, sock.makefile("rb") as reader:
        for _ in range(2):
            sock.sendall(b"POST /take" + request)
            assert [reader.readline(), reader.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
            sock.sendall(b"hello")
            assert reader.readline() == b"HTTP/1.1 201 Created\r\n"
            while reader.readline() != b"\r\n":
                pass
            assert reader.read(8) == b"5: hello"
        sock.sendall(b"POST /" + request)
        assert reader.readline() == b"HTTP/1.1 405 Method Not Allowed\r\n"
        assert b"Connection: close\r\n" in reader.read()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"411"),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"411"),
        (b"Transfer-Encoding: gzip\r\n", b"hello", b"501"),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello", b"400"),
        (b"Content-Length: -5\r\n", b"hello", b"400"),
        (b"Content-Length: +5\r\n", b"hello", b"400"),
        (b"Content-Length: 0x5\r\n", b"hello", b"400"),
        (b"Content-Length: 5, 5\r\n", b"hello", b"400"),
        (b"Content-Length: 99999999999999999999\r\n", b"hello", b"400"),
        (b"Content-Length: \xb2\r\n", b"hello", b"400"),
        (b"Content-Length:\r\n", b"hello", b"400"),
    ],
)
def test_a_body_without_one_known_length_is_not_read(serve: Serve, headers: bytes, body: bytes, status: bytes) -> None:
    answer = exchange(serve(), b"POST /take HTTP/1.1\r\nHost: h\r\n" + headers + b"\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close\r\n" in answer


def test_a_slow_body_blocks_nobody_and_is_cut_off(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BODY_TIMEOUT", 1.0)
    server = serve()
    begin = time.monotonic()
    request = b"POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"
    with raw(server) as silent, raw(server) as slow, slow.makefile("rb") as reader:
        silent.sendall(request)
        slow.sendall(request)
        with contextlib.suppress(ConnectionError):  # a byte now and then does not buy more time
            while not (cut := slow_answer(slow)) and time.monotonic() - begin < 5:
                slow.sendall(b"x")
                assert get(server)[0].status == 200
                time.sleep(0.1)
        assert 0.9 < time.monotonic() - begin < 3
        assert cut
        assert reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
        assert silent.recv(12) == b"HTTP/1.1 408"
    assert eventually(lambda: not server._connections)
    assert "failed" not in caplog.text


def slow_answer(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def test_a_body_that_breaks_off_is_no_body(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve()
    with raw(server) as sock, sock.makefile("rb") as reader:
        sock.sendall(b"POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
        sock.shutdown(socket.SHUT_WR)
        assert reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
    with raw(server) as sock:
        sock.sendall(b"POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    assert eventually(lambda: not server._connections)
    assert "failed" not in caplog.text


# Answers


def test_head_is_get_without_the_body(serve: Serve) -> None:
    server = serve()
    for path in ("/", "/nothing", "/show"):
        head, nothing = get(server, path, method="HEAD")
        full, body = get(server, path)
        assert nothing == ""
        assert head.status == full.status
        assert head.getheader("Content-Length") == full.getheader("Content-Length") == str(len(body))

    answer = exchange(server, b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\nConnection: close\r\n\r\n")


def test_a_client_that_waits_for_leave_to_send_gets_the_answer(serve: Serve) -> None:
    server = serve()
    for method, status in ((b"GET", b"200"), (b"POST", b"405")):
        request = b" / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        with raw(server) as sock:
            sock.sendall(method + request)
            assert sock.recv(12) == b"HTTP/1.1 " + status


def test_unchanged_has_no_body(serve: Serve) -> None:
    answer = exchange(serve(), b"GET /unchanged HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in answer


def test_the_application_of_prometheus_client(serve: Serve) -> None:
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc(3)
    with Server(make_wsgi_app(registry), "127.0.0.1:0") as server:
        response, body = get(server, "/metrics")
        assert response.status == 200
        assert "things_total 3.0" in body
        assert get(server, "/metrics", method="HEAD")[0].status == 200
        response, _ = get(server, "/metrics", headers={"Accept-Encoding": "gzip"})
        assert response.getheader("Content-Encoding") == "gzip"


def test_it_is_a_wsgi_server_by_the_book() -> None:
    ends = []

    class Answer(io.BytesIO):
        def close(self) -> None:
            ends.append(True)
            super().close()

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])(b"one ")
        return Answer(environ["wsgi.input"].read(100) + b"two\nthree\n")

    with Server(validator(application), "127.0.0.1:0") as server:
        response, body = get(server, "/x?y", headers={"Content-Type": "text/plain", "Content-Length": "0"})
        assert (response.status, body, ends) == (200, "one two\nthree\n", [True])
        response, body = get(server, "/x", method="POST", body=b"and ", headers={"Content-Type": "text/plain"})
        assert (response.status, body) == (200, "one and two\nthree\n")


def test_a_handler_that_fails_is_a_500_and_a_traceback_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    for path, reason in (("/fail", "handler failed"), ("/split", "line break in a header"), ("/encode", "codec")):
        response, body = get(server, path)
        assert (response.status, body) == (500, "Internal Server Error\n")
        assert response.getheader("X-Evil") is None
        assert reason in caplog.text
    assert get(server)[0].status == 200


def test_requests_are_logged_at_debug_only_and_escaped(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    exchange(serve(), b"GET /\x1b[31m HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    records = [record for record in caplog.records if "GET" in record.getMessage()]
    assert [record.levelname for record in records] == ["DEBUG"]
    assert r"127.0.0.1 'GET /\x1b[31m HTTP/1.1' 404" in records[0].getMessage()


# Connections


def test_requests_share_a_connection(serve: Serve) -> None:
    with contextlib.closing(connect(serve())) as connection:
        connection.connect()
        first = connection.sock
        for path in ("/", "/nothing", "/fail", "/"):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.getheader("Connection") == "keep-alive"
            assert connection.sock is first


def test_requests_can_be_sent_ahead(serve: Serve) -> None:
    request = b"GET / HTTP/1.1\r\nHost: h\r\n"
    answer = exchange(serve(), (request + b"\r\n") * 3 + request + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == answer.count(b"\r\n\r\nhello\n") == 4


def test_requests_that_one_tls_record_holds_are_all_answered(serve: Serve, authority: Authority) -> None:
    server = serve(write(authority.folder / "web.yml", TLS))
    request = b"GET / HTTP/1.1\r\nHost: h\r\n"
    sent = (request + b"\r\n") * 500 + request + b"Connection: close\r\n\r\n"
    assert 8192 < len(sent) < 16384, "more than a buffer holds, and no more than a record does"
    with client_context(authority).wrap_socket(raw(server), server_hostname="localhost") as sock:
        sock.sendall(sent)
        answer = b"".join(iter(lambda: sock.recv(10_000), b""))
    assert answer.count(b"\r\n\r\nhello\n") == 501


def test_older_clients(serve: Serve) -> None:
    server = serve()
    assert exchange(server, b"GET / HTTP/1.0\r\n\r\n").endswith(b"Connection: close\r\n\r\nhello\n")
    with raw(server) as sock, sock.makefile("rb") as reader:
        for _ in range(2):
            sock.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
            lines = list(iter(reader.readline, b"hello\n"))
            assert b"Connection: keep-alive\r\n" in lines


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 101 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 50 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nno header\r\nX: y\r\n\r\n", b"400"),
        (b"GET http://[ HTTP/1.1\r\nHost: h\r\n\r\n", b"400"),
        (b"GET / FTP/1.1\r\nHost: h\r\n\r\n", b"400"),
        (b"GET / HTTP/x.1\r\nHost: h\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n z\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: y\x00z\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: y\rz\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\nHost: h\n\n", b"400"),
        (b"POST /\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03 \n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", b"505"),
    ],
)
def test_requests_that_make_no_sense(tmp_path: Path, serve: Serve, request_bytes: bytes, status: bytes) -> None:
    server = serve(write(tmp_path / "web.yml", HEADERS))
    answer = exchange(server, request_bytes)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"X-Frame-Options: deny\r\n" in answer
    assert b"Connection: close\r\n" in answer
    assert get(server)[0].status == 200


def test_a_slow_client_blocks_nobody_and_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 1.0)
    server = serve()
    begin = time.monotonic()
    with raw(server) as silent, raw(server) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(4):
            slow.sendall(b"X")
            assert get(server)[0].status == 200
            time.sleep(0.1)
        assert time.monotonic() - begin < 1
        with contextlib.suppress(ConnectionError):  # a byte now and then does not buy more time
            while time.monotonic() - begin < 5:
                slow.sendall(b"X")
                time.sleep(0.2)
        assert 1 < time.monotonic() - begin < 3
        assert ended(slow)
        assert ended(silent)


def test_an_idle_connection_is_kept_for_a_while(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 0.2)
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 1.5)
    with contextlib.closing(connect(serve())) as connection:
        for _ in range(2):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"hello\n"
            time.sleep(0.6)
        begin = time.monotonic()
        assert connection.sock is not None
        assert ended(connection.sock)
        assert time.monotonic() - begin < 2


@pytest.mark.parametrize("secure", [False, True])
def test_a_client_that_does_not_read_is_cut_off(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    monkeypatch.setattr(module, "RESPONSE_TIMEOUT", 1.0)
    server = serve(write(authority.folder / "web.yml", TLS) if secure else None)
    with contextlib.closing(connect(server, client_context(authority) if secure else None)) as connection:
        connection.request("GET", "/large")
        assert eventually(lambda: len(server._connections) == 1)
        assert get(server, "/", client_context(authority) if secure else None)[0].status == 200
        assert eventually(lambda: not server._connections)
        with pytest.raises((http.client.IncompleteRead, OSError)):
            connection.getresponse().read()


def test_a_large_answer_arrives_whole(serve: Serve, authority: Authority) -> None:
    assert len(get(serve(), "/large")[1]) == 64 << 20
    server = serve(write(authority.folder / "web.yml", TLS))
    assert len(get(server, "/large", client_context(authority))[1]) == 64 << 20


def test_connections_are_limited(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)
    server = serve()
    with raw(server), raw(server):
        assert eventually(lambda: len(server._connections) == 2)
        for _ in range(3):
            begin = time.monotonic()
            with raw(server) as refused:
                assert ended(refused)
            assert time.monotonic() - begin < 1
    assert caplog.text.count("2 connections are open; closed a new one from 127.0.0.1") == 1
    assert eventually(lambda: not server._connections)
    assert get(server)[0].status == 200


def test_running_out_of_file_descriptors_passes(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as sock:
        free = os.dup(sock.fileno())
        os.close(free)
        cpu = time.process_time()
        # The accept() under way has reserved the number below, which nothing can have again once the limit is there.
        resource.setrlimit(resource.RLIMIT_NOFILE, (free - 1, hard))
        try:
            sock.connect(server.address)
            assert eventually(lambda: caplog.text.count("cannot accept a connection") > 1)
            time.sleep(0.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert time.process_time() - cpu < 0.4
    assert get(server)[0].status == 200


def test_stopping_lets_requests_end_and_frees_the_port(serve: Serve) -> None:
    server = serve()
    answers: list[str] = []
    busy = threading.Thread(target=lambda: answers.append(get(server, "/wait")[1]))
    with raw(server) as idle:
        busy.start()
        assert eventually(lambda: len(server._connections) == 2)
        time.sleep(0.2)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        assert ended(idle)
        assert stopper.is_alive()
        release.set()
        stopper.join(2)
        busy.join(2)
    assert not stopper.is_alive()
    assert answers == ["done\n"]
    with pytest.raises(ConnectionRefusedError):
        raw(server)
    assert get(serve(address=f"127.0.0.1:{server.address[1]}"))[0].status == 200


def test_stopping_does_not_wait_for_ever(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.5)
    server = serve()
    with raw(server) as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.2)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 2
        assert ended(sock)


def test_a_server_that_never_started_can_be_stopped() -> None:
    server = start()
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        raw(server)


def test_limits_are_documented() -> None:
    table = (Path(__file__).parents[3] / "docs" / "web-config.md").read_text()
    for what, value in {
        "simultaneous connections, including idle ones": f"{module.MAX_CONNECTIONS}",
        "TLS handshake": f"{module.HANDSHAKE_TIMEOUT:.0f} s",
        "request line": f"{module.MAX_REQUEST_LINE >> 10} KiB",
        "request line and headers": f"{module.MAX_REQUEST_HEAD >> 10} KiB, 100 headers",
        "request body": f"{module.MAX_BODY >> 20} MiB, not chunked",
        "time to send a request": f"{module.REQUEST_TIMEOUT:.0f} s",
        "time to send its body": f"{module.BODY_TIMEOUT:.0f} s",
        "time to receive a response": f"{module.RESPONSE_TIMEOUT:.0f} s",
        "pause between two requests on a connection": f"{module.IDLE_TIMEOUT:.0f} s",
    }.items():
        assert f"| {what} | {value} |" in table


# TLS


def test_tls(serve: Serve, authority: Authority) -> None:
    server = serve(write(authority.folder / "web.yml", TLS))
    assert server.url == f"https://127.0.0.1:{server.address[1]}"
    context = client_context(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with contextlib.closing(connect(server, context)) as connection:
        for _ in range(2):
            connection.request("GET", "/show")
            assert "wsgi.url_scheme='https'" in connection.getresponse().read().decode()
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert connection.sock.selected_alpn_protocol() == "http/1.1"
    with pytest.raises(ssl.SSLCertVerificationError):
        get(server, "/", ssl.create_default_context())
    with raw(server) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert ended(plain)
    assert get(server, "/", context)[0].status == 200


def test_tls_connections_end_with_a_goodbye(serve: Serve, authority: Authority) -> None:
    context = client_context(authority)
    server = serve(write(authority.folder / "web.yml", TLS))
    with context.wrap_socket(raw(server), server_hostname="localhost", suppress_ragged_eofs=False) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(1000), b""))
    assert answer.endswith(b"hello\n")


def test_curl_gets_the_same(serve: Serve, authority: Authority) -> None:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed: no second witness")
    authority.issue("client")
    text = MUTUAL + f"basic_auth_users:\n  alice: {hashed('secret')}\n"
    server = serve(write(authority.folder / "web.yml", text))
    command = [program, "-sS", "--noproxy", "*", "--cacert", "ca.pem", "-u", "alice:secret", "--include"]
    with_certificate = [*command, "--cert", "client.pem", "--key", "client.key"]

    def run(command: list[str]) -> tuple[int, str]:
        done = subprocess.run(command, cwd=authority.folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    code, out = run([*with_certificate, f"{server.url}/show"])
    assert code == 0
    assert out.startswith("HTTP/1.1 200 OK\n")
    assert "REMOTE_USER='alice'" in out
    code, out = run([*with_certificate, "--data-binary", "x" * 100_000, f"{server.url}/show"])
    assert (code, out.split("\n", 1)[0]) == (0, "HTTP/1.1 405 Method Not Allowed")
    code, out = run([*with_certificate, "--head", f"{server.url}/show"])
    assert (code, out.split("\n", 1)[0]) == (0, "HTTP/1.1 200 OK")
    assert run([*command, f"{server.url}/show"])[0] != 0


def test_inline_certificates(serve: Serve, authority: Authority) -> None:
    authority.issue("client")

    def block(name: str) -> str:
        return "|\n" + "".join(f"    {line}\n" for line in (authority.folder / name).read_text().splitlines())

    text = (
        f"tls_server_config:\n  cert: {block('server.pem')}  key: {block('server.key')}  client_ca: {block('ca.pem')}"
        "  client_auth_type: RequireAndVerifyClientCert\n"
    )
    server = serve(write(authority.folder / "web.yml", text))
    assert get(server, "/", client_context(authority, "client"))[0].status == 200
    assert refused(server, client_context(authority))


def test_versions_suites_and_curves_are_enforced(serve: Serve, authority: Authority) -> None:
    def agreed(text: str, **client: object) -> tuple[str, str] | None:
        server = serve(write(authority.folder / "web.yml", TLS + text))
        context = client_context(authority)
        for name, value in client.items():
            setattr(context, name, value)
        if "curve" in client:
            context.set_ecdh_curve(str(client["curve"]))
        try:
            with context.wrap_socket(raw(server), server_hostname="localhost") as sock:
                suite, version, _ = sock.cipher() or ("", "", 0)
                return version, suite
        except (ssl.SSLError, ConnectionError):
            return None

    old = ssl.TLSVersion.TLSv1_2
    suite = "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]\n"
    assert (agreed("") or "")[0] == "TLSv1.3"
    assert agreed("  min_version: TLS13\n", maximum_version=old) is None
    assert (agreed("  max_version: TLS12\n") or "")[0] == "TLSv1.2"
    assert agreed(suite, maximum_version=old) == ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305")
    assert agreed("  curve_preferences: [CurveP384]\n", curve="secp384r1") is not None
    assert agreed("  curve_preferences: [CurveP384]\n", curve="prime256v1") is None


def test_client_certificates(serve: Serve, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> None:
    stranger = Authority(tmp_path_factory.mktemp("stranger"), "stranger")
    stranger.issue("client")
    authority.issue("client")
    known = client_context(authority, "client")
    nobody = client_context(authority)
    unknown = client_context(authority)
    unknown.load_cert_chain(stranger.folder / "client.pem", stranger.folder / "client.key")

    required = serve(write(authority.folder / "required.yml", MUTUAL))
    assert get(required, "/", known)[0].status == 200
    assert refused(required, nobody)
    assert refused(required, unknown)

    optional = serve(
        write(authority.folder / "optional.yml", MUTUAL.replace("RequireAnd", "").replace("Cert\n", "CertIfGiven\n"))
    )
    assert get(optional, "/", known)[0].status == 200
    assert get(optional, "/", nobody)[0].status == 200
    assert refused(optional, unknown)


def test_names_in_client_certificates(serve: Serve, authority: Authority) -> None:
    allowed = "  client_allowed_sans: [prometheus.example, 2001:db8::1, 192.0.2.1, spiffe://a/b, ops@a.example]\n"
    server = serve(write(authority.folder / "web.yml", MUTUAL + allowed))
    other = x509.DNSName("other.example")
    for name in (
        x509.DNSName("prometheus.example"),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.UniformResourceIdentifier("spiffe://a/b"),
        x509.RFC822Name("ops@a.example"),
    ):
        authority.issue("client", [other, name])
        assert get(server, "/", client_context(authority, "client"))[0].status == 200
    for name in (x509.DNSName("x.prometheus.example"), x509.IPAddress(ipaddress.ip_address("192.0.2.2"))):
        authority.issue("client", [other, name])
        assert refused(server, client_context(authority, "client"))


def test_a_stalled_handshake_blocks_nobody_and_is_cut_off(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT", 1.5)
    server = serve(write(authority.folder / "web.yml", TLS))
    begin = time.monotonic()
    with raw(server) as silent, raw(server) as halfway:
        halfway.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert get(server, "/", client_context(authority))[0].status == 200
        assert time.monotonic() - begin < 1
        assert ended(silent)
        assert ended(halfway)
        assert 1 < time.monotonic() - begin < 4


def test_stalled_handshakes_in_all_places_but_one_delay_nobody(serve: Serve, authority: Authority) -> None:
    server = serve(write(authority.folder / "web.yml", TLS))
    with contextlib.ExitStack() as stack:
        for _ in range(module.MAX_CONNECTIONS - 1):
            stack.enter_context(raw(server)).sendall(b"\x16\x03\x01\x02\x00\x01")
        assert eventually(lambda: len(server._connections) == module.MAX_CONNECTIONS - 1)
        begin = time.monotonic()
        assert get(server, "/", client_context(authority))[0].status == 200
        assert time.monotonic() - begin < 1


def test_stopping_during_a_handshake(serve: Serve, authority: Authority) -> None:
    server = serve(write(authority.folder / "web.yml", TLS))
    with raw(server) as silent:
        assert eventually(lambda: len(server._connections) == 1)
        time.sleep(0.1)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 2
        assert ended(silent)


# Users and headers


def test_users(serve: Serve, tmp_path: Path) -> None:
    text = HEADERS + f"basic_auth_users:\n  alice: {hashed('secret')}\n"
    server = serve(write(tmp_path / "web.yml", text))
    response, body = get(server, "/show", headers={"Authorization": basic("alice", "secret")})
    assert response.status == 200
    assert "REMOTE_USER='alice'" in body
    for header in ("", "Basic", "Basic %%%", "Bearer x", basic("alice", "wrong"), basic("bob", "secret")):
        for path, method in (("/show", "GET"), ("/nothing", "GET"), ("/", "POST")):
            response, body = get(server, path, method=method, headers={"Authorization": header})
            assert (response.status, body) == (401, "Unauthorized\n")
            assert (response.getheader("WWW-Authenticate") or "").startswith("Basic realm=")
            assert response.getheader("X-Frame-Options") == "deny"
    assert get(server)[0].status == 401


def test_the_right_password_after_a_wrong_one_on_the_same_connection(serve: Serve, tmp_path: Path) -> None:
    server = serve(write(tmp_path / "web.yml", f"basic_auth_users:\n  alice: {hashed('secret')}\n"))
    with contextlib.closing(connect(server)) as connection:
        for header, status in (("", 401), (basic("alice", "secret"), 200), ("", 401)):
            connection.request("GET", "/", headers={"Authorization": header})
            response = connection.getresponse()
            response.read()
            assert response.status == status


def test_headers_are_on_every_answer_and_replace_those_of_the_application(serve: Serve, tmp_path: Path) -> None:
    server = serve(write(tmp_path / "web.yml", HEADERS))
    for path, status in (("/", 200), ("/frame", 200), ("/nothing", 404), ("/fail", 500), ("/unchanged", 304)):
        response, _ = get(server, path)
        assert response.status == status
        assert response.headers.get_all("X-Frame-Options") == ["deny"]
        assert response.headers.get_all("Content-Security-Policy") == ["default-src 'none'"]
    assert get(server, method="POST")[0].getheader("X-Frame-Options") == "deny"
    assert get(server, "/frame")[1] == "framed"


# Changes while running


def serial(server: Server, authority: Authority) -> int:
    with client_context(authority).wrap_socket(raw(server), server_hostname="localhost") as sock:
        certificate = sock.getpeercert(binary_form=True)
        assert certificate
        return x509.load_der_x509_certificate(certificate).serial_number


def on_disk(authority: Authority) -> int:
    return x509.load_pem_x509_certificate((authority.folder / "server.pem").read_bytes()).serial_number


def test_a_new_certificate_is_served_as_soon_as_its_key_is_there(
    serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(write(authority.folder / "web.yml", TLS))
    old = serial(server, authority)
    assert old == on_disk(authority)
    old_key = (authority.folder / "server.key").read_bytes()
    _, key = authority.issue("server")
    new_key = key.read_bytes()
    write(key, old_key)
    for _ in range(3):
        assert serial(server, authority) == old
    assert caplog.text.count("does not belong to the certificate") == 1
    write(key, new_key)
    assert serial(server, authority) == on_disk(authority) != old


def test_a_new_password_holds_on_open_connections_too(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    server = serve(write(path, f"basic_auth_users:\n  alice: {hashed('old')}\n"))
    with contextlib.closing(connect(server)) as connection:

        def status(password: str) -> int:
            connection.request("GET", "/", headers={"Authorization": basic("alice", password)})
            response = connection.getresponse()
            response.read()
            return response.status

        assert (status("old"), status("new")) == (200, 401)
        write(path, f"basic_auth_users:\n  alice: {hashed('new')}\n")
        assert (status("old"), status("new")) == (401, 200)
        write(path, "basic_auth_users:\n  alice: new\n")  # broken
        assert (status("old"), status("new")) == (401, 200)
        write(path, "")  # would open the server
        assert (status("old"), status("new"), status("")) == (401, 200, 401)


def test_client_certificates_can_be_asked_for_later(serve: Serve, authority: Authority) -> None:
    path = write(authority.folder / "web.yml", TLS)
    server = serve(path)
    authority.issue("client")
    assert get(server, "/", client_context(authority))[0].status == 200
    write(path, MUTUAL)
    assert refused(server, client_context(authority))
    assert get(server, "/", client_context(authority, "client"))[0].status == 200


def test_a_wrong_file_at_the_start_is_a_config_error_and_takes_no_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(ConfigError, match=r"web\.yml:1: tls: unknown key"):
        Server(APP, f"127.0.0.1:{port}", write(tmp_path / "web.yml", "tls: {}\n"))
    socket.create_server(("127.0.0.1", port)).close()
