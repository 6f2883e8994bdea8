"""The web configuration file: what is accepted, what is refused and how, with promtool as second witness."""

import dataclasses
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dnsvigil.config.yaml_file import ConfigError
from dnsvigil.httpd import web_config
from dnsvigil.httpd.tls import CIPHER_SUITES, TlsSection
from dnsvigil.httpd.web_config import LiveWebConfig, WebConfig, load_web_config
from exporters.httpd.support import Authority, hashed, private_pem, write

DOCUMENT = Path(__file__).parents[3] / "docs" / "web-config.md"
HASH = hashed("secret")
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"

GOOD = {
    "empty": "",
    "sections without content": "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
    "certificate": TLS,
    "client certificates": TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n",
    "optional client certificates": TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n",
    "versions": TLS + "  min_version: TLS13\n  max_version: TLS13\n",
    "cipher suites": TLS + "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n"
    "  prefer_server_cipher_suites: false\n",
    "TLS 1.3 suites only": TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
    "one curve": TLS + "  curve_preferences: [CurveP384]\n",
    "headers": "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n"
    "    X-Content-Type-Options: nosniff\n    X-XSS-Protection: '0'\n"
    "    Content-Security-Policy: default-src 'self'\n    Strict-Transport-Security: max-age=31536000\n",
    "users": f"basic_auth_users:\n  alice: {HASH}\n  bob: {HASH.replace('$2b$', '$2y$')}\n",
}

# Text, the line that the message has to name, and words of the message.
BAD_FOR_BOTH: dict[str, tuple[str, int | None, str]] = {
    "not YAML": ("tls_server_config: [\n", 2, "not valid YAML"),
    "unknown section": ("\nbasic_auth_user:\n", 2, "basic_auth_user: unknown key, did you mean 'basic_auth_users'?"),
    "unknown TLS key": (TLS + "  certfile: x\n", 4, "tls_server_config.certfile: unknown key"),
    "unknown HTTP key": ("http_server_config:\n  http3: true\n", 2, "http_server_config.http3: unknown key"),
    "unknown header": ("http_server_config:\n  headers:\n    Server: x\n", 3, "header 'Server' cannot be set"),
    "header value": (
        "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
        3,
        "X-Frame-Options: expected deny or sameorigin, found 'allow'",
    ),
    "no certificate": ("tls_server_config:\n  key_file: server.key\n", 2, "cert_file: missing"),
    "no key": ("tls_server_config:\n  cert_file: server.pem\n", 2, "key_file: missing"),
    "certificate not there": (TLS.replace("server.pem", "no.pem"), None, "no.pem cannot be read: No such file"),
    "key not there": (TLS.replace("server.key", "no.key"), None, "no.key cannot be read: No such file"),
    "key of another": (TLS.replace("server.key", "other.key"), None, "other.key does not belong to the certificate"),
    "key for certificate": (
        TLS.replace("server.pem", "server.key"),
        None,
        "holds no PEM block of the kind CERTIFICATE",
    ),
    "garbled certificate": (TLS.replace("server.pem", "garbled.pem"), None, "garbled.pem cannot be used"),
    "encrypted key": (TLS.replace("server.key", "locked.key"), None, "locked.key is encrypted"),
    "authority not there": (
        TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: no.pem\n",
        None,
        "no.pem cannot be read",
    ),
    "authority not used": (TLS + "  client_ca_file: ca.pem\n", 4, "client_ca_file: has no effect"),
    "client_auth_type": (TLS + "  client_auth_type: Maybe\n", 4, "client_auth_type: expected one of NoClientCert"),
    "unknown version": (TLS + "  min_version: SSL3\n", 4, "min_version: expected one of TLS12, TLS13"),
    "unknown suite": (TLS + "  cipher_suites:\n    - RC4\n", 5, "cipher_suites[0]: expected one of TLS_AES_128"),
    "unknown curve": (TLS + "  curve_preferences: [P256]\n", 4, "curve_preferences[0]: expected one of CurveP256"),
    "password in clear": ("basic_auth_users:\n  alice: secret\n", 2, "'alice': expected a bcrypt hash"),
    "users as list": ("basic_auth_users:\n  - alice\n", 2, "expected a mapping"),
}

# The toolkit takes these; here they are refused because ssl cannot do them or because they mean nothing good.
BAD_HERE: dict[str, tuple[str, int | None, str]] = {
    "certificate unverified": (TLS + "  client_auth_type: RequireAnyClientCert\n", 4, "without verifying them"),
    "certificate requested": (TLS + "  client_auth_type: RequestClientCert\n", 4, "without verifying them"),
    "no authority": (TLS + "  client_auth_type: RequireAndVerifyClientCert\n", 4, "needs client_ca_file or client_ca"),
    "several curves": (TLS + "  curve_preferences: [X25519, CurveP256]\n", 4, "supports only one curve"),
    "old version": (TLS + "  min_version: TLS10\n", 4, "expected one of TLS12, TLS13, found 'TLS10'"),
    "versions the wrong way round": (TLS + "  min_version: TLS13\n  max_version: TLS12\n", 4, "above max_version"),
    "suites of another version": (
        TLS + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
        5,
        "names only suites of TLS 1.3",
    ),
    "TLS without a certificate": ("tls_server_config:\n  min_version: TLS13\n", 2, "cert_file: missing"),
    "authority without certificates": (
        TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key\n",
        None,
        "server.key holds no PEM block of the kind CERTIFICATE",
    ),
    "garbled authority": (
        TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: garbled.pem\n",
        None,
        "garbled.pem cannot be used",
    ),
    "line break in a header": (
        'http_server_config:\n  headers:\n    Content-Security-Policy: "a\\r\\nb: c"\n',
        3,
        "Content-Security-Policy: expected printable ASCII",
    ),
    "colon in a user name": (f"basic_auth_users:\n  'a:b': {HASH}\n", 2, "'a:b': a user name cannot contain a colon"),
}

# Keys that came after the promtool of Debian 12.
BAD_NEWER: dict[str, tuple[str, int | None, str]] = {
    "certificate twice": (TLS + "  cert: x\n", 4, "cert: given together with cert_file"),
    "key twice": (TLS + "  key: x\n", 4, "key: given together with key_file"),
    "authority twice": (TLS + "  client_ca_file: a\n  client_ca: x\n", 5, "client_ca: given together with"),
    "inline certificate that is none": (
        "tls_server_config:\n  cert: x\n  key_file: server.key\n",
        None,
        "tls_server_config.cert: holds no PEM block",
    ),
    "names of optional certificates": (
        TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n  client_allowed_sans: [a]\n",
        6,
        "client_allowed_sans: needs client_auth_type RequireAndVerifyClientCert",
    ),
    "no names": (
        TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: []\n",
        6,
        "would reject every client",
    ),
}


@pytest.fixture
def folder(authority: Authority) -> Path:
    """A folder with a server certificate and some files that are wrong, none of them below the working directory."""
    path = authority.folder
    authority.issue("other")
    locked = serialization.BestAvailableEncryption(b"passphrase")
    write(path / "locked.key", private_pem(ec.generate_private_key(ec.SECP256R1()), locked))
    write(path / "garbled.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return path


def promtool(path: Path) -> bool:
    """Whether promtool accepts ``path``."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: no second witness")
    done = subprocess.run([program, "check", "web-config", str(path)], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.parametrize("name", GOOD)
def test_good_file_is_accepted(folder: Path, name: str) -> None:
    load_web_config(write(folder / "web.yml", GOOD[name]))


@pytest.mark.parametrize("name", GOOD)
def test_promtool_accepts_the_same_good_file(folder: Path, name: str) -> None:
    assert promtool(write(folder / "web.yml", GOOD[name]))


@pytest.mark.parametrize("name", [*BAD_FOR_BOTH, *BAD_HERE, *BAD_NEWER])
def test_bad_file_is_refused_with_file_line_and_key(folder: Path, name: str) -> None:
    text, line, message = (BAD_FOR_BOTH | BAD_HERE | BAD_NEWER)[name]
    path = write(folder / "web.yml", text)
    with pytest.raises(ConfigError) as caught:
        load_web_config(path)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: tls_server_config.")
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", BAD_FOR_BOTH)
def test_promtool_refuses_the_same_bad_file(folder: Path, name: str) -> None:
    assert not promtool(write(folder / "web.yml", BAD_FOR_BOTH[name][0]))


@pytest.mark.parametrize("name", BAD_HERE)
def test_only_documented_files_are_refused_that_promtool_accepts(folder: Path, name: str) -> None:
    assert promtool(write(folder / "web.yml", BAD_HERE[name][0]))


def test_file_not_there_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"web\.yml: cannot be read"):
        load_web_config(tmp_path / "web.yml")


def test_paths_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    write(folder / "web.yml", TLS)
    assert load_web_config(folder / "web.yml").ssl_context is not None
    (folder / "sub").mkdir()
    above = write(folder / "sub" / "web.yml", TLS.replace("server.", "../server."))
    assert load_web_config(above).ssl_context is not None


def test_an_encrypted_key_is_not_asked_about_on_the_terminal(folder: Path) -> None:
    write(folder / "web.yml", TLS.replace("server.key", "locked.key"))
    program = "import pathlib, sys; from dnsvigil.httpd.web_config import *; load_web_config(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, folder / "web.yml"],
        input="passphrase\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "locked.key is encrypted" in done.stderr
    assert "Enter" not in done.stderr + done.stdout


def test_cipher_suites_are_named_as_openssl_names_them() -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("the openssl program is not installed: no second witness")
    listing = subprocess.check_output([program, "ciphers", "-stdname", "ALL:@SECLEVEL=0"], text=True)
    witness = {line.split()[0]: line.split()[2] for line in listing.splitlines()}
    for name, ours in CIPHER_SUITES.items():
        assert witness[name] == (ours or name)


def test_suites_order_and_versions_reach_openssl(folder: Path) -> None:
    suites = ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]
    text = TLS + f"  cipher_suites: [{', '.join(suites)}]\n  max_version: TLS12\n"
    context = load_web_config(write(folder / "web.yml", text)).ssl_context
    assert context is not None
    offered = [suite["name"] for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"]
    assert offered == ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)

    write(folder / "web.yml", TLS + "  prefer_server_cipher_suites: false\n")
    context = load_web_config(folder / "web.yml").ssl_context
    assert context is not None
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_only_tls_13_suites_means_tls_13(folder: Path) -> None:
    context = load_web_config(write(folder / "web.yml", GOOD["TLS 1.3 suites only"])).ssl_context
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_blank_headers_are_unset(tmp_path: Path) -> None:
    text = "http_server_config:\n  headers:\n    X-XSS-Protection: ''\n    X-Frame-Options: deny\n"
    assert load_web_config(write(tmp_path / "web.yml", text)).headers == {"X-Frame-Options": "deny"}


def test_passwords_without_bcrypt_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    assert load_web_config(write(tmp_path / "web.yml", GOOD["headers"])).basic_auth is None
    with pytest.raises(ConfigError, match="basic_auth_users: needs the Python package bcrypt: apt install"):
        load_web_config(write(tmp_path / "web.yml", GOOD["users"]))


def test_live_configuration_follows_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", GOOD["users"])
    live = LiveWebConfig(path)
    first = live.current()
    assert live.current() is first
    write(path, GOOD["users"] + GOOD["headers"])
    assert live.current().headers["X-Frame-Options"] == "deny"


def test_no_file_is_plain_http_for_everybody() -> None:
    config = LiveWebConfig(None).current()
    assert (config.ssl_context, config.basic_auth, dict(config.headers)) == (None, None, {})


def test_broken_file_is_reported_once_and_the_last_good_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "web.yml", GOOD["headers"])
    live = LiveWebConfig(path)
    good = live.current()
    write(path, "headers: {}\n")
    assert [live.current() for _ in range(3)] == [good] * 3
    path.unlink()
    assert [live.current() for _ in range(3)] == [good] * 3
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2
    assert f"{path}:1: headers: unknown key" in errors[0]
    assert "the last good configuration stays in force" in errors[0]
    assert "cannot be read" in errors[1]
    write(path, "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n")
    assert live.current().headers == {"X-Frame-Options": "sameorigin"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("users", "empty", "restart to switch basic authentication off"),
        ("certificate", "empty", "restart to switch TLS on or off"),
        ("empty", "certificate", "restart to switch TLS on or off"),
    ],
)
def test_an_emptied_file_does_not_open_the_server(
    folder: Path, caplog: pytest.LogCaptureFixture, before: str, after: str, message: str
) -> None:
    path = write(folder / "web.yml", GOOD[before])
    live = LiveWebConfig(path)
    good = live.current()
    write(path, GOOD[after])
    assert live.current() is good
    assert message in caplog.text


def test_basic_authentication_can_be_switched_on(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", "")
    live = LiveWebConfig(path)
    write(path, GOOD["users"])
    assert live.current().basic_auth is not None


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem", "web.yml"])
def test_a_change_of_any_file_is_seen(folder: Path, name: str) -> None:
    config = load_web_config(write(folder / "web.yml", GOOD["client certificates"]))
    assert not config.changed()
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    assert config.changed()


@pytest.mark.parametrize(
    ("kind", "value", "allowed"),
    [
        ("DNS", "prometheus.example", True),
        ("DNS", "PROMETHEUS.example", False),
        ("DNS", "x.prometheus.example", False),
        ("IP Address", "192.0.2.1", True),
        ("IP Address", "2001:DB8:0:0:0:0:0:1\n", True),
        ("IP Address", "2001:DB8:0:0:0:0:0:2\n", False),
        ("URI", "spiffe://example/prometheus", True),
        ("email", "ops@example", True),
    ],
)
def test_names_of_clients(kind: str, value: str, allowed: bool) -> None:
    sans = frozenset(["prometheus.example", "192.0.2.1", "2001:db8::1", "spiffe://example/prometheus", "ops@example"])
    config = WebConfig(client_allowed_sans=sans)
    assert config.admits({"subjectAltName": (("DNS", "other.example"), (kind, value))}) is allowed
    assert not config.admits({})
    assert not config.admits(None)


def test_every_key_header_and_suite_is_documented() -> None:
    text = DOCUMENT.read_text()
    sections = (web_config._File, TlsSection, web_config._Http)
    keys = [field.name for section in sections for field in dataclasses.fields(section)]
    missing = [name for name in [*keys, *web_config.HEADERS, *CIPHER_SUITES] if f"`{name}`" not in text]
    assert missing == []
