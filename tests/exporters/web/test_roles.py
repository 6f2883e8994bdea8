"""Who may look at what, and who may change something."""

from __future__ import annotations

import re
import socket
import time
from base64 import b64encode
from pathlib import Path

import yaml
from itsdangerous import TimestampSigner

from dnsvigil.httpd.access import TOKEN_FILE
from dnsvigil.web import viewer
from exporters.httpd.support import hashed, write
from exporters.running import collecting_here, eventually, write_config
from exporters.web.looking import Looker, put, started


def password(name: str) -> str:
    return f"Basic {b64encode(f'{name}:secret'.encode()).decode()}"


def users(folder: Path) -> str:
    names = {"basic_auth_users": {name: hashed("secret") for name in ("alice", "bob")}}
    return str(write(folder / "web.yml", yaml.safe_dump(names)))


def dismissal(looker: Looker) -> dict[str, str]:
    return {"why": "ours", "form_token": form_token(looker)}


def form_token(looker: Looker) -> str:
    found = re.search(r'name="form_token" value="([\w-]+)"', looker.get("/findings/2").body)
    return found[1] if found else ""


def test_users_view_or_triage_and_only_who_triages_sees_clients(tmp_path):
    config = write_config(
        tmp_path,
        web_config_file=users(tmp_path),
        web={"triage": ["alice"]},
        api={"client_addresses": "triage"},
    )
    with collecting_here(config, tmp_path / "state") as daemon:
        alice = started(daemon, Authorization=password("alice"))
        bob = Looker(daemon.server, {"Authorization": password("bob")})
        put(daemon)
        assert Looker(daemon.server).get("/").status == 401
        for path in ("/", "/findings", "/findings/1", "/findings.csv", "/findings.json"):
            assert "192.0.2.77" in alice.get(path).body, path
            seen = bob.get(path)
            assert seen.status == 200
            assert "192.0.2.77" not in seen.body, path
            assert "192.0.2.0/24" in seen.body, path
        # Labels of metrics have the addresses
        assert "192.0.2.77" in alice.get("/metrics").body
        answer = bob.get("/metrics")
        assert (answer.status, "web.triage in the configuration" in answer.body) == (403, True)
        token = (tmp_path / "state" / TOKEN_FILE).read_text().strip()
        assert Looker(daemon.server, {"Authorization": f"Bearer {token}"}).get("/metrics").status == 200
        refused = bob.post("/findings/2/dismiss", {"why": "mine"})
        assert refused.status == 403
        assert "bob may view, but not triage" in refused.body
        assert "bob may view only" in bob.get("/findings/2").body
        assert alice.post("/findings/2/dismiss", dismissal(alice)).status == 303
        assert re.search(r"alice, <time", alice.get("/findings/2").body)
        # What may not be seen cannot be guessed term by term, either
        for term in ("192.0.2.77", "192.0.2.78", "192.0.2.76/30"):
            assert 'href="findings/1"' in bob.get(f"/findings?subject={term}").body, term
        assert bob.get("/findings?subject=192.0.2.7*").status == 403
        # Rights that are taken away are gone at once
        config.write_text(config.read_text().replace("- alice", "- carol"))
        token = dismissal(alice)
        daemon.reload()
        eventually(lambda: "alice may view only" in alice.get("/findings/2").body)
        assert alice.post("/findings/2/reopen", {"form_token": token["form_token"]}).status == 403


def test_on_a_loopback_address_anybody_views_and_the_token_triages(tmp_path):
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        anybody = started(daemon)
        put(daemon)
        token = (tmp_path / "state" / TOKEN_FILE).read_text().strip()
        seen = anybody.get("/findings/1").body
        assert "192.0.2.77" not in seen
        assert "192.0.2.0/24" in seen
        refused = anybody.post("/findings/1/dismiss", {"why": "x"})
        assert (refused.status, "Sign in first" in refused.body) == (403, True)
        assert "Set-Cookie" not in seen
        assert anybody.sign_in("wrong").status == 403
        answer = anybody.sign_in(token)
        cookie = answer.headers["Set-Cookie"]
        assert token not in cookie
        assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
        assert "192.0.2.77" in anybody.get("/findings/1").body
        with_token = Looker(daemon.server, {"Authorization": f"Bearer {token}"})
        assert "192.0.2.77" in with_token.get("/findings/1").body
        # A form of another session, of another site, or of another kind
        given = dismissal(anybody)
        assert anybody.post("/findings/1/dismiss", given | {"form_token": "0" * 64}).status == 403
        assert anybody.post("/findings/1/dismiss", {"why": "x"}).status == 403
        assert anybody.post("/findings/1/dismiss", given, Origin="http://evil.example").status == 403
        assert anybody.post("/findings/1/dismiss", given, **{"Content-Type": "text/plain"}).status == 415
        host = "{}:{}".format(*daemon.server.address)
        assert anybody.post("/findings/1/dismiss", given, Origin=f"http://{host}").status == 303
        assert anybody.post("/sign-out", {"form_token": given["form_token"]}).status == 303


def test_a_session_that_is_none_is_said_to_have_ended(tmp_path):
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        looker = started(daemon)
        looker.sign_in((tmp_path / "state" / TOKEN_FILE).read_text().strip())
        name, _, value = looker.headers["Cookie"].partition("=")
        changed = f"{value[:-2]}{'A' if value[-2] != 'A' else 'B'}{value[-1]}"
        for other in (changed, f"9{value}", value.partition(".")[0], f"{value}.", "0.x.0", "x", "\xe9"):
            looker.headers["Cookie"] = f"{name}={other}"
            answer = looker.post("/findings/1/reopen", {})
            assert answer.status == 403
            assert "Your session has ended, or its rights were taken away" in answer.body, other


def test_a_session_ends_with_its_time_and_with_the_token(tmp_path, monkeypatch):
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        looker = started(daemon)
        looker.sign_in((tmp_path / "state" / TOKEN_FILE).read_text().strip())
        assert "Sign out" in looker.get("/").body
        now = int(time.time())
        with monkeypatch.context() as later:
            later.setattr(TimestampSigner, "get_timestamp", lambda _: now + viewer.SESSION_SECONDS + 2)
            assert "Sign out" not in looker.get("/").body
        assert "Sign out" in looker.get("/").body
        (tmp_path / "state" / TOKEN_FILE).unlink()
        config = tmp_path / "dnsvigil.yml"
        config.write_text(f"{config.read_text()}zones: {{top: 7}}\n")
        daemon.reload()
        eventually(lambda: "Sign out" not in looker.get("/").body)


def test_behind_a_proxy_with_tls_a_session_never_crosses_the_network_in_clear_text(tmp_path):
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        looker = started(daemon)
        fields = {"token": (tmp_path / "state" / TOKEN_FILE).read_text().strip()}
        browser = {"Origin": "https://dns.example", "Sec-Fetch-Site": "same-origin"}  # the proxy sends another host
        for headers in (browser, {"X-Forwarded-Proto": "https"}):
            answer = looker.post("/sign-in", fields, **headers)
            assert answer.status == 303
            assert "Secure" in answer.headers["Set-Cookie"].split("; ")
        looker.headers["Cookie"] = answer.headers["Set-Cookie"].partition(";")[0]
        assert looker.get("/findings").status == 200
        assert "Secure" in looker.get("/lookup?q=a.example", **{"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]
        assert (
            "Secure" not in looker.post("/sign-in", fields | {"form_token": form_token(looker)}).headers["Set-Cookie"]
        )
        other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert looker.post("/sign-in", fields, **other).status == 403


def test_a_name_that_somebody_points_at_this_machine_shows_nothing(tmp_path):
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        looker = started(daemon)
        for path in ("/", "/findings", "/sign-in"):
            answer = looker.get(path, Host="evil.example")
            assert answer.status == 403
            assert "is no name of this machine" in answer.body
            assert looker.get(path, Host=socket.gethostname()).status == 200
        assert looker.get("/metrics", Host="evil.example").status == 200


def test_on_another_address_nothing_but_now_is_open(tmp_path):
    with collecting_here(write_config(tmp_path, listen="0.0.0.0:0"), tmp_path / "state") as daemon:
        port = daemon.server.address[1]
        daemon.server.address = ("127.0.0.1", port)
        looker = started(daemon)
        assert looker.get("/", Host="dns.example").status == 200
        answer = looker.get("/findings", Host="dns.example")
        assert (answer.status, "Sign in first" in answer.body) == (403, True)
        looker.sign_in((tmp_path / "state" / TOKEN_FILE).read_text().strip())
        assert looker.get("/findings", Host="dns.example").status == 200
