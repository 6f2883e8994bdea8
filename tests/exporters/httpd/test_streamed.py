"""Responses that are sent in pieces."""

import http.client
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from dnsvigil.httpd import limits
from dnsvigil.httpd.request import STREAMED
from dnsvigil.httpd.server import Server


class App:
    """Sends what it is told to, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes | Exception] = [b"one\n", b"", b"two\n"]
        self.wait = threading.Event()
        self.wait.set()
        self.closed = threading.Event()
        self.sent = 0

    def __call__(self, environ, start_response):
        environ["wsgi.input"].read()
        environ[STREAMED] = True
        start_response(
            "200 OK", [("Content-Type", "text/plain"), ("Transfer-Encoding", "evil"), ("Content-Length", "3")]
        )
        return self._send()

    def _send(self) -> Iterator[bytes]:
        try:
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                self.sent += 1
                yield piece
                self.wait.wait(20)
        finally:
            self.closed.set()


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def server(app) -> Iterator[Server]:
    with Server(app, "127.0.0.1:0") as server:
        yield server


def raw(server: Server, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of an answer, up to the end of the connection."""
    with socket.create_connection(server.address, timeout=20) as client:
        client.sendall(request)
        head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
        return head, body


def test_pieces_are_chunks(server):
    head, body = raw(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.count(b"Transfer-Encoding") == 1
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    assert body == b"4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n"


def test_a_piece_arrives_before_the_next_is_made(app, server):
    app.wait.clear()
    with closing(http.client.HTTPConnection(*server.address, timeout=20)) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.readline() == b"one\n"
        assert app.sent == 1
        app.wait.set()
        assert response.read() == b"two\n"


def test_a_connection_goes_on_after_a_stream(server):
    with closing(http.client.HTTPConnection(*server.address, timeout=20)) as connection:
        for body in (None, b"x" * 1000, None):
            connection.request("POST" if body else "GET", "/", body)
            before = connection.sock
            assert connection.getresponse().read() == b"one\ntwo\n"
            assert connection.sock is before is not None


def test_an_older_client_reads_to_the_end_of_the_connection(server):
    head, body = raw(server, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert body == b"one\ntwo\n"


def test_head_has_no_piece_and_makes_one_at_most(app, server):
    head, body = raw(server, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b""
    assert app.sent == 1
    assert app.closed.wait(20)


def test_a_stream_without_pieces_is_an_empty_response(app, server):
    app.pieces = []
    head, body = raw(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 0" in head
    assert body == b""


def test_a_stream_that_fails_is_never_taken_for_whole(app, server, caplog):
    app.pieces = [b"one\n", RuntimeError("a defect")]
    with closing(http.client.HTTPConnection(*server.address, timeout=20)) as connection:
        connection.request("GET", "/")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()
    assert "a defect" in caplog.text
    app.pieces = [RuntimeError("at once")]
    assert raw(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0].startswith(b"HTTP/1.1 500")


def test_a_client_that_goes_ends_the_stream(app, server, caplog):
    app.pieces = [b"x" * 65536] * 10_000
    with socket.create_connection(server.address, timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100)
    assert app.closed.wait(20)
    assert app.sent < 10_000
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_client_that_does_not_read_is_cut_off(app, server, monkeypatch):
    monkeypatch.setattr(limits, "RESPONSE_TIMEOUT", 0.5)
    app.pieces = [b"x" * 65536] * 10_000
    with socket.create_connection(server.address, timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        assert app.closed.wait(20)
        assert time.monotonic() - began < 15
    assert app.sent < 10_000
