"""Users and passwords: who gets in, what is remembered, and what a guess costs."""

import base64
import threading
import time

import bcrypt
import pytest

from dnsvigil.httpd.basic_auth import BasicAuth
from exporters.httpd.support import hashed


def basic(credentials: str | bytes) -> str:
    raw = credentials.encode() if isinstance(credentials, str) else credentials
    return "Basic " + base64.b64encode(raw).decode()


def test_basic_authentication_tells_users_apart() -> None:
    users = {"alice": hashed("secret"), "bøb": hashed("pass:wörd").replace("$2b$", "$2y$"), "": hashed("")}
    auth = BasicAuth(users)
    for _ in range(2):  # the second time from memory
        assert auth.user(basic("alice:secret")) == "alice"
        assert auth.user(basic("alice:secret").replace("Basic", "bAsIc")) == "alice"
        assert auth.user(basic("bøb:pass:wörd")) == "bøb"
        assert auth.user(basic(":")) == ""
        for wrong in ("alice:Secret", "alice:", "bøb:secret", "carol:secret", "carol:", "alice:secret\0"):
            assert auth.user(basic(wrong)) is None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic YWxpY2U6c2VjcmV0!",
        "Basic é",
        "Bearer YWxpY2U6c2VjcmV0",
        "YWxpY2U6c2VjcmV0",
        basic("alice"),
        basic(b"\xff:secret"),
        basic(""),
    ],
)
def test_malformed_credentials_are_refused(header: str | None) -> None:
    assert BasicAuth({"alice": hashed("secret"), "": hashed("")}).user(header) is None


def test_a_long_password_counts_as_far_as_bcrypt_reads() -> None:
    auth = BasicAuth({"alice": hashed("x" * 72)})
    assert auth.user(basic("alice:" + "x" * 100)) == "alice"
    assert auth.user(basic("alice:" + "x" * 71)) is None


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that bcrypt was asked about."""
    asked: list[bytes] = []
    check = bcrypt.checkpw

    def counted(password: bytes, digest: bytes) -> bool:
        asked.append(digest)
        return check(password, digest)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return asked


def test_verdicts_are_remembered(checks: list[bytes]) -> None:
    auth = BasicAuth({"alice": hashed("secret")})
    for _ in range(5):
        assert auth.user(basic("alice:secret")) == "alice"
        assert auth.user(basic("alice:wrong")) is None
        assert auth.user(basic("carol:secret")) is None
    assert len(checks) == 3


def test_memory_is_bounded_and_guesses_do_not_push_out_the_user(checks: list[bytes]) -> None:
    auth = BasicAuth({"alice": hashed("secret")})
    auth.user(basic("alice:secret"))
    for guess in range(200):
        assert auth.user(basic(f"alice:{guess}")) is None
    assert len(auth._bad) == 128
    checks.clear()
    assert auth.user(basic("alice:secret")) == "alice"
    assert auth.user(basic("alice:199")) is None
    assert checks == []


def test_an_unknown_user_costs_what_a_known_one_costs(checks: list[bytes]) -> None:
    auth = BasicAuth({"alice": hashed("secret", 4), "bob": hashed("secret", 10)})

    def seconds(credentials: str) -> float:
        begin = time.perf_counter()
        assert auth.user(basic(credentials)) is None
        return time.perf_counter() - begin

    known = min(seconds(f"bob:{i}") for i in range(3))
    unknown = min(seconds(f"carol:{i}") for i in range(3))
    assert known / 3 < unknown < known * 3
    assert [digest[4:6] for digest in checks] == [b"10"] * 6


def test_the_user_gets_in_while_guesses_are_checked(checks: list[bytes]) -> None:
    auth = BasicAuth({"alice": hashed("secret")})
    auth.user(basic("alice:secret"))
    admitted: list[str | None] = []
    with auth._lock:  # as a thread has it that is busy with bcrypt
        thread = threading.Thread(target=lambda: admitted.append(auth.user(basic("alice:secret"))), daemon=True)
        thread.start()
        thread.join(10)
        assert admitted == ["alice"]


def test_an_unknown_user_never_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: True)
    auth = BasicAuth({"alice": hashed("secret")})
    assert auth.user(basic("alice:")) == "alice"
    assert auth.user(basic("carol:")) is None


def test_no_password_is_kept_in_memory() -> None:
    auth = BasicAuth({"alice": hashed("hunter1")})
    assert auth.user(basic("alice:hunter1")) == "alice"
    assert auth.user(basic("alice:hunter2")) is None
    assert auth._good
    assert auth._bad
    assert "hunter" not in repr(vars(auth))
