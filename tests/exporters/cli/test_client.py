"""Commands that read, and who may write: with the collector up, down, hanging, behind TLS and a password, as others."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from alerting import free_port
from dnsvigil.cli import client, credentials
from dnsvigil.cli.main import main
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.store import Store
from exporters.httpd.support import Authority, hashed
from exporters.running import collecting_here, eventually, get

NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
READING = (
    ("findings",),
    ("findings", "--json"),
    ("findings", "show", "1"),
    ("flows", "series"),
    ("metrics",),
    ("train", "--output", "/nonexistent/model"),
)
DISMISS = ("findings", "dismiss", "1", "--why", "ours")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may look into."""
    with tempfile.TemporaryDirectory(prefix="dnsvigil-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def state(folder: Path) -> Path:
    """The state of a collector that has found something."""
    with Store(folder / "state") as store:
        FlowTables(store, 10**9)
        findings = Findings(store)
        with store.transaction():
            findings.put(Finding("nfsen", "resolver", "192.0.2.53", 0.5, "warning", NOW, NOW, {"alert": "dns-change"}))
        store.connection.execute("INSERT INTO slot_services VALUES (?, 'edge', 'udp', 'dns', 1, 2, 3, 1)", [NOW])
    return folder / "state"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Run:
    def running(*words: str | Path) -> tuple[int, str, str]:
        caplog.clear()
        try:
            status = main([str(word) for word in words])
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err + caplog.text

    return running


def config_of(folder: Path, **keys: object) -> tuple[Path, int]:
    port = free_port()
    path = folder / "dnsvigil.yml"
    path.write_text(yaml.safe_dump({"listen": f"127.0.0.1:{port}", **keys}))
    return path, port


def seen(folder: Path) -> dict[str, tuple[int, ...]]:
    """All that is below a folder, with owner, mode, size and time of change."""
    found = {}
    for path in folder.rglob("*"):
        stat = path.lstat()
        found[str(path)] = (stat.st_uid, stat.st_gid, stat.st_mode, stat.st_size, stat.st_mtime_ns)
    return found


@contextmanager
def ready(config: Path, state: Path) -> Iterator[None]:
    with collecting_here(config, state) as daemon:
        eventually(lambda: daemon.site.pages._shown[0])  # whatever the credentials to ask for it
        yield


def secret(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("words", READING, ids=" ".join)
@pytest.mark.parametrize("exists", [False, True])
def test_with_neither_collector_nor_store_both_are_named_and_nothing_is_made(words, exists, folder, run):
    config, port = config_of(folder)
    if exists:
        (folder / "state").mkdir()
    before = seen(folder)
    status, output, errors = run("-c", config, "--state", folder / "state", *words)
    assert (status, output) == (1, "")
    assert f"no collector answers at http://127.0.0.1:{port}: Connection refused" in errors
    assert f"there is no store in {folder / 'state'}" in errors
    assert seen(folder) == before


@pytest.mark.parametrize("words", READING[:-1], ids=" ".join)
def test_the_store_is_read_where_no_collector_runs_and_stays_as_it_is(words, state, run, caplog):
    caplog.set_level("DEBUG")
    folder = state.parent
    config, port = config_of(folder)
    before = seen(folder)
    status, output, errors = run("-c", config, "--state", state, *words)
    assert status == 0
    assert ("edge" if words[0] == "flows" else "192.0.2.53") in output
    assert f"no collector answers at http://127.0.0.1:{port}" in errors
    assert str(state) in errors
    assert seen(folder) == before


def test_what_was_not_yet_written_into_the_file_is_read_too(folder, state, run):
    """As a collector leaves it that is killed: the log that DuckDB writes ahead has the newest."""
    script = (
        "import os, sys; from pathlib import Path; from dnsvigil.store.store import Store\n"
        "from dnsvigil.store.findings import Findings; from datetime import datetime\n"
        "from dnsvigil.store.findings import Finding\n"
        "store = Store(Path(sys.argv[1])); findings = Findings(store); now = datetime.now().replace(microsecond=0)\n"
        "with store.transaction():\n"
        "    findings.put(Finding('nfsen', 'client', 'new.example', 0.5, 'warning', now, now, {}))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, state], check=False)
    assert (state / "dnsvigil.duckdb.wal").stat().st_size
    config, _ = config_of(folder)
    before = seen(folder)
    status, output, _ = run("-c", config, "--state", state, "findings")
    assert (status, "new.example" in output, seen(folder) == before) == (0, True, True)


@pytest.mark.parametrize(
    ("words", "listen"),
    [
        *((words, "127.0.0.1") for words in READING[:-1]),
        *((READING[0], listen) for listen in ("", "[::1]", "[::]", "0.0.0.0", "localhost")),
    ],
)
def test_the_running_collector_is_asked_first(words, listen, folder, state, run):
    config, port = config_of(folder)
    config.write_text(f"listen: '{listen}:{port}'\nclient: {{token_file: {state}/api-token}}\n")
    with ready(config, state):
        # There is no store where it is not said to be.
        token = ["--token-file", state / "api-token"]
        status, output, errors = run("-c", config, "--state", folder / "none", *words, *token)
        assert (status, errors) == (0, "")
        assert ("edge" if words[0] == "flows" else "192.0.2.53") in output
        assert not (folder / "none").exists()


def test_a_store_in_use_and_no_collector_where_it_should_be(folder, state, run):
    config, port = config_of(folder)
    with Store(state):
        # Another process, as the lock is each process's own.
        command = [sys.executable, "-m", "dnsvigil", "-c", config, "--state", state, "findings"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no collector answers at http://127.0.0.1:{port}" in done.stderr
    assert "is in use by" in done.stderr


# Who is refused, and by what right one is not


WEB = {
    "tls": {"tls_server_config": {"cert_file": "server.pem", "key_file": "server.key"}},
    "password": {"basic_auth_users": {"alice": hashed("s3cret")}},
    "tls and password": {
        "tls_server_config": {"cert_file": "server.pem", "key_file": "server.key"},
        "basic_auth_users": {"alice": hashed("s3cret")},
    },
    "client certificate": {
        "tls_server_config": {
            "cert_file": "server.pem",
            "key_file": "server.key",
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "ours.pem",
        },
    },
}
PASSWORD = ["--username", "alice", "--password-file", "{folder}/password"]
CA = ["--ca-file", "{folder}/ours.pem"]
OURS = ["--cert-file", "{folder}/client.pem", "--key-file", "{folder}/client.key"]
THEIRS = ["--cert-file", "{folder}/stranger.pem", "--key-file", "{folder}/stranger.key"]
PORT = "{port}"


@pytest.mark.parametrize(
    ("web", "words", "says"),
    [
        # Without a word: the certificate that the web configuration names is the collector's.
        ("tls", [], ""),
        ("tls", CA, ""),
        ("tls", ["--url", "https://localhost:{port}", *CA], ""),
        ("tls", ["--ca-file", "{folder}/server.pem"], ""),
        ("tls", ["--ca-file", "{folder}/theirs.pem"], "presents a certificate that is not trusted"),
        ("tls", ["--url", "https://127.0.0.1:{port}"], "presents a certificate that is not trusted"),
        ("tls", ["--url", "http://127.0.0.1:{port}"], "is it https://?"),
        ("tls", ["--ca-file", "{folder}/none.pem"], "none.pem"),
        ("tls", ["--ca-file", "{folder}/password"], "holds no certificates that can be used"),
        # The token of the state is as good as a password.
        ("password", [], ""),
        ("password", ["--token-file", "{folder}/wrong"], "wants a user and a password"),
        ("password", PASSWORD, ""),
        ("password", ["--url", "https://127.0.0.1:{port}", *PASSWORD], "does not speak TLS; is it http://?"),
        ("password", ["--username", "bob", "--password-file", "{folder}/password"], "wants a user and a password"),
        ("password", ["--username", "alice", "--password-file", "{folder}/wrong"], "wants a user and a password"),
        ("password", ["--username", "alice", "--password-file", "{folder}/open"], "chmod o= "),
        ("password", ["--username", "alice", "--password-file", "{folder}/empty"], "does not hold one line"),
        ("password", ["--username", "alice", "--password-file", "{folder}/none"], "No such file"),
        ("password", ["--username", "alice"], "client.username: expected both, a user and a password_file"),
        ("tls and password", CA, ""),
        ("tls and password", [*CA, "--token-file", "{folder}/wrong"], "wants a user and a password"),
        ("tls and password", [*CA, *PASSWORD], ""),
        ("client certificate", CA, "see client.cert_file"),
        ("client certificate", [*CA, *OURS], ""),
        ("client certificate", [*CA, *THEIRS], "see client.cert_file"),
        ("client certificate", [*CA, "--cert-file", "{folder}/client.pem"], "cannot be used"),
        ("client certificate", [*CA, "--key-file", "{folder}/client.key"], "expected cert_file beside it"),
    ],
)
def test_credentials(web, words, says, state, run):
    folder = state.parent
    ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
    ours.issue("server")
    for authority, name in ((ours, "client"), (theirs, "stranger")):
        authority.issue(name)[1].chmod(0o600)
    secret(folder / "password", "s3cret\n")
    secret(folder / "wrong", "secret\n")
    secret(folder / "open", "s3cret\n", 0o644)
    secret(folder / "empty", "\n")
    (folder / "web.yml").write_text(yaml.safe_dump(WEB[web]))
    config, port = config_of(folder, web_config_file=str(folder / "web.yml"))
    options = [word.format(folder=folder, port=port) for word in words]
    with ready(config, state):
        status, output, errors = run("-c", config, "--state", state, "findings", *options)
    if not says:
        assert (status, errors) == (0, "")
        assert "192.0.2.53" in output
    else:
        # A refusal is never an answer from elsewhere.
        assert status in (1, 2)
        assert output == ""
        assert says in errors
        assert "_ssl" not in errors
        assert "ssl.c" not in errors
    assert "s3cret" not in output + errors


@pytest.mark.parametrize("exact", [True, False])
def test_a_certificate_that_is_in_the_file_itself_needs_no_name(exact, folder, state, run):
    ours = Authority(folder, "ours")
    ours.issue("server", [x509.DNSName("collector.example")])
    (folder / "web.yml").write_text(yaml.safe_dump(WEB["tls"]))
    config, _ = config_of(folder, web_config_file=str(folder / "web.yml"))
    with ready(config, state):
        file = folder / ("server.pem" if exact else "ours.pem")
        status, output, errors = run("-c", config, "--state", state, "findings", "--ca-file", file)
    assert (status, "192.0.2.53" in output) == ((0, True) if exact else (1, False))
    assert exact or "certificate is not valid for '127.0.0.1'" in errors


def test_credentials_come_from_the_configuration_and_options_go_before_them(folder, state, run):
    Authority(folder, "ours").issue("server")
    (folder / "web.yml").write_text(yaml.safe_dump(WEB["tls and password"]))
    keys = {
        "ca_file": str(folder / "ours.pem"),
        "username": "alice",
        "password_file": str(secret(folder / "password", "s3cret")),
    }
    config, port = config_of(folder, web_config_file=str(folder / "web.yml"), client=keys)
    with ready(config, state):
        command = ["-c", config, "--state", state]
        for words in (["findings"], ["findings", "show", "1"], ["flows", "series"], ["metrics"]):
            assert run(*command, *words)[::2] == (0, "")
        assert run(*command, "findings", "dismiss", "1", "--why", "ours")[0] == 0
        wrong = secret(folder / "wrong", "wrong")
        assert run(*command, "findings", "--password-file", wrong)[0] == 1
        # It may stand before the command of findings as well.
        assert run(*command, "findings", "--password-file", wrong, "show", "1")[0] == 1
        config.write_text(yaml.safe_dump({"client": keys | {"url": f"https://localhost:{port}/"}}))
        assert run(*command, "findings", "show", "1")[::2] == (0, "")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://alice:s3cret@collector.example", "which have keys of their own"),
        ("collector.example:9953", "such as https://collector.example:9953"),
        ("ftp://collector.example", "such as https://"),
        ("http://", "such as https://"),
        ("http://a b/", "such as https://"),
        ("http://a:99999/", "such as https://"),
    ],
)
def test_a_url_that_is_none_is_wrong_usage_and_no_password_is_repeated(url, says, run):
    status, _, errors = run("findings", "--url", url)
    assert (status, says in errors, "s3cret" in errors) == (2, True, False)


def test_no_proxy_is_followed(folder, state, run, monkeypatch):
    config, _ = config_of(folder, client={"token_file": str(state / "api-token")})
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with ready(config, state):
        assert run("-c", config, "--state", state, "findings")[::2] == (0, "")


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something that is no collector, on a port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    with connection:
                        answer(connection)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def says(text: str) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text.encode())

    return answer


def never(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def drips(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.1)


def status_of(code: int, body: str, headers: str = "") -> Callable[[socket.socket], None]:
    return says(f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_SECONDS", 1.0)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("words", [READING[0], READING[3], READING[4]], ids=" ".join)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (never, "does not answer within"),
        (drips, "does not answer within"),
        (says(""), "does not answer in HTTP"),
        (says("SSH-2.0-OpenSSH_9.2\r\n"), "does not answer in HTTP"),
        (status_of(401, "no"), "wants a user and a password, or a token"),
        (status_of(403, '{"error": "not for you"}'), "does not allow that: not for you"),
        (status_of(500, "oops"), "answers 500: oops"),
        (status_of(503, "starting\x1b[31m"), r"answers 503: starting\x1b[31m"),
        (status_of(302, "", "Location: http://127.0.0.1:1/\r\n"), "answers 302"),
        (status_of(200, "<html>It works!</html>"), ""),
        (status_of(404, "Not Found"), ""),
        (status_of(200, '"a text"'), ""),
        (status_of(200, '[{"id": 1}]'), ""),
        (status_of(200, "[" * 100_000), ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_collector_that_hangs_or_fails_is_no_reason_to_read_a_store(answer, expected, words, state, run):
    before = seen(state)
    began = time.monotonic()
    with listening(answer) as port:
        status, output, errors = run("--state", state, *words, "--url", f"http://127.0.0.1:{port}")
    assert (status, output) == (1, ""), errors
    assert expected in errors
    assert "Traceback" not in errors
    assert "\x1b" not in errors
    assert time.monotonic() - began < 20
    assert seen(state) == before


# The token


@pytest.mark.parametrize("place", ["state", "api", "client", "option", "none"])
def test_the_token_of_a_real_collector(place, folder, state, run):
    """Findings have addresses of clients, and a dismissal is a change: both need it."""
    elsewhere = folder / "token"
    config, port = config_of(folder, **({} if place == "state" else {"api": {"token_file": str(elsewhere)}}))
    with ready(config, state):
        if place in ("client", "option", "none"):
            keys = {"client": {"token_file": str(elsewhere)}} if place == "client" else {}
            config.write_text(yaml.safe_dump({"listen": f"127.0.0.1:{port}", **keys}))
        option = ["--token-file", elsewhere] if place == "option" else []
        for words in (["findings"], ["findings", "dismiss", "1", "--why", "ours"], ["findings", "reopen", "1"]):
            status, output, errors = run("-c", config, "--state", state, *words, *option)
            if place != "none":
                assert (status, errors) == (0, "")
            else:
                assert (status, output) == (1, "")
                assert f"this needs the token in {elsewhere}" in errors


def test_the_token_is_sent_where_it_belongs(folder, run, monkeypatch):
    asked: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    (folder / "state").mkdir()
    own = secret(folder / "state" / "api-token", "abc123\n", 0o640)
    other = secret(folder / "other", "xyz")
    password = secret(folder / "password", "pw")
    with listening(answer) as port:
        command = ["--state", folder / "state", "findings", "--url", f"http://127.0.0.1:{port}"]
        assert run(*command)[0] == 0
        assert run(*command, "--token-file", other)[0] == 0
        assert run(*command, "--username", "a", "--password-file", password)[0] == 0
        # What is not this machine does not get the own collector's token over plain HTTP.
        with monkeypatch.context() as patch:
            patch.setattr(credentials, "_is_loopback", lambda _: False)
            assert run(*command)[0] == 0
    sent = [line for each in asked for line in each.split(b"\r\n") if line.startswith(b"Authorization")]
    assert sent == [b"Authorization: Bearer abc123", b"Authorization: Bearer xyz", b"Authorization: Basic YTpwdw=="]
    own.chmod(0o644)
    status, _, errors = run("--state", folder / "state", "findings")
    assert (status, f"chmod o= {own}" in errors) == (2, True)
    secret(other, "two\nlines\n")
    assert run(*command, "--token-file", other)[0] == 2


# Who may write


def as_user(user: int, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as another user, who may not read where Python and its packages are: they are loaded before."""
    script = (
        "import os, sys\n"
        "import dnsvigil.cli.main, dnsvigil.cli.findings, dnsvigil.cli.flows, dnsvigil.cli.metrics\n"
        "import dnsvigil.cli.zones, dnsvigil.cli.set_aside, dnsvigil.cli.run, dnsvigil.cli.train, dnsvigil.cli.ingest\n"
        "user = int(sys.argv.pop(1))\nos.setgroups([])\nos.setgid(65534)\nos.setuid(user)\nos.chdir('/')\n"
        "sys.argv[0] = 'dnsvigil'\nsys.exit(dnsvigil.cli.main.main())\n"
    )
    command = [sys.executable, "-c", script, str(user), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@needs_root
@pytest.mark.parametrize("words", [*READING[:4], DISMISS], ids=" ".join)
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_another_user_reads_what_may_be_read(words, mode, folder, state):
    config, _ = config_of(folder)
    state.chmod(mode)
    before = seen(folder)
    done = as_user(65534, "-c", config, "--state", state, *words)
    if mode == 0o755 and words == DISMISS:
        assert done.returncode == 1
    elif mode == 0o755:
        assert done.returncode == 0, done.stderr
        assert ("edge" if words[0] == "flows" else "192.0.2.53") in done.stdout
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith("Permission denied\n")
        assert "Errno" not in done.stderr
    assert "Traceback" not in done.stderr
    assert seen(folder) == before


@needs_root
@pytest.mark.parametrize(("words", "allowed"), [(READING[0], False), (READING[3], True), (READING[4], True)])
def test_another_user_asks_the_collector_what_needs_no_token(words, allowed, folder, state):
    config, _ = config_of(folder)
    with ready(config, state):
        done = as_user(65534, "-c", config, "--state", state, *words)
    if allowed:
        assert (done.returncode, done.stderr) == (0, "")
        assert "dns" in done.stdout
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert f"this needs the token in {state / 'api-token'}" in done.stderr


@needs_root
@pytest.mark.parametrize("user", [0, 65534])
@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("ingest", "some where/dns.log"),
        ("train",),
        ("findings", "dismiss", "1", "--why", "it's ours"),
    ],
    ids=" ".join,
)
def test_another_user_than_the_owner_does_not_write(words, user, folder, state):
    daemon = pwd.getpwnam("daemon")
    config, _ = config_of(folder)
    for path in (state, *state.rglob("*")):
        os.chown(path, daemon.pw_uid, daemon.pw_gid)
    before = seen(folder)
    done = as_user(user, "-c", config, "--state", state, *words)
    assert (done.returncode, done.stdout) == (1, "")
    line = done.stderr.splitlines()[-1].partition("Run: ")[2]
    assert line.startswith("runuser -u daemon -- ")
    quoted = {"ingest": "'some where/dns.log'", "findings": """'it'"'"'s ours'"""}
    assert line.endswith(
        f"dnsvigil -c {config} --state {state} {' '.join(words[:-1])} {quoted.get(words[0], words[-1])}".replace(
            "  ", " "
        )
    )
    assert "Traceback" not in done.stderr
    assert seen(folder) == before


@needs_root
def test_a_file_of_root_in_the_folder_of_another_is_named(folder, state):
    daemon = pwd.getpwnam("daemon")
    os.chown(state, daemon.pw_uid, daemon.pw_gid)
    done = as_user(daemon.pw_uid, "--state", state, "ingest", "/nonexistent")
    assert done.returncode == 1
    assert f"{state}/dnsvigil.duckdb belongs to root" in done.stderr
    assert f"Run: chown --recursive daemon {state}" in done.stderr


@needs_root
def test_nor_does_root_train_into_a_folder_below(folder, state, run):
    daemon = pwd.getpwnam("daemon")
    config, _ = config_of(folder)
    for path in (state, *state.rglob("*")):
        os.chown(path, daemon.pw_uid, daemon.pw_gid)
    before = seen(folder)
    model = state / "models"
    status, output, errors = run("-c", config, "--state", state, "train", "--output", model)
    assert (status, output) == (1, "")
    assert "Run: runuser -u daemon -- " in errors
    assert seen(folder) == before


def test_findings_are_dismissed_in_the_store_where_no_collector_runs(folder, state, run):
    config, _ = config_of(folder)
    command = ["-c", config, "--state", state, "findings"]
    assert run(*command, "dismiss", "1", "--why", "ours")[0] == 0
    assert json.loads(run(*command, "--json")[1]) == []
    shutil.rmtree(state)
    status, _, errors = run(*command, "dismiss", "1", "--why", "ours")
    assert (status, "there is no store in" in errors, state.exists()) == (1, True, False)


def test_the_collector_reads_on_beside_the_commands(folder, state, run):
    """A command of root leaves nothing behind on which the collector could fail."""
    config, port = config_of(folder, client={"token_file": str(state / "api-token")})
    with ready(config, state):
        assert run("-c", config, "--state", state, "findings")[0] == 0
        assert "dnsvigil_findings" in get(f"http://127.0.0.1:{port}/metrics")
