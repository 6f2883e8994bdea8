"""The resolver exporter's configuration: what is valid, its mistakes, and that its page lists every key."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import dns.name
import dns.rdatatype
import pytest
import yaml

from dnsvigil.config.types import Duration
from dnsvigil.config.yaml_file import ConfigError
from dnsvigil.resolver.config import DEFAULT_RESOLVERS, Config, Question, Resolver, load_config
from dnsvigil.resolver.main import main
from test_documentation import DOCS, keys, rows

FULL = """\
listen: "[::1]:9954"
web_config_file: /etc/dnsvigil/web.yml
resolvers:
  - name: cache
    process: unbound
    folders: [/var/lib/unbound, /var/log]
  - {name: second, unit: kresd@1.service}
  - {name: third, unit: kresd@}
  - {name: fourth, pidfile: /run/named/named.pid}
collectors:
  process: {enabled: false}
  sockets: {enabled: false, ports: [53, 853, 443], listeners: 10}
  host: {enabled: false}
  probe:
    enabled: true
    interval: 1m
    timeout: 5s
    server: "2001:DB8:0::53"
    port: 5353
    identity: false
    questions:
      - name: www.Example.com
        answer: [192.0.2.1, 192.0.2.2]
        dnssec: true
      - {name: www.example.com, type: AAAA, rcode: NXDOMAIN}
      - {name: www.example.com, protocol: tls, server: 192.0.2.53}
      - {name: example.com, type: MX, protocol: tcp, port: 54, answer: [10 mail.example.com]}
"""

PROBE = "collectors:\n  probe:\n    "
QUESTION = f"{PROBE}questions:\n      - "

# YAML, line of the mistake, its key, and words that the message has.
MISTAKES = {
    "unknown key": ("resolver: []\n", 1, "resolver", "unknown key, did you mean 'resolvers'?"),
    "unknown collector": ("collectors:\n  hots: {}\n", 2, "collectors.hots", "did you mean 'host'?"),
    "not YAML": ("listen: [\n", 2, "", "not valid YAML"),
    "listen": ("listen: 9954\n", 1, "listen", "expected host:port"),
    "no name": ("resolvers:\n  - process: unbound\n", 2, "resolvers[0].name", "missing, and has no default"),
    "empty name": ("resolvers:\n  - {name: '', process: a}\n", 2, "resolvers[0].name", "expected a name"),
    "no way to find it": ("resolvers:\n  - name: a\n", 2, "resolvers[0].name", "one of process, unit and pidfile"),
    "two ways to find it": (
        "resolvers:\n  - name: a\n    process: a\n    unit: a.service\n",
        2,
        "resolvers[0].name",
        "one of process, unit and pidfile",
    ),
    "no unit": ("resolvers:\n  - name: a\n    unit: a.timer\n", 3, "resolvers[0].unit", "a systemd unit"),
    "pidfile": ("resolvers:\n  - name: a\n    pidfile: a.pid\n", 3, "resolvers[0].pidfile", "a path from the root"),
    "folder": (
        "resolvers:\n  - name: a\n    process: a\n    folders: [/var, lib]\n",
        4,
        "resolvers[0].folders",
        "paths from the root, found 'lib'",
    ),
    "resolver twice": (
        "resolvers:\n  - {name: a, process: a}\n  - {name: a, process: b}\n",
        2,
        "resolvers",
        "resolver a is given twice",
    ),
    "yes or no": (
        "collectors:\n  host: {enabled: sometimes}\n",
        2,
        "collectors.host.enabled",
        "expected true or false",
    ),
    "no ports": ("collectors:\n  sockets:\n    ports: []\n", 3, "collectors.sockets.ports", "ports from 1 to 65535"),
    "port": ("collectors:\n  sockets:\n    ports: [0]\n", 3, "collectors.sockets.ports", "ports from 1 to 65535"),
    "many ports": (
        f"collectors:\n  sockets:\n    ports: {list(range(1, 66))}\n",
        3,
        "collectors.sockets.ports",
        "at most 64",
    ),
    "port twice": ("collectors:\n  sockets:\n    ports: [53, 53]\n", 3, "collectors.sockets.ports", "given twice"),
    "listeners": ("collectors:\n  sockets:\n    listeners: 0\n", 3, "collectors.sockets.listeners", "1 to 1000"),
    "interval": (f"{PROBE}interval: 15\n", 3, "collectors.probe.interval", "expected a duration"),
    "no interval": (f"{PROBE}interval: 0s\n", 3, "collectors.probe.interval", "expected more than 0"),
    "no timeout": (f"{PROBE}timeout: 0s\n", 3, "collectors.probe.timeout", "more than 0 and at most the interval"),
    "long timeout": (f"{PROBE}timeout: 16s\n", 3, "collectors.probe.timeout", "more than 0 and at most the interval"),
    "server": (f"{PROBE}server: localhost\n", 3, "collectors.probe.server", "expected an IPv4 or IPv6 address"),
    "server's port": (f"{PROBE}port: 65536\n", 3, "collectors.probe.port", "expected 1 to 65535"),
    "questions": (
        f"{PROBE}questions: [{', '.join(f'{{name: n{number}}}' for number in range(65))}]\n",
        3,
        "collectors.probe.questions",
        "expected at most 64, found 65",
    ),
    "question twice": (
        f"{QUESTION}name: a.example\n      - {{name: A.Example., type: TYPE1, port: 53, server: 127.0.0.1}}\n",
        4,
        "collectors.probe.questions",
        "A.Example. TYPE1 is sent twice to the same server",
    ),
    "no question": (f"{QUESTION}name: ''\n", 4, "collectors.probe.questions[0].name", "expected a domain name"),
    "long label": (f"{QUESTION}name: {'a' * 64}\n", 4, "collectors.probe.questions[0].name", "expected a domain name"),
    "empty label": (f"{QUESTION}name: a..b\n", 4, "collectors.probe.questions[0].name", "expected a domain name"),
    "escape": (f"{QUESTION}name: a\\999\n", 4, "collectors.probe.questions[0].name", "expected a domain name"),
    "type": (f"{QUESTION}name: a\n        type: AAAAA\n", 5, "collectors.probe.questions[0].type", "a record type"),
    "transfer": (f"{QUESTION}name: a\n        type: AXFR\n", 5, "collectors.probe.questions[0].type", "a record type"),
    "any": (f"{QUESTION}name: a\n        type: ANY\n", 5, "collectors.probe.questions[0].type", "a record type"),
    "large type": (
        f"{QUESTION}name: a\n        type: TYPE65536\n",
        5,
        "collectors.probe.questions[0].type",
        "a record",
    ),
    "protocol": (
        f"{QUESTION}name: a\n        protocol: https\n",
        5,
        "collectors.probe.questions[0].protocol",
        "expected one of udp, tcp, tls",
    ),
    "rcode": (f"{QUESTION}name: a\n        rcode: OK\n", 5, "collectors.probe.questions[0].rcode", "a response code"),
    "answer": (
        f"{QUESTION}name: a\n        answer: [www.example]\n",
        5,
        "collectors.probe.questions[0].answer",
        "expected data of A records",
    ),
    "answer of another type": (
        f"{QUESTION}name: a\n        type: MX\n        answer: [mail.example]\n",
        6,
        "collectors.probe.questions[0].answer",
        "expected data of MX records",
    ),
}


def read(folder: Path, text: str) -> Config:
    path = folder / "resolver.yml"
    path.write_text(text)
    return load_config(path)


def test_everything_it_may_say(tmp_path: Path) -> None:
    config = read(tmp_path, FULL)
    assert config.listen == "[::1]:9954"
    assert config.web_config_file == Path("/etc/dnsvigil/web.yml")
    assert config.resolvers == [
        Resolver("cache", process="unbound", folders=[Path("/var/lib/unbound"), Path("/var/log")]),
        Resolver("second", unit="kresd@1.service"),
        Resolver("third", unit="kresd@"),
        Resolver("fourth", pidfile=Path("/run/named/named.pid")),
    ]
    assert not config.collectors.process.enabled
    assert dataclasses.astuple(config.collectors.sockets) == (False, [53, 853, 443], 10)
    assert not config.collectors.host.enabled
    probe = config.collectors.probe
    assert (probe.enabled, probe.interval, probe.timeout, probe.identity) == (True, 60, 5, False)
    assert [(probe.address_of(question), question.protocol) for question in probe.questions] == [
        (("2001:db8::53", 5353), "udp"),
        (("2001:db8::53", 5353), "udp"),
        (("192.0.2.53", 853), "tls"),
        (("2001:db8::53", 54), "tcp"),
    ]
    assert [question.rdtype for question in probe.questions] == [1, 28, 1, 15]
    assert probe.questions[0].qname == dns.name.from_text("www.example.com.")
    assert probe.questions[3].rdatas == Question("a.", "MX", answer=["10 MAIL.example.com."]).rdatas


def test_an_empty_file_and_none_give_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(tmp_path, "") == read(tmp_path, "# nothing\n") == Config()
    monkeypatch.setattr("dnsvigil.resolver.config.DEFAULT_PATH", tmp_path / "none.yml")
    assert load_config(None) == Config()
    monkeypatch.setattr("dnsvigil.resolver.config.DEFAULT_PATH", tmp_path / "resolver.yml")
    (tmp_path / "resolver.yml").write_text("listen: 127.0.0.1:1\n")
    assert load_config(None).listen == "127.0.0.1:1"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_file_line_and_key(
    tmp_path: Path, mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, line, key, words = MISTAKES[mistake]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    path = tmp_path / "resolver.yml"
    assert str(caught.value).startswith(f"{path}:{line}: {key}: " if key else f"{path}:{line}: ")
    assert words in str(caught.value)
    for arguments in ([], ["--check-config"]):
        assert main(["--config", str(path), *arguments]) == 2
        assert capsys.readouterr().err == f"dnsvigil-resolver-exporter: {caught.value}\n"


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.yml")]) == 2
    assert "none.yml: cannot be read" in capsys.readouterr().err


def test_every_key_is_documented_with_its_default() -> None:
    documented = rows("resolver-exporter.md")
    known = dict(keys(Config))
    assert [key for key in documented if key in known] == list(known)
    assert {key for key in documented if key.split(".")[0].split("[")[0] in ("listen", "resolvers", "collectors")} <= {
        *known
    }
    for key, default in known.items():
        default_text = documented[key][0]
        if default is dataclasses.MISSING:
            assert default_text == "needed", key
        elif key == "collectors.probe.questions":
            assert default == [Question(".", "NS")]
            assert default_text == "`. NS`"
        elif default is None or default == []:
            assert not default_text.startswith("`") or default_text == "`853`", key
        elif isinstance(default, bool):
            assert default_text == f"`{str(default).lower()}`", key
        elif isinstance(default, Duration):
            assert default_text == f"`{default:.0f}s`", key
        else:
            assert default_text == f"`{default}`", key


def test_the_page_names_the_resolvers_that_are_looked_for() -> None:
    page = (DOCS / "resolver-exporter.md").read_text()
    names = ", ".join(f"`{resolver.process}`" for resolver in DEFAULT_RESOLVERS)
    assert names in " ".join(page.split())


def test_the_page_s_examples_are_right(tmp_path: Path) -> None:
    blocks = (DOCS / "resolver-exporter.md").read_text().split("```yaml\n")[1:]
    assert len(blocks) >= 2
    for block in blocks:
        text = block.split("```")[0]
        assert yaml.safe_load(text)
        read(tmp_path, text)


def test_types_are_those_of_the_protocol() -> None:
    assert Question("a", "type65").rdtype == dns.rdatatype.HTTPS
